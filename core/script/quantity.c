/* quantity - see quantity.h. */
#include "script/quantity.h"

#include "script/lua.h"
#include "script/modules.h"

/* Pushes moongate.base.units.seconds or .bytes: from a text to its number, or false. The function
 * is kept in the registry under the address of its name. */
static void quantity_push_units(lua_State *L, const char *name)
{
    lua_pushlightuserdata(L, (void *)name);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    if (script_library_function(L, "moongate.base.units", name) != 0)
        lua_error(L);
    lua_pushlightuserdata(L, (void *)name);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static double quantity_get(lua_State *L, const char *units)
{
    if (lua_type(L, -1) == LUA_TNUMBER)
        return lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TSTRING)
        return -1;
    quantity_push_units(L, units);
    lua_pushvalue(L, -2);
    lua_gettable(L, -2);
    double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    lua_pop(L, 2);
    return value;
}

double script_seconds(lua_State *L)
{
    static const char seconds[] = "seconds";
    return quantity_get(L, seconds);
}

double script_bytes(lua_State *L)
{
    static const char bytes[] = "bytes";
    return quantity_get(L, bytes);
}

/* value - see value.h. */
#include "script/value.h"

void script_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    if (gc != NULL) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

int script_fail(lua_State *L, const char *reason)
{
    lua_pushnil(L);
    lua_pushstring(L, reason);
    return 2;
}

/* The beginning of a text, on one line. */
static const char *value_describe_text(lua_State *L, struct str s)
{
    char shown[61];
    size_t n = s.n > 60 ? 57 : s.n;
    for (size_t i = 0; i < n; i++)
        shown[i] = (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i];
    shown[n] = '\0';
    return lua_pushfstring(L, s.n > 60 ? "\"%s...\"" : "\"%s\"", shown);
}

const char *script_describe(lua_State *L, int idx)
{
    switch (lua_type(L, idx)) {
    case LUA_TNONE:
    case LUA_TNIL:
        return lua_pushliteral(L, "nothing"), lua_tostring(L, -1);
    case LUA_TBOOLEAN:
        return lua_pushstring(L, lua_toboolean(L, idx) ? "true" : "false"), lua_tostring(L, -1);
    case LUA_TNUMBER:
        lua_pushvalue(L, idx);
        return lua_tostring(L, -1);
    case LUA_TSTRING:
        return value_describe_text(L, script_str(L, idx));
    default:
        return lua_pushfstring(L, "a %s", luaL_typename(L, idx));
    }
}

struct str script_expect_text(lua_State *L, int idx, const char *what)
{
    if (lua_type(L, idx) != LUA_TSTRING)
        luaL_error(L, "%s, got %s", what, script_describe(L, idx));
    return script_str(L, idx);
}

int script_refuse_assignment(lua_State *L, const char *what, const char *why)
{
    const char *format = lua_type(L, 2) == LUA_TSTRING ? "%s.%s" : "%s[%s]";
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : script_describe(L, 2);
    const char *place = lua_pushfstring(L, format, what, key);
    return luaL_error(L, "%s can't be assigned: %s", place, why);
}

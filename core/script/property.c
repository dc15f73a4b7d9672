/* property - see property.h. */
#include "script/property.h"

/* --- values --- */

#define PUSHER(name, type, push)                                                                   \
    void property_push_##name(lua_State *L, const void *at)                                        \
    {                                                                                              \
        type value = *(type const *)at;                                                            \
        push;                                                                                      \
    }

PUSHER(str, struct str, script_push_str(L, value))
PUSHER(text, struct str, value.n > 0 ? script_push_str(L, value) : lua_pushnil(L))
PUSHER(pointer, const char *, lua_pushstring(L, value))
PUSHER(bool, bool, lua_pushboolean(L, value))
PUSHER(int, int, lua_pushinteger(L, value))
PUSHER(unsigned, unsigned, lua_pushinteger(L, (lua_Integer)value))
PUSHER(long, unsigned long, lua_pushnumber(L, (double)value))
PUSHER(long_long, unsigned long long, lua_pushnumber(L, (double)value))
PUSHER(double, double, lua_pushnumber(L, value))

void property_push_chars(lua_State *L, const void *at)
{
    const char *text = at;
    lua_pushstring(L, text[0] != '\0' ? text : NULL);
}

void property_push_peer(lua_State *L, const void *at)
{
    char text[PEER_TEXT_SIZE];
    size_t n = peer_text(at, text);
    lua_pushlstring(L, text, n);
}

/* --- lists --- */

static int property_count_of(const struct property *list)
{
    int count = 0;
    while (list[count].name != NULL)
        count++;
    return count;
}

void property_push_names(lua_State *L, const struct property *list)
{
    lua_createtable(L, 0, property_count_of(list));
    for (int i = 0; list[i].name != NULL; i++) {
        if (list[i].method != NULL)
            lua_pushcfunction(L, list[i].method);
        else
            lua_pushinteger(L, i + 1);
        lua_setfield(L, -2, list[i].name);
    }
}

void property_new_type(lua_State *L, enum property_type type, const char *name,
                       const struct property *list, lua_CFunction index, lua_CFunction newindex)
{
    luaL_newmetatable(L, name);
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, type);
    property_push_names(L, list);
    lua_pushcclosure(L, index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushstring(L, name); /* getmetatable(req) returns the name, not the metatable */
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

void *property_self(lua_State *L, enum property_type type)
{
    void *self = lua_touserdata(L, 1);
    if (self == NULL || !lua_getmetatable(L, 1))
        return NULL;
    property_push_type(L, type);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? self : NULL;
}

void *property_check_self(lua_State *L, enum property_type type, const char *call)
{
    void *self = property_self(L, type);
    if (self != NULL)
        return self;
    luaL_error(L, "expected a call such as %s (with a colon), got %s before the name", call,
               script_describe(L, 1));
    return NULL;
}

const struct property *property_missing(lua_State *L, const struct property *list,
                                        const char *object)
{
    if (lua_iscfunction(L, -1))
        return NULL;
    luaL_Buffer has;
    luaL_buffinit(L, &has);
    for (const struct property *p = list; p->name != NULL; p++) {
        luaL_addstring(&has, p == list ? "" : p->method != NULL ? ", and the method " : " ");
        luaL_addstring(&has, p->name);
    }
    luaL_pushresult(&has);
    const char *names = lua_tostring(L, -1);
    luaL_error(L, "%s has no field %s; it has: %s", object, script_describe(L, 2), names);
    return NULL;
}

void property_push_table(lua_State *L, const struct property *list, const void *const structs[])
{
    lua_createtable(L, 0, property_count_of(list));
    for (const struct property *p = list; p->name != NULL; p++) {
        if (p->push == NULL)
            continue;
        property_push(L, p, structs[p->of]);
        lua_setfield(L, -2, p->name);
    }
}

/*
 * modules - see modules.h. The modules are bytecode in the binary, made by tools/embed-lua.
 */
#include "script/modules.h"

#include <stdlib.h>

struct script_module {
    const char *name;
    const char *code;
    size_t size;
};

/* The library as bytecode, made by the Makefile; ends with a NULL name. */
extern const struct script_module script_modules[];

static int modules_load(lua_State *L)
{
    const struct script_module *module = lua_touserdata(L, lua_upvalueindex(1));
    if (luaL_loadbuffer(L, module->code, module->size, module->name) != 0)
        return lua_error(L);
    lua_pushstring(L, module->name);
    lua_call(L, 1, 1);
    return 1;
}

/* package.path = DIR/?.lua;DIR/?/init.lua;... */
static void modules_prefer_disk(lua_State *L, const char *dir)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", dir, dir, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 2);
}

void script_modules_open(lua_State *L)
{
    const char *dir = getenv("MOONGATE_LUA");
    if (dir != NULL && *dir != '\0') {
        modules_prefer_disk(L, dir);
        return;
    }
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (const struct script_module *m = script_modules; m->name != NULL; m++) {
        lua_pushlightuserdata(L, (void *)m);
        lua_pushcclosure(L, modules_load, 1);
        lua_setfield(L, -2, m->name);
    }
    lua_pop(L, 2);
}

/* Pushes require(module)[function]. */
static int modules_push_function(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_gettable(L, -2);
    return 1;
}

int script_library_function(lua_State *L, const char *module, const char *name)
{
    lua_pushcfunction(L, modules_push_function);
    lua_pushstring(L, module);
    lua_pushstring(L, name);
    return lua_pcall(L, 2, 1, 0);
}

/* state - see state.h. */
#include "script/state.h"

#include "base/log.h"
#include "script/core.h"
#include "script/limit.h"
#include "script/log.h"
#include "script/modules.h"
#include "script/nesting.h"
#include "script/request.h"
#include "script/views.h"

#include <luajit.h>
#include <stdlib.h>
#include <sys/random.h>

/* Called for an error outside of the door, which is a fault of core/: the process ends. */
static int state_panic(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no text";
    log_error("an error of Lua that nobody handles ends this process: %s", text);
    return 0;
}

/* Seeds math.random from the kernel, so that each worker and generation draws its own numbers. */
static void state_seed(lua_State *L)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        abort();
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushnumber(L, (double)(seed >> 11)); /* as many bits as it holds */
    lua_call(L, 1, 0);
    lua_pop(L, 1);
}

lua_State *script_state_new(void)
{
    lua_State *L = luaL_newstate();
    if (L == NULL)
        abort();
    lua_atpanic(L, state_panic);
    script_nesting_init();
    script_watch_finalizers(L);
    luaL_openlibs(L);
    /* compiled code can't be stopped by a hook; a command does not need its speed */
    if (script_is_alone())
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, script_core_open);
    lua_setfield(L, -2, "moongate.core");
    lua_pop(L, 2);
    script_modules_open(L);
    script_request_open(L);
    script_views_open(L);
    script_log_open(L);
    state_seed(L);
    if (script_library_function(L, "moongate.route.guard", "keep_state") != 0 ||
        lua_pcall(L, 0, 0, 0) != 0) {
        log_error("moongate.route.guard: %s", lua_tostring(L, -1));
        abort();
    }
    return L;
}

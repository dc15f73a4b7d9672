/*
 * nesting - see nesting.h.
 *
 * LuaJIT bounds the Lua stack of a coroutine (65,500 values), not the C stack: each coroutine that
 * is resumed within another, and each gsub within the function of another one, takes more of the C
 * stack, until the process is killed. lua/moongate/route/guard.lua puts the functions below before
 * those, and before require, whose errors take long to unwind. All else that comes back to Lua
 * through C (sort, load, format, print, finalizers) needs at most 4 MB for all that fits into one
 * Lua stack (measured with ulimit -s), which the bound leaves of the usual 8.
 */
#include "script/nesting.h"

#include "script/lua.h"

#include <stdlib.h>
#include <sys/resource.h>

#define STACK_USUAL (8u << 20)
#define STACK_PART  4 /* one part of so many is for nesting */

static const char *base; /* an address near the beginning of the stack */
static size_t most;      /* bytes of it that nesting may take */

void script_nesting_init(void)
{
    struct rlimit limit;
    if (base != NULL)
        return;
    base = __builtin_frame_address(0);
    getrlimit(RLIMIT_STACK, &limit);
    if (limit.rlim_cur < STACK_USUAL && limit.rlim_max >= STACK_USUAL) {
        limit.rlim_cur = STACK_USUAL; /* it grows while it is used: no start is needed for that */
        setrlimit(RLIMIT_STACK, &limit);
    }
    most = (limit.rlim_cur < STACK_USUAL ? limit.rlim_cur : STACK_USUAL) / STACK_PART;
}

/* Raises an error in the name of the function at that level, where nesting has taken at least so
 * many bytes of the stack. */
static void nesting_check(lua_State *L, int level, size_t bytes)
{
    const char *here = __builtin_frame_address(0);
    if ((size_t)(base - here) < bytes)
        return;
    luaL_where(L, level);
    lua_pushliteral(L, "nested too deeply: coroutines that resume others, gsub within gsub or "
                       "modules that require others have taken all of the stack that they may; is "
                       "there a recursion without an end?");
    lua_concat(L, 2);
    lua_error(L);
}

/* core.check_nesting([bytes]): for a function in Lua that stands before one of LuaJIT's, and may
 * take less of the stack than all of them together. */
static int nesting_check_bytes(lua_State *L)
{
    size_t bytes = (size_t)luaL_optinteger(L, 1, (lua_Integer)most);
    nesting_check(L, 2, bytes < most ? bytes : most);
    return 0;
}

static int nesting_checked_call(lua_State *L)
{
    lua_CFunction function = lua_tocfunction(L, lua_upvalueindex(1));
    nesting_check(L, 1, most);
    return function(L);
}

/* core.with_bounded_nesting(function of C) -> one that checks first */
static int nesting_bounded(lua_State *L)
{
    luaL_argcheck(L, lua_tocfunction(L, 1) != NULL, 1, "expected a function of C");
    lua_settop(L, 1);
    lua_pushcclosure(L, nesting_checked_call, 1);
    return 1;
}

void script_nesting_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"check_nesting", nesting_check_bytes},
                                         {"with_bounded_nesting", nesting_bounded},
                                         {NULL, NULL}};
    luaL_register(L, NULL, functions);
}

/*
 * value - values between Lua and C, and what messages say of them.
 */
#ifndef MG_SCRIPT_VALUE_H
#define MG_SCRIPT_VALUE_H

#include "script/lua.h"

/* The string at idx, without a copy; valid while the value is on the stack. */
static inline struct str script_str(lua_State *L, int idx)
{
    struct str s;
    s.p = lua_tolstring(L, idx, &s.n);
    return s;
}

/* Returns a string argument; another type is the caller's error. */
static inline struct str script_check_str(lua_State *L, int idx)
{
    struct str s;
    s.p = luaL_checklstring(L, idx, &s.n);
    return s;
}

static inline void script_push_str(lua_State *L, struct str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.n);
}

/* Makes the metatable of a userdata with these methods, which scripts can't change; gc may be NULL.
 * Once for each Lua state. */
void script_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);

/* Pushes nil and the reason, the results of a function that failed; returns 2. */
int script_fail(lua_State *L, const char *reason);
/* Names the value at idx for a message: nothing, true, 12, "text" or a table. The text is pushed.
 */
const char *script_describe(lua_State *L, int idx);
/* The string at idx, where a name or the like is expected; raises an error that begins with `what`,
 * "req.headers: expected a name", and says what is there instead. */
struct str script_expect_text(lua_State *L, int idx, const char *what);
/* Raises the error for `what[key at 2] = value`. */
int script_refuse_assignment(lua_State *L, const char *what, const char *why);

#endif

/*
 * state - a fresh Lua state: the libraries of Lua, moongate.core and the Lua library.
 */
#ifndef MG_SCRIPT_STATE_H
#define MG_SCRIPT_STATE_H

struct lua_State;

/* Never NULL. */
struct lua_State *script_state_new(void);

#endif

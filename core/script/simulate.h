/*
 * simulate - requests that no client has sent, with their params and responses: for the command
 * `explain` and for specs (moongate.testing).
 */
#ifndef MG_SCRIPT_SIMULATE_H
#define MG_SCRIPT_SIMULATE_H

struct lua_State;

/* Adds request, params, own_page and response to the module on the stack's top. */
void script_simulate_open(struct lua_State *L);

#endif

/*
 * cache - the response cache as scripts and commands see it: purges, and what is counted.
 */
#ifndef MG_SCRIPT_CACHE_H
#define MG_SCRIPT_CACHE_H

struct lua_State;

/* Adds cache_purge and cache_counts to the module on the stack's top. */
void script_cache_open(struct lua_State *L);

#endif

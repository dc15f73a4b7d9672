/*
 * caching - the `cache` of a decision: what may be kept of an application's responses, under which
 * key and for how long.
 */
#ifndef MG_SCRIPT_CACHING_H
#define MG_SCRIPT_CACHING_H

#include "http/request.h"

struct lua_State;

/* Reads true or a table on the stack's top into *out, in the arena's memory; false is NULL. Returns
 * false where the value can't be used: lua/moongate/decision/caching.lua says why. */
bool script_read_caching(struct lua_State *L, struct arena *arena,
                         const struct decision_cache **out);

#endif

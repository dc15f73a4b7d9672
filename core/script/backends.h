/*
 * backends - backends and their servers as tables: for moongate.health, which any script may ask,
 * and for the control pages.
 */
#ifndef MG_SCRIPT_BACKENDS_H
#define MG_SCRIPT_BACKENDS_H

#include "script/lua.h"

/* Pushes the table { name, up, held, queued, max_queue, servers } of backend number i. False: the
 * route has no such backend, and nothing was pushed. */
bool script_push_backend(lua_State *L, const struct script_world *world, unsigned i);

/* Adds backend and backend_is_up to the module on the stack's top. */
void script_backends_open(lua_State *L);

#endif

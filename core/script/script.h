/*
 * script - one loaded route, from its file to its end: a Lua state, its hooks, and what runs beside
 * them.
 *
 * A generation owns one script. Requests are seen through boxes that are emptied when the request
 * ends, so that a script which keeps `req` gets a clear error instead of somebody else's request.
 * This header has the life of a script, and includes what the rooms above need beside that.
 */
#ifndef MG_SCRIPT_SCRIPT_H
#define MG_SCRIPT_SCRIPT_H

#include "base/loop.h"
#include "script/balance.h"
#include "script/box.h"
#include "script/control.h"
#include "script/door.h"
#include "script/hooks.h"
#include "script/limit.h"
#include "script/load.h"
#include "script/world.h"

/* Loads, validates and normalises. NULL and *err (malloc'd, FILE:LINE: message) when the route is
 * no good. */
struct script *script_new(const struct route *route, char **err);
void script_free(struct script *s);
/* The checked settings; they live as long as the script. */
const struct settings *script_settings(const struct script *s);
/* Bytes that its Lua state holds. */
size_t script_memory(const struct script *s);

/* Where its functions wait, and what keeps its generation alive meanwhile (ctx is the world's). */
void script_set_loop(struct script *s, struct loop *loop, void (*hold)(void *ctx),
                     void (*drop)(void *ctx));
/* For requests on the control listener and requests of the script's own; valid as long as the
 * script. */
void script_set_world(struct script *s, const struct script_world *world);

/* Another generation serves: timers stop. */
void script_retire(struct script *s);
/* Ends what still waits and belongs to no request. */
void script_end_tasks(struct script *s);
/* Ends all that waits, timers too; only script_free may follow. What it waits for must be there
 * still: backends are freed after it. */
void script_stop(struct script *s);

#endif

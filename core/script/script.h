/*
 * script - one loaded route, from its file to its end: a Lua state, its hooks, and what runs beside
 * them.
 *
 * A generation owns one script. Scripts see a request through a box that is emptied when the
 * request ends, so a script that keeps `req` gets a clear error, never another client's request.
 * This header declares the life of a script, and includes the headers of script/ that the rooms
 * above need.
 */
#ifndef MG_SCRIPT_SCRIPT_H
#define MG_SCRIPT_SCRIPT_H

#include "base/loop.h"
#include "script/balance.h"
#include "script/box.h"
#include "script/certificate.h"
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
/* The bytes that the script's Lua state holds. */
size_t script_memory(const struct script *s);

/* Sets the loop on which functions of the script wait, and the callbacks that keep the generation
 * alive while a task waits (ctx is the world's). */
void script_set_loop(struct script *s, struct loop *loop, void (*hold)(void *ctx),
                     void (*drop)(void *ctx));
/* Sets the world, which requests on the control listener and requests of the script's own use. It
 * must live as long as the script. */
void script_set_world(struct script *s, const struct script_world *world);

/* worn(ctx) is called, from within any call here, when the script holds so much of
 * limits.script_memory that it had better be loaded again; as often as that is found. NULL: nothing
 * is called. */
void script_on_worn(struct script *s, void (*worn)(void *ctx), void *ctx);

/* Stops the script's timers, since another generation serves. */
void script_retire(struct script *s);
/* Cancels the waiting tasks that belong to no request. */
void script_end_tasks(struct script *s);
/* Cancels all waiting tasks and timers; only script_free may follow. Called before the backends are
 * freed, since tasks may wait for their connections. */
void script_stop(struct script *s);

#endif

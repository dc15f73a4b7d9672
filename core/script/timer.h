/*
 * timer - moongate.sleep, moongate.spawn and moongate.every: waiting for a time, and functions that
 * run beside the requests.
 */
#ifndef MG_SCRIPT_TIMER_H
#define MG_SCRIPT_TIMER_H

#include "script/lua.h"

/* Adds sleep, spawn, every and their kin to the module on the stack's top. */
void script_timer_open(lua_State *L);
/* Stops the timers when another generation serves, and ends each sleep_until_retired. */
void script_timers_stop(struct script *s);
/* Drops the spawned functions that have not begun. */
void script_timers_end(struct script *s);
/* Frees the timers and the spawned functions that have not begun, when the script is freed. */
void script_timers_free(struct script *s);

#endif

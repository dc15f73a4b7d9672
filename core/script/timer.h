/*
 * timer - moongate.sleep, moongate.spawn and moongate.every: time, and functions that run beside
 * the requests.
 */
#ifndef MG_SCRIPT_TIMER_H
#define MG_SCRIPT_TIMER_H

#include "script/lua.h"

/* Adds sleep, spawn, every and their kin to the module on the stack's top. */
void script_timer_open(lua_State *L);
/* Another generation serves: no timer goes off any more, and sleep_until_retired ends. */
void script_timers_stop(struct script *s);
/* What was to be spawned and has not begun is forgotten. */
void script_timers_end(struct script *s);
/* The script goes: its timers and what was to be spawned are forgotten. */
void script_timers_free(struct script *s);

#endif

/*
 * quantity - durations and sizes as scripts give them: a number, or a text with a unit, which
 * lua/moongate/base/units.lua knows. Called by the readers of decisions.
 */
#ifndef MG_SCRIPT_QUANTITY_H
#define MG_SCRIPT_QUANTITY_H

struct lua_State;

/* The value on the top of the stack, which stays there, as seconds ("500ms", "1m") or bytes ("16k",
 * "1M"). -1: it is neither a number nor such a text. */
double script_seconds(struct lua_State *L);
double script_bytes(struct lua_State *L);

#endif

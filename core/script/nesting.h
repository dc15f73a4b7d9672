/*
 * nesting - how far the calls of a script may be nested before the C stack ends.
 */
#ifndef MG_SCRIPT_NESTING_H
#define MG_SCRIPT_NESTING_H

struct lua_State;

/* Notes the beginning of the C stack. Called once in a process, in a function near its beginning; a
 * second call does nothing. */
void script_nesting_init(void);
/* Adds check_nesting and with_bounded_nesting to the module on the stack's top. */
void script_nesting_open(struct lua_State *L);

#endif

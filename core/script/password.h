/*
 * password - what moongate.auth needs: a check of a password that takes its time on a thread beside
 * the loop, while the function that asks waits.
 */
#ifndef MG_SCRIPT_PASSWORD_H
#define MG_SCRIPT_PASSWORD_H

struct lua_State;

/* Adds password_fits to the module on the stack's top. */
void script_password_open(struct lua_State *L);

#endif

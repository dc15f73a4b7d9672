/*
 * fastcgi - moongate.fastcgi(backend, params, body): a request of the script's own.
 */
#ifndef MG_SCRIPT_FASTCGI_H
#define MG_SCRIPT_FASTCGI_H

struct lua_State;

/* Adds fastcgi to the module on the stack's top. */
void script_fastcgi_open(struct lua_State *L);

#endif

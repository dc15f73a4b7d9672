/*
 * body - req:body(): the body of a request as a text, for which a hook may wait.
 */
#ifndef MG_SCRIPT_BODY_H
#define MG_SCRIPT_BODY_H

struct lua_State;
struct request;

/* Pushes the body as a text, or nil and the reason, or waits for the body. A C function calls it as
 * `return script_body(L, req);`. */
int script_body(struct lua_State *L, struct request *req);

#endif

/*
 * request - a request as Lua sees it: `req`, its args and cookies.
 */
#ifndef MG_SCRIPT_REQUEST_H
#define MG_SCRIPT_REQUEST_H

#include "http/request.h"

struct lua_State;

struct script_box;

/* Registers the metatable of req. */
void script_request_open(struct lua_State *L);
/* Pushes a new `req` for the request. */
struct script_box *script_push_request(struct lua_State *L, struct request *req);
/* The request of the `req` at idx; raises a clear error when it has ended. */
struct request *script_check_request(struct lua_State *L, int idx);
/* The request of the `req` at 1; NULL: it is something else, or the request has ended. */
struct request *script_self_request(struct lua_State *L);
/* Makes the `req` on the top drop the args that it has kept, so that they are read from the query
 * again. */
void script_forget_args(struct lua_State *L);
/* Pushes the name of an enum fcgi_role. */
void script_push_role(struct lua_State *L, const void *at);
/* Pushes "http" or "https"; "1.0" or "1.1". */
void script_push_scheme(struct lua_State *L, const void *at);
void script_push_version(struct lua_State *L, const void *at);
/* Pushes the id of the request `at`, as logs show it. */
void script_push_id(struct lua_State *L, const void *at);

#endif

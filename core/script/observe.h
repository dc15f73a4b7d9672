/*
 * observe - req:observe() and log.observed, what an application answered before anything of ours
 * changed it; and req:params_for(), what another backend would be sent. What moongate.shadow is
 * made of.
 */
#ifndef MG_SCRIPT_OBSERVE_H
#define MG_SCRIPT_OBSERVE_H

struct lua_State;
struct request;

/* req:observe(): from now on answers to the request are noted. */
int script_observe(struct lua_State *L, struct request *req);
/* Pushes log.observed; `at` is the request. Nil without req:observe(), or without the head of a
 * reply. */
void script_push_observed(struct lua_State *L, const void *at);
/* req:params_for(backend), its argument at 2 -> a table of params; or nil, reason */
int script_params_for(struct lua_State *L, struct request *req);

#endif

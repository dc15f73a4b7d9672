/*
 * balance - servers as policies see them, and the choice of one.
 */
#ifndef MG_SCRIPT_BALANCE_H
#define MG_SCRIPT_BALANCE_H

#include "script/call.h"
#include "script/world.h"

struct lua_State;

/* Calls on_balance, and the backend's policy where that hook chose no server. *chosen is a place in
 * the list, which has at least one server. *cookie is the Set-Cookie header that the policy
 * returned (n = 0: none). */
enum script_result script_balance(struct script *s, struct request *req, struct script_call *call,
                                  const struct script_server *list, unsigned count,
                                  unsigned *chosen, struct str *cookie);

/* Inside the door: makes the metatable and tables of servers, and finds the policies of the
 * backends in the normalised table on the top of the stack. False: an error message is pushed. */
bool script_balance_new(struct script *s);
void script_balance_free(struct script *s);

/* Push `load` and `up` of a struct ledger_server. */
void script_push_load(struct lua_State *L, const void *at);
void script_push_up(struct lua_State *L, const void *at);

#endif

/*
 * decision - a decision table to struct decision.
 */
#ifndef MG_SCRIPT_DECISION_H
#define MG_SCRIPT_DECISION_H

#include "http/request.h"

struct lua_State;

/* Compiles the decision at stack index d, with what lua/moongate/decision/complete.lua completed at
 * a, b and b + 1, into req->decision. False: it can't be used, and decision.problem says why. */
bool script_decision(struct lua_State *L, int d, int a, int b, struct request *req,
                     const struct settings *settings);
/* Pushes a table from the name of each key of a decision to its place among them, from 1 on. */
void script_push_keys(struct lua_State *L);

#endif

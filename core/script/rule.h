/*
 * rule - which rule of the route has decided on a request: the numbers that the Lua library notes
 * (moongate.decision.trace), and their words.
 */
#ifndef MG_SCRIPT_RULE_H
#define MG_SCRIPT_RULE_H

#include "script/call.h"

struct lua_State;

/* The rules of the request in words, "route.lua:23 path '/shop/x'"; NULL: no rule was noted. `form`
 * is the function of moongate.decision.trace that makes them. The text lies in the request's arena.
 */
const char *script_rule_in_words(struct script *s, struct request *req, const char *form);

/* script_begin_rules is called before a hook that may return a new decision, the other one
 * afterwards with whether the hook did. */
void script_begin_rules(struct script_call *call, struct request *req);
void script_end_rules(const struct script_call *call, struct request *req, bool decided);

/* From now on steps of the hook that runs (looks for files, remarks of sites) are steps of this
 * request, which is traced; NULL: of none. */
void script_tell_steps(struct script *s, struct request *req);

/* Adds note_rule and its kin to the module on the stack's top. */
void script_rules_open(struct lua_State *L);

#endif

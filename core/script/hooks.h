/*
 * hooks - the hooks of a route, one function each.
 *
 * Hooks run in coroutines that are used again and again. An error in one is logged with its
 * traceback and comes back as SCRIPT_FAILED; it never reaches the loop.
 */
#ifndef MG_SCRIPT_HOOKS_H
#define MG_SCRIPT_HOOKS_H

#include "script/call.h"

struct script_cause;

extern const char *const script_hook_names[HOOK_COUNT];

/* Inside the door: finds the hooks in the normalised table on the top of the stack. */
void script_hooks_new(struct script *s);
void script_hooks_free(struct script *s);
/* The function in the registry, for script/balance.c. */
int script_hook_function(const struct script *s, enum script_hook hook);
/* For messages about a hook that is called for a request, or for none (NULL). */
struct script_cause script_hook_cause(const struct script *s, enum script_hook hook,
                                      const struct request *req);

bool script_has(const struct script *s, enum script_hook hook);
/* What a request gets whose hook of that kind has failed. */
enum script_policy script_policy(const struct script *s, enum script_hook hook);
/* Fills req->decision with the one that script_errors names for the hook; once for a request: then,
 * and where it can't be used, SCRIPT_FAILED. */
enum script_result script_fallback(struct script *s, enum script_hook hook, struct request *req,
                                   struct script_call *call);
/* Which rule of the route decided on the request: "route.lua:23 path '/shop/x'", or the place of
 * on_request. Text in the request's arena, or the script's. */
const char *script_rule(struct script *s, struct request *req);

/* on_start. WAITING: `started` is called later. */
enum script_result script_start(struct script *s,
                                void (*started)(void *ctx, enum script_result result), void *ctx);
/* on_start and on_stop. */
enum script_result script_notify(struct script *s, enum script_hook hook);
/* on_request: fills req->decision; DECISION_NONE where it returned nil. */
enum script_result script_request(struct script *s, struct request *req, struct script_call *call);
/* on_params: may change the list. */
enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params);
struct script_error {
    const char *kind; /* "connect", "timeout", ... */
    int status;       /* that the client gets otherwise */
    const char *message;
    bool may_wait; /* false: an application's answer, whose head is in req->response, is at stake */
    bool has_body; /* something follows that head */
};

/* on_error: call->replaced is set when it returned a decision, which is then req->decision. */
enum script_result script_error(struct script *s, struct request *req, struct script_call *call,
                                const struct script_error *error);

struct script_messages {
    struct str text; /* what came on STDERR */
    struct str docroot, root;
    /* Each message as a line for the log; the slice is valid during the call. */
    void (*line)(void *ctx, struct str line);
    void *ctx;
    unsigned count; /* set: messages found */
};

/* Splits STDERR into messages (lua/moongate/worker/messages.lua) and passes them to on_stderr,
 * which may swallow them. */
enum script_result script_stderr(struct script *s, struct request *req, struct script_call *call,
                                 struct script_messages *messages);
/* on_response: may change req->response. *replaced is set when it returned a decision, which is
 * then req->decision. */
enum script_result script_response(struct script *s, struct request *req, struct script_call *call,
                                   bool *replaced);
/* on_log: a line to write in place of the usual one (STR_NONE: the usual one; n = 0: none). */
enum script_result script_log(struct script *s, struct request *req, struct script_call *call,
                              struct str *line);
/* log.format is a function: the same for it. */
enum script_result script_format(struct script *s, struct request *req, struct script_call *call,
                                 struct str *line);

enum { SCRIPT_DECISION_RESULTS = 4 }; /* what a hook that decides returns (complete.wrap) */

/* Inside the door: reads the decision that the hook returned, the results on the top of the stack,
 * into req->decision. */
enum script_result script_read_decision(struct script *s, enum script_hook hook,
                                        struct request *req);

#endif

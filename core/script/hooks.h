/*
 * hooks - the hooks of a route, one function each; on_certificate is in script/certificate.h.
 *
 * Hooks run in coroutines, which are reused. An error in a hook is logged with its traceback and
 * returned as SCRIPT_FAILED, so it never unwinds into the event loop.
 */
#ifndef MG_SCRIPT_HOOKS_H
#define MG_SCRIPT_HOOKS_H

#include "script/call.h"
#include "script/door.h"
#include "shm/metrics.h"

extern const char *const script_hook_names[HOOK_COUNT];

/* Inside the door: finds the hooks in the normalised table on the top of the stack. */
void script_hooks_new(struct script *s);
void script_hooks_free(struct script *s);
/* The hook's reference in the registry. script/balance.c runs on_balance by it. */
int script_hook_function(const struct script *s, enum script_hook hook);

/* The hook as messages name it, where it runs for no request. */
struct script_cause script_hook_cause(const struct script *s, enum script_hook hook);

bool script_has(const struct script *s, enum script_hook hook);
/* True when a site of the route has pages for errors: on_error is called with kind "refused", too,
 * for which the library asks these pages alone. */
bool script_has_pages(const struct script *s);
/* The consequence for a request whose hook of that kind has failed. */
enum script_policy script_policy(const struct script *s, enum script_hook hook);
/* Fills req->decision with the one that script_errors names for the hook, once for a request. The
 * second time, and where that decision can't be used, SCRIPT_FAILED. */
enum script_result script_fallback(struct script *s, enum script_hook hook, struct request *req,
                                   struct script_call *call);
/* The rule of the route that decided on the request: "route.lua:23 path '/shop/x'", or the place of
 * on_request. The text lies in the request's arena or belongs to the script. */
const char *script_rule(struct script *s, struct request *req);
/* The same as `moongate explain` shows it: "path '/shop/x' (route.lua:23)". */
const char *script_rule_explained(struct script *s, struct request *req);

/* Calls on_start. WAITING: `started` is called when the hook has ended. */
enum script_result script_start(struct script *s,
                                void (*started)(void *ctx, enum script_result result), void *ctx);
/* Calls on_start or on_stop, which must not wait here. */
enum script_result script_notify(struct script *s, enum script_hook hook);
/* Calls on_request and fills req->decision; DECISION_NONE where the hook returned nil. */
enum script_result script_request(struct script *s, struct request *req, struct script_call *call);
/* Calls on_params, which may change the list. */
enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params);
struct script_error {
    const char *kind; /* "connect", "timeout", ... */
    int status;       /* status of the error page that is sent where the hook returns nil */
    const char *message;
    /* false: the error is an application's own answer, whose head is in req->response */
    bool may_wait;
    bool has_body; /* that reply has a body */
};

/* Calls on_error. call->replaced is set when the hook returned a decision, which is then
 * req->decision. */
enum script_result script_error(struct script *s, struct request *req, struct script_call *call,
                                const struct script_error *error);

struct script_messages {
    struct str text; /* bytes of FCGI_STDERR */
    struct str docroot, root;
    /* Called with each message that is to be logged, as one line. The slice is valid during the
     * call. */
    void (*line)(void *ctx, struct str line);
    void *ctx;
    unsigned count;                  /* out: number of messages in the text */
    unsigned levels[METRICS_LEVELS]; /* out: number of messages of each level */
    const struct decision *decision; /* out: that of the hook, in the arena; NULL: none */
};

/* Splits STDERR into messages (lua/moongate/base/messages.lua) and passes all of them to
 * on_stderr. No message is logged where the hook returns true. A decision of the hook is handed
 * out, and req->decision stays as it is. A decision that can't be used is logged, and is none. */
enum script_result script_stderr(struct script *s, struct request *req, struct script_call *call,
                                 struct script_messages *messages);
/* Calls on_response, which may change req->response. *replaced is set when the hook returned a
 * decision, which is then req->decision. */
enum script_result script_response(struct script *s, struct request *req, struct script_call *call,
                                   bool *replaced);
/* Calls on_log. *line is the line to write in place of the usual one (STR_NONE: the usual one; n =
 * 0: no line). */
enum script_result script_log(struct script *s, struct request *req, struct script_call *call,
                              struct str *line);
/* Calls log.format where it is a function; *line as for on_log. */
enum script_result script_format(struct script *s, struct request *req, struct script_call *call,
                                 struct str *line);

enum { SCRIPT_DECISION_RESULTS = 4 }; /* what a hook that decides returns (complete.wrap) */

/* Inside the door: reads the decision that the hook returned, the results on the top of the stack,
 * into req->decision. */
enum script_result script_read_decision(struct script *s, enum script_hook hook,
                                        struct request *req);

#endif

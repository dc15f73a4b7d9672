/*
 * call - the calls of a script's hooks: which hooks there are, how a call ends, and what a request
 * keeps of its script between two of them.
 */
#ifndef MG_SCRIPT_CALL_H
#define MG_SCRIPT_CALL_H

#include "http/request.h"

struct script;
struct script_box;
struct script_task;

enum script_hook {
    HOOK_START,
    HOOK_CERTIFICATE,
    HOOK_REQUEST,
    HOOK_PARAMS,
    HOOK_BALANCE,
    HOOK_RESPONSE,
    HOOK_ERROR,
    HOOK_STDERR,
    HOOK_LOG,
    HOOK_STOP,
    HOOK_COUNT,
};

enum script_result {
    SCRIPT_DONE,
    SCRIPT_FAILED,  /* logged; the request deserves a 500 */
    SCRIPT_WAITING, /* the hook waits; `resumed` of the call is called when it has ended */
};

/* The consequence of a failed hook, by script_errors. */
enum script_policy {
    SCRIPT_FAIL,   /* 500 */
    SCRIPT_OPEN,   /* as if the route did not have the hook */
    SCRIPT_DECIDE, /* the decision that script_errors names: script_fallback */
};

/* The state of a request's script between its hooks; the caller zeroes it first. */
struct script_call {
    struct script_box *box; /* the `req` of Lua, NULL while there is none */
    int place; /* the box's place in the table of held boxes; 0: not held (script/box.c) */
    /* Called when a hook that waited has ended. After on_error, `replaced` says whether the hook
     * returned a decision. */
    void (*resumed)(void *ctx, enum script_result result);
    void *ctx;
    struct script_task *task; /* the waiting task of the hook; NULL: no hook waits */
    struct script *script;
    struct request *req;
    bool replaced;
    bool fell_back;      /* script_errors has decided, which it does once for a request */
    unsigned rules_from; /* first rule of the latest decision (script/rule.h) */
};

#endif

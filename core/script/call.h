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
    SCRIPT_WAITING, /* the hook waits for something: the call's `resumed` follows */
};

/* What script_errors says of a hook that has failed. */
enum script_policy {
    SCRIPT_FAIL,   /* 500 */
    SCRIPT_OPEN,   /* as though it were not there */
    SCRIPT_DECIDE, /* another decision: script_fallback */
};

/* What a request keeps of its script between hooks; zero it first. */
struct script_call {
    struct script_box *box; /* the `req` of Lua, NULL while there is none */
    int place;              /* of the box among those of all requests; 0: none (script/box.h) */
    /* A hook that waited has ended: for on_error, `replaced` says whether it decided. */
    void (*resumed)(void *ctx, enum script_result result);
    void *ctx;
    struct script_task *task; /* that waits; NULL: none */
    struct script *script;
    struct request *req;
    bool replaced;
    bool fell_back;      /* script_errors has decided: it does so once */
    unsigned rules_from; /* where the rules of the decision begin that holds meanwhile */
};

#endif

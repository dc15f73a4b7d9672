/*
 * script - one loaded route: a Lua state, its hooks, and the one guarded door through which the
 * core calls them.
 *
 * A generation owns one script. Hooks run in coroutines that are used again and again; an error in
 * one is logged with its traceback and comes back as SCRIPT_FAILED, it never reaches the loop. Only
 * script*.c include lua.h. Requests are seen through boxes that are emptied when the request ends,
 * so that a script which keeps `req` gets a clear error instead of somebody else's request.
 */
#ifndef MG_SCRIPT_H
#define MG_SCRIPT_H

#include "request.h"

struct script;
struct script_box;

enum script_hook {
    HOOK_START,
    HOOK_REQUEST,
    HOOK_PARAMS,
    HOOK_RESPONSE,
    HOOK_LOG,
    HOOK_STOP,
    HOOK_COUNT,
};

enum script_result {
    SCRIPT_DONE,
    SCRIPT_FAILED, /* logged; the request deserves a 500 */
};

/* Where a route comes from, and what the command line puts in place of its settings. */
struct route {
    const char *path;      /* of the script, absolute; or NULL and */
    const char *source;    /* its text */
    const char *name;      /* what to call that text in messages */
    const char *overrides; /* a Lua table constructor: "{listen={...},workers=2}"; NULL: none */
};

/* What a request keeps of its script between hooks; zero it first. */
struct script_call {
    struct script_box *box; /* the `req` of Lua, NULL while there is none */
    int ref;                /* what anchors it */
};

/* Loads, validates and normalises. NULL and *err (malloc'd, FILE:LINE: message) when the route is
 * no good. */
struct script *script_new(const struct route *route, char **err);
void script_free(struct script *s);

/* The checked settings; they live as long as the script. */
const struct settings *script_settings(const struct script *s);
/* The lines of lua/moongate/load.lua's loader_report: what the master needs to know. malloc'd. */
char *script_report(struct script *s);

bool script_has(const struct script *s, enum script_hook hook);
/* Which rule of the route decided on the request: "route.lua:23 path '/shop/x'". Runs on_request
 * again, so only for messages about something that has failed. Text in the request's arena. */
const char *script_rule(struct script *s, struct request *req);

/* on_start and on_stop. */
enum script_result script_notify(struct script *s, enum script_hook hook);
/* on_request: fills req->decision; DECISION_NONE where it returned nil. */
enum script_result script_request(struct script *s, struct request *req, struct script_call *call);
/* on_params: may change the list. */
enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params);
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
/* The request is over: its box is emptied. Call it once for every request, whatever happened. */
void script_end(struct script *s, struct script_call *call);

/* Runs moongate.cli with the command line; returns the exit status. */
int script_main(int argc, char **argv);

#endif

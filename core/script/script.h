/*
 * script - one loaded route: a Lua state, its hooks, and the one guarded door through which the
 * core calls them.
 *
 * A generation owns one script. Hooks run in coroutines that are used again and again; an error in
 * one is logged with its traceback and comes back as SCRIPT_FAILED, it never reaches the loop. Only
 * files of script/ and process/commands.c include lua.h. Requests are seen through boxes that are
 * emptied when the request ends, so that a script which keeps `req` gets a clear error instead of
 * somebody else's request.
 */
#ifndef MG_SCRIPT_SCRIPT_H
#define MG_SCRIPT_SCRIPT_H

#include "base/loop.h"
#include "http/request.h"
#include "shm/board.h"
#include "shm/ledger.h"

struct script;
struct script_box;

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
    SCRIPT_WAITING, /* it waits for something: the call's `resumed` follows */
};

/* Where a route comes from, and what the command line puts in place of its settings. */
struct route {
    const char *path;      /* of the script, absolute; or NULL and */
    const char *source;    /* its text */
    const char *name;      /* what to call that text in messages */
    const char *overrides; /* a Lua table constructor: "{listen={...},workers=2}"; NULL: none */
    int snapshot;          /* a file with what the script's files held (script_snapshot); 0: none */
};

/* What a request keeps of its script between hooks; zero it first. */
struct script_call {
    struct script_box *box; /* the `req` of Lua, NULL while there is none */
    int place;              /* where it is anchored; 0: nowhere */
    /* A hook that waited has ended: for on_error, `replaced` says whether it decided. */
    void (*resumed)(void *ctx, enum script_result result);
    void *ctx;
    struct script_task *task; /* that waits; NULL: none */
    struct script *script;
    struct request *req;
    bool replaced;
    unsigned rules_from; /* where those of the decision begin that holds still */
};

/* A server as policies see it. */
struct script_server {
    const struct ledger_server *slot;
    uint32_t place; /* of it, in the ledger */
    struct str address;
    unsigned queued; /* requests that wait for the backend */
    bool gone;       /* no address of the backend any more */
};

struct script_backend {
    struct str name;
    bool held;
    unsigned queued, queue_room;
};

struct subrequest;

struct script_subrequest {
    struct str backend;
    const struct params *params;
    struct str body;
};

struct script_answer {
    const char *error; /* NULL: it is one */
    const struct response *response;
    struct str body, messages;
    uint32_t app_status;
};

/* What the control pages see of the backends, and what they may do; `ctx` is the generation. */
struct script_world {
    void *ctx;
    bool (*backend)(void *ctx, unsigned i, struct script_backend *out);
    bool (*server)(void *ctx, unsigned backend, unsigned i, struct script_server *out);
    /* False: there is none of that name, or address. */
    bool (*hold)(void *ctx, struct str backend, bool held);
    bool (*drain)(void *ctx, struct str backend, struct str server, bool draining);
    /* Asks the master for a reload; *id is what board->reload_done must come to. False: it is gone.
     */
    bool (*reload)(void *ctx, uint64_t *id);
    bool (*stop)(void *ctx);
    /* A FastCGI request of the script's own; see exchange/subrequest.h. */
    struct subrequest *(*subrequest)(void *ctx, const struct script_subrequest *ask,
                                     void (*done)(void *ctx, const struct script_answer *answer),
                                     void *done_ctx, const char **err);
    void (*subrequest_free)(struct subrequest *request);
    const struct board *board;
};

/* Loads, validates and normalises. NULL and *err (malloc'd, FILE:LINE: message) when the route is
 * no good. */
struct script *script_new(const struct route *route, char **err);
void script_free(struct script *s);
/* After script_new has failed: the files that it had loaded, lines of "file TAB path", since a
 * change to one of them may mend it. Valid until the next script_new. */
const char *script_failed_files(void);

/* Writes what the script's files hold, for workers that load it later. False: it can't be written.
 */
bool script_snapshot(struct script *s, int fd);
/* The checked settings; they live as long as the script. */
const struct settings *script_settings(const struct script *s);
/* The lines of lua/moongate/route/load.lua's loader_report: what the master needs to know; `ini` is
 * what the report of the generation that serves says of it, or NULL. malloc'd. */
char *script_report(struct script *s, const char *ini);

/* Where its functions wait, and what keeps its generation alive meanwhile (ctx is the world's). */
void script_set_loop(struct script *s, struct loop *loop, void (*hold)(void *ctx),
                     void (*drop)(void *ctx));
/* on_start. WAITING: `started` is called later. */
enum script_result script_start(struct script *s,
                                void (*started)(void *ctx, enum script_result result), void *ctx);
/* Another generation serves: timers stop. */
void script_retire(struct script *s);
/* Ends all that waits, timers too; only script_free may follow. What it waits for must be there
 * still: backends are freed after it. */
void script_stop(struct script *s);
/* Ends what still waits and belongs to no request. */
void script_end_tasks(struct script *s);
/* For requests on the control listener; valid as long as the script. */
void script_set_world(struct script *s, const struct script_world *world);
/* moongate.worker.control answers the request: a decision. */
enum script_result script_control(struct script *s, struct request *req, struct script_call *call);

/* The specs of the route's `test` folder. NULL: they pass, or there are none; else malloc'd text.
 */
char *script_check_tests(struct script *s);
/* Bytes that its Lua state holds. */
size_t script_memory(const struct script *s);
/* From now on *beat is odd while a script runs. When the signal comes while one does, that one is
 * stopped with an error, if it is interpreted, and `stuck` says which it was. Once a process. */
void script_supervise(uint64_t *beat, char *stuck, size_t stuck_size, int signal);

#define SCRIPT_LOADING 10.0 /* seconds that a script may take to load */
/* In a process that no master looks after (a command, a loader): what runs here is not compiled,
 * and stopped with an error after its time; what can't be stopped after as long again ends the
 * process with exit status 1, and a line on `out` that begins with `prefix`. Before the first
 * script_new. */
void script_supervise_alone(int out, const char *prefix);
/* How long a hook may run in such a process; before, as long as loading. */
void script_limit(double seconds);

bool script_has(const struct script *s, enum script_hook hook);
/* Which rule of the route decided on the request: "route.lua:23 path '/shop/x'". Text in the
 * request's arena, or the script's. */
const char *script_rule(struct script *s, struct request *req);

/* Why the last hook failed: "on_start (route.lua:3): ...". Valid until the next one fails. */
const char *script_failure(const struct script *s);
/* on_start and on_stop. */
enum script_result script_notify(struct script *s, enum script_hook hook);
/* on_request: fills req->decision; DECISION_NONE where it returned nil. */
enum script_result script_request(struct script *s, struct request *req, struct script_call *call);
/* on_params: may change the list. */
enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params);
/* on_balance, then the backend's policy: *chosen is a place in the list, which has at least one
 * server. A cookie that the policy wants to have set comes in *cookie (n = 0: none). */
enum script_result script_balance(struct script *s, struct request *req, struct script_call *call,
                                  const struct script_server *list, unsigned count,
                                  unsigned *chosen, struct str *cookie);

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

/* Takes STDERR apart (lua/moongate/worker/messages.lua) and shows it to on_stderr, which may
 * swallow it.
 */
enum script_result script_stderr(struct script *s, struct request *req, struct script_call *call,
                                 struct script_messages *messages);
/* The request goes on elsewhere: what `req` has kept of its query is forgotten. */
void script_redirected(struct script *s, struct script_call *call);

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

/* The number of this worker, from 1; 0, as before the call: this process is none. */
void script_set_worker(unsigned number);

#endif

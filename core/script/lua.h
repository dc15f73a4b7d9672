/*
 * lua - what the files of script/ share: the Lua side of requests, decisions and settings.
 *
 * Only process/commands.c includes this header beside them, so nobody else sees lua.h.
 */
#ifndef MG_SCRIPT_LUA_H
#define MG_SCRIPT_LUA_H

#include "script/script.h"

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

struct script {
    lua_State *L;
    struct settings settings;
    int normalised;                  /* the table */
    int hooks[HOOK_COUNT];           /* LUA_NOREF where the route has none */
    int format;                      /* log.format, when it is a function */
    int *picks;                      /* the policy of each backend */
    const char *sources[HOOK_COUNT]; /* "route.lua:12", held by the normalised table */
    int door, report;                /* functions: what script_guard calls, what logs its errors */
    struct script_body *body;        /* what the door is to run */
    struct script_failure *failing;  /* what is to be reported */
    lua_State *idle;                 /* a coroutine that waits for the next hook */
    int idle_ref;
    bool keep_box; /* a later hook wants the same req */
    /* What anchors the boxes of requests in flight: a table, in the first slot of a stack of its
     * own, whose places are used again. */
    lua_State *anchors;
    int *free_places;
    unsigned free_count, place_count;
    /* What hooks that can't wait get: one each, open while the hook runs. */
    struct script_view *params, *response;
    struct script_entry *log;
    int params_ref, response_ref, log_ref;
    /* Servers as policies see them, by place in the ledger. */
    struct script_server_seen *seen;
    uint32_t seen_count;
    int servers, server_list, server_type;
    struct script_world world;
    struct loop *loop; /* NULL outside of a worker */
    struct script_task *tasks;
    struct script_timer *timers;
    struct spawner *spawner;
    struct script_net *net; /* NULL before its first socket */
    unsigned timer_count, spawned;
    unsigned turn;           /* of the loop, in which what was spawned has run for */
    double turn_used;        /* seconds */
    bool retired;            /* another generation serves: no timer goes off */
    bool stopping;           /* on_stop is called: nothing can be begun any more */
    void (*hold)(void *ctx); /* the generation lives on while a task does */
    void (*drop)(void *ctx);
    void (*started)(void *ctx, enum script_result result);
    void *started_ctx;
    char failure[1024]; /* of the hook that failed last */
};

/* The userdata `req`. Emptied (req = NULL) when the request ends. */
struct script_box {
    struct request *req;
};

/* In the registry: the struct script of a state. */
#define SCRIPT_KEY "moongate.script"

/* --- script.c --- */

/* A state with Lua's libraries, moongate.core and the library modules, searched in MOONGATE_LUA
 * first where that is set. Never NULL. */
lua_State *script_state_new(void);

extern const char *const script_hook_names[HOOK_COUNT];

/* Pushes the library's function; an error is one of the installation. Returns 0, or pcall's status
 * with the message pushed. */
int script_library_function(lua_State *L, const char *module, const char *name);
/* What is run, and for whom: for messages. The texts live as long as the script. */
struct script_cause {
    const char *what, *source; /* "on_request", "route.lua:12" */
    const struct request *req; /* NULL: none */
    bool untimed;              /* script_timeout does not hold */
};

/*
 * The door. Runs body(s, ctx) so that an error that any call of Lua's C interface raises in it
 * comes back here: memory may end, and a metamethod of the script may run. It is logged with the
 * cause, and false returned; the stack is as it was. Time is supervised from here
 * (script_supervise). The body uses s->L alone, since an error can only be caught on the thread
 * that raised it; it keeps nothing that an error would lose. May be nested.
 */
bool script_guard(struct script *s, const struct script_cause *cause,
                  void (*body)(struct script *s, void *ctx), void *ctx);
struct script_cause script_hook_cause(const struct script *s, enum script_hook hook,
                                      const struct request *req);
/* Inside the door: runs the function under nargs arguments on s->L's top, which it takes, in a
 * coroutine. On SCRIPT_DONE the results are in their place, as many as are wanted. A failure is
 * logged. */
enum script_result script_run(struct script *s, int nargs, int results,
                              const struct script_cause *cause);
/* Moves the function and its arguments from s->L's top to a coroutine: s->idle, which is there
 * then.
 */
lua_State *script_enter(struct script *s, int nargs);
/* Moves the results of a coroutine that has ended to s->L's top. */
void script_take_results(struct script *s, lua_State *co, int results);
/* Inside the door, after a run that ended with that status: logs it. */
void script_log_failure(struct script *s, lua_State *co, int status,
                        const struct script_cause *cause);
/* The coroutine has failed: it can't be used again. */
void script_drop_coroutine(struct script *s);
/* For a function's result: pushes nil and the reason; returns 2. */
int script_fail(lua_State *L, const char *reason);
/* A hook has returned what can't be used. */
void script_log_misuse(const char *what, const char *source, const struct request *req,
                       const char *text);
/* core.finalizer_failed(error): logs what a finalizer of the script has raised. */
int script_finalizer_failed(lua_State *L);

/* Names the value at idx for a message: nothing, true, 12, "text" or a table. The text is pushed.
 */
const char *script_describe(lua_State *L, int idx);
/* The string at idx, where a name or the like is expected; raises an error that begins with `what`,
 * "req.headers: expected a name", and says what is there instead. */
struct str script_expect_text(lua_State *L, int idx, const char *what);
/* Raises the error for `what[key at 2] = value`. */
int script_refuse_assignment(lua_State *L, const char *what, const char *why);

/* --- hooks.c --- */

/* Pushes the request's box, made at the first hook. */
void script_push_box(struct script *s, struct request *req, struct script_call *call);

/* A box that no later hook wants is emptied at once. */
void script_release_box(struct script *s, struct script_call *call);

enum { SCRIPT_DECISION_RESULTS = 4 }; /* what a hook that decides returns (complete.wrap) */

/* The decision that the hook returned, the results on s->L's top, into req->decision. */
enum script_result script_take_decision(struct script *s, enum script_hook hook,
                                        struct request *req);

/* --- balance.c --- */

/* Makes what servers need. False: a message is pushed. */
bool script_balance_open(struct script *s);
/* Push `load` and `up` of a struct ledger_server. */
void script_push_load(lua_State *L, const void *at);
void script_push_up(lua_State *L, const void *at);

/* --- limit.c --- */

/* What runs a script says so (script_supervise). True: call script_end_run. */
bool script_begin_run(lua_State *L, const char *what, const char *source);
/* The same while a script is loaded, and for its specs; false in a worker, where the master waits
 * for it. */
bool script_begin_loading(lua_State *L, const char *source);
bool script_begin_specs(lua_State *L);
/* Removes hooks of the debug library, whoever has set them. L: NULL where its state is gone. */
void script_end_run(lua_State *L);
/* After a script_begin_run that said true: the request that it is for, or NULL. */
void script_run_is_for(const struct request *req);
/* core.enter_rule(label): for the line about a run that has to be ended. */
int script_enter_rule(lua_State *L);
/* No master looks after this process. */
bool script_is_alone(void);
/* core.limited(seconds, source, fn, ...), see script/limit.c. */
int script_limited(lua_State *L);

/* --- nesting.c --- */

/* Once a process, near the beginning of its stack; again does nothing. */
void script_nesting_init(void);
/* Adds check_nesting and with_bounded_nesting to the module on the stack's top. */
void script_nesting_open(lua_State *L);

/* --- shared.c --- */

/* Adds shared and shared_info to the module on the stack's top. */
void script_shared_open(lua_State *L);

/* --- log.c --- */

/* Registers the metatable of `log`. */
void script_log_open(lua_State *L);
/* Pushes a `log` that shows nothing; Lua owns it. */
struct script_entry *script_push_log(lua_State *L);
/* It shows how that request ended, or nothing (NULL). */
void script_show_log(struct script_entry *entry, const struct request *req);

/* --- request.c --- */

/* Registers the metatable of req. */
void script_request_open(lua_State *L);
/* Adds note_rule and its kin to the module on the stack's top. */
void script_rules_open(lua_State *L);
/* Pushes a fresh `req` for it. */
struct script_box *script_push_request(lua_State *L, struct request *req);
/* The request in the box; raises a clear error when it has ended. */
struct request *script_box_request(lua_State *L, const struct script_box *box);
/* The request of the `req` at idx, likewise. */
struct request *script_check_request(lua_State *L, int idx);
/* The `req` on the top reads its query again when it is asked for its arguments. */
void script_forget_args(lua_State *L);
/* Pushes the text of a request's id, which lies at `at`. */
void script_push_id(lua_State *L, const void *at);

/* --- views.c --- */

/* Registers the metatables of headers, params and res. */
void script_views_open(lua_State *L);
/* Pushes the headers of a `req`. */
void script_push_headers(lua_State *L, struct script_box *box);
/* Push a `params` and a `res` that are closed; Lua owns them. */
struct script_view *script_push_params(lua_State *L);
struct script_view *script_push_response(lua_State *L);
/* From now on it shows the request's response, or the list, whose memory is the request's arena. */
void script_open_view(struct script_view *view, struct request *req, struct params *params);
void script_close_view(struct script_view *view);

/* --- decision.c --- */

/* Compiles the decision at stack index d, with what lua/moongate/decision/complete.lua completed at
 * a, b and b + 1, into req->decision. Returns NULL, or a short reason; the long one comes from
 * decision.problem. */
const char *script_decision(lua_State *L, int d, int a, int b, struct request *req,
                            const struct settings *settings);

/* Pushes a table from the name of each key of a decision to its place among them, from 1 on. */
void script_push_keys(lua_State *L);

/* --- settings.c --- */

/* Reads the normalised table at idx. Returns NULL, or what is wrong. */
const char *script_read_settings(lua_State *L, int idx, struct settings *out);

/* Functions of C that scripts find in moongate.core, from a module that keeps its own things for
 * each script (s->net). */
struct script_library {
    void (*open)(lua_State *L);       /* adds its functions to the module on the stack's top */
    void (*retire)(struct script *s); /* another generation serves */
    void (*free)(struct script *s);   /* after the Lua state has been closed */
};

/* For all Lua states of this process; before the first one. */
void script_use_library(const struct script_library *library);
void script_open_library(lua_State *L);

/* --- core.c --- */

/* Pushes the module moongate.core. */
int script_core_open(lua_State *L);

/* --- small helpers --- */

/* The string at idx, without a copy; valid while the value is on the stack. */
static inline struct str script_str(lua_State *L, int idx)
{
    struct str s;
    s.p = lua_tolstring(L, idx, &s.n);
    return s;
}

/* The same; an argument that is no string is the caller's error. */
static inline struct str script_check_str(lua_State *L, int idx)
{
    struct str s;
    s.p = luaL_checklstring(L, idx, &s.n);
    return s;
}

static inline void script_push_str(lua_State *L, struct str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.n);
}

#endif

/* hooks - see hooks.h. */
#include "script/hooks.h"

#include "http/logline.h"
#include "script/box.h"
#include "script/decision.h"
#include "script/door.h"
#include "script/log.h"
#include "script/modules.h"
#include "script/property.h"
#include "script/rule.h"
#include "script/task.h"
#include "script/views.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_MOST 8192 /* bytes of a line for the access log */

const char *const script_hook_names[HOOK_COUNT] = {
    "on_start",    "on_certificate", "on_request", "on_params", "on_balance",
    "on_response", "on_error",       "on_stderr",  "on_log",    "on_stop",
};

/* --- which there are --- */

struct script_hooks {
    int function[HOOK_COUNT]; /* LUA_NOREF where the route has none */
    enum script_policy policy[HOOK_COUNT];
    int fallback[HOOK_COUNT];        /* functions, where the policy is SCRIPT_DECIDE */
    bool pages;                      /* on_error knows pages for refusals of the server's own */
    int format;                      /* log.format, when it is a function */
    const char *sources[HOOK_COUNT]; /* "route.lua:12", held by the normalised table */
    /* The views of hooks that can't wait. One of each is enough, since it is open only while its
     * hook runs. */
    struct script_view *params, *response;
    struct script_entry *log;
    int params_ref, response_ref, log_ref;
    void (*started)(void *ctx, enum script_result result);
    void *started_ctx;
};

static int hooks_field(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    if (lua_isfunction(L, -1))
        return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

/* The setting script_errors: the library has normalised it, and made functions of its decisions. */
static void hooks_find_policies(lua_State *L, struct script_hooks *h)
{
    int top = lua_gettop(L);
    lua_getfield(L, top, "script_errors");
    lua_getfield(L, top, "fallbacks");
    for (int i = 0; i < HOOK_COUNT; i++) {
        h->fallback[i] = hooks_field(L, top + 2, script_hook_names[i]);
        lua_getfield(L, top + 1, script_hook_names[i]);
        const char *word = lua_tostring(L, -1);
        h->policy[i] = h->fallback[i] != LUA_NOREF                 ? SCRIPT_DECIDE
                       : word != NULL && strcmp(word, "open") == 0 ? SCRIPT_OPEN
                                                                   : SCRIPT_FAIL;
        lua_pop(L, 1);
    }
    lua_settop(L, top);
}

static void hooks_find(lua_State *L, struct script_hooks *h)
{
    int top = lua_gettop(L);
    lua_getfield(L, top, "hooks");
    lua_getfield(L, top, "hook_source");
    for (int i = 0; i < HOOK_COUNT; i++) {
        h->function[i] = hooks_field(L, top + 1, script_hook_names[i]);
        lua_getfield(L, top + 2, script_hook_names[i]);
        h->sources[i] = lua_isstring(L, -1) ? lua_tostring(L, -1) : "?";
        lua_pop(L, 1);
    }
    lua_getfield(L, top, "has_pages");
    h->pages = lua_toboolean(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, top, "log");
    h->format = hooks_field(L, top + 3, "format");
    lua_settop(L, top);
}

static void hooks_make_views(lua_State *L, struct script_hooks *h)
{
    h->params = script_push_params(L);
    h->params_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    h->response = script_push_response(L);
    h->response_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    h->log = script_push_log(L);
    h->log_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void script_hooks_new(struct script *s)
{
    struct script_hooks *h = s->hooks = calloc(1, sizeof *s->hooks);
    if (h == NULL)
        abort();
    hooks_find(s->L, h);
    hooks_find_policies(s->L, h);
    hooks_make_views(s->L, h);
    bool keep = h->format != LUA_NOREF;
    for (int i = HOOK_REQUEST + 1; i < HOOK_STOP; i++)
        keep |= h->function[i] != LUA_NOREF;
    script_boxes_keep(s, keep);
}

void script_hooks_free(struct script *s)
{
    free(s->hooks);
    s->hooks = NULL;
}

int script_hook_function(const struct script *s, enum script_hook hook)
{
    return s->hooks->function[hook];
}

bool script_has(const struct script *s, enum script_hook hook)
{
    return s->hooks->function[hook] != LUA_NOREF;
}

bool script_has_pages(const struct script *s)
{
    return s->hooks->pages;
}

enum script_policy script_policy(const struct script *s, enum script_hook hook)
{
    return s->hooks->policy[hook];
}

/* The cause for messages about a hook. `req` is NULL where the hook is called for no request. */
static struct script_cause hooks_cause(const struct script *s, enum script_hook hook,
                                       const struct request *req)
{
    return (struct script_cause){.what = script_hook_names[hook],
                                 .source = s->hooks->sources[hook],
                                 .req = req,
                                 .kind = SCRIPT_KIND_OF(hook)};
}

struct script_cause script_hook_cause(const struct script *s, enum script_hook hook)
{
    return hooks_cause(s, hook, NULL);
}

/* --- on_start, on_stop --- */

struct notice {
    enum script_hook hook;
    enum script_result result;
};

static void hooks_notify_body(struct script *s, void *ctx)
{
    struct notice *n = ctx;
    const struct script_cause cause = hooks_cause(s, n->hook, NULL);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks->function[n->hook]);
    n->result = script_run(s, 0, 0, &cause);
}

enum script_result script_notify(struct script *s, enum script_hook hook)
{
    struct notice notice = {.hook = hook};
    const struct script_cause cause = hooks_cause(s, hook, NULL);
    s->stopping = hook == HOOK_STOP;
    if (!script_has(s, hook))
        return SCRIPT_DONE;
    return script_guard(s, &cause, hooks_notify_body, &notice) ? notice.result : SCRIPT_FAILED;
}

static void hooks_start_done(void *ctx, enum script_result result)
{
    struct script *s = ctx;
    s->hooks->started(s->hooks->started_ctx, result);
}

static void hooks_start_body(struct script *s, void *ctx)
{
    struct script_task *task;
    const struct script_run run = {
        .cause = hooks_cause(s, HOOK_START, NULL), .done = hooks_start_done, .ctx = s};
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks->function[HOOK_START]);
    *(enum script_result *)ctx = script_run_waiting(s, 0, &run, &task);
}

enum script_result script_start(struct script *s,
                                void (*started)(void *ctx, enum script_result result), void *ctx)
{
    enum script_result result = SCRIPT_FAILED;
    const struct script_cause cause = hooks_cause(s, HOOK_START, NULL);
    if (!script_has(s, HOOK_START))
        return SCRIPT_DONE;
    s->hooks->started = started;
    s->hooks->started_ctx = ctx;
    return script_guard(s, &cause, hooks_start_body, &result) ? result : SCRIPT_FAILED;
}

/* --- decisions --- */

const char *script_rule(struct script *s, struct request *req)
{
    const char *words = script_rule_in_words(s, req, "words");
    return words != NULL ? words : s->hooks->sources[HOOK_REQUEST];
}

const char *script_rule_explained(struct script *s, struct request *req)
{
    const char *words = script_rule_in_words(s, req, "explained");
    return words != NULL
               ? words
               : arena_printf(&req->arena, "on_request (%s)", s->hooks->sources[HOOK_REQUEST]).p;
}

/* Logs why the decision at idx can't be used; the library makes the sentence. */
static void hooks_log_problem(struct script *s, int idx, enum script_hook hook, struct request *req)
{
    const char *text = "one of its values is not valid";
    lua_State *L = s->L;
    int top = lua_gettop(L);
    const char *where = hook == HOOK_REQUEST ? script_rule(s, req) : s->hooks->sources[hook];
    if (script_library_function(L, "moongate.decision", "problem") == 0) {
        lua_pushvalue(L, idx);
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        if (lua_pcall(L, 2, 1, 0) == 0 && lua_isstring(L, -1))
            text = lua_tostring(L, -1);
    }
    static struct log_quota quota = {.most = LOG_MOST};
    logline_write(req, &quota, LOG_ERROR, "%s: %s returned a decision that can't be used: %s",
                  where, script_hook_names[hook], text);
    script_note_error(s, script_hook_names[hook], where, text);
    request_step(req, "%s returned a decision that can't be used: %s", script_hook_names[hook],
                 text);
    metrics_add(&metrics_own->run[SCRIPT_KIND_OF(hook)].errors, 1);
    lua_settop(L, top);
}

enum script_result script_read_decision(struct script *s, enum script_hook hook,
                                        struct request *req)
{
    int first = lua_gettop(s->L) - SCRIPT_DECISION_RESULTS + 1;
    bool good = script_decision(s->L, first, first + 1, first + 2, req, &s->settings);
    if (!good)
        hooks_log_problem(s, first, hook, req);
    lua_settop(s->L, first - 1);
    return good ? SCRIPT_DONE : SCRIPT_FAILED;
}

/* --- a call of a hook --- */

/* A call of a hook, for the function that runs inside the door. */
struct calling {
    struct request *req;
    struct script_call *call;
    struct script_cause cause;
    enum script_result result;
    union {
        struct params *params;
        bool replaced;
        struct str *line;
        const struct script_error *error;
        struct script_messages *messages;
    };
    int function; /* of hooks_line_of and script_fallback */
};

static struct calling hook_calling(struct script *s, enum script_hook hook, struct request *req,
                                   struct script_call *call)
{
    return (struct calling){.req = req, .call = call, .cause = hooks_cause(s, hook, req)};
}

static enum script_result hook_guard(struct script *s, struct calling *c,
                                     void (*body)(struct script *s, void *ctx))
{
    return script_guard(s, &c->cause, body, c) ? c->result : SCRIPT_FAILED;
}

/* Pushes the hook and the request. */
static void hooks_push_call(struct script *s, enum script_hook hook, const struct calling *c)
{
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks->function[hook]);
    script_push_box(s, c->req, c->call);
}

/* Runs a hook that may wait. */
static enum script_result hooks_run(struct script *s, int nargs, const struct calling *c,
                                    enum script_result (*ended)(struct script *s, void *ctx),
                                    void (*done)(void *ctx, enum script_result result))
{
    const struct script_run run = {.cause = c->cause,
                                   .results = SCRIPT_DECISION_RESULTS,
                                   .ended = ended,
                                   .done = done,
                                   .ctx = c->call};
    c->call->script = s;
    c->call->req = c->req;
    return script_run_waiting(s, nargs, &run, &c->call->task);
}

/* --- on_request --- */

static enum script_result hooks_request_ended(struct script *s, void *ctx)
{
    struct script_call *call = ctx;
    return script_read_decision(s, HOOK_REQUEST, call->req);
}

static void hooks_request_done(void *ctx, enum script_result result)
{
    struct script_call *call = ctx;
    call->task = NULL;
    script_release_box(call->script, call);
    call->resumed(call->ctx, result);
}

static void hooks_request_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    c->req->rules.from = c->req->rules.count = 0;
    hooks_push_call(s, HOOK_REQUEST, c);
    c->result = hooks_run(s, 1, c, hooks_request_ended, hooks_request_done);
    if (c->result == SCRIPT_WAITING && c->call->place == 0)
        script_hold_box(s, c->call);
}

enum script_result script_request(struct script *s, struct request *req, struct script_call *call)
{
    struct calling c = hook_calling(s, HOOK_REQUEST, req, call);
    if (req->trace != NULL)
        script_tell_steps(s, req);
    enum script_result result = hook_guard(s, &c, hooks_request_body);
    if (req->trace != NULL)
        script_tell_steps(s, NULL);
    if (result != SCRIPT_WAITING)
        script_release_box(s, call);
    return result;
}

/* --- script_errors --- */

static void hooks_fallback_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, c->function);
    script_push_box(s, c->req, c->call);
    c->result = script_run(s, 1, SCRIPT_DECISION_RESULTS, &c->cause);
    if (c->result == SCRIPT_DONE)
        c->result = script_read_decision(s, HOOK_REQUEST, c->req);
}

enum script_result script_fallback(struct script *s, enum script_hook hook, struct request *req,
                                   struct script_call *call)
{
    struct calling c = hook_calling(s, hook, req, call);
    if (call->fell_back)
        return SCRIPT_FAILED;
    call->fell_back = true;
    c.cause.what = "script_errors";
    c.function = s->hooks->fallback[hook];
    enum script_result result = hook_guard(s, &c, hooks_fallback_body);
    script_release_box(s, call);
    return result;
}

/* --- on_params, on_response --- */

static void hooks_params_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    hooks_push_call(s, HOOK_PARAMS, c);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks->params_ref);
    script_open_view(s->hooks->params, c->req, c->params);
    c->result = script_run(s, 2, 0, &c->cause);
}

enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params)
{
    struct calling c = hook_calling(s, HOOK_PARAMS, req, call);
    c.params = params;
    enum script_result result = hook_guard(s, &c, hooks_params_body);
    script_close_view(s->hooks->params);
    return result;
}

static void hooks_response_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    script_begin_rules(c->call, c->req);
    hooks_push_call(s, HOOK_RESPONSE, c);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks->response_ref);
    script_open_view(s->hooks->response, c->req, NULL);
    c->result = script_run(s, 2, SCRIPT_DECISION_RESULTS, &c->cause);
    script_close_view(s->hooks->response);
    c->replaced = c->result == SCRIPT_DONE && !lua_isnil(s->L, -SCRIPT_DECISION_RESULTS);
    script_end_rules(c->call, c->req, c->replaced);
    if (!c->replaced)
        return;
    c->result = script_read_decision(s, HOOK_RESPONSE, c->req);
}

enum script_result script_response(struct script *s, struct request *req, struct script_call *call,
                                   bool *replaced)
{
    struct calling c = hook_calling(s, HOOK_RESPONSE, req, call);
    enum script_result result = hook_guard(s, &c, hooks_response_body);
    script_close_view(s->hooks->response);
    *replaced = c.replaced;
    return result;
}

/* --- on_log --- */

/* The script's line with all control bytes escaped, since it may contain a client's bytes. */
static struct str hooks_one_line(struct arena *a, struct str text)
{
    size_t n = text.n < LINE_MOST ? text.n : LINE_MOST, used = 0;
    char *line = arena_bytes(a, 4 * n + 1);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        size_t shown = c == '\t' ? 1 : str_shown(text.p + i, n - i);
        if (shown == 0)
            used += (size_t)snprintf(line + used, 5, "\\x%02X", c);
        memcpy(line + used, text.p + i, shown);
        used += shown;
        i += shown > 0 ? shown - 1 : 0;
    }
    line[used++] = '\n';
    return (struct str){line, used};
}

static void hooks_line_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->function);
    script_push_box(s, c->req, c->call);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->hooks->log_ref);
    script_show_log(s->hooks->log, c->req);
    c->result = script_run(s, 2, 1, &c->cause);
    if (c->result != SCRIPT_DONE)
        return;
    if (lua_type(L, -1) == LUA_TSTRING)
        *c->line = hooks_one_line(&c->req->arena, script_str(L, -1));
    else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        *c->line = STR("");
    else if (!lua_isnil(L, -1)) {
        metrics_add(&metrics_own->run[c->cause.kind].errors, 1);
        script_log_misuse(s, c->cause.what, c->cause.source, c->req,
                          lua_pushfstring(L, "expected a line, false or nil as its result, got %s",
                                          script_describe(L, -1)));
    }
}

/* Calls a function of (req, log) that may return a line. */
static enum script_result hooks_line_of(struct script *s, int function, struct calling *c,
                                        struct str *line)
{
    *line = STR_NONE;
    c->line = line;
    c->function = function;
    enum script_result result = hook_guard(s, c, hooks_line_body);
    script_show_log(s->hooks->log, NULL);
    return result;
}

enum script_result script_log(struct script *s, struct request *req, struct script_call *call,
                              struct str *line)
{
    struct calling c = hook_calling(s, HOOK_LOG, req, call);
    return hooks_line_of(s, s->hooks->function[HOOK_LOG], &c, line);
}

enum script_result script_format(struct script *s, struct request *req, struct script_call *call,
                                 struct str *line)
{
    struct calling c = {
        .req = req,
        .call = call,
        .cause = {
            .what = "log.format", .source = "a function", .req = req, .kind = SCRIPT_KIND_FORMAT}};
    return hooks_line_of(s, s->hooks->format, &c, line);
}

/* --- on_error, on_stderr --- */

enum { OF_REQUEST, OF_ERROR };

static void hooks_push_has_body(lua_State *L, const void *at)
{
    const struct script_error *error = at;
    if (error->may_wait)
        lua_pushnil(L);
    else
        lua_pushboolean(L, error->has_body);
}

/* Fields of the `err` table, the second argument of on_error. */
const struct property property_error[] = {
    PROPERTY_OF(OF_ERROR, "kind", struct script_error, kind),
    PROPERTY_OF(OF_ERROR, "status", struct script_error, status),
    PROPERTY_OF(OF_ERROR, "message", struct script_error, message),
    {"has_body", .push = hooks_push_has_body, .of = OF_ERROR},
    PROPERTY("attempts", struct request, attempts),
    PROPERTY_OPTIONAL("backend", struct request, backend),
    PROPERTY_OPTIONAL("server", struct request, server),
    {.name = "headers"}, /* of a reply, see hooks_push_reply_headers */
    {0},
};

/* Adds the headers of the reply at stake to the table on the top. */
static void hooks_push_reply_headers(struct script *s)
{
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->hooks->response_ref);
    lua_getfield(L, -1, "headers");
    lua_setfield(L, -3, "headers");
    lua_pop(L, 1);
}

/* Reads the result of on_error; nil leaves the error as it is. */
static enum script_result hooks_error_ended(struct script *s, void *ctx)
{
    struct script_call *call = ctx;
    call->replaced = !lua_isnil(s->L, -SCRIPT_DECISION_RESULTS);
    script_end_rules(call, call->req, call->replaced);
    return call->replaced ? script_read_decision(s, HOOK_ERROR, call->req) : SCRIPT_DONE;
}

static void hooks_error_done(void *ctx, enum script_result result)
{
    struct script_call *call = ctx;
    call->task = NULL;
    call->resumed(call->ctx, result);
}

static void hooks_error_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    script_begin_rules(c->call, c->req);
    hooks_push_call(s, HOOK_ERROR, c);
    property_push_table(s->L, property_error,
                        (const void *[]){[OF_REQUEST] = c->req, [OF_ERROR] = c->error});
    if (c->error->may_wait) {
        c->result = hooks_run(s, 2, c, hooks_error_ended, hooks_error_done);
        return;
    }
    c->call->req = c->req;
    script_open_view(s->hooks->response, c->req, NULL);
    hooks_push_reply_headers(s);
    c->result = script_run(s, 2, SCRIPT_DECISION_RESULTS, &c->cause);
    if (c->result == SCRIPT_DONE)
        c->result = hooks_error_ended(s, c->call);
}

enum script_result script_error(struct script *s, struct request *req, struct script_call *call,
                                const struct script_error *error)
{
    struct calling c = hook_calling(s, HOOK_ERROR, req, call);
    c.error = error;
    call->replaced = false;
    enum script_result result = hook_guard(s, &c, hooks_error_body);
    script_close_view(s->hooks->response);
    return result;
}

/* How many messages of each level there are, by the table at idx. */
static void hooks_hand_levels(lua_State *L, int idx, struct script_messages *messages)
{
    for (unsigned i = 0; i < METRICS_LEVELS && lua_istable(L, idx); i++) {
        lua_getfield(L, idx, metrics_levels[i]);
        messages->levels[i] = (unsigned)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
}

/* Passes on the first results of messages.handle, the first of which is at idx: the list of lines,
 * the number of messages, and the number of each level. */
static void hooks_hand_lines(lua_State *L, int list, struct script_messages *messages)
{
    size_t n = lua_istable(L, list) ? lua_objlen(L, list) : 0;
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        if (lua_type(L, -1) == LUA_TSTRING)
            messages->line(messages->ctx, script_str(L, -1));
        lua_pop(L, 1);
    }
    bool counted = lua_isnumber(L, list + 1);
    messages->count = (unsigned)(counted ? lua_tointeger(L, list + 1) : (lua_Integer)n);
    hooks_hand_levels(L, list + 2, messages);
}

/* Reads the decision of on_stderr, the results on the top of the stack, for later. */
static const struct decision *hooks_keep_decision(struct script *s, struct request *req)
{
    struct decision own = req->decision, *said = NULL;
    if (script_read_decision(s, HOOK_STDERR, req) == SCRIPT_DONE) {
        said = arena_alloc(&req->arena, sizeof *said);
        *said = req->decision;
    }
    req->decision = own;
    return said;
}

/* messages.handle(text, docroot, root, hook, req) -> lines, count, levels, and what a hook that
 * decides returns. */
static void hooks_stderr_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    lua_State *L = s->L;
    if (script_library_function(L, "moongate.base.messages", "handle") != 0)
        lua_error(L);
    script_push_str(L, c->messages->text);
    property_push_text(L, &c->messages->docroot);
    property_push_text(L, &c->messages->root);
    if (script_has(s, HOOK_STDERR)) {
        hooks_push_call(s, HOOK_STDERR, c);
    } else {
        lua_pushnil(L);
        lua_pushnil(L);
    }
    script_begin_rules(c->call, c->req);
    c->result = script_run(s, 5, 3 + SCRIPT_DECISION_RESULTS, &c->cause);
    int first = lua_gettop(L) - 2 - SCRIPT_DECISION_RESULTS;
    bool decided = c->result == SCRIPT_DONE && !lua_isnil(L, -SCRIPT_DECISION_RESULTS);
    script_end_rules(c->call, c->req, decided);
    if (c->result != SCRIPT_DONE)
        return;
    hooks_hand_lines(L, first, c->messages);
    if (decided)
        c->messages->decision = hooks_keep_decision(s, c->req);
}

enum script_result script_stderr(struct script *s, struct request *req, struct script_call *call,
                                 struct script_messages *messages)
{
    struct calling c = hook_calling(s, HOOK_STDERR, req, call);
    if (!script_has(s, HOOK_STDERR))
        c.cause.source = "the library";
    c.messages = messages;
    return hook_guard(s, &c, hooks_stderr_body);
}

/*
 * hooks - see script.h. This file: the hooks of a request, one function each.
 */
#include "script/property.h"
#include "script/task.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define LINE_MOST 8192 /* bytes of a line for the access log */

/* A place in the table of boxes: the one that was given back last. */
static int take_place(struct script *s)
{
    if (s->free_count > 0)
        return s->free_places[--s->free_count];
    if ((s->place_count & (s->place_count + 1)) == 0) { /* 2^n - 1 are in use */
        size_t room = 2 * ((size_t)s->place_count + 1);
        s->free_places = realloc(s->free_places, room * sizeof *s->free_places);
        if (s->free_places == NULL)
            abort();
    }
    return (int)++s->place_count;
}

/* The box on the top of the anchors' stack, where it is held while its hook runs, gets a place. */
static void keep_box(struct script *s, struct script_call *call)
{
    call->place = take_place(s);
    lua_rawseti(s->anchors, 1, call->place);
}

/* Pushes the request's box, made at the first hook. It is held whatever the script does to its
 * variable, since `call` points to it. */
void script_push_box(struct script *s, struct request *req, struct script_call *call)
{
    lua_State *L = s->L;
    if (call->box == NULL) {
        struct script_box *box = script_push_request(L, req);
        lua_pushvalue(L, -1);
        lua_xmove(L, s->anchors, 1);
        call->place = 0;
        call->box = box;
        if (s->keep_box)
            keep_box(s, call);
        return;
    }
    if (call->place > 0)
        lua_rawgeti(s->anchors, 1, call->place);
    else
        lua_pushvalue(s->anchors, -1);
    lua_xmove(s->anchors, L, 1);
}

void script_end(struct script *s, struct script_call *call)
{
    if (call->task != NULL)
        script_task_cancel(call->task);
    call->task = NULL;
    if (call->box == NULL)
        return;
    call->box->req = NULL;
    call->box = NULL;
    if (call->place == 0) {
        lua_pop(s->anchors, 1);
        return;
    }
    lua_pushnil(s->anchors);
    lua_rawseti(s->anchors, 1, call->place);
    s->free_places[s->free_count++] = call->place;
    call->place = 0;
}

void script_release_box(struct script *s, struct script_call *call)
{
    if (!s->keep_box)
        script_end(s, call);
}

/* --- decisions --- */

struct ruling {
    struct request *req;
    const char *text;
};

static void rule_body(struct script *s, void *ctx)
{
    struct ruling *r = ctx;
    const struct request_rules *rules = &r->req->rules;
    if (script_library_function(s->L, "moongate.decision.trace", "words") != 0)
        lua_error(s->L);
    for (unsigned i = rules->from; i < rules->count; i++)
        lua_pushnumber(s->L, rules->numbers[i]);
    lua_call(s->L, (int)(rules->count - rules->from), 1);
    if (lua_type(s->L, -1) == LUA_TSTRING)
        r->text = arena_copy(&r->req->arena, script_str(s->L, -1)).p;
}

const char *script_rule(struct script *s, struct request *req)
{
    struct ruling ruling = {.req = req, .text = s->sources[HOOK_REQUEST]};
    const struct script_cause cause = script_hook_cause(s, HOOK_REQUEST, req);
    if (req->rules.count > req->rules.from)
        script_guard(s, &cause, rule_body, &ruling);
    return ruling.text;
}

/* A hook is asked that may decide anew. */
static void begin_rules(struct script_call *call, struct request *req)
{
    call->rules_from = req->rules.from;
    req->rules.from = req->rules.count;
}

static void end_rules(const struct script_call *call, struct request *req, bool decided)
{
    if (decided)
        return;
    req->rules.count = req->rules.from;
    req->rules.from = call->rules_from;
}

/* A decision that can't be used, at idx: the library says why, in one sentence. */
static void log_problem(struct script *s, int idx, enum script_hook hook, struct request *req,
                        const char *reason)
{
    const char *text = reason;
    lua_State *L = s->L;
    int top = lua_gettop(L);
    const char *where = hook == HOOK_REQUEST ? script_rule(s, req) : s->sources[hook];
    if (script_library_function(L, "moongate.decision", "problem") == 0) {
        lua_pushvalue(L, idx);
        if (lua_pcall(L, 1, 1, 0) == 0 && lua_isstring(L, -1))
            text = lua_tostring(L, -1);
    }
    static struct log_quota quota = {.most = LOG_MOST};
    char name[REQUEST_NAME_SIZE];
    log_within(&quota, LOG_ERROR,
               "%s: %s returned a decision that can't be used: %s; %.*s %.*s, %s", where,
               script_hook_names[hook], text, STR_FMT(req->method), STR_FMT(req->uri.origin),
               request_name(req, name));
    lua_settop(L, top);
}

enum script_result script_take_decision(struct script *s, enum script_hook hook,
                                        struct request *req)
{
    int first = lua_gettop(s->L) - SCRIPT_DECISION_RESULTS + 1;
    const char *reason = script_decision(s->L, first, first + 1, first + 2, req, &s->settings);
    if (reason != NULL)
        log_problem(s, first, hook, req, reason);
    lua_settop(s->L, first - 1);
    return reason == NULL ? SCRIPT_DONE : SCRIPT_FAILED;
}

/* --- a call of a hook --- */

/* What the bodies of the hooks need. */
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
    int function; /* of line_of */
};

static struct calling hook_calling(struct script *s, enum script_hook hook, struct request *req,
                                   struct script_call *call)
{
    return (struct calling){.req = req, .call = call, .cause = script_hook_cause(s, hook, req)};
}

static enum script_result hook_guard(struct script *s, struct calling *c,
                                     void (*body)(struct script *s, void *ctx))
{
    return script_guard(s, &c->cause, body, c) ? c->result : SCRIPT_FAILED;
}

/* Pushes the hook and the request. */
static void push_call(struct script *s, enum script_hook hook, const struct calling *c)
{
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks[hook]);
    script_push_box(s, c->req, c->call);
}

/* Runs a hook that may wait. */
static enum script_result run_hook(struct script *s, int nargs, const struct calling *c,
                                   enum script_result (*take)(struct script *s, void *ctx),
                                   void (*done)(void *ctx, enum script_result result))
{
    const struct script_run run = {.cause = c->cause,
                                   .results = SCRIPT_DECISION_RESULTS,
                                   .take = take,
                                   .done = done,
                                   .ctx = c->call};
    c->call->script = s;
    c->call->req = c->req;
    return script_run_waiting(s, nargs, &run, &c->call->task);
}

/* --- on_request --- */

static enum script_result take_request(struct script *s, void *ctx)
{
    struct script_call *call = ctx;
    return script_take_decision(s, HOOK_REQUEST, call->req);
}

static void request_done(void *ctx, enum script_result result)
{
    struct script_call *call = ctx;
    call->task = NULL;
    script_release_box(call->script, call);
    call->resumed(call->ctx, result);
}

static void request_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    c->req->rules.from = c->req->rules.count = 0;
    push_call(s, HOOK_REQUEST, c);
    c->result = run_hook(s, 1, c, take_request, request_done);
    if (c->result == SCRIPT_WAITING && c->call->place == 0)
        keep_box(s, c->call);
}

enum script_result script_request(struct script *s, struct request *req, struct script_call *call)
{
    struct calling c = hook_calling(s, HOOK_REQUEST, req, call);
    enum script_result result = hook_guard(s, &c, request_body);
    if (result != SCRIPT_WAITING)
        script_release_box(s, call);
    return result;
}

/* --- on_params, on_response --- */

static void params_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    push_call(s, HOOK_PARAMS, c);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->params_ref);
    script_open_view(s->params, c->req, c->params);
    c->result = script_run(s, 2, 0, &c->cause);
}

enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params)
{
    struct calling c = hook_calling(s, HOOK_PARAMS, req, call);
    c.params = params;
    enum script_result result = hook_guard(s, &c, params_body);
    script_close_view(s->params);
    return result;
}

static void response_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    begin_rules(c->call, c->req);
    push_call(s, HOOK_RESPONSE, c);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->response_ref);
    script_open_view(s->response, c->req, NULL);
    c->result = script_run(s, 2, SCRIPT_DECISION_RESULTS, &c->cause);
    script_close_view(s->response);
    c->replaced = c->result == SCRIPT_DONE && !lua_isnil(s->L, -SCRIPT_DECISION_RESULTS);
    end_rules(c->call, c->req, c->replaced);
    if (!c->replaced)
        return;
    c->result = script_take_decision(s, HOOK_RESPONSE, c->req);
}

enum script_result script_response(struct script *s, struct request *req, struct script_call *call,
                                   bool *replaced)
{
    struct calling c = hook_calling(s, HOOK_RESPONSE, req, call);
    enum script_result result = hook_guard(s, &c, response_body);
    script_close_view(s->response);
    *replaced = c.replaced;
    return result;
}

/* --- on_log --- */

/* What a script wants to have logged, as one line: a client's bytes may be in it. */
static struct str one_line(struct arena *a, struct str text)
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

static void line_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->function);
    script_push_box(s, c->req, c->call);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->log_ref);
    script_show_log(s->log, c->req);
    c->result = script_run(s, 2, 1, &c->cause);
    if (c->result != SCRIPT_DONE)
        return;
    if (lua_type(L, -1) == LUA_TSTRING)
        *c->line = one_line(&c->req->arena, script_str(L, -1));
    else if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
        *c->line = STR("");
    else if (!lua_isnil(L, -1))
        script_log_misuse(c->cause.what, c->cause.source, c->req,
                          lua_pushfstring(L, "expected a line, false or nil as its result, got %s",
                                          script_describe(L, -1)));
}

/* Calls a function of (req, log) that may return a line. */
static enum script_result line_of(struct script *s, int function, struct calling *c,
                                  struct str *line)
{
    *line = STR_NONE;
    c->line = line;
    c->function = function;
    enum script_result result = hook_guard(s, c, line_body);
    script_show_log(s->log, NULL);
    return result;
}

enum script_result script_log(struct script *s, struct request *req, struct script_call *call,
                              struct str *line)
{
    struct calling c = hook_calling(s, HOOK_LOG, req, call);
    return line_of(s, s->hooks[HOOK_LOG], &c, line);
}

enum script_result script_format(struct script *s, struct request *req, struct script_call *call,
                                 struct str *line)
{
    struct calling c = {.req = req,
                        .call = call,
                        .cause = {.what = "log.format", .source = "a function", .req = req}};
    return line_of(s, s->format, &c, line);
}

/* --- failures, and what applications write --- */

enum { OF_REQUEST, OF_ERROR };

static void push_has_body(lua_State *L, const void *at)
{
    const struct script_error *error = at;
    if (error->may_wait)
        lua_pushnil(L);
    else
        lua_pushboolean(L, error->has_body);
}

/* What on_error is told beside the request. */
const struct property property_error[] = {
    PROPERTY_OF(OF_ERROR, "kind", struct script_error, kind),
    PROPERTY_OF(OF_ERROR, "status", struct script_error, status),
    PROPERTY_OF(OF_ERROR, "message", struct script_error, message),
    {"has_body", .push = push_has_body, .of = OF_ERROR},
    PROPERTY("attempts", struct request, attempts),
    PROPERTY_OPTIONAL("backend", struct request, backend),
    PROPERTY_OPTIONAL("server", struct request, server),
    {.name = "headers"}, /* of an answer, see push_answer_headers */
    {0},
};

/* What is on the top is also told of the headers that shall be replaced, or not. */
static void push_answer_headers(struct script *s)
{
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->response_ref);
    lua_getfield(L, -1, "headers");
    lua_setfield(L, -3, "headers");
    lua_pop(L, 1);
}

/* nil leaves the error as it is. */
static enum script_result hook_take_error(struct script *s, void *ctx)
{
    struct script_call *call = ctx;
    call->replaced = !lua_isnil(s->L, -SCRIPT_DECISION_RESULTS);
    end_rules(call, call->req, call->replaced);
    return call->replaced ? script_take_decision(s, HOOK_ERROR, call->req) : SCRIPT_DONE;
}

static void error_done(void *ctx, enum script_result result)
{
    struct script_call *call = ctx;
    call->task = NULL;
    call->resumed(call->ctx, result);
}

static void error_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    begin_rules(c->call, c->req);
    push_call(s, HOOK_ERROR, c);
    property_push_table(s->L, property_error,
                        (const void *[]){[OF_REQUEST] = c->req, [OF_ERROR] = c->error});
    if (c->error->may_wait) {
        c->result = run_hook(s, 2, c, hook_take_error, error_done);
        return;
    }
    c->call->req = c->req;
    script_open_view(s->response, c->req, NULL);
    push_answer_headers(s);
    c->result = script_run(s, 2, SCRIPT_DECISION_RESULTS, &c->cause);
    if (c->result == SCRIPT_DONE)
        c->result = hook_take_error(s, c->call);
}

enum script_result script_error(struct script *s, struct request *req, struct script_call *call,
                                const struct script_error *error)
{
    struct calling c = hook_calling(s, HOOK_ERROR, req, call);
    c.error = error;
    call->replaced = false;
    enum script_result result = hook_guard(s, &c, error_body);
    script_close_view(s->response);
    return result;
}

/* The results of messages.handle on the top: a list of lines, and how many messages they are. */
static void hand_lines(lua_State *L, struct script_messages *messages)
{
    int list = lua_gettop(L) - 1;
    size_t n = lua_istable(L, list) ? lua_objlen(L, list) : 0;
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        if (lua_type(L, -1) == LUA_TSTRING)
            messages->line(messages->ctx, script_str(L, -1));
        lua_pop(L, 1);
    }
    bool counted = lua_isnumber(L, list + 1);
    messages->count = (unsigned)(counted ? lua_tointeger(L, list + 1) : (lua_Integer)n);
}

/* messages.handle(text, docroot, root, hook, req) -> lines, count */
static void stderr_body(struct script *s, void *ctx)
{
    struct calling *c = ctx;
    lua_State *L = s->L;
    if (script_library_function(L, "moongate.worker.messages", "handle") != 0)
        lua_error(L);
    script_push_str(L, c->messages->text);
    property_push_text(L, &c->messages->docroot);
    property_push_text(L, &c->messages->root);
    if (script_has(s, HOOK_STDERR)) {
        push_call(s, HOOK_STDERR, c);
    } else {
        lua_pushnil(L);
        lua_pushnil(L);
    }
    c->result = script_run(s, 5, 2, &c->cause);
    if (c->result == SCRIPT_DONE)
        hand_lines(L, c->messages);
}

enum script_result script_stderr(struct script *s, struct request *req, struct script_call *call,
                                 struct script_messages *messages)
{
    struct calling c = hook_calling(s, HOOK_STDERR, req, call);
    if (!script_has(s, HOOK_STDERR))
        c.cause.source = "the library";
    c.messages = messages;
    return hook_guard(s, &c, stderr_body);
}

static void forget_body(struct script *s, void *ctx)
{
    const struct script_call *call = ctx;
    lua_rawgeti(s->anchors, 1, call->place);
    lua_xmove(s->anchors, s->L, 1);
    script_forget_args(s->L);
}

void script_redirected(struct script *s, struct script_call *call)
{
    const struct script_cause cause = script_hook_cause(s, HOOK_REQUEST, NULL);
    if (call->box != NULL && call->place > 0)
        script_guard(s, &cause, forget_body, call);
}

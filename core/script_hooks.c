/*
 * script_hooks - see script.h. This file: the hooks of a request, one function each.
 */
#include "script_task.h"

#include "log.h"

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

/* Pushes the request's box onto co, made at the first hook. It is held whatever the script does to
 * its variable, since `call` points to it. */
void script_push_box(struct script *s, lua_State *co, struct request *req, struct script_call *call)
{
    if (call->box == NULL) {
        call->box = script_push_request(co, req);
        call->place = 0;
        lua_pushvalue(co, -1);
        lua_xmove(co, s->anchors, 1);
        if (s->keep_box)
            keep_box(s, call);
        return;
    }
    if (call->place > 0)
        lua_rawgeti(s->anchors, 1, call->place);
    else
        lua_pushvalue(s->anchors, -1);
    lua_xmove(s->anchors, co, 1);
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

const char *script_rule(struct script *s, struct request *req)
{
    lua_State *L = s->L;
    int top = lua_gettop(L);
    const char *rule = s->sources[HOOK_REQUEST];
    if (script_library_function(L, "moongate.decision", "rule") == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        lua_getfield(L, -1, "hooks_original");
        lua_getfield(L, -1, "on_request");
        lua_replace(L, -3);
        lua_pop(L, 1);
        struct script_box *box = script_push_request(L, req);
        lua_pushvalue(L, -1); /* keeps the box while the call goes on */
        lua_insert(L, top + 1);
        bool outer = script_begin_run(L, "on_request", "again, for a message");
        int status = lua_pcall(L, 2, 1, 0);
        if (outer)
            script_end_run();
        if (status == 0 && lua_isstring(L, -1))
            rule = arena_copy(&req->arena, script_str(L, -1)).p;
        box->req = NULL;
    }
    lua_settop(L, top);
    return rule;
}

/* A decision that can't be used: the library says why, in one sentence. */
static void log_problem(struct script *s, lua_State *co, enum script_hook hook, struct request *req,
                        const char *reason)
{
    const char *text = reason;
    lua_State *L = s->L;
    int top = lua_gettop(L);
    const char *where = hook == HOOK_REQUEST ? script_rule(s, req) : s->sources[hook];
    if (script_library_function(L, "moongate.decision", "problem") == 0) {
        lua_pushvalue(co, 1);
        lua_xmove(co, L, 1);
        if (lua_pcall(L, 1, 1, 0) == 0 && lua_isstring(L, -1))
            text = lua_tostring(L, -1);
    }
    char name[REQUEST_NAME_SIZE];
    log_error("%s: %s returned a decision that can't be used: %s; %.*s %.*s, %s", where,
              script_hook_names[hook], text, STR_FMT(req->method), STR_FMT(req->uri.origin),
              request_name(req, name));
    lua_settop(L, top);
}

enum script_result script_take_decision(struct script *s, lua_State *co, enum script_hook hook,
                                        struct request *req)
{
    lua_settop(co, 4);
    const char *reason = script_decision(co, 1, 2, 3, req, &s->settings);
    if (reason != NULL)
        log_problem(s, co, hook, req, reason);
    script_leave(co);
    return reason == NULL ? SCRIPT_DONE : SCRIPT_FAILED;
}

static void request_done(void *ctx, enum script_result result, lua_State *co)
{
    struct script_call *call = ctx;
    struct script *s = call->script;
    call->task = NULL;
    if (result == SCRIPT_DONE)
        result = script_take_decision(s, co, HOOK_REQUEST, call->req);
    script_release_box(s, call);
    call->resumed(call->ctx, result);
}

/* Runs a hook that may wait. */
static enum script_result run_hook(struct script *s, lua_State *co, int nargs,
                                   enum script_hook hook, struct request *req,
                                   struct script_call *call,
                                   void (*done)(void *, enum script_result, lua_State *))
{
    const struct script_run run = {.what = script_hook_names[hook],
                                   .source = s->sources[hook],
                                   .req = req,
                                   .done = done,
                                   .ctx = call};
    call->script = s;
    call->req = req;
    return script_run_waiting(s, co, nargs, &run, &call->task);
}

enum script_result script_request(struct script *s, struct request *req, struct script_call *call)
{
    lua_State *co = script_enter(s, s->hooks[HOOK_REQUEST]);
    script_push_box(s, co, req, call);
    enum script_result result = run_hook(s, co, 1, HOOK_REQUEST, req, call, request_done);
    if (result == SCRIPT_WAITING) {
        if (call->place == 0)
            keep_box(s, call);
        return result;
    }
    if (result == SCRIPT_DONE)
        result = script_take_decision(s, co, HOOK_REQUEST, req);
    script_release_box(s, call);
    return result;
}

enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params)
{
    lua_State *co = script_enter(s, s->hooks[HOOK_PARAMS]);
    script_push_box(s, co, req, call);
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->params_ref);
    script_open_view(s->params, req, params);
    enum script_result result =
        script_run(s, co, 2, script_hook_names[HOOK_PARAMS], s->sources[HOOK_PARAMS], req);
    script_close_view(s->params);
    if (result == SCRIPT_DONE)
        script_leave(co);
    return result;
}

enum script_result script_response(struct script *s, struct request *req, struct script_call *call,
                                   bool *replaced)
{
    *replaced = false;
    lua_State *co = script_enter(s, s->hooks[HOOK_RESPONSE]);
    script_push_box(s, co, req, call);
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->response_ref);
    script_open_view(s->response, req, NULL);
    enum script_result result =
        script_run(s, co, 2, script_hook_names[HOOK_RESPONSE], s->sources[HOOK_RESPONSE], req);
    script_close_view(s->response);
    if (result != SCRIPT_DONE)
        return result;
    if (lua_isnoneornil(co, 1)) {
        script_leave(co);
        return SCRIPT_DONE;
    }
    *replaced = true;
    return script_take_decision(s, co, HOOK_RESPONSE, req);
}

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

/* Calls a function of (req, log) that may return a line. */
static enum script_result line_of(struct script *s, int function, const char *what,
                                  const char *source, struct request *req, struct script_call *call,
                                  struct str *line)
{
    *line = STR_NONE;
    lua_State *co = script_enter(s, function);
    script_push_box(s, co, req, call);
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->log_ref);
    script_show_log(s->log, req);
    enum script_result result = script_run(s, co, 2, what, source, req);
    script_show_log(s->log, NULL);
    if (result != SCRIPT_DONE)
        return result;
    lua_settop(co, 1);
    if (lua_type(co, 1) == LUA_TSTRING)
        *line = one_line(&req->arena, script_str(co, 1));
    else if (lua_isboolean(co, 1) && !lua_toboolean(co, 1))
        *line = STR("");
    else if (!lua_isnil(co, 1))
        script_log_misuse(what, source, req,
                          lua_pushfstring(co, "expected a line, false or nil as its result, got %s",
                                          script_describe(co, 1)));
    script_leave(co);
    return SCRIPT_DONE;
}

enum script_result script_log(struct script *s, struct request *req, struct script_call *call,
                              struct str *line)
{
    return line_of(s, s->hooks[HOOK_LOG], script_hook_names[HOOK_LOG], s->sources[HOOK_LOG], req,
                   call, line);
}

enum script_result script_format(struct script *s, struct request *req, struct script_call *call,
                                 struct str *line)
{
    return line_of(s, s->format, "log.format", "a function", req, call, line);
}

/* --- failures, and what applications write --- */

/* What on_error is told beside the request. */
static void push_error(lua_State *L, const struct request *req, const struct script_error *error)
{
    lua_createtable(L, 0, 8);
    lua_pushstring(L, error->kind);
    lua_setfield(L, -2, "kind");
    lua_pushinteger(L, error->status);
    lua_setfield(L, -2, "status");
    lua_pushstring(L, error->message != NULL ? error->message : "");
    lua_setfield(L, -2, "message");
    lua_pushinteger(L, (lua_Integer)req->attempts);
    lua_setfield(L, -2, "attempts");
    if (req->backend.n > 0) {
        script_push_str(L, req->backend);
        lua_setfield(L, -2, "backend");
    }
    if (req->server.n > 0) {
        script_push_str(L, req->server);
        lua_setfield(L, -2, "server");
    }
}

/* What is on the top of co is also told of the answer that shall be replaced, or not. */
static void push_answer(struct script *s, lua_State *co, bool has_body)
{
    lua_pushboolean(co, has_body);
    lua_setfield(co, -2, "has_body");
    lua_rawgeti(co, LUA_REGISTRYINDEX, s->response_ref);
    lua_getfield(co, -1, "headers");
    lua_setfield(co, -3, "headers");
    lua_pop(co, 1);
}

/* nil leaves the error as it is. */
static enum script_result take_error(struct script *s, lua_State *co, struct request *req,
                                     struct script_call *call)
{
    call->replaced = !lua_isnoneornil(co, 1);
    if (call->replaced)
        return script_take_decision(s, co, HOOK_ERROR, req);
    script_leave(co);
    return SCRIPT_DONE;
}

static void error_done(void *ctx, enum script_result result, lua_State *co)
{
    struct script_call *call = ctx;
    call->task = NULL;
    if (result == SCRIPT_DONE)
        result = take_error(call->script, co, call->req, call);
    call->resumed(call->ctx, result);
}

enum script_result script_error(struct script *s, struct request *req, struct script_call *call,
                                const struct script_error *error)
{
    lua_State *co = script_enter(s, s->hooks[HOOK_ERROR]);
    script_push_box(s, co, req, call);
    push_error(co, req, error);
    call->replaced = false;
    enum script_result result;
    if (error->may_wait) {
        result = run_hook(s, co, 2, HOOK_ERROR, req, call, error_done);
    } else {
        script_open_view(s->response, req, NULL);
        push_answer(s, co, error->has_body);
        result = script_run(s, co, 2, script_hook_names[HOOK_ERROR], s->sources[HOOK_ERROR], req);
        script_close_view(s->response);
    }
    return result == SCRIPT_DONE ? take_error(s, co, req, call) : result;
}

static void push_text(lua_State *L, struct str s)
{
    if (s.n > 0)
        script_push_str(L, s);
    else
        lua_pushnil(L);
}

/* Each element of the list on co's top, then the number of messages below it. */
static void hand_lines(lua_State *co, struct script_messages *messages)
{
    size_t n = lua_istable(co, 1) ? lua_objlen(co, 1) : 0;
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(co, 1, (int)i + 1);
        if (lua_type(co, -1) == LUA_TSTRING)
            messages->line(messages->ctx, script_str(co, -1));
        lua_pop(co, 1);
    }
    messages->count = (unsigned)(lua_isnumber(co, 2) ? lua_tointeger(co, 2) : (lua_Integer)n);
}

/* messages.handle(text, docroot, root, hook, req) -> lines, count */
enum script_result script_stderr(struct script *s, struct request *req, struct script_call *call,
                                 struct script_messages *messages)
{
    lua_State *L = s->L;
    bool hooked = s->hooks[HOOK_STDERR] != LUA_NOREF;
    if (script_library_function(L, "moongate.messages", "handle") != 0) {
        log_error("moongate.messages: %s", lua_tostring(L, -1));
        lua_pop(L, 1);
        return SCRIPT_FAILED;
    }
    int function = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_State *co = script_enter(s, function);
    luaL_unref(L, LUA_REGISTRYINDEX, function);
    script_push_str(co, messages->text);
    push_text(co, messages->docroot);
    push_text(co, messages->root);
    if (hooked) {
        lua_rawgeti(co, LUA_REGISTRYINDEX, s->hooks[HOOK_STDERR]);
        script_push_box(s, co, req, call);
    } else {
        lua_pushnil(co);
        lua_pushnil(co);
    }
    enum script_result result = script_run(s, co, 5, script_hook_names[HOOK_STDERR],
                                           hooked ? s->sources[HOOK_STDERR] : "the library", req);
    if (result != SCRIPT_DONE)
        return result;
    hand_lines(co, messages);
    script_leave(co);
    return SCRIPT_DONE;
}

void script_redirected(struct script *s, struct script_call *call)
{
    if (call->box == NULL || call->place == 0)
        return;
    lua_rawgeti(s->anchors, 1, call->place);
    script_forget_args(s->anchors);
    lua_pop(s->anchors, 1);
}

/*
 * script - see script.h. This file: the state, the door, the hooks.
 *
 * The registry anchors everything that C holds: the hooks, the normalised settings, the pool of
 * coroutines. A finished coroutine is used again; one that failed is dropped.
 */
#include "script_lua.h"

#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct script_module {
    const char *name;
    const char *code;
    size_t size;
};

/* The library as bytecode, made by the Makefile; ends with a NULL name. */
extern const struct script_module script_modules[];

struct script {
    lua_State *L;
    struct settings settings;
    int normalised;                  /* the table */
    int hooks[HOOK_COUNT];           /* LUA_NOREF where the route has none */
    int format;                      /* log.format, when it is a function */
    const char *sources[HOOK_COUNT]; /* "route.lua:12", held by the normalised table */
    lua_State *idle;                 /* a coroutine that waits for the next hook */
    int idle_ref;
    bool keep_box; /* a later hook wants the same req */
};

static const char *const hook_names[HOOK_COUNT] = {
    "on_start", "on_request", "on_params", "on_response", "on_log", "on_stop",
};

/* --- the state --- */

static int load_embedded(lua_State *L)
{
    const struct script_module *module = lua_touserdata(L, lua_upvalueindex(1));
    if (luaL_loadbuffer(L, module->code, module->size, module->name) != 0)
        return lua_error(L);
    lua_pushstring(L, module->name);
    lua_call(L, 1, 1);
    return 1;
}

/* package.path = DIR/?.lua;DIR/?/init.lua;... */
static void prefer_disk(lua_State *L, const char *dir)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", dir, dir, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 2);
}

lua_State *script_state_new(void)
{
    lua_State *L = luaL_newstate();
    if (L == NULL)
        abort();
    luaL_openlibs(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, script_core_open);
    lua_setfield(L, -2, "moongate.core");
    const char *dir = getenv("MOONGATE_LUA");
    if (dir != NULL && *dir != '\0') {
        prefer_disk(L, dir);
    } else {
        for (const struct script_module *m = script_modules; m->name != NULL; m++) {
            lua_pushlightuserdata(L, (void *)m);
            lua_pushcclosure(L, load_embedded, 1);
            lua_setfield(L, -2, m->name);
        }
    }
    lua_pop(L, 2);
    script_request_open(L);
    return L;
}

static int traceback(lua_State *L)
{
    if (lua_isstring(L, 1))
        luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

/* Pushes require(module)[function]. */
static int push_function(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    lua_pushvalue(L, 2);
    lua_gettable(L, -2);
    return 1;
}

/* Pushes the library's function; an error is one of the installation. Returns 0, or pcall's status
 * with the message pushed. */
static int library_function(lua_State *L, const char *module, const char *name)
{
    lua_pushcfunction(L, push_function);
    lua_pushstring(L, module);
    lua_pushstring(L, name);
    return lua_pcall(L, 2, 1, 0);
}

/* --- loading --- */

static char *take_message(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    char *copy = strdup(text != NULL ? text : "an error that is not a string");
    if (copy == NULL)
        abort();
    lua_pop(L, 1);
    return copy;
}

static int push_overrides(lua_State *L, const char *text)
{
    lua_pushfstring(L, "return %s", text != NULL ? text : "{}");
    int status = luaL_loadstring(L, lua_tostring(L, -1));
    lua_remove(L, -2);
    return status != 0 ? status : lua_pcall(L, 0, 1, 0);
}

/* Leaves the normalised table on the stack, or a message. */
static int load_route(lua_State *L, const struct route *route)
{
    int status = library_function(L, "moongate.load", route->path != NULL ? "route" : "source");
    if (status != 0)
        return status;
    lua_pushstring(L, route->path != NULL ? route->path : route->source);
    if (route->path == NULL)
        lua_pushstring(L, route->name);
    status = push_overrides(L, route->overrides);
    return status != 0 ? status : lua_pcall(L, route->path != NULL ? 2 : 3, 1, 0);
}

static int field_ref(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    if (lua_isfunction(L, -1))
        return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

static void find_hooks(struct script *s)
{
    lua_State *L = s->L;
    int top = lua_gettop(L);
    lua_getfield(L, top, "hooks");
    lua_getfield(L, top, "hook_source");
    for (int i = 0; i < HOOK_COUNT; i++) {
        s->hooks[i] = field_ref(L, top + 1, hook_names[i]);
        lua_getfield(L, top + 2, hook_names[i]);
        s->sources[i] = lua_isstring(L, -1) ? lua_tostring(L, -1) : "?";
        lua_pop(L, 1);
    }
    lua_getfield(L, top, "log");
    s->format = field_ref(L, lua_gettop(L), "format");
    lua_settop(L, top);
    s->keep_box = s->hooks[HOOK_PARAMS] != LUA_NOREF || s->hooks[HOOK_RESPONSE] != LUA_NOREF ||
                  s->hooks[HOOK_LOG] != LUA_NOREF || s->format != LUA_NOREF;
}

struct script *script_new(const struct route *route, char **err)
{
    struct script *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->L = script_state_new();
    s->normalised = s->idle_ref = LUA_NOREF;
    arena_init(&s->settings.arena, NULL, 0);
    if (load_route(s->L, route) != 0) {
        *err = take_message(s->L);
        script_free(s);
        return NULL;
    }
    const char *reason = script_read_settings(s->L, lua_gettop(s->L), &s->settings);
    if (reason != NULL) {
        *err = strdup(reason);
        script_free(s);
        return NULL;
    }
    find_hooks(s);
    s->normalised = luaL_ref(s->L, LUA_REGISTRYINDEX);
    return s;
}

void script_free(struct script *s)
{
    if (s == NULL)
        return;
    lua_close(s->L);
    arena_fini(&s->settings.arena);
    free(s);
}

const struct settings *script_settings(const struct script *s)
{
    return &s->settings;
}

char *script_report(struct script *s)
{
    lua_State *L = s->L;
    if (library_function(L, "moongate.load", "loader_report") == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        if (lua_pcall(L, 1, 1, 0) == 0)
            return take_message(L);
    }
    log_error("%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return NULL;
}

bool script_has(const struct script *s, enum script_hook hook)
{
    return s->hooks[hook] != LUA_NOREF;
}

/* --- the door --- */

/* A coroutine with the function pushed. */
static lua_State *enter(struct script *s, int function)
{
    if (s->idle == NULL) {
        s->idle = lua_newthread(s->L);
        s->idle_ref = luaL_ref(s->L, LUA_REGISTRYINDEX);
    }
    lua_State *co = s->idle;
    lua_rawgeti(co, LUA_REGISTRYINDEX, function);
    return co;
}

static void drop_coroutine(struct script *s)
{
    luaL_unref(s->L, LUA_REGISTRYINDEX, s->idle_ref);
    s->idle = NULL;
    s->idle_ref = LUA_NOREF;
}

static void log_failure(const char *what, const char *source, const struct request *req,
                        const char *text)
{
    char id[17] = "-";
    if (req != NULL)
        request_id_text(req->id, id);
    log_error("%s (%s): %s; request %s", what, source, text, id);
}

/* Runs what `enter` pushed with nargs arguments behind it. On SCRIPT_DONE the results are on co's
 * stack: take them, then call `leave`. */
static enum script_result run(struct script *s, lua_State *co, int nargs, const char *what,
                              const char *source, const struct request *req)
{
    int status = lua_resume(co, nargs);
    if (status == 0)
        return SCRIPT_DONE;
    if (status == LUA_YIELD) {
        lua_settop(co, 0);
        lua_pushliteral(co, "coroutine.yield outside of a coroutine of the script's own");
    }
    const char *message = lua_tostring(co, -1);
    luaL_traceback(s->L, co, message != NULL ? message : "an error that is not a string", 0);
    log_failure(what, source, req, lua_tostring(s->L, -1));
    lua_pop(s->L, 1);
    drop_coroutine(s);
    return SCRIPT_FAILED;
}

static void leave(lua_State *co)
{
    lua_settop(co, 0);
}

/* --- hooks --- */

enum script_result script_notify(struct script *s, enum script_hook hook)
{
    if (!script_has(s, hook))
        return SCRIPT_DONE;
    lua_State *co = enter(s, s->hooks[hook]);
    enum script_result result = run(s, co, 0, hook_names[hook], s->sources[hook], NULL);
    if (result == SCRIPT_DONE)
        leave(co);
    return result;
}

/* Pushes the request's box onto co, made at the first hook. */
static void push_box(struct script *s, lua_State *co, struct request *req, struct script_call *call)
{
    if (call->box != NULL) {
        lua_rawgeti(co, LUA_REGISTRYINDEX, call->ref);
        return;
    }
    call->box = script_push_request(co, req);
    call->ref = LUA_NOREF;
    if (s->keep_box) {
        lua_pushvalue(co, -1);
        call->ref = luaL_ref(co, LUA_REGISTRYINDEX);
    }
}

void script_end(struct script *s, struct script_call *call)
{
    if (call->box == NULL)
        return;
    call->box->req = NULL;
    call->box = NULL;
    luaL_unref(s->L, LUA_REGISTRYINDEX, call->ref);
}

/* Nothing anchors a box that no later hook wants: it is emptied at once. */
static void release_box(struct script *s, struct script_call *call)
{
    if (!s->keep_box)
        script_end(s, call);
}

const char *script_rule(struct script *s, struct request *req)
{
    lua_State *L = s->L;
    int top = lua_gettop(L);
    const char *rule = s->sources[HOOK_REQUEST];
    if (library_function(L, "moongate.decision", "rule") == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        lua_getfield(L, -1, "hooks_original");
        lua_getfield(L, -1, "on_request");
        lua_replace(L, -3);
        lua_pop(L, 1);
        struct script_box *box = script_push_request(L, req);
        lua_pushvalue(L, -1); /* keeps the box while the call goes on */
        lua_insert(L, top + 1);
        if (lua_pcall(L, 2, 1, 0) == 0 && lua_isstring(L, -1))
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
    if (library_function(L, "moongate.decision", "problem") == 0) {
        lua_pushvalue(co, 1);
        lua_xmove(co, L, 1);
        if (lua_pcall(L, 1, 1, 0) == 0 && lua_isstring(L, -1))
            text = lua_tostring(L, -1);
    }
    char id[17];
    request_id_text(req->id, id);
    log_error("%s: %s returned a decision that can't be used: %s; request %s", where,
              hook_names[hook], text, id);
    lua_settop(L, top);
}

static enum script_result take_decision(struct script *s, lua_State *co, enum script_hook hook,
                                        struct request *req)
{
    lua_settop(co, 3);
    const char *reason = script_decision(co, 1, 2, 3, req, &s->settings);
    if (reason != NULL)
        log_problem(s, co, hook, req, reason);
    leave(co);
    return reason == NULL ? SCRIPT_DONE : SCRIPT_FAILED;
}

enum script_result script_request(struct script *s, struct request *req, struct script_call *call)
{
    lua_State *co = enter(s, s->hooks[HOOK_REQUEST]);
    push_box(s, co, req, call);
    enum script_result result =
        run(s, co, 1, hook_names[HOOK_REQUEST], s->sources[HOOK_REQUEST], req);
    if (result == SCRIPT_DONE)
        result = take_decision(s, co, HOOK_REQUEST, req);
    release_box(s, call);
    return result;
}

enum script_result script_params(struct script *s, struct request *req, struct script_call *call,
                                 struct params *params)
{
    lua_State *co = enter(s, s->hooks[HOOK_PARAMS]);
    push_box(s, co, req, call);
    script_push_params(co, req, params);
    lua_pushvalue(co, -1);
    lua_xmove(co, s->L, 1); /* a copy outside, to close it whatever the hook leaves behind */
    enum script_result result =
        run(s, co, 2, hook_names[HOOK_PARAMS], s->sources[HOOK_PARAMS], req);
    if (result == SCRIPT_DONE)
        leave(co);
    script_close_view(s->L, -1);
    lua_pop(s->L, 1);
    return result;
}

enum script_result script_response(struct script *s, struct request *req, struct script_call *call,
                                   bool *replaced)
{
    *replaced = false;
    lua_State *co = enter(s, s->hooks[HOOK_RESPONSE]);
    push_box(s, co, req, call);
    script_push_response(co, req);
    lua_pushvalue(co, -1);
    lua_xmove(co, s->L, 1);
    enum script_result result =
        run(s, co, 2, hook_names[HOOK_RESPONSE], s->sources[HOOK_RESPONSE], req);
    script_close_view(s->L, -1);
    lua_pop(s->L, 1);
    if (result != SCRIPT_DONE)
        return result;
    if (lua_isnoneornil(co, 1)) {
        leave(co);
        return SCRIPT_DONE;
    }
    *replaced = true;
    return take_decision(s, co, HOOK_RESPONSE, req);
}

/* Calls a function of (req, log) that may return a line. */
static enum script_result line_of(struct script *s, int function, const char *what,
                                  const char *source, struct request *req, struct script_call *call,
                                  struct str *line)
{
    *line = STR_NONE;
    lua_State *co = enter(s, function);
    push_box(s, co, req, call);
    script_push_log(co, req);
    enum script_result result = run(s, co, 2, what, source, req);
    if (result != SCRIPT_DONE)
        return result;
    if (lua_gettop(co) > 0) {
        if (lua_type(co, 1) == LUA_TSTRING)
            *line = arena_printf(&req->arena, "%s\n", lua_tostring(co, 1));
        else if (lua_isboolean(co, 1) && !lua_toboolean(co, 1))
            *line = STR("");
    }
    leave(co);
    return SCRIPT_DONE;
}

enum script_result script_log(struct script *s, struct request *req, struct script_call *call,
                              struct str *line)
{
    return line_of(s, s->hooks[HOOK_LOG], hook_names[HOOK_LOG], s->sources[HOOK_LOG], req, call,
                   line);
}

enum script_result script_format(struct script *s, struct request *req, struct script_call *call,
                                 struct str *line)
{
    return line_of(s, s->format, "log.format", "a function", req, call, line);
}

/* --- the command line --- */

int script_main(int argc, char **argv)
{
    lua_State *L = script_state_new();
    int status = 1;
    lua_pushcfunction(L, traceback);
    if (library_function(L, "moongate.cli", "main") == 0) {
        lua_createtable(L, argc, 0);
        for (int i = 1; i < argc; i++) {
            lua_pushstring(L, argv[i]);
            lua_rawseti(L, -2, i);
        }
        if (lua_pcall(L, 1, 1, 1) == 0 && lua_isnumber(L, -1)) {
            status = (int)lua_tointeger(L, -1);
            lua_close(L);
            return status;
        }
    }
    const char *text = lua_tostring(L, -1);
    dprintf(STDERR_FILENO, "moongate: %s\n", text != NULL ? text : "no exit status");
    lua_close(L);
    return status;
}

/*
 * script - see script.h. This file: the state, the route, the door.
 *
 * The registry anchors everything that C holds: the hooks, the normalised settings, the pool of
 * coroutines. A finished coroutine is used again; one that failed is dropped.
 */
#include "script/task.h"

#include "base/log.h"
#include "script/repeats.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIBRARY_FOLDER "lua/moongate/" /* the library's chunks are called by their files */
#define SNAPSHOT_FILE  (16 << 20)      /* a larger one is read from the disk */
#define ERROR_TEXT     4000            /* bytes of an error that the log has room for */

struct script_module {
    const char *name;
    const char *code;
    size_t size;
};

/* The library as bytecode, made by the Makefile; ends with a NULL name. */
extern const struct script_module script_modules[];

const char *const script_hook_names[HOOK_COUNT] = {
    "on_start", "on_request", "on_params", "on_balance", "on_response",
    "on_error", "on_stderr",  "on_log",    "on_stop",
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

/* All that a script does is done behind a door; this is for what nobody has thought of. */
static int on_panic(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no text";
    log_error("an error of Lua that nobody handles ends this process: %s", text);
    return 0;
}

/* All workers draw other numbers, and other ones after each reload. */
static void seed_random(lua_State *L)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        abort();
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_pushnumber(L, (double)(seed >> 11)); /* as many bits as it holds */
    lua_call(L, 1, 0);
    lua_pop(L, 1);
}

static const struct script_library *library;

void script_use_library(const struct script_library *added)
{
    library = added;
}

void script_open_library(lua_State *L)
{
    if (library != NULL)
        library->open(L);
}

lua_State *script_state_new(void)
{
    lua_State *L = luaL_newstate();
    if (L == NULL)
        abort();
    lua_atpanic(L, on_panic);
    script_nesting_init();
    luaL_openlibs(L);
    if (script_is_alone()) /* compiled code hears of no limit; here it is only looked at */
        luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
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
    script_views_open(L);
    script_log_open(L);
    seed_random(L);
    if (script_library_function(L, "moongate.route.guard", "keep_state") != 0 ||
        lua_pcall(L, 0, 0, 0) != 0) {
        log_error("moongate.route.guard: %s", lua_tostring(L, -1));
        abort();
    }
    return L;
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
int script_library_function(lua_State *L, const char *module, const char *name)
{
    lua_pushcfunction(L, push_function);
    lua_pushstring(L, module);
    lua_pushstring(L, name);
    return lua_pcall(L, 2, 1, 0);
}

/* --- what was raised --- */

/* A call in tail position leaves no trace of the script's line: where the message then names the
 * library's, that helps nobody. The hook's own place stands before it. */
static const char *without_place(const char *message)
{
    size_t n = strcspn(message, ": ");
    bool library = strncmp(message, LIBRARY_FOLDER, sizeof LIBRARY_FOLDER - 1) == 0;
    if (!library || message[n] != ':')
        return message;
    size_t digits = strspn(message + n + 1, "0123456789");
    const char *rest = message + n + 1 + digits;
    return digits > 0 && rest[0] == ':' && rest[1] == ' ' ? rest + 2 : message;
}

/* Pushes the error at idx as text: a script may raise a table that knows how it reads, or
 * megabytes.
 */
static const char *push_error_text(lua_State *L, int idx)
{
    struct str text = script_str(L, idx); /* a number becomes one */
    if (text.p == NULL && luaL_callmeta(L, idx, "__tostring"))
        text = script_str(L, -1);
    if (text.p == NULL)
        return lua_pushfstring(L, "an error that is no text but a %s", luaL_typename(L, idx));
    lua_pushlstring(L, text.p, text.n < ERROR_TEXT ? text.n : ERROR_TEXT);
    if (text.n > ERROR_TEXT) {
        lua_pushliteral(L, "...");
        lua_concat(L, 2);
    }
    return lua_tostring(L, -1);
}

struct script_failure {
    lua_State *co;
    int status;
    const struct script_cause *cause;
};

/* What the status says where the error itself is not there, or can't be shown. */
static const char *failure_text(int status)
{
    switch (status) {
    case LUA_YIELD:
        return "coroutine.yield outside of a coroutine of the script's own";
    case LUA_ERRMEM:
        return "not enough memory";
    case LUA_ERRERR:
        return "an error within an error";
    default:
        return "an error whose __tostring has failed";
    }
}

static void log_failure(struct script *s, const struct script_cause *cause, const char *message,
                        const char *trace)
{
    snprintf(s->failure, sizeof s->failure, "%s (%s): %s", cause->what, cause->source, message);
    script_log_misuse(cause->what, cause->source, cause->req, trace);
}

/* 1: what was raised. Upvalue: the script. */
static int report_failure(lua_State *L)
{
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    const struct script_failure *f = s->failing;
    bool raised = f->status != LUA_YIELD && f->status != LUA_ERRMEM;
    const char *message = raised ? without_place(push_error_text(L, 1)) : failure_text(f->status);
    const char *trace = message;
    if (f->co != s->L) {
        luaL_traceback(L, f->co, message, 0);
        trace = lua_tostring(L, -1);
    }
    log_failure(s, f->cause, message, trace);
    return 0;
}

/* Allocates nothing itself: it is called outside of the door, too. */
void script_log_failure(struct script *s, lua_State *co, int status,
                        const struct script_cause *cause)
{
    lua_State *L = s->L;
    struct script_failure f = {co, status, cause};
    int top = lua_gettop(L);
    lua_sethook(L, NULL, 0, 0); /* of on_timeout: the report has to pass */
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->report);
    if (co == L)
        lua_pushvalue(L, top);
    else if (status == LUA_YIELD)
        lua_pushnil(L);
    else
        lua_xmove(co, L, 1);
    s->failing = &f;
    int reported = lua_pcall(L, 1, 0, 0);
    s->failing = NULL;
    if (reported != 0)
        log_failure(s, cause, failure_text(status), failure_text(status));
    lua_settop(L, top);
}

/* --- the door --- */

struct script_body {
    void (*run)(struct script *s, void *ctx);
    void *ctx;
};

/* Upvalue: the script. */
static int script_door(lua_State *L)
{
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    s->body->run(s, s->body->ctx);
    return 0;
}

static void open_door(struct script *s)
{
    lua_pushlightuserdata(s->L, s);
    lua_pushcclosure(s->L, script_door, 1);
    s->door = luaL_ref(s->L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(s->L, s);
    lua_pushcclosure(s->L, report_failure, 1);
    s->report = luaL_ref(s->L, LUA_REGISTRYINDEX);
}

/* Runs the body as script_guard does, but leaves the error on the stack. */
static int pass_door(struct script *s, struct script_body *body)
{
    struct script_body *before = s->body;
    s->body = body;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->door);
    int status = lua_pcall(s->L, 0, 0, 0);
    s->body = before;
    return status;
}

bool script_guard(struct script *s, const struct script_cause *cause,
                  void (*run)(struct script *s, void *ctx), void *ctx)
{
    struct script_body body = {run, ctx};
    bool outer = !cause->untimed && script_begin_run(s->L, cause->what, cause->source);
    if (outer)
        script_run_is_for(cause->req);
    int status = pass_door(s, &body);
    if (status != 0) {
        script_log_failure(s, s->L, status, cause);
        lua_pop(s->L, 1);
    }
    if (outer)
        script_end_run(s->L);
    else if (cause->untimed)
        lua_sethook(s->L, NULL, 0, 0); /* what it has set while it was loaded */
    return status == 0;
}

lua_State *script_enter(struct script *s, int nargs)
{
    if (s->idle == NULL) {
        s->idle = lua_newthread(s->L);
        s->idle_ref = luaL_ref(s->L, LUA_REGISTRYINDEX);
    }
    lua_settop(s->idle, 0);
    lua_xmove(s->L, s->idle, nargs + 1);
    return s->idle;
}

void script_take_results(struct script *s, lua_State *co, int results)
{
    lua_settop(co, results);
    lua_xmove(co, s->L, results);
}

void script_drop_coroutine(struct script *s)
{
    luaL_unref(s->L, LUA_REGISTRYINDEX, s->idle_ref);
    s->idle = NULL;
    s->idle_ref = LUA_NOREF;
}

void script_log_misuse(const char *what, const char *source, const struct request *req,
                       const char *text)
{
    static struct log_quota quota = {.most = LOG_MOST};
    char name[REQUEST_NAME_SIZE] = "request -";
    if (req == NULL && script_is_repeated(what, text))
        return;
    if (req == NULL)
        log_error("%s (%s): %s; %s", what, source, text, name);
    else
        log_within(&quota, LOG_ERROR, "%s (%s): %s; %.*s %.*s, %s", what, source, text,
                   STR_FMT(req->method), STR_FMT(req->uri.origin), request_name(req, name));
}

int script_finalizer_failed(lua_State *L)
{
    script_log_misuse("a finalizer", "__gc", NULL, push_error_text(L, 1));
    return 0;
}

int script_fail(lua_State *L, const char *reason)
{
    lua_pushnil(L);
    lua_pushstring(L, reason);
    return 2;
}

/* --- misuse --- */

/* The beginning of a text, on one line. */
static const char *describe_text(lua_State *L, struct str s)
{
    char shown[61];
    size_t n = s.n > 60 ? 57 : s.n;
    for (size_t i = 0; i < n; i++)
        shown[i] = (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i];
    shown[n] = '\0';
    return lua_pushfstring(L, s.n > 60 ? "\"%s...\"" : "\"%s\"", shown);
}

const char *script_describe(lua_State *L, int idx)
{
    switch (lua_type(L, idx)) {
    case LUA_TNONE:
    case LUA_TNIL:
        return lua_pushliteral(L, "nothing"), lua_tostring(L, -1);
    case LUA_TBOOLEAN:
        return lua_pushstring(L, lua_toboolean(L, idx) ? "true" : "false"), lua_tostring(L, -1);
    case LUA_TNUMBER:
        lua_pushvalue(L, idx);
        return lua_tostring(L, -1);
    case LUA_TSTRING:
        return describe_text(L, script_str(L, idx));
    default:
        return lua_pushfstring(L, "a %s", luaL_typename(L, idx));
    }
}

struct str script_expect_text(lua_State *L, int idx, const char *what)
{
    if (lua_type(L, idx) != LUA_TSTRING)
        luaL_error(L, "%s, got %s", what, script_describe(L, idx));
    return script_str(L, idx);
}

int script_refuse_assignment(lua_State *L, const char *what, const char *why)
{
    const char *format = lua_type(L, 2) == LUA_TSTRING ? "%s.%s" : "%s[%s]";
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : script_describe(L, 2);
    const char *place = lua_pushfstring(L, format, what, key);
    return luaL_error(L, "%s can't be assigned: %s", place, why);
}

/* --- loading --- */

static char *script_take_message(lua_State *L)
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

/* The library loads from the snapshot, where there is one. */
static int use_snapshot(lua_State *L, int fd)
{
    struct stat st;
    int status = script_library_function(L, "moongate.route.sources", "take_snapshot");
    if (status != 0)
        return status;
    char *text = fd > 0 && fstat(fd, &st) == 0 ? malloc((size_t)st.st_size + 1) : NULL;
    ssize_t n = text != NULL ? pread(fd, text, (size_t)st.st_size, 0) : -1;
    if (n > 0)
        lua_pushlstring(L, text, (size_t)n);
    else
        lua_pushnil(L);
    free(text);
    return lua_pcall(L, 1, 0, 0);
}

static bool copy_file(const char *path, int fd)
{
    struct stat st;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    bool good = from >= 0 && fstat(from, &st) == 0 && st.st_size <= SNAPSHOT_FILE;
    char *text = good ? malloc((size_t)st.st_size + 1) : NULL;
    ssize_t n = text != NULL ? read(from, text, (size_t)st.st_size) : -1;
    if (n >= 0)
        good = dprintf(fd, "%zd %s\n", n, path) > 0 && write(fd, text, (size_t)n) == n;
    free(text);
    if (from >= 0)
        close(from);
    return good; /* a file that can't be read is left out: the disk counts */
}

/* Leaves the normalised table on the stack, or a message. */
static int load_route(lua_State *L, const struct route *route)
{
    int status = use_snapshot(L, route->snapshot);
    if (status != 0)
        return status;
    status =
        script_library_function(L, "moongate.route.load", route->path != NULL ? "route" : "source");
    if (status != 0)
        return status;
    lua_pushstring(L, route->path != NULL ? route->path : route->source);
    if (route->path == NULL)
        lua_pushstring(L, route->name);
    status = push_overrides(L, route->overrides);
    if (status != 0)
        return status;
    bool outer = script_begin_loading(L, route->path != NULL ? route->path : route->name);
    status = lua_pcall(L, route->path != NULL ? 2 : 3, 1, 0);
    if (outer)
        script_end_run(L);
    return status;
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
        s->hooks[i] = field_ref(L, top + 1, script_hook_names[i]);
        lua_getfield(L, top + 2, script_hook_names[i]);
        s->sources[i] = lua_isstring(L, -1) ? lua_tostring(L, -1) : "?";
        lua_pop(L, 1);
    }
    lua_getfield(L, top, "log");
    s->format = field_ref(L, lua_gettop(L), "format");
    lua_settop(L, top);
    s->picks = calloc(s->settings.backend_count + 1, sizeof *s->picks);
    if (s->picks == NULL)
        abort();
    lua_getfield(L, top, "backends");
    for (unsigned i = 0; i < s->settings.backend_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        s->picks[i] = field_ref(L, lua_gettop(L), "pick");
        lua_pop(L, 1);
    }
    lua_settop(L, top);
    s->keep_box = s->hooks[HOOK_PARAMS] != LUA_NOREF || s->hooks[HOOK_RESPONSE] != LUA_NOREF ||
                  s->hooks[HOOK_LOG] != LUA_NOREF || s->hooks[HOOK_BALANCE] != LUA_NOREF ||
                  s->hooks[HOOK_ERROR] != LUA_NOREF || s->hooks[HOOK_STDERR] != LUA_NOREF ||
                  s->format != LUA_NOREF;
}

/* What holds the boxes of requests, and the views that hooks get. */
static void make_views(struct script *s)
{
    lua_State *L = s->L;
    s->params = script_push_params(L);
    s->params_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    s->response = script_push_response(L);
    s->response_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    s->log = script_push_log(L);
    s->log_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static char *failed_files;

const char *script_failed_files(void)
{
    return failed_files != NULL ? failed_files : "";
}

/* A line for the path on top of the stack, which lies on the list of them: as in the report. */
static void keep_file(lua_State *L, struct buf *lines)
{
    lua_getfield(L, -2, lua_tostring(L, -1));
    const char *stamp = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    buf_printf(lines, "file\t%s %s\n", stamp, lua_tostring(L, -2));
    lua_pop(L, 1);
}

/* Keeps what moongate.route.load.files says; ctx: the lines. */
static void keep_files(struct script *s, void *ctx)
{
    lua_State *L = s->L;
    if (script_library_function(L, "moongate.route.load", "files") != 0 || !lua_istable(L, -1))
        return;
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (lua_type(L, -1) == LUA_TSTRING)
            keep_file(L, ctx);
        lua_pop(L, 1);
    }
}

/* What has no hook around it. Whoever waits for it knows how long. */
static const struct script_cause loading = {
    .what = "the script", .source = "while it is loaded", .untimed = true};

static void keep_failed_files(struct script *s)
{
    struct buf lines;
    buf_init(&lines, 1u << 20);
    free(failed_files);
    script_guard(s, &loading, keep_files, &lines);
    buf_append(&lines, "", 1);
    failed_files = lines.data;
}

struct load {
    const struct route *route;
    char *err;
};

static void load_body(struct script *s, void *ctx)
{
    struct load *load = ctx;
    lua_State *L = s->L;
    lua_pushlightuserdata(L, s);
    lua_setfield(L, LUA_REGISTRYINDEX, SCRIPT_KEY);
    s->anchors = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(s->anchors);
    if (script_library_function(L, "moongate.route.guard", "keep_process") != 0)
        lua_error(L);
    lua_call(L, 0, 0);
    if (load_route(L, load->route) != 0) {
        load->err = script_take_message(L);
        return;
    }
    const char *reason = script_read_settings(L, lua_gettop(L), &s->settings);
    if (reason != NULL) {
        load->err = strdup(reason);
        return;
    }
    find_hooks(s);
    make_views(s);
    if (!script_balance_open(s)) {
        load->err = script_take_message(L);
        return;
    }
    s->normalised = luaL_ref(L, LUA_REGISTRYINDEX);
}

struct script *script_new(const struct route *route, char **err)
{
    struct script *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->L = script_state_new();
    s->normalised = s->idle_ref = LUA_NOREF;
    arena_init(&s->settings.arena, NULL, 0);
    open_door(s);
    struct load load = {.route = route};
    if (!script_guard(s, &loading, load_body, &load) && load.err == NULL)
        load.err = strdup(s->failure);
    if (load.err == NULL)
        return s;
    *err = load.err;
    keep_failed_files(s);
    script_free(s);
    return NULL;
}

/* --- its life --- */

static void script_nothing(void *ctx)
{
    (void)ctx;
}

void script_set_loop(struct script *s, struct loop *loop, void (*hold)(void *ctx),
                     void (*drop)(void *ctx))
{
    s->loop = loop;
    script_repeats_use(loop->ev);
    s->hold = hold;
    s->drop = drop;
}

void script_retire(struct script *s)
{
    script_timers_stop(s);
    if (library != NULL)
        library->retire(s);
}

void script_end_tasks(struct script *s)
{
    script_timers_end(s);
    script_tasks_cancel(s, true);
}

void script_stop(struct script *s)
{
    s->drop = s->hold = script_nothing;
    script_tasks_cancel(s, false);
    script_timers_free(s);
}

/* Calls all finalizers of the script, too. */
static void close_state(struct script *s)
{
    static const struct script_cause cause = {.what = "a finalizer", .source = "at the end"};
    bool outer = script_begin_run(s->L, cause.what, cause.source);
    lua_close(s->L);
    if (outer)
        script_end_run(NULL);
}

void script_free(struct script *s)
{
    if (s == NULL)
        return;
    script_stop(s);
    s->loop = NULL; /* what the garbage collector still calls finds no server (script_of) */
    s->world = (struct script_world){.ctx = NULL};
    close_state(s);
    if (library != NULL)
        library->free(s);
    arena_fini(&s->settings.arena);
    free(s->picks);
    free(s->free_places);
    free(s->seen);
    free(s);
}

const struct settings *script_settings(const struct script *s)
{
    return &s->settings;
}

struct snapshot {
    int fd;
    bool good;
};

static void snapshot_body(struct script *s, void *ctx)
{
    struct snapshot *snapshot = ctx;
    lua_State *L = s->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
    lua_getfield(L, -1, "files");
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (access(lua_tostring(L, -1), R_OK) == 0)
            snapshot->good = copy_file(lua_tostring(L, -1), snapshot->fd) && snapshot->good;
        lua_pop(L, 1);
    }
}

bool script_snapshot(struct script *s, int fd)
{
    struct snapshot snapshot = {fd, true};
    return script_guard(s, &loading, snapshot_body, &snapshot) && snapshot.good;
}

struct question {
    const char *module;
    const char *function; /* called with the normalised table, and */
    const char *ini;      /* a text, or nil */
    char *answer;         /* malloc'd; NULL: it was nil */
    bool failed;          /* the answer is the error */
    bool specs;           /* it runs them */
};

static void ask_library(struct script *s, void *ctx)
{
    struct question *q = ctx;
    lua_State *L = s->L;
    q->failed = script_library_function(L, q->module, q->function) != 0;
    if (!q->failed) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        lua_pushstring(L, q->ini); /* NULL: nil */
        bool outer = q->specs && script_begin_specs(L);
        q->failed = lua_pcall(L, 2, 1, 0) != 0;
        if (outer)
            script_end_run(L);
    }
    if (!lua_isnil(L, -1))
        q->answer = script_take_message(L);
}

char *script_report(struct script *s, const char *ini)
{
    struct question q = {.module = "moongate.route.load", .function = "loader_report", .ini = ini};
    if (!script_guard(s, &loading, ask_library, &q))
        return NULL;
    if (!q.failed)
        return q.answer;
    log_error("%s", q.answer);
    free(q.answer);
    return NULL;
}

char *script_check_tests(struct script *s)
{
    struct question q = {.module = "moongate.testing.specs", .function = "check", .specs = true};
    return script_guard(s, &loading, ask_library, &q) ? q.answer : strdup(s->failure);
}

size_t script_memory(const struct script *s)
{
    return (size_t)lua_gc(s->L, LUA_GCCOUNT, 0) * 1024;
}

bool script_has(const struct script *s, enum script_hook hook)
{
    return s->hooks[hook] != LUA_NOREF;
}

/* --- running --- */

enum script_result script_run(struct script *s, int nargs, int results,
                              const struct script_cause *cause)
{
    lua_State *co = script_enter(s, nargs);
    int status = lua_resume(co, nargs);
    if (status == 0) {
        script_take_results(s, co, results);
        return SCRIPT_DONE;
    }
    script_log_failure(s, co, status, cause);
    script_drop_coroutine(s);
    return SCRIPT_FAILED;
}

const char *script_failure(const struct script *s)
{
    return s->failure;
}

/* Of a hook. */
struct script_cause script_hook_cause(const struct script *s, enum script_hook hook,
                                      const struct request *req)
{
    return (struct script_cause){script_hook_names[hook], s->sources[hook], req, false};
}

struct notice {
    enum script_hook hook;
    enum script_result result;
};

static void notify_body(struct script *s, void *ctx)
{
    struct notice *n = ctx;
    const struct script_cause cause = script_hook_cause(s, n->hook, NULL);
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks[n->hook]);
    n->result = script_run(s, 0, 0, &cause);
}

enum script_result script_notify(struct script *s, enum script_hook hook)
{
    struct notice notice = {.hook = hook};
    const struct script_cause cause = script_hook_cause(s, hook, NULL);
    s->stopping = hook == HOOK_STOP;
    if (!script_has(s, hook))
        return SCRIPT_DONE;
    return script_guard(s, &cause, notify_body, &notice) ? notice.result : SCRIPT_FAILED;
}

static void start_done(void *ctx, enum script_result result)
{
    struct script *s = ctx;
    s->started(s->started_ctx, result);
}

static void start_body(struct script *s, void *ctx)
{
    struct script_task *task;
    const struct script_run run = {
        .cause = script_hook_cause(s, HOOK_START, NULL), .done = start_done, .ctx = s};
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->hooks[HOOK_START]);
    *(enum script_result *)ctx = script_run_waiting(s, 0, &run, &task);
}

enum script_result script_start(struct script *s,
                                void (*started)(void *ctx, enum script_result result), void *ctx)
{
    enum script_result result = SCRIPT_FAILED;
    const struct script_cause cause = script_hook_cause(s, HOOK_START, NULL);
    if (!script_has(s, HOOK_START))
        return SCRIPT_DONE;
    s->started = started;
    s->started_ctx = ctx;
    return script_guard(s, &cause, start_body, &result) ? result : SCRIPT_FAILED;
}

/*
 * script - see script.h. This file: the state, the route, the door.
 *
 * The registry anchors everything that C holds: the hooks, the normalised settings, the pool of
 * coroutines. A finished coroutine is used again; one that failed is dropped.
 */
#include "script_net.h"

#include "log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define LIBRARY_FOLDER "lua/moongate/" /* the library's chunks are called by their files */
#define SNAPSHOT_FILE  (16 << 20)      /* a larger one is read from the disk */

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

#define PLACE_SIZE 512
#define TOO_LONG   "script_timeout: it has run for too long without an end"
#define SPECS      50.0 /* seconds that the specs of a reload may take: the master gives it 60 */

/* What the signal's handler looks at. One hook runs at a time; where the library calls one from
 * inside another, the outer one counts. */
static struct {
    uint64_t *beat;
    char *stuck;
    size_t stuck_size;
    lua_State *volatile running; /* NULL: none */
    const char *volatile what, *volatile source;
    volatile bool stopped;
    char place[PLACE_SIZE]; /* where it was stopped first: what it raises later says the same */
    const char *volatile why;
    /* In a process that no master looks after. */
    bool alone;
    double limit; /* seconds of a hook */
    int out;      /* where to say that nothing could stop it */
    const char *prefix;
} supervised;

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
    if (supervised.alone) /* compiled code hears of no limit; here it is only looked at */
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
int script_library_function(lua_State *L, const char *module, const char *name)
{
    lua_pushcfunction(L, push_function);
    lua_pushstring(L, module);
    lua_pushstring(L, name);
    return lua_pcall(L, 2, 1, 0);
}

/* --- loading --- */

static bool begin_run(lua_State *L, const char *what, const char *source, const char *why,
                      double limit);

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

/* The library loads from the snapshot, where there is one. */
static int use_snapshot(lua_State *L, int fd)
{
    struct stat st;
    int status = script_library_function(L, "moongate.sources", "take_snapshot");
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

bool script_snapshot(struct script *s, int fd)
{
    lua_State *L = s->L;
    int top = lua_gettop(L);
    bool good = true;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
    lua_getfield(L, -1, "files");
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        if (access(lua_tostring(L, -1), R_OK) == 0)
            good = copy_file(lua_tostring(L, -1), fd) && good;
        lua_pop(L, 1);
    }
    lua_settop(L, top);
    return good;
}

/* Leaves the normalised table on the stack, or a message. */
static int load_route(lua_State *L, const struct route *route)
{
    int status = use_snapshot(L, route->snapshot);
    if (status != 0)
        return status;
    status = script_library_function(L, "moongate.load", route->path != NULL ? "route" : "source");
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
        script_end_run();
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
    s->anchors = lua_newthread(L);
    luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(s->anchors);
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

/* Keeps what moongate.load.files says. */
static void keep_files(lua_State *L)
{
    struct buf lines;
    buf_init(&lines, 1u << 20);
    free(failed_files);
    failed_files = NULL;
    if (script_library_function(L, "moongate.load", "files") == 0 && lua_istable(L, -1)) {
        for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
            lua_rawgeti(L, -1, i);
            if (lua_type(L, -1) == LUA_TSTRING)
                keep_file(L, &lines);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    buf_append(&lines, "", 1);
    failed_files = lines.data;
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
        keep_files(s->L);
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
    make_views(s);
    if (!script_balance_open(s)) {
        *err = take_message(s->L);
        script_free(s);
        return NULL;
    }
    s->normalised = luaL_ref(s->L, LUA_REGISTRYINDEX);
    return s;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

void script_set_loop(struct script *s, struct loop *loop, void (*hold)(void *ctx),
                     void (*drop)(void *ctx))
{
    s->loop = loop;
    s->hold = hold;
    s->drop = drop;
    lua_pushlightuserdata(s->L, s);
    lua_setfield(s->L, LUA_REGISTRYINDEX, SCRIPT_KEY);
}

void script_retire(struct script *s)
{
    script_timers_stop(s);
    script_net_retire(s);
}

void script_end_tasks(struct script *s)
{
    script_timers_end(s);
    script_tasks_cancel(s, true);
}

void script_stop(struct script *s)
{
    s->drop = s->hold = nothing;
    script_tasks_cancel(s, false);
    script_timers_free(s);
}

void script_free(struct script *s)
{
    if (s == NULL)
        return;
    script_stop(s);
    lua_pushnil(s->L); /* what the garbage collector still calls finds no server (script_of) */
    lua_setfield(s->L, LUA_REGISTRYINDEX, SCRIPT_KEY);
    lua_close(s->L);
    script_net_free(s);
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

char *script_report(struct script *s, const char *ini)
{
    lua_State *L = s->L;
    if (script_library_function(L, "moongate.load", "loader_report") == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        lua_pushstring(L, ini); /* NULL: nil */
        if (lua_pcall(L, 2, 1, 0) == 0)
            return take_message(L);
    }
    log_error("%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return NULL;
}

char *script_check_tests(struct script *s)
{
    lua_State *L = s->L;
    if (script_library_function(L, "moongate.load", "check_tests") == 0) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, s->normalised);
        bool outer = supervised.alone &&
                     begin_run(L, "test", "the specs",
                               "the specs have not come to their end within 50 s", SPECS);
        int status = lua_pcall(L, 1, 1, 0);
        if (outer)
            script_end_run();
        if (status == 0 && lua_isnil(L, -1)) {
            lua_pop(L, 1);
            return NULL;
        }
    }
    return take_message(L);
}

size_t script_memory(const struct script *s)
{
    return (size_t)lua_gc(s->L, LUA_GCCOUNT, 0) * 1024;
}

bool script_has(const struct script *s, enum script_hook hook)
{
    return s->hooks[hook] != LUA_NOREF;
}

/* --- the door --- */

/* A coroutine with the function pushed. */
lua_State *script_enter(struct script *s, int function)
{
    if (s->idle == NULL) {
        s->idle = lua_newthread(s->L);
        s->idle_ref = luaL_ref(s->L, LUA_REGISTRYINDEX);
    }
    lua_State *co = s->idle;
    lua_rawgeti(co, LUA_REGISTRYINDEX, function);
    return co;
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
    char name[REQUEST_NAME_SIZE] = "request -";
    if (req == NULL)
        log_error("%s (%s): %s; %s", what, source, text, name);
    else
        log_error("%s (%s): %s; %.*s %.*s, %s", what, source, text, STR_FMT(req->method),
                  STR_FMT(req->uri.origin), request_name(req, name));
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

/* --- scripts that run too long --- */

/* The innermost place that is Lua: the event may be a call of a function in C. */
static void find_place(lua_State *L, lua_Debug *at)
{
    int level = 0;
    bool found = lua_getinfo(L, "Sl", at) != 0;
    while (found && at->currentline <= 0)
        found = lua_getstack(L, ++level, at) != 0 && lua_getinfo(L, "Sl", at) != 0;
    if (found)
        snprintf(supervised.place, PLACE_SIZE,
                 "%s:%d: ", at->source[0] == '@' ? at->source + 1 : at->short_src, at->currentline);
}

static void stop_script(lua_State *L, lua_Debug *at)
{
    if (supervised.place[0] == '\0')
        find_place(L, at);
    lua_pushstring(L, supervised.place);
    lua_pushstring(L, supervised.why);
    lua_concat(L, 2);
    lua_error(L);
}

static void write_text(int fd, const char *text)
{
    if (text != NULL && write(fd, text, strlen(text)) < 0)
        return;
}

/* Setting a hook is what may be done from a signal handler (as the lua program does at Ctrl-C). It
 * stays until the script has returned: pcall must not save it. */
static void stop_running(lua_State *L)
{
    supervised.stopped = true;
    lua_sethook(L, stop_script, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static void on_timeout(int signal)
{
    lua_State *L = supervised.running;
    (void)signal;
    if (L == NULL)
        return;
    size_t at = 0;
    const char *parts[] = {supervised.what, " (", supervised.source, ")"};
    for (int i = 0; i < 4; i++)
        for (const char *p = parts[i]; *p != '\0' && at + 1 < supervised.stuck_size; p++)
            supervised.stuck[at++] = *p;
    supervised.stuck[at] = '\0';
    stop_running(L);
}

void script_supervise(uint64_t *beat, char *stuck, size_t stuck_size, int signal)
{
    struct sigaction action = {.sa_handler = on_timeout, .sa_flags = SA_RESTART};
    supervised.alone = false;
    supervised.beat = beat;
    supervised.stuck = stuck;
    supervised.stuck_size = stuck_size;
    sigaction(signal, &action, NULL);
}

static void beat(void)
{
    if (supervised.beat != NULL)
        __atomic_store_n(supervised.beat, *supervised.beat + 1, __ATOMIC_RELAXED);
}

/* The second alarm of a run: it is in a call of C that does not return, or nothing stops it. The
 * process is of no use any more; its end is not to be waited for. */
__attribute__((noreturn)) static void give_up(void)
{
    lua_State *L = supervised.running;
    lua_Debug at;
    if (supervised.place[0] == '\0' && lua_getstack(L, 0, &at) != 0)
        find_place(L, &at);
    if (strncmp(supervised.place, LIBRARY_FOLDER, sizeof LIBRARY_FOLDER - 1) == 0)
        supervised.place[0] = '\0'; /* the script runs in a coroutine, and says nothing */
    const char *parts[] = {supervised.prefix,
                           supervised.place,
                           supervised.what,
                           " (",
                           supervised.source,
                           "): ",
                           supervised.why,
                           "; it is in a function that can't be interrupted, such as os.execute or "
                           "io.read\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        write_text(supervised.out, parts[i]);
    _exit(1);
}

static void on_alarm(int signal)
{
    lua_State *L = supervised.running;
    (void)signal;
    if (L != NULL && supervised.stopped)
        give_up();
    if (L != NULL)
        stop_running(L);
}

/* The alarm comes again: for what the first one does not stop. */
static void set_alarm(double seconds)
{
    struct timeval t = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    struct itimerval timer = {.it_value = t, .it_interval = t};
    setitimer(ITIMER_REAL, &timer, NULL);
}

void script_supervise_alone(int out, const char *prefix)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    supervised.alone = true;
    supervised.limit = SCRIPT_LOADING;
    supervised.out = out;
    supervised.prefix = prefix;
    sigaction(SIGALRM, &action, NULL);
}

void script_limit(double seconds)
{
    supervised.limit = seconds;
}

static bool begin_run(lua_State *L, const char *what, const char *source, const char *why,
                      double limit)
{
    if (supervised.running != NULL)
        return false;
    supervised.what = what;
    supervised.source = source;
    supervised.why = why;
    supervised.running = L;
    beat();
    if (supervised.alone)
        set_alarm(limit);
    return true;
}

bool script_begin_run(lua_State *L, const char *what, const char *source)
{
    return begin_run(L, what, source, TOO_LONG, supervised.limit);
}

void script_end_run(void)
{
    lua_State *L = supervised.running;
    if (supervised.alone)
        set_alarm(0);
    supervised.running = NULL;
    beat();
    if (supervised.stopped) {
        supervised.stopped = false;
        supervised.place[0] = '\0';
        lua_sethook(L, NULL, 0, 0);
    }
}

bool script_begin_loading(lua_State *L, const char *source)
{
    return supervised.alone &&
           begin_run(L, "loading", source,
                     "the script has not come to the end of its loading within 10 s",
                     SCRIPT_LOADING);
}

/* core.limited(seconds, source, fn, ...) -> true, what fn returns; or false, message. In a process
 * that no master looks after it has so many seconds, as a hook has; nil: as long as loading may
 * take. */
int script_limited(lua_State *L)
{
    const char *source = luaL_checkstring(L, 2);
    bool outer = false;
    if (lua_isnil(L, 1))
        outer = script_begin_loading(L, source);
    else if (supervised.alone)
        outer = begin_run(L, "a hook", source, TOO_LONG, luaL_checknumber(L, 1));
    int status = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0);
    if (outer)
        script_end_run();
    lua_pushboolean(L, status == 0);
    lua_replace(L, 2);
    return lua_gettop(L) - 1;
}

lua_State *script_enter_value(struct script *s, lua_State *L, int nargs)
{
    int function = lua_gettop(L) - nargs;
    if (s->idle == NULL) {
        s->idle = lua_newthread(s->L);
        s->idle_ref = luaL_ref(s->L, LUA_REGISTRYINDEX);
    }
    for (int i = function; i <= function + nargs; i++)
        lua_pushvalue(L, i);
    lua_xmove(L, s->idle, nargs + 1);
    return s->idle;
}

/* A script may raise a table that knows how it reads. */
static int to_text(lua_State *L)
{
    if (!luaL_callmeta(L, 1, "__tostring"))
        lua_pushfstring(L, "an error that is no text but a %s", luaL_typename(L, 1));
    return 1;
}

/* What was raised, as text, which is on the stack of one of them. */
static const char *error_text(struct script *s, lua_State *co, const char *what, const char *source)
{
    const char *text = lua_tostring(co, -1);
    if (text != NULL)
        return text;
    lua_State *L = s->L;
    lua_pushcfunction(L, to_text);
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
    bool outer = script_begin_run(L, what, source);
    int status = lua_pcall(L, 1, 1, 0);
    if (outer)
        script_end_run();
    text = status == 0 ? lua_tostring(L, -1) : NULL;
    return text != NULL ? text : "an error whose __tostring has failed";
}

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

void script_log_failure(struct script *s, lua_State *co, int status, const char *what,
                        const char *source, const struct request *req)
{
    if (status == LUA_YIELD) {
        lua_settop(co, 0);
        lua_pushliteral(co, "coroutine.yield outside of a coroutine of the script's own");
    }
    int top = lua_gettop(s->L);
    const char *message = without_place(error_text(s, co, what, source));
    luaL_traceback(s->L, co, message, 0);
    snprintf(s->failure, sizeof s->failure, "%s (%s): %s", what, source, message);
    script_log_misuse(what, source, req, lua_tostring(s->L, -1));
    lua_settop(s->L, top);
}

/* Runs what script_enter pushed with nargs arguments behind it. On SCRIPT_DONE the results are on
 * co's stack: take them, then call `leave`. */
enum script_result script_run(struct script *s, lua_State *co, int nargs, const char *what,
                              const char *source, const struct request *req)
{
    bool outer = script_begin_run(co, what, source);
    int status = lua_resume(co, nargs);
    if (outer)
        script_end_run();
    if (status == 0)
        return SCRIPT_DONE;
    script_log_failure(s, co, status, what, source, req);
    script_drop_coroutine(s);
    return SCRIPT_FAILED;
}

void script_leave(lua_State *co)
{
    lua_settop(co, 0);
}

const char *script_failure(const struct script *s)
{
    return s->failure;
}

enum script_result script_notify(struct script *s, enum script_hook hook)
{
    s->stopping = hook == HOOK_STOP;
    if (!script_has(s, hook))
        return SCRIPT_DONE;
    lua_State *co = script_enter(s, s->hooks[hook]);
    enum script_result result =
        script_run(s, co, 0, script_hook_names[hook], s->sources[hook], NULL);
    if (result == SCRIPT_DONE)
        script_leave(co);
    return result;
}

static void start_done(void *ctx, enum script_result result, lua_State *co)
{
    struct script *s = ctx;
    (void)co;
    s->started(s->started_ctx, result);
}

enum script_result script_start(struct script *s,
                                void (*started)(void *ctx, enum script_result result), void *ctx)
{
    struct script_task *task;
    if (!script_has(s, HOOK_START))
        return SCRIPT_DONE;
    lua_State *co = script_enter(s, s->hooks[HOOK_START]);
    const struct script_run run = {.what = script_hook_names[HOOK_START],
                                   .source = s->sources[HOOK_START],
                                   .done = start_done,
                                   .ctx = s};
    s->started = started;
    s->started_ctx = ctx;
    enum script_result result = script_run_waiting(s, co, 0, &run, &task);
    if (result == SCRIPT_DONE)
        script_leave(co);
    return result;
}

/* --- the command line --- */

int script_main(int argc, char **argv)
{
    script_supervise_alone(STDERR_FILENO, "");
    lua_State *L = script_state_new();
    int status = 1;
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, script_commands_open);
    lua_setfield(L, -2, "moongate.core.commands");
    lua_settop(L, 0);
    lua_pushcfunction(L, traceback);
    if (script_library_function(L, "moongate.cli", "main") == 0) {
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

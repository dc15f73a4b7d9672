/* limit - see limit.h. A signal sets a hook of the debug library in the running script, which
 * raises an error there. */
#include "script/limit.h"

#include "http/logline.h"
#include "script/modules.h"
#include "shm/metrics.h"
#include "shm/underway.h"

#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

#define PLACE_SIZE 512
#define RULE_SIZE  128
#define TOO_LONG   "script_timeout: it has run for too long without an end"
#define SPECS      50.0 /* seconds that the specs of a reload may take: the master gives it 60 */
#define GRACE      2.0  /* at most so many seconds from the first alarm to the second */

/* The state that the signal handlers read. One hook runs at a time; where the library calls a hook
 * inside another one, the limit is that of the outer hook. */
static struct {
    uint64_t *beat;
    char *stuck;
    size_t stuck_size;
    lua_State *volatile running; /* NULL: none */
    const char *volatile what, *volatile source;
    const struct request *volatile req; /* the request that the hook runs for; NULL: none */
    char rule[RULE_SIZE];               /* the rule that the run has entered last; "": none */
    const char *volatile finalizer;     /* FILE:LINE of the finalizer that runs; NULL: none */
    volatile bool stopped;
    /* where the run was stopped first; further errors of the run name the same place */
    char place[PLACE_SIZE];
    const char *volatile why;
    const char *(*check)(lua_State *L); /* of script_interrupt */
    /* Used only in a process without a master. */
    bool alone;
    double limit;               /* seconds of a hook */
    double granted;             /* seconds of the run that has begun */
    lua_State *volatile within; /* the coroutine in which the run is; NULL: not known */
    int out;                    /* descriptor for the line about a run that nothing could stop */
    const char *prefix;
} supervised;

static const char *limit_source_of(const lua_Debug *at)
{
    return at->source[0] == '@' ? at->source + 1 : at->short_src;
}

/* Whether a chunk is the operator's own, which is where an endless loop is mended. Chunks of this
 * program's library and of libraries that are installed system-wide are not (busted looks up each
 * global of a spec). */
static bool limit_is_own(const lua_Debug *at)
{
    static const char *const libraries[] = {SCRIPT_LIBRARY_FOLDER, "/usr/share/lua/",
                                            "/usr/local/share/lua/"};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (strncmp(limit_source_of(at), libraries[i], strlen(libraries[i])) == 0)
            return false;
    return true;
}

/* Compiled code that an allocation has failed in does not tell its line: then where its function
 * begins. */
static int limit_line(const lua_Debug *at)
{
    return at->currentline > 0 ? at->currentline : at->linedefined;
}

/* Finds the innermost place in Lua; `own`: in a chunk of the operator's own. The stack is read
 * level by level, since the hook's event may be a call of a C function. */
static void limit_find_place_in(lua_State *L, bool own, char place[PLACE_SIZE])
{
    lua_Debug at;
    for (int level = 0; place[0] == '\0' && lua_getstack(L, level, &at) != 0; level++)
        if (lua_getinfo(L, "Sl", &at) != 0 && limit_line(&at) > 0 && (!own || limit_is_own(&at)))
            snprintf(place, PLACE_SIZE, "%s:%d: ", limit_source_of(&at), limit_line(&at));
}

static void limit_find_place(lua_State *L, bool own)
{
    limit_find_place_in(L, own, supervised.place);
}

const char *script_place(lua_State *L)
{
    static char place[PLACE_SIZE];
    place[0] = '\0';
    limit_find_place_in(L, true, place);
    limit_find_place_in(L, false, place);
    return place;
}

static void limit_stop_script(lua_State *L, lua_Debug *at)
{
    (void)at;
    limit_find_place(L, true);
    limit_find_place(L, false);
    lua_pushstring(L, supervised.place);
    lua_pushstring(L, supervised.why);
    lua_concat(L, 2);
    lua_error(L);
}

static void limit_write_text(int fd, const char *text)
{
    if (text != NULL && write(fd, text, strlen(text)) < 0)
        return;
}

/* Stops the script with a hook, since lua_sethook may be called from a signal handler (as the lua
 * program does at Ctrl-C). The hook stays until the script has returned, so that a pcall of the
 * script can't continue the run. */
static void limit_stop_running(lua_State *L)
{
    if (!supervised.stopped) /* the counter is written only here */
        metrics_add(&metrics_own->run[metrics_own->running].timeouts, 1);
    supervised.stopped = true;
    lua_sethook(L, limit_stop_script, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* The hook of script_interrupt, which the time's own has replaced where that has run out meanwhile.
 */
static void limit_interrupted(lua_State *L, lua_Debug *at)
{
    (void)at;
    lua_sethook(L, NULL, 0, 0);
    if (supervised.stopped) {
        limit_stop_running(L);
        return;
    }
    const char *why = supervised.check(L);
    if (why == NULL)
        return;
    lua_pushstring(L, script_place(L));
    lua_pushstring(L, why);
    lua_concat(L, 2);
    lua_error(L);
}

void script_interrupt(lua_State *L, const char *(*check)(lua_State *L))
{
    if (supervised.running == NULL || supervised.stopped)
        return;
    supervised.check = check;
    lua_sethook(L, limit_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* Writes the running hook and its request to the board, where the master finds them if the worker
 * ends. */
static void limit_describe_running(void)
{
    char name[LOG_ABOUT_SIZE];
    struct log_about about;
    const struct request *req = supervised.req;
    int n = snprintf(supervised.stuck, supervised.stuck_size, "%s (%s)%s%.*s%s", supervised.what,
                     supervised.source, supervised.rule[0] != '\0' ? ", rule " : "", RULE_SIZE - 1,
                     supervised.rule, supervised.rule[0] != '\0' ? "," : "");
    if (req != NULL && n > 0 && (size_t)n < supervised.stuck_size) {
        logline_about(req, &about);
        log_about_text(&about, name);
        snprintf(supervised.stuck + n, supervised.stuck_size - (size_t)n, " for %s", name);
    }
    if (supervised.finalizer != NULL && n > 0) {
        size_t used = strlen(supervised.stuck);
        snprintf(supervised.stuck + used, supervised.stuck_size - used, ", in the finalizer of %s",
                 supervised.finalizer);
    }
}

static void limit_on_timeout(int signal)
{
    lua_State *L = supervised.running;
    (void)signal;
    if (L == NULL)
        return;
    limit_describe_running();
    limit_stop_running(L);
}

/* Describes the running hook for the master. The process then ends by the signal, as it would
 * without the handler. */
static void limit_on_crash(int signal)
{
    if (supervised.running != NULL)
        limit_describe_running();
    raise(signal);
}

/* Installs the handlers of crashes, unless a sanitizer has its own. They run on a stack of their
 * own, since a crash may have used up the other. */
static void limit_watch_for_crashes(void)
{
    static char memory[65536];
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    const stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
    struct sigaction action = {.sa_handler = limit_on_crash,
                               .sa_flags = (int)(SA_ONSTACK | SA_RESETHAND | SA_NODEFER)};
    struct sigaction before;
    if (sigaltstack(&stack, NULL) != 0)
        return;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
}

void script_supervise(uint64_t *beat, char *stuck, size_t stuck_size, int signal)
{
    struct sigaction action = {.sa_handler = limit_on_timeout, .sa_flags = SA_RESTART};
    supervised.alone = false;
    supervised.beat = beat;
    supervised.stuck = stuck;
    supervised.stuck_size = stuck_size;
    sigaction(signal, &action, NULL);
    limit_watch_for_crashes();
}

static void limit_beat(void)
{
    if (supervised.beat != NULL)
        __atomic_store_n(supervised.beat, *supervised.beat + 1, __ATOMIC_RELAXED);
}

/* Ends the process at the second alarm of a run, which hangs in a call of C or catches each error.
 * Exit handlers are left out, since they could hang as well. */
__attribute__((noreturn)) static void limit_give_up(void)
{
    if (supervised.within != NULL && supervised.finalizer == NULL)
        limit_find_place(supervised.within, true);
    if (supervised.finalizer == NULL) /* the place inside a finalizer isn't known */
        limit_find_place(supervised.running, true);
    else if (supervised.place[0] == '\0')
        snprintf(supervised.place, PLACE_SIZE, "%s: ", supervised.finalizer);
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
        limit_write_text(supervised.out, parts[i]);
    _exit(1);
}

static void limit_on_alarm(int signal)
{
    lua_State *L = supervised.running;
    (void)signal;
    if (L != NULL && supervised.stopped)
        limit_give_up();
    if (L != NULL)
        limit_stop_running(L);
}

static struct timeval limit_time_of(double seconds)
{
    return (struct timeval){(time_t)seconds,
                            (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
}

/* Sets the alarm, which is repeated: the second one ends a run that the first one did not stop. */
static void limit_set_alarm(double seconds)
{
    struct itimerval timer = {.it_value = limit_time_of(seconds),
                              .it_interval = limit_time_of(seconds < GRACE ? seconds : GRACE)};
    setitimer(ITIMER_REAL, &timer, NULL);
}

void script_supervise_alone(int out, const char *prefix)
{
    struct sigaction action = {.sa_handler = limit_on_alarm, .sa_flags = SA_RESTART};
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

void script_run_waits(void)
{
    if (supervised.alone && supervised.running != NULL)
        limit_set_alarm(0);
}

void script_run_goes_on(void)
{
    if (supervised.alone && supervised.running != NULL)
        limit_set_alarm(supervised.granted);
}

static bool limit_begin_run(lua_State *L, const char *what, const char *source, const char *why,
                            double limit)
{
    if (supervised.running != NULL)
        return false;
    supervised.what = what;
    supervised.source = source;
    supervised.why = why;
    supervised.rule[0] = '\0';
    supervised.running = L;
    supervised.granted = limit;
    limit_beat();
    script_run_goes_on();
    return true;
}

bool script_begin_run(lua_State *L, const char *what, const char *source)
{
    return limit_begin_run(L, what, source, TOO_LONG, supervised.limit);
}

void script_end_run(lua_State *L)
{
    if (supervised.alone)
        limit_set_alarm(0);
    supervised.running = supervised.within = NULL;
    supervised.req = NULL;
    underway_running(NULL);
    limit_beat();
    if (supervised.stopped && supervised.stuck != NULL)
        supervised.stuck[0] = '\0';
    supervised.stopped = false;
    supervised.place[0] = '\0';
    if (L != NULL && lua_gethookmask(L) != 0) /* the limit's hook, or one that the script has set */
        lua_sethook(L, NULL, 0, 0);
}

void script_run_is_for(const struct request *req)
{
    supervised.req = req;
    underway_running(req);
}

const struct request *script_run_request(void)
{
    return supervised.req;
}

/* core.enter_rule(label): notes the rule whose handler begins. The text is copied, since it may
 * have been collected when the signal comes. */
int script_enter_rule(lua_State *L)
{
    size_t n;
    const char *label = luaL_checklstring(L, 1, &n);
    n = n < RULE_SIZE - 1 ? n : RULE_SIZE - 1;
    memcpy(supervised.rule, label, n);
    supervised.rule[n] = '\0';
    return 0;
}

/* Kinds of runs in a process without a master. */
static const struct run_kind {
    const char *name; /* in Lua */
    const char *what, *why;
    double seconds; /* the limit, unless the caller gives one */
} run_kinds[] = {
    {"loading", "loading", "the script has not come to the end of its loading within %g s",
     SCRIPT_LOADING},
    {"specs", "test", "the specs have not come to their end within %g s", SPECS},
    {"hook", "a hook", TOO_LONG, 1},
    {"finalizers", "finalizers", "they have not come to their end within %g s", 1},
    {0},
};

static bool limit_begin_kind(lua_State *L, const struct run_kind *kind, double seconds,
                             const char *source)
{
    static char why[120];
    if (!supervised.alone || supervised.running != NULL)
        return false;
    snprintf(why, sizeof why, kind->why, seconds);
    return limit_begin_run(L, kind->what, source, why, seconds);
}

static const struct run_kind *limit_kind_of(const char *name)
{
    const struct run_kind *kind = run_kinds;
    while (kind->name != NULL && strcmp(kind->name, name) != 0)
        kind++;
    return kind;
}

int script_finalizing(lua_State *L)
{
    supervised.finalizer = lua_tostring(L, 1);
    return 0;
}

bool script_begin_loading(lua_State *L, const char *source)
{
    return limit_begin_kind(L, limit_kind_of("loading"), SCRIPT_LOADING, source);
}

bool script_begin_specs(lua_State *L)
{
    return limit_begin_kind(L, limit_kind_of("specs"), SPECS, "the specs");
}

/* The finalizer of the first object of a state, which is the last to be called. */
static int limit_finalizers_over(lua_State *L)
{
    if (supervised.running == L)
        script_end_run(NULL);
    return 0;
}

void script_watch_finalizers(lua_State *L)
{
    lua_newuserdata(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, limit_finalizers_over);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
}

void script_close_state(lua_State *L, bool outer)
{
    lua_close(L);
    if (outer && supervised.running == L) /* not said by limit_finalizers_over */
        script_end_run(NULL);
}

void script_close_alone(lua_State *L)
{
    script_close_state(L, limit_begin_kind(L, limit_kind_of("finalizers"), 1, "the script"));
}

bool script_is_alone(void)
{
    return supervised.alone;
}

int script_run_is_within(lua_State *L)
{
    supervised.within = lua_tothread(L, 1);
    return 0;
}

/* core.limited(kind, seconds, source, fn, ...) -> true, what fn returns; or false, message. In a
 * process without a master fn has so many seconds; nil: the limit of the kind ("loading", "specs",
 * "hook"). Finalizers of the script run within such a limit, too. */
int script_limited(lua_State *L)
{
    const struct run_kind *kind = limit_kind_of(luaL_checkstring(L, 1));
    luaL_argcheck(L, kind->name != NULL, 1, "expected loading, specs or hook");
    double seconds = luaL_optnumber(L, 2, kind->seconds);
    bool outer = limit_begin_kind(L, kind, seconds, luaL_checkstring(L, 3));
    if (outer)
        lua_gc(L, LUA_GCRESTART, 0);
    int status = lua_pcall(L, lua_gettop(L) - 4, LUA_MULTRET, 0);
    if (outer) {
        lua_gc(L, LUA_GCSTOP, 0);
        script_end_run(L);
    }
    lua_pushboolean(L, status == 0);
    lua_replace(L, 3);
    return lua_gettop(L) - 2;
}

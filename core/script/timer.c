/* timer - see timer.h. */
#include "script/timer.h"

#include "script/task.h"

#include <stdlib.h>
#include <time.h>

#define MAX_SECONDS 86400.0
#define MAX_TIMERS  1000 /* of moongate.every, of one generation */
#define MAX_SPAWNED 100000
#define TURN_SHARE  0.005 /* seconds */

struct script_timers {
    struct script *script;
    struct sleep *sleeps;
    struct script_timer *list; /* timers of moongate.every */
    unsigned count;
    unsigned spawned;           /* functions beside the requests that have not ended */
    struct spawn *first, **end; /* functions that are to be spawned */
    ev_timer spawner;           /* active while `first` is not empty */
    bool held;                  /* the spawner keeps the generation alive */
    unsigned turn;              /* the turn of the loop that turn_used counts in */
    double turn_used;           /* seconds */
};

static void timer_spawner_cb(struct ev_loop *ev, ev_timer *timer, int events);

static struct script_timers *timers_of(struct script *s)
{
    if (s->timers != NULL)
        return s->timers;
    struct script_timers *t = s->timers = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->script = s;
    t->end = &t->first;
    ev_timer_init(&t->spawner, timer_spawner_cb, 0, 0);
    t->spawner.data = t;
    return t;
}

/* --- a share of each turn --- */

/* Whether functions beside the requests (moongate.spawn, every) may still begin in this turn of the
 * loop. All of them together get TURN_SHARE of a turn, so that requests are served however many
 * functions are spawned and however short their sleeps are. A function that has begun runs until it
 * waits, within script_timeout. */
static bool timer_has_share(struct script *s)
{
    struct script_timers *t = timers_of(s);
    unsigned turn = ev_iteration(s->loop->ev);
    if (t->turn != turn) {
        t->turn = turn;
        t->turn_used = 0;
    }
    return t->turn_used < TURN_SHARE;
}

static double timer_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void timer_use_share(struct script *s, double began)
{
    s->timers->turn_used += timer_seconds_now() - began;
}

/* --- sleep --- */

struct sleep {
    struct script_wait wait;
    ev_timer timer;
    struct script *script;
    struct sleep *next, **back; /* all sleeps of the script */
    bool until_retired;
};

static void timer_sleep_free(struct sleep *sleep)
{
    ev_timer_stop(sleep->script->loop->ev, &sleep->timer);
    *sleep->back = sleep->next;
    if (sleep->next != NULL)
        sleep->next->back = sleep->back;
    free(sleep);
}

static void timer_sleep_cancel(struct script_wait *wait)
{
    timer_sleep_free((struct sleep *)wait);
}

static int timer_sleep_push_result(lua_State *L, void *ctx)
{
    struct sleep *sleep = ctx;
    int count = sleep->until_retired ? 1 : 0;
    if (count > 0)
        lua_pushboolean(L, sleep->script->retired);
    timer_sleep_free(sleep);
    return count;
}

static void timer_sleep_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct sleep *sleep = timer->data;
    struct script *s = sleep->script;
    bool detached = sleep->wait.task->detached;
    (void)events;
    if (detached && !timer_has_share(s)) { /* a turn later */
        ev_timer_set(timer, 0, 0);
        ev_timer_start(ev, timer);
        return;
    }
    s->hold(s->world.ctx);
    double began = detached ? timer_seconds_now() : 0;
    script_wake(&sleep->wait, timer_sleep_push_result, sleep);
    if (detached)
        timer_use_share(s, began);
    s->drop(s->world.ctx);
}

static int timer_sleep_begin(lua_State *L, double seconds, bool until_retired)
{
    struct script *s = script_of(L);
    script_check_wait(L);
    struct script_timers *t = timers_of(s);
    struct sleep *sleep = calloc(1, sizeof *sleep);
    if (sleep == NULL)
        abort();
    sleep->wait.cancel = timer_sleep_cancel;
    sleep->script = s;
    sleep->until_retired = until_retired;
    sleep->back = &t->sleeps;
    sleep->next = t->sleeps;
    if (sleep->next != NULL)
        sleep->next->back = &sleep->next;
    t->sleeps = sleep;
    loop_update_time(s->loop);
    ev_timer_init(&sleep->timer, timer_sleep_cb, until_retired && s->retired ? 0 : seconds, 0);
    sleep->timer.data = sleep;
    ev_timer_start(s->loop->ev, &sleep->timer);
    return script_wait(L, &sleep->wait);
}

/* Raises an error that names the value at idx, unless it is a function. */
static void timer_check_function(lua_State *L, int idx, const char *who, const char *example)
{
    if (!lua_isfunction(L, idx))
        luaL_error(L, "%s: expected a function, as in %s, got %s", who, example,
                   script_describe(L, idx));
}

static double timer_check_seconds(lua_State *L, int idx, const char *who)
{
    double seconds = lua_type(L, idx) == LUA_TNUMBER ? lua_tonumber(L, idx) : -1;
    if (!(seconds >= 0 && seconds <= MAX_SECONDS))
        luaL_error(L, "%s: expected seconds from 0 to 86400, got %s", who, script_describe(L, idx));
    return seconds;
}

/* moongate.sleep(seconds): the function waits; the worker serves other requests meanwhile. */
static int timer_sleep(lua_State *L)
{
    return timer_sleep_begin(L, timer_check_seconds(L, 1, "sleep"), false);
}

/* core.sleep_until_retired(seconds) -> true when it ended early, because another generation serves
 */
static int timer_sleep_until_retired(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e9, 1, "expected seconds");
    return timer_sleep_begin(L, seconds, true);
}

/* core.retired() -> whether another generation serves */
static int timer_retired(lua_State *L)
{
    lua_pushboolean(L, script_of(L)->retired);
    return 1;
}

/* --- functions beside the requests --- */

static void timer_spawned_done(void *ctx, enum script_result result)
{
    struct script_timers *t = ctx;
    (void)result; /* a failure has been logged */
    t->spawned--;
}

/* Inside the door: runs the function and its nargs arguments on s->L's top beside the requests.
 * Returns its task if it waits. */
static struct script_task *timer_run_beside(struct script *s, int nargs,
                                            const struct script_cause *cause)
{
    struct script_task *task;
    const struct script_run run = {.cause = *cause, .done = timer_spawned_done, .ctx = s->timers};
    if (script_run_waiting(s, nargs, &run, &task) != SCRIPT_WAITING)
        return NULL;
    s->timers->spawned++;
    task->detached = true;
    s->hold(s->world.ctx);
    return task;
}

/* A function that is to be spawned. It begins in the loop's next turn, so that functions which
 * spawn others leave time for requests. */
struct spawn {
    struct spawn *next;
    int values; /* a table: the function and its arguments */
};

static int timer_next_spawn(struct script_timers *t)
{
    struct spawn *spawn = t->first;
    int values = spawn->values;
    t->first = spawn->next;
    if (t->first == NULL)
        t->end = &t->first;
    t->spawned--;
    free(spawn);
    return values;
}

static const struct script_cause spawn_cause = {
    .what = "moongate.spawn", .source = "a function", .kind = SCRIPT_KIND_SPAWN};

/* ctx: the reference in the registry to the table of function and arguments. */
static void timer_spawned_body(struct script *s, void *ctx)
{
    lua_State *L = s->L;
    int values = *(int *)ctx;
    lua_rawgeti(L, LUA_REGISTRYINDEX, values);
    luaL_unref(L, LUA_REGISTRYINDEX, values);
    int list = lua_gettop(L);
    lua_rawgeti(L, list, 0);
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, count, "moongate.spawn");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, list, i);
    timer_run_beside(s, count - 1, &spawn_cause);
}

static void timer_spawner_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct script_timers *t = timer->data;
    struct script *s = t->script;
    (void)events;
    while (t->first != NULL && timer_has_share(s)) {
        int values = timer_next_spawn(t);
        double began = timer_seconds_now();
        script_guard(s, &spawn_cause, timer_spawned_body, &values);
        timer_use_share(s, began);
    }
    if (t->first != NULL) {
        ev_timer_set(timer, 0, 0);
        ev_timer_start(ev, timer);
        return;
    }
    t->held = false;
    s->drop(s->world.ctx);
}

/* Refuses to begin a function in on_stop, after which the script ends. */
static struct script *timer_lasting_script(lua_State *L, const char *who)
{
    struct script *s = script_of(L);
    if (s->stopping)
        luaL_error(L, "%s: on_stop can't begin anything: this script ends with it", who);
    return s;
}

/* moongate.spawn(fn, ...): runs fn in the loop's next turn, beside the requests. fn may wait. */
static int timer_spawn(lua_State *L)
{
    timer_check_function(L, 1, "spawn", "moongate.spawn(function() ... end)");
    struct script *s = timer_lasting_script(L, "spawn");
    int count = lua_gettop(L);
    struct script_timers *t = timers_of(s);
    if (t->spawned >= MAX_SPAWNED)
        return luaL_error(L, "spawn: %d functions are waiting already: more are begun than end",
                          MAX_SPAWNED);
    lua_createtable(L, count, 0); /* the array has a place for [0]: the number of values */
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, count);
    lua_rawseti(L, -2, 0);
    struct spawn *spawn = calloc(1, sizeof *spawn);
    if (spawn == NULL)
        abort();
    spawn->values = luaL_ref(L, LUA_REGISTRYINDEX);
    if (!t->held) {
        t->held = true;
        s->hold(s->world.ctx);
        ev_timer_set(&t->spawner, 0, 0);
        ev_timer_start(s->loop->ev, &t->spawner);
    }
    *t->end = spawn;
    t->end = &spawn->next;
    t->spawned++;
    return 0;
}

/* --- every --- */

struct script_timer {
    ev_timer timer;
    struct script *script;
    struct script_timer *next;
    int function;
    struct script_task *task; /* the run that waits, during which no other begins; NULL: none */
};

static void timer_run_done(void *ctx, enum script_result result)
{
    struct script_timer *t = ctx;
    (void)result;
    t->task = NULL;
    t->script->timers->spawned--;
}

static const struct script_cause every_cause = {
    .what = "moongate.every", .source = "a function", .kind = SCRIPT_KIND_TIMER};

static void timer_tick_body(struct script *s, void *ctx)
{
    struct script_timer *t = ctx;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, t->function);
    t->task = timer_run_beside(s, 0, &every_cause);
    if (t->task != NULL) {
        t->task->run.done = timer_run_done;
        t->task->run.ctx = t;
    }
}

static void timer_tick_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct script_timer *t = timer->data;
    struct script *s = t->script;
    (void)events;
    if (t->task != NULL)
        return;
    if (!timer_has_share(s)) { /* a turn later */
        ev_timer_stop(ev, timer);
        ev_timer_set(timer, 0, timer->repeat);
        ev_timer_start(ev, timer);
        return;
    }
    s->hold(s->world.ctx);
    double began = timer_seconds_now();
    script_guard(s, &every_cause, timer_tick_body, t);
    timer_use_share(s, began);
    s->drop(s->world.ctx);
}

/* moongate.every(seconds, fn): runs fn repeatedly until another generation serves, one run at a
 * time. */
static int timer_every(lua_State *L)
{
    double seconds = timer_check_seconds(L, 1, "every");
    timer_check_function(L, 2, "every", "moongate.every(10, function() ... end)");
    struct script *s = timer_lasting_script(L, "every");
    if (seconds < 0.001)
        return luaL_error(L, "every: expected at least 0.001 seconds, got %s",
                          script_describe(L, 1));
    struct script_timers *all = timers_of(s);
    if (all->count == MAX_TIMERS)
        return luaL_error(L,
                          "every: %d timers are running already: it is for on_start, not for each "
                          "request",
                          MAX_TIMERS);
    struct script_timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->script = s;
    lua_settop(L, 2);
    t->function = luaL_ref(L, LUA_REGISTRYINDEX);
    t->next = all->list;
    all->list = t;
    all->count++;
    ev_timer_init(&t->timer, timer_tick_cb, seconds, seconds);
    t->timer.data = t;
    if (!s->retired)
        ev_timer_start(s->loop->ev, &t->timer);
    return 0;
}

void script_timers_stop(struct script *s)
{
    if (s->timers == NULL)
        return;
    for (struct script_timer *t = s->timers->list; t != NULL; t = t->next)
        ev_timer_stop(s->loop->ev, &t->timer);
    for (struct sleep *sleep = s->timers->sleeps; sleep != NULL; sleep = sleep->next) {
        if (!sleep->until_retired)
            continue;
        ev_timer_stop(s->loop->ev, &sleep->timer);
        ev_timer_set(&sleep->timer, 0, 0);
        ev_timer_start(s->loop->ev, &sleep->timer);
    }
}

void script_timers_end(struct script *s)
{
    struct script_timers *t = s->timers;
    if (t == NULL || !t->held)
        return;
    while (t->first != NULL)
        luaL_unref(s->L, LUA_REGISTRYINDEX, timer_next_spawn(t));
    ev_timer_stop(s->loop->ev, &t->spawner);
    t->held = false;
    s->drop(s->world.ctx);
}

void script_timers_free(struct script *s)
{
    struct script_timer *next, *t = s->timers != NULL ? s->timers->list : NULL;
    script_timers_end(s);
    for (; t != NULL; t = next) {
        next = t->next;
        ev_timer_stop(s->loop->ev, &t->timer);
        free(t);
    }
    free(s->timers);
    s->timers = NULL;
}

void script_timer_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"every", timer_every}, {"retired", timer_retired},
        {"sleep", timer_sleep}, {"sleep_until_retired", timer_sleep_until_retired},
        {"spawn", timer_spawn}, {NULL, NULL}};
    luaL_register(L, NULL, functions);
}

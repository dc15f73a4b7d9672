/*
 * task - see task.h.
 *
 * Only the coroutine that C has resumed may wait. A yield of a coroutine that the script has made
 * would return to the script, not to C. script_wait tells the two apart by `current.co`.
 */
#include "script/task.h"

#include <stdlib.h>

/* The coroutine that runs in this process. Functions of several scripts don't run at once, but a
 * hook may be called while another one runs (for a message about a decision). */
static struct {
    lua_State *co; /* the coroutine that C has resumed, if it may wait; else NULL */
    struct script_wait *wait;
} current;

/* Why the function that runs on L can't wait; NULL: it can. */
static const char *task_obstacle(lua_State *L)
{
    if (current.co == NULL)
        return "this hook can't wait: only on_start, on_certificate, on_request, on_error, timers "
               "and what moongate.spawn runs may";
    if (current.co != L)
        return "a coroutine of the script's own can't wait for the server: call this from the hook "
               "itself, or use moongate.spawn";
    if (!lua_isyieldable(L))
        return "this can't wait inside a function that C has called, such as one given to gsub, "
               "sort or require: wait before it or behind it";
    return NULL;
}

void script_check_wait(lua_State *L)
{
    const char *bad = task_obstacle(L);
    if (bad != NULL)
        luaL_error(L, "%s", bad);
}

int script_wait(lua_State *L, struct script_wait *wait)
{
    const char *bad = task_obstacle(L);
    if (bad != NULL) {
        wait->cancel(wait);
        return luaL_error(L, "%s", bad);
    }
    current.wait = wait;
    return lua_yield(L, 0);
}

/* --- tasks --- */

static void task_link(struct script_task *t)
{
    struct script *s = t->script;
    t->next = s->tasks;
    if (t->next != NULL)
        t->next->prev = t;
    s->tasks = t;
}

static void task_unlink(struct script_task *t)
{
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        t->script->tasks = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
}

/* Makes a task that owns the script's idle coroutine, whose function waits. */
static struct script_task *task_park(struct script *s, const struct script_run *run,
                                     struct script_wait *wait)
{
    struct script_task *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    *t = (struct script_task){.script = s, .wait = wait, .run = *run};
    t->run.cause.resumed = true;
    t->co = script_detach_coroutine(s, &t->ref);
    wait->task = t;
    task_link(t);
    return t;
}

/* Resumes the coroutine. Returns the wait with which it yielded, or NULL and the status. */
static struct script_wait *task_resume(lua_State *co, int nargs, int *status)
{
    lua_State *before = current.co;
    current.co = co;
    current.wait = NULL;
    *status = lua_resume(co, nargs);
    struct script_wait *wait = *status == LUA_YIELD ? current.wait : NULL;
    current.co = before;
    current.wait = NULL;
    return wait;
}

static enum script_result task_ended(struct script *s, lua_State *co, const struct script_run *run)
{
    script_move_results(s, co, run->results);
    return run->ended != NULL ? run->ended(s, run->ctx) : SCRIPT_DONE;
}

enum script_result script_run_waiting(struct script *s, int nargs, const struct script_run *run,
                                      struct script_task **task)
{
    int status;
    *task = NULL;
    lua_State *co = script_enter(s, nargs);
    struct script_wait *wait = task_resume(co, nargs, &status);
    if (wait != NULL) {
        *task = task_park(s, run, wait);
        return SCRIPT_WAITING;
    }
    if (status == 0)
        return task_ended(s, co, run);
    script_log_failure(s, co, status, &run->cause);
    script_drop_coroutine(s);
    return SCRIPT_FAILED;
}

/* --- waking --- */

struct waking {
    struct script_task *task;
    int (*push)(lua_State *L, void *ctx);
    void *ctx;
    bool resumed; /* the coroutine has been resumed, so the wait is over */
    bool ended;   /* the function has returned, so the coroutine can be reused */
    enum script_result result;
};

static void task_wake_body(struct script *s, void *ctx)
{
    struct waking *w = ctx;
    struct script_task *t = w->task;
    int status, count = w->push != NULL ? w->push(s->L, w->ctx) : 0;
    if (count < 0) {
        w->result = SCRIPT_WAITING;
        return;
    }
    t->wait = NULL;
    w->resumed = true;
    lua_xmove(s->L, t->co, count);
    struct script_wait *next = task_resume(t->co, count, &status);
    if (next != NULL) {
        next->task = t;
        t->wait = next;
        w->result = SCRIPT_WAITING;
    } else if (status != 0) {
        script_log_failure(s, t->co, status, &t->run.cause);
        luaL_unref(s->L, LUA_REGISTRYINDEX, t->ref); /* what it held can be collected now */
        t->ref = LUA_NOREF;
    } else {
        w->ended = true;
        w->result = task_ended(s, t->co, &t->run);
    }
}

/* Cancels the wait, if the task has one. */
static void task_cancel_wait(struct script_task *t)
{
    struct script_wait *wait = t->wait;
    t->wait = NULL;
    if (wait == NULL)
        return;
    wait->task = NULL;
    wait->cancel(wait);
}

void script_wake(struct script_wait *wait, int (*push)(lua_State *L, void *ctx), void *ctx)
{
    struct script_task *t = wait->task;
    struct script *s = t->script;
    struct waking w = {.task = t, .push = push, .ctx = ctx, .result = SCRIPT_FAILED};
    s->hold(s->world.ctx); /* ending the task may otherwise free the generation here */
    if (push == NULL)
        t->wait = NULL;
    if (!script_guard(s, &t->run.cause, task_wake_body, &w)) {
        w.result = SCRIPT_FAILED;
        if (!w.resumed)
            task_cancel_wait(t);
    }
    if (w.result == SCRIPT_WAITING) {
        s->drop(s->world.ctx);
        return;
    }
    task_unlink(t);
    if (t->run.done != NULL)
        t->run.done(t->run.ctx, w.result);
    script_return_coroutine(s, t->co, t->ref, w.ended);
    bool detached = t->detached;
    free(t);
    if (detached)
        s->drop(s->world.ctx);
    s->drop(s->world.ctx);
}

void script_task_cancel(struct script_task *t)
{
    struct script *s = t->script;
    task_cancel_wait(t);
    task_unlink(t);
    luaL_unref(s->L, LUA_REGISTRYINDEX, t->ref);
    if (t->detached && t->run.done != NULL)
        t->run.done(t->run.ctx, SCRIPT_FAILED);
    bool detached = t->detached;
    free(t);
    if (detached)
        s->drop(s->world.ctx);
}

void script_tasks_cancel(struct script *s, bool only_detached)
{
    for (struct script_task *t = s->tasks, *next; t != NULL; t = next) {
        next = t->next;
        if (!only_detached || t->detached)
            script_task_cancel(t);
    }
}

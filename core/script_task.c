/*
 * script_task - see script_task.h.
 *
 * Only the function that C has resumed may wait, not a coroutine that it has made itself: that
 * one's yield would come back to the script. script_wait can tell, because it knows which one C
 * resumed.
 */
#include "script_task.h"

#include "log.h"

#include <stdlib.h>

/* What is running in this process; functions of several scripts don't run at once, but one hook may
 * be called while another one runs (a message about a decision). */
static struct {
    lua_State *co; /* that C has resumed and that may wait; NULL: none */
    struct script_wait *wait;
} current;

struct script *script_of(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SCRIPT_KEY);
    struct script *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (s == NULL)
        luaL_error(L,
                   "no server runs here yet: call this in on_start or another hook, not while the "
                   "script is loaded");
    return s;
}

int script_wait(lua_State *L, struct script_wait *wait)
{
    if (current.co != L) {
        wait->cancel(wait);
        if (current.co != NULL)
            return luaL_error(L, "a coroutine of the script's own can't wait for the server: call "
                                 "this from the hook itself, or use moongate.spawn");
        return luaL_error(L,
                          "this hook can't wait: only on_start, on_request, on_error, timers and "
                          "what moongate.spawn runs may");
    }
    if (!lua_isyieldable(L)) {
        wait->cancel(wait);
        return luaL_error(L,
                          "this can't wait inside a function that C has called, such as one given "
                          "to gsub, sort or require: wait before it or behind it");
    }
    current.wait = wait;
    return lua_yield(L, 0);
}

lua_State *script_wait_stack(const struct script_wait *wait)
{
    return wait->task->co;
}

/* --- tasks --- */

static void link_task(struct script_task *t)
{
    struct script *s = t->script;
    t->next = s->tasks;
    if (t->next != NULL)
        t->next->prev = t;
    s->tasks = t;
}

static void unlink_task(struct script_task *t)
{
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        t->script->tasks = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
}

/* The coroutine that the script would use next belongs to the task from now on. */
static struct script_task *park(struct script *s, const struct script_run *run,
                                struct script_wait *wait)
{
    struct script_task *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    *t = (struct script_task){.script = s,
                              .co = s->idle,
                              .ref = s->idle_ref,
                              .wait = wait,
                              .what = run->what,
                              .source = run->source,
                              .req = run->req,
                              .done = run->done,
                              .ctx = run->ctx};
    s->idle = NULL;
    s->idle_ref = LUA_NOREF;
    wait->task = t;
    link_task(t);
    return t;
}

/* Resumes; the wait that it left, or NULL and the status. */
static struct script_wait *resume(lua_State *co, int nargs, const char *what, const char *source,
                                  int *status)
{
    lua_State *before = current.co;
    bool outer = script_begin_run(co, what, source);
    current.co = co;
    current.wait = NULL;
    *status = lua_resume(co, nargs);
    struct script_wait *wait = *status == LUA_YIELD ? current.wait : NULL;
    current.co = before;
    current.wait = NULL;
    if (outer)
        script_end_run();
    return wait;
}

enum script_result script_run_waiting(struct script *s, lua_State *co, int nargs,
                                      const struct script_run *run, struct script_task **task)
{
    int status;
    *task = NULL;
    struct script_wait *wait = resume(co, nargs, run->what, run->source, &status);
    if (wait != NULL) {
        *task = park(s, run, wait);
        return SCRIPT_WAITING;
    }
    if (status == 0)
        return SCRIPT_DONE;
    script_log_failure(s, co, status, run->what, run->source, run->req);
    script_drop_coroutine(s);
    return SCRIPT_FAILED;
}

/* The coroutine can be used again, unless it failed. */
static void recycle(struct script_task *t, bool failed)
{
    struct script *s = t->script;
    if (failed || s->idle != NULL) {
        luaL_unref(s->L, LUA_REGISTRYINDEX, t->ref);
        return;
    }
    lua_settop(t->co, 0);
    s->idle = t->co;
    s->idle_ref = t->ref;
}

void script_wake(struct script_wait *wait, int count)
{
    struct script_task *t = wait->task;
    struct script *s = t->script;
    int status;
    s->hold(s->world.ctx); /* the end of the task may be the end of the generation's last request */
    wait->task = NULL;
    t->wait = NULL;
    struct script_wait *next = resume(t->co, count, t->what, t->source, &status);
    if (next != NULL) {
        next->task = t;
        t->wait = next;
        s->drop(s->world.ctx);
        return;
    }
    if (status != 0)
        script_log_failure(s, t->co, status, t->what, t->source, t->req);
    unlink_task(t);
    if (t->done != NULL)
        t->done(t->ctx, status == 0 ? SCRIPT_DONE : SCRIPT_FAILED, t->co);
    recycle(t, status != 0);
    bool detached = t->detached;
    free(t);
    if (detached)
        s->drop(s->world.ctx);
    s->drop(s->world.ctx);
}

void script_task_cancel(struct script_task *t)
{
    struct script *s = t->script;
    struct script_wait *wait = t->wait;
    t->wait = NULL;
    if (wait != NULL) {
        wait->task = NULL;
        wait->cancel(wait);
    }
    unlink_task(t);
    luaL_unref(s->L, LUA_REGISTRYINDEX, t->ref);
    if (t->detached && t->done != NULL)
        t->done(t->ctx, SCRIPT_FAILED, NULL);
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

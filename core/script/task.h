/*
 * task - functions of a script that may wait: hooks, timers, what was spawned.
 *
 * A function runs in a coroutine. As long as it does not wait it costs what any hook costs; when it
 * waits (script_wait, called by moongate.sleep and its kin), a task is made that owns the coroutine
 * until it has ended. Whoever may be waited for embeds a struct script_wait.
 *
 *     script_run_waiting --> DONE, FAILED
 *                       \--> WAITING --script_wake...--> done(DONE or FAILED)
 *                                    \--script_task_cancel--> nothing is called any more
 */
#ifndef MG_SCRIPT_TASK_H
#define MG_SCRIPT_TASK_H

#include "script/door.h"
#include "script/lua.h"
#include "script/value.h"

struct script_wait {
    struct script_task *task; /* set while it is waited for */
    /* The wait is given up: stop what it waits for, and free what belongs to it. */
    void (*cancel)(struct script_wait *wait);
};

/* A function to run, and the callbacks for its end. */
struct script_run {
    struct script_cause cause;
    int results;
    /* Inside the door: the function has ended well, its results are on s->L's top. NULL: they are
     * not wanted. */
    enum script_result (*ended)(struct script *s, void *ctx);
    /* The function has ended after a wait. NULL: no callback. */
    void (*done)(void *ctx, enum script_result result);
    void *ctx;
};

struct script_task {
    struct script *script;
    struct script_task *prev, *next;
    lua_State *co;
    int ref; /* anchors it */
    struct script_wait *wait;
    struct script_run run;
    bool detached; /* no request waits for it: it keeps the generation alive */
};

/* As script_run, but the function may wait: then SCRIPT_WAITING and *task, which is cancelled or
 * comes to its end later. */
enum script_result script_run_waiting(struct script *s, int nargs, const struct script_run *run,
                                      struct script_task **task);
/* Ends a task without a result. */
void script_task_cancel(struct script_task *task);
/* Cancels the detached tasks of the script, or all. */
void script_tasks_cancel(struct script *s, bool only_detached);

/* Raises a clear error unless the running function may wait: before something is begun in vain. */
void script_check_wait(lua_State *L);
/* Called by a C function as `return script_wait(L, w);`: the running function waits. Raises a clear
 * error where that is not possible. */
int script_wait(lua_State *L, struct script_wait *wait);
/* The event that the task waits for has come. push(L, ctx) pushes the results of the wait and
 * returns their number, or -1: the wait goes on after all. It may free the wait, as the last thing
 * that it does; where it raises an error the wait is cancelled and the task has failed. push ==
 * NULL: there are no results, and the caller has freed all of the wait but the struct itself. Runs
 * the script, and may end the task. */
void script_wake(struct script_wait *wait, int (*push)(lua_State *L, void *ctx), void *ctx);

#endif

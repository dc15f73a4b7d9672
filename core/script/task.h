/*
 * task - functions of a script that may wait: hooks, timers, spawned functions.
 *
 * A function runs in a coroutine. A function that does not wait costs what any hook costs. When it
 * waits (script_wait, called by moongate.sleep and its kin), a task is made that owns the coroutine
 * until it has ended. An object that a function may wait for embeds a struct script_wait.
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
    struct script_task *task; /* the task that waits for the object; NULL: none */
    /* Called when the wait is given up: stops the operation, and frees what belongs to the wait. */
    void (*cancel)(struct script_wait *wait);
};

/* A function to run, and the callbacks for its end. */
struct script_run {
    struct script_cause cause;
    int results;
    /* Inside the door: called when the function has ended without an error, with its results on
     * s->L's top. NULL: the results are dropped. */
    enum script_result (*ended)(struct script *s, void *ctx);
    /* Called when the function has ended after a wait. NULL: no callback. */
    void (*done)(void *ctx, enum script_result result);
    void *ctx;
};

struct script_task {
    struct script *script;
    struct script_task *prev, *next;
    lua_State *co;
    int ref; /* the coroutine's reference in the registry */
    struct script_wait *wait;
    struct script_run run;
    bool detached; /* the task belongs to no request, and keeps the generation alive */
};

/* As script_run, but the function may wait. It then returns SCRIPT_WAITING and *task; the task ends
 * later, or the caller cancels it. */
enum script_result script_run_waiting(struct script *s, int nargs, const struct script_run *run,
                                      struct script_task **task);
/* Ends a task without a result. */
void script_task_cancel(struct script_task *task);
/* Cancels the detached tasks of the script, or all. */
void script_tasks_cancel(struct script *s, bool only_detached);

/* Raises a clear error unless the running function may wait. Called before an operation is begun
 * that would be waited for. */
void script_check_wait(lua_State *L);
/* Called by a C function as `return script_wait(L, w);`: the running function waits. It raises a
 * clear error where the function can't wait. */
int script_wait(lua_State *L, struct script_wait *wait);
/* The event that the task waits for has come. push(L, ctx) pushes the results of the wait and
 * returns their number, or -1: the task continues to wait. push may free the wait as its last
 * action. An error in push cancels the wait, and the task has failed. push == NULL: there are no
 * results, and the caller has freed all of the wait but the struct itself. Runs the script, and may
 * end the task. */
void script_wake(struct script_wait *wait, int (*push)(lua_State *L, void *ctx), void *ctx);

#endif

/* limit - how long a script may run. A script that runs longer is ended by the master, or by an
 * alarm in a process without a master (a command, the loader). */
#ifndef MG_SCRIPT_LIMIT_H
#define MG_SCRIPT_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct request;

/* From now on *beat is odd while a script runs. The signal stops the running script with an error
 * if it is interpreted, and `stuck` names it for the master. Called once in a process. */
void script_supervise(uint64_t *beat, char *stuck, size_t stuck_size, int signal);

#define SCRIPT_LOADING 10.0 /* seconds that a script may take to load */
/* For a process without a master (a command, the loader): scripts run interpreted and are stopped
 * with an error when their time is over. A script that runs as long again ends the process with
 * exit status 1 and a line on `out` that begins with `prefix`. Called before the first script_new.
 */
void script_supervise_alone(int out, const char *prefix);
/* Sets how long a hook may run in a process without a master. Before the call a hook has the time
 * of loading. */
void script_limit(double seconds);

/* May be called by an allocator: check(L) is called as soon as the running function is interpreted,
 * and what it returns is raised there as an error, with the place; NULL: the function goes on. No
 * function runs, or it is stopped already: nothing is done. */
void script_interrupt(struct lua_State *L, const char *(*check)(struct lua_State *L));
/* "FILE:LINE: " of the innermost function that is the operator's own, or of any; "" where there is
 * none. Valid until the next call. */
const char *script_place(struct lua_State *L);

/* Notes that a function of the script begins to run. True: the caller calls script_end_run when it
 * has returned. */
bool script_begin_run(struct lua_State *L, const char *what, const char *source);
/* The same for loading a script and for its specs. Returns false in a worker, where the master
 * bounds the time of a reload. */
bool script_begin_loading(struct lua_State *L, const char *source);
bool script_begin_specs(struct lua_State *L);
/* Notes the end of the run and removes the hook of the debug library, whether the limit or the
 * script has set it. L is NULL where the state has been closed. */
void script_end_run(struct lua_State *L);
/* After a script_begin_run that returned true: names the request that the run is for, or NULL. */
void script_run_is_for(const struct request *req);
/* The request of the run that has begun; NULL: it is for none (a timer, on_start), or nothing
 * runs. */
const struct request *script_run_request(void);
/* A call that waits in a worker (such as a check of a password) blocks in a process without a
 * master. Its time is not counted: the limit of the run begins anew after the call. */
void script_run_waits(void);
void script_run_goes_on(void);
/* Whether this process has no master that supervises it. */
bool script_is_alone(void);

/* core.enter_rule(label): notes the rule whose handler begins. The log line about a run that is
 * ended names it. */
int script_enter_rule(struct lua_State *L);
/* Called first for a new state, so that the object it makes is finalized last. The run of
 * script_close_state ends with that finalizer: the memory freed after it isn't the script's time,
 * and the state can't take a hook any more. */
void script_watch_finalizers(struct lua_State *L);

/* Closes the state. `outer`: script_begin_run returned true for this; the run is ended here. */
void script_close_state(struct lua_State *L, bool outer);

/* Closes the state in a process without a master: the alarm bounds the time of the finalizers. */
void script_close_alone(struct lua_State *L);
/* core.finalizing(place): a finalizer begins, which the script has made at FILE:LINE; nil: it has
 * ended. The text must live until the finalizer has ended. */
int script_finalizing(struct lua_State *L);
/* core.run_is_within(thread): notes the coroutine that runs now (nil: none), so that the log line
 * about a run that is ended inside a call of C can name the place. The note holds until the run
 * ends or the next call; the thread must not be collected before that. */
int script_run_is_within(struct lua_State *L);
/* core.limited(kind, seconds, source, fn, ...), see script/limit.c. */
int script_limited(struct lua_State *L);

#endif

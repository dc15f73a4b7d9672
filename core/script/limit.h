/*
 * limit - how long a script may run, and who ends one that runs on: the master, or in a process
 * without one (a command, a loader) an alarm.
 */
#ifndef MG_SCRIPT_LIMIT_H
#define MG_SCRIPT_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct request;

/* From now on *beat is odd while a script runs. When the signal comes while one does, that one is
 * stopped with an error, if it is interpreted, and `stuck` says which it was. Once a process. */
void script_supervise(uint64_t *beat, char *stuck, size_t stuck_size, int signal);

#define SCRIPT_LOADING 10.0 /* seconds that a script may take to load */
/* In a process that no master looks after (a command, a loader): what runs here is not compiled,
 * and stopped with an error after its time; what can't be stopped after as long again ends the
 * process with exit status 1, and a line on `out` that begins with `prefix`. Before the first
 * script_new. */
void script_supervise_alone(int out, const char *prefix);
/* How long a hook may run in such a process; before, as long as loading. */
void script_limit(double seconds);

/* What runs a script says so. True: call script_end_run. */
bool script_begin_run(struct lua_State *L, const char *what, const char *source);
/* The same while a script is loaded, and for its specs; false in a worker, where the master waits
 * for it. */
bool script_begin_loading(struct lua_State *L, const char *source);
bool script_begin_specs(struct lua_State *L);
/* Removes hooks of the debug library, whoever has set them. L: NULL where its state is gone. */
void script_end_run(struct lua_State *L);
/* After a script_begin_run that said true: the request that it is for, or NULL. */
void script_run_is_for(const struct request *req);
/* What a server's script would wait for is done at once in a process that no master looks after:
 * its time is not the script's, as a wait's is not. The time of the run begins anew behind it. */
void script_run_waits(void);
void script_run_goes_on(void);
/* No master looks after this process. */
bool script_is_alone(void);

/* core.enter_rule(label): for the line about a run that has to be ended. */
int script_enter_rule(struct lua_State *L);
/* Called first of all for a new state: the run that script_close_state ends is over with the last
 * finalizer. What is freed behind that takes no script's time, and has no state for a hook. */
void script_watch_finalizers(struct lua_State *L);

/* lua_close, within the run that `outer` says was begun for it; it ends that. */
void script_close_state(struct lua_State *L, bool outer);

/* lua_close in a process that no master looks after: its finalizers come to an end. */
void script_close_alone(struct lua_State *L);
/* core.finalizing(place): a finalizer begins, which the script has made at FILE:LINE; nil: it has
 * ended. The text must live until then. */
int script_finalizing(struct lua_State *L);
/* core.run_is_within(thread): in which coroutine the run is now, for a line about one that has to
 * be ended in a call of C. It holds until the end of the run, or until the next such call; nil: in
 * none. The thread must not be collected before. */
int script_run_is_within(struct lua_State *L);
/* core.limited(kind, seconds, source, fn, ...), see script/limit.c. */
int script_limited(struct lua_State *L);

#endif

/*
 * door - the guarded door through which C uses Lua, the coroutines that hooks run in, and the log
 * of what scripts raise.
 */
#ifndef MG_SCRIPT_DOOR_H
#define MG_SCRIPT_DOOR_H

#include "script/call.h"

struct lua_State;

/* Functions of a script as /metrics tells them apart, hooks first. */
enum script_kind {
    SCRIPT_KIND_OTHER,
    SCRIPT_KIND_TIMER = HOOK_COUNT + 1, /* of moongate.every */
    SCRIPT_KIND_SPAWN,                  /* of moongate.spawn */
    SCRIPT_KIND_FORMAT,                 /* log.format */
    SCRIPT_KIND_COUNT,
};
#define SCRIPT_KIND_OF(hook) ((uint8_t)((hook) + 1))

/* The function that runs and its request, as messages name them. The texts live as long as the
 * script. */
struct script_cause {
    const char *what, *source; /* "on_request", "route.lua:12" */
    const struct request *req; /* NULL: none */
    bool untimed;              /* script_timeout does not apply to the run */
    bool resumed;              /* the function has waited and goes on */
    uint8_t kind;              /* for /metrics: SCRIPT_KIND_OF a hook, or enum script_kind */
};

/* Makes the door of s->L. It is the first thing that a new state gets. */
void script_door_new(struct script *s);
void script_door_free(struct script *s);
/* The script whose function is running now (any L of it); raises an error where no server runs. */
struct script *script_of(struct lua_State *L);
/* The script of the state, or NULL. */
struct script *script_of_state(struct lua_State *L);

/* The door. Runs body(s, ctx) in a protected call, since any call of Lua's C interface may raise an
 * error: memory may end, and a metamethod of the script may run. An error is logged with the cause,
 * and false returned; the stack is as it was. Time is supervised from here (script/limit.h). The
 * body uses s->L alone, since an error can only be caught on the thread that raised it; it keeps
 * nothing that an error would leak. Calls may be nested. */
bool script_guard(struct script *s, const struct script_cause *cause,
                  void (*body)(struct script *s, void *ctx), void *ctx);

/* Inside the door: pops the function and its nargs arguments from s->L and runs it in a coroutine.
 * On SCRIPT_DONE the results are in their place, as many as are wanted. A failure is logged. */
enum script_result script_run(struct script *s, int nargs, int results,
                              const struct script_cause *cause);

/* Moves the function and its arguments from s->L's top to a coroutine, the idle one. */
struct lua_State *script_enter(struct script *s, int nargs);
/* Moves the results of a coroutine that has ended to s->L's top. */
void script_move_results(struct script *s, struct lua_State *co, int results);
/* Drops the idle coroutine after its function failed, since LuaJIT can't resume it again. */
void script_drop_coroutine(struct script *s);
/* The idle coroutine belongs to the caller from now on, with its reference in the registry. */
struct lua_State *script_detach_coroutine(struct script *s, int *ref);
/* Gives a detached coroutine back; `usable`: its function ended without an error, so that the
 * coroutine can run another one. */
void script_return_coroutine(struct script *s, struct lua_State *co, int ref, bool usable);

/* Inside the door: logs the error with which the coroutine ended (`status`). */
void script_log_failure(struct script *s, struct lua_State *co, int status,
                        const struct script_cause *cause);
/* Logs that a hook returned a value which can't be used. */
void script_log_misuse(const struct script *s, const char *what, const char *source,
                       const struct request *req, const char *text);
/* Notes the first line of an error for pages that show the last ones; a text that names no line
 * gets `source` in front. */
void script_note_error(const struct script *s, const char *what, const char *source,
                       const char *text);
/* The reason of the last failure of a hook, "on_start (route.lua:3): ...". Valid until another hook
 * fails. */
const char *script_failure(const struct script *s);
/* core.finalizer_failed(error): logs what a finalizer of the script has raised. */
int script_finalizer_failed(struct lua_State *L);

#endif

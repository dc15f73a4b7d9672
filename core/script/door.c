/*
 * door - see door.h.
 *
 * The idle coroutine is in the registry. One that has ended is used again, one that failed is
 * dropped.
 */
#include "script/door.h"

#include "base/log.h"
#include "http/logline.h"
#include "http/spans.h"
#include "http/traceparent.h"
#include "script/heap.h"
#include "script/limit.h"
#include "script/modules.h"
#include "script/repeats.h"
#include "script/value.h"
#include "shm/metrics.h"
#include "shm/recent.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

_Static_assert((int)SCRIPT_KIND_COUNT <= METRICS_RUNS, "each kind of run is counted");

#define ERROR_TEXT 4000 /* most bytes of an error that are logged */

struct script_failure {
    lua_State *co;
    int status;
    const struct script_cause *cause;
};

struct script_body {
    void (*run)(struct script *s, void *ctx);
    void *ctx;
};

struct script_door {
    int guard, report;              /* functions: what script_guard calls, what logs its errors */
    struct script_body *body;       /* what the door is to run */
    struct script_failure *failing; /* what is to be reported */
    lua_State *idle;                /* a coroutine that waits for the next hook; NULL: none */
    int idle_ref;
    bool settles;       /* door_settle */
    char failure[1024]; /* of the hook that failed last */
};

/* In the registry: the struct script of a state. */
#define SCRIPT_KEY "moongate.script"

struct script *script_of_state(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, SCRIPT_KEY);
    struct script *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return s;
}

struct script *script_of(lua_State *L)
{
    struct script *s = script_of_state(L);
    if (s == NULL || s->loop == NULL)
        luaL_error(L,
                   "no server runs here yet: call this in on_start or another hook, not while the "
                   "script is loaded");
    return s;
}

/* --- what was raised --- */

/* Drops a place in the library from the beginning of a message. A tail call leaves no trace of the
 * script's line, so the message names the library's; the log line begins with the hook's place
 * instead. */
static const char *door_without_place(const char *message)
{
    size_t n = strcspn(message, ": ");
    bool library = strncmp(message, SCRIPT_LIBRARY_FOLDER, sizeof SCRIPT_LIBRARY_FOLDER - 1) == 0;
    if (!library || message[n] != ':')
        return message;
    size_t digits = strspn(message + n + 1, "0123456789");
    const char *rest = message + n + 1 + digits;
    return digits > 0 && rest[0] == ':' && rest[1] == ' ' ? rest + 2 : message;
}

/* Pushes the error at idx as a text of bounded length. A script may raise a table with __tostring,
 * or a text of megabytes. */
static const char *door_push_error(lua_State *L, int idx)
{
    struct str text = script_str(L, idx); /* a number becomes one */
    if (text.p == NULL && luaL_callmeta(L, idx, "__tostring"))
        text = script_str(L, -1);
    if (text.p == NULL)
        return lua_pushfstring(L, "an error that is no text but a %s", luaL_typename(L, idx));
    lua_pushlstring(L, text.p, text.n < ERROR_TEXT ? text.n : ERROR_TEXT);
    if (text.n > ERROR_TEXT) {
        lua_pushliteral(L, "...");
        lua_concat(L, 2);
    }
    return lua_tostring(L, -1);
}

/* The text for a status, where the error has no value or the value can't be shown. */
static const char *door_failure_text(const struct script *s, int status)
{
    switch (status) {
    case LUA_YIELD:
        return "coroutine.yield outside of a coroutine of the script's own";
    case LUA_ERRMEM:
        return script_heap_words(s->heap);
    case LUA_ERRERR:
        return "an error within an error";
    default:
        return "an error whose __tostring has failed";
    }
}

static void door_log(struct script *s, const struct script_cause *cause, const char *message,
                     const char *trace)
{
    snprintf(s->door->failure, sizeof s->door->failure, "%s (%s): %s", cause->what, cause->source,
             message);
    script_log_misuse(s, cause->what, cause->source, cause->req, trace);
}

/* 1: what was raised. Upvalue: the script. */
static int door_report(lua_State *L)
{
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    const struct script_failure *f = s->door->failing;
    bool raised = f->status != LUA_YIELD && f->status != LUA_ERRMEM;
    const char *message =
        raised ? door_without_place(door_push_error(L, 1)) : door_failure_text(s, f->status);
    if (f->status == LUA_ERRMEM)
        message = lua_pushfstring(L, "%s%s", script_place(f->co), message);
    const char *trace = message;
    if (f->co != s->L) {
        luaL_traceback(L, f->co, message, 0);
        trace = lua_tostring(L, -1);
    }
    door_log(s, f->cause, message, trace);
    return 0;
}

/* Allocates nothing itself: it is called outside of the door, too. */
void script_log_failure(struct script *s, lua_State *co, int status,
                        const struct script_cause *cause)
{
    lua_State *L = s->L;
    struct script_failure f = {co, status, cause};
    metrics_add(&metrics_own->run[cause->kind].errors, 1);
    int top = lua_gettop(L);
    lua_sethook(L, NULL, 0, 0); /* a hook of limit.c would stop the report as well */
    script_heap_spare(s->heap, true);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->door->report);
    if (co == L)
        lua_pushvalue(L, top);
    else if (status == LUA_YIELD)
        lua_pushnil(L);
    else
        lua_xmove(co, L, 1);
    s->door->failing = &f;
    int reported = lua_pcall(L, 1, 0, 0);
    s->door->failing = NULL;
    if (reported != 0)
        door_log(s, cause, door_failure_text(s, status), door_failure_text(s, status));
    lua_settop(L, top);
    script_heap_spare(s->heap, false);
}

void script_note_error(const struct script *s, const char *what, const char *source,
                       const char *text)
{
    char line[512];
    const char *end = strchr(text, '\n');
    int length = end != NULL ? (int)(end - text) : (int)strlen(text);
    bool placed = memmem(text, (size_t)length, ".lua:", 5) != NULL;
    snprintf(line, sizeof line, "%s%s%.*s", placed ? "" : source, placed ? "" : ": ", length, text);
    recent_error(str_of(what), str_of(line), s != NULL ? s->world.generation : 0);
}

void script_log_misuse(const struct script *s, const char *what, const char *source,
                       const struct request *req, const char *text)
{
    static struct log_quota quota = {.most = LOG_MOST};
    script_note_error(s, what, source, text);
    if (req != NULL)
        request_step(req, "%s (%s): %s", what, source, text);
    if (req == NULL)
        log_within(script_repeats_quota(text), LOG_ERROR, "%s (%s): %s; request -", what, source,
                   text);
    else
        logline_write(req, &quota, LOG_ERROR, "%s (%s): %s", what, source, text);
}

int script_finalizer_failed(lua_State *L)
{
    script_log_misuse(script_of_state(L), "a finalizer", "__gc", NULL, door_push_error(L, 1));
    return 0;
}

const char *script_failure(const struct script *s)
{
    return s->door->failure;
}

/* --- the door --- */

/* Upvalue: the script. */
static int door_run_body(lua_State *L)
{
    struct script *s = lua_touserdata(L, lua_upvalueindex(1));
    s->door->body->run(s, s->door->body->ctx);
    return 0;
}

/* A function of the registry, with the script as its upvalue. */
static int door_function(struct script *s, lua_CFunction function)
{
    lua_pushlightuserdata(s->L, s);
    lua_pushcclosure(s->L, function, 1);
    return luaL_ref(s->L, LUA_REGISTRYINDEX);
}

void script_door_new(struct script *s)
{
    s->door = calloc(1, sizeof *s->door);
    if (s->door == NULL)
        abort();
    s->door->idle_ref = LUA_NOREF;
    s->door->guard = door_function(s, door_run_body);
    s->door->report = door_function(s, door_report);
    lua_pushlightuserdata(s->L, s);
    lua_setfield(s->L, LUA_REGISTRYINDEX, SCRIPT_KEY);
}

void script_door_free(struct script *s)
{
    free(s->door);
    s->door = NULL;
}

/* Runs the body as script_guard does. An error is left on the stack. */
static int door_pass(struct script *s, struct script_body *body)
{
    struct script_body *before = s->door->body;
    s->door->body = body;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->door->guard);
    int status = lua_pcall(s->L, 0, 0, 0);
    s->door->body = before;
    return status;
}

/* Nanoseconds of a clock that only goes forward. */
static uint64_t door_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void door_count(const struct script_cause *cause, uint64_t nanoseconds)
{
    struct metrics_run *run = &metrics_own->run[cause->kind];
    metrics_add(&run->count, 1);
    metrics_add(&run->nanoseconds, nanoseconds);
    metrics_own->running = SCRIPT_KIND_OTHER;
}

/* Notes the time of a hook in the trace of its request. */
static void door_note_span(const struct script_cause *cause, uint64_t began, uint64_t ended)
{
    const struct traceparent *t = cause->req->traceparent;
    bool is_hook = cause->kind > 0 && cause->kind <= HOOK_COUNT;
    if (t->spans != NULL && is_hook)
        spans_note(t->spans, cause->what, (double)began / 1e9, (double)ended / 1e9, cause->resumed);
}

static void door_collect(struct script *s, void *ctx)
{
    (void)ctx;
    script_heap_collect(s->heap);
}

/* A run has left more than it found, or has failed for want of memory. */
static void door_settle(struct script *s)
{
    static const struct script_cause cause = {.what = "a finalizer",
                                              .source = "limits.script_memory"};
    if (s->door->settles)
        return;
    s->door->settles = true;
    script_guard(s, &cause, door_collect, NULL);
    s->door->settles = false;
    if (script_heap_is_worn(s->heap) && s->worn != NULL)
        s->worn(s->worn_ctx);
}

bool script_guard(struct script *s, const struct script_cause *cause,
                  void (*run)(struct script *s, void *ctx), void *ctx)
{
    struct script_body body = {run, ctx};
    uint64_t began = 0;
    bool outer = !cause->untimed && script_begin_run(s->L, cause->what, cause->source);
    if (outer) {
        script_run_is_for(cause->req);
        metrics_own->running = cause->kind;
        began = door_clock();
    }
    int status = door_pass(s, &body);
    if (status != 0) {
        script_log_failure(s, s->L, status, cause);
        lua_pop(s->L, 1);
    }
    if (outer) {
        uint64_t ended = door_clock();
        door_count(cause, ended - began);
        if (cause->req != NULL && cause->req->traceparent != NULL)
            door_note_span(cause, began, ended);
        script_end_run(s->L);
    } else if (cause->untimed)
        lua_sethook(s->L, NULL, 0, 0); /* a hook that the script has set while it was loaded */
    if (outer && script_heap_is_due(s->heap))
        door_settle(s);
    return status == 0;
}

/* --- coroutines --- */

lua_State *script_enter(struct script *s, int nargs)
{
    if (s->door->idle == NULL) {
        s->door->idle = lua_newthread(s->L);
        s->door->idle_ref = luaL_ref(s->L, LUA_REGISTRYINDEX);
    }
    lua_settop(s->door->idle, 0);
    lua_xmove(s->L, s->door->idle, nargs + 1);
    return s->door->idle;
}

void script_move_results(struct script *s, lua_State *co, int results)
{
    lua_settop(co, results);
    lua_xmove(co, s->L, results);
}

void script_drop_coroutine(struct script *s)
{
    luaL_unref(s->L, LUA_REGISTRYINDEX, s->door->idle_ref);
    s->door->idle = NULL;
    s->door->idle_ref = LUA_NOREF;
}

enum script_result script_run(struct script *s, int nargs, int results,
                              const struct script_cause *cause)
{
    lua_State *co = script_enter(s, nargs);
    int status = lua_resume(co, nargs);
    if (status == 0) {
        script_move_results(s, co, results);
        return SCRIPT_DONE;
    }
    script_log_failure(s, co, status, cause);
    script_drop_coroutine(s);
    return SCRIPT_FAILED;
}

lua_State *script_detach_coroutine(struct script *s, int *ref)
{
    lua_State *co = s->door->idle;
    *ref = s->door->idle_ref;
    s->door->idle = NULL;
    s->door->idle_ref = LUA_NOREF;
    return co;
}

void script_return_coroutine(struct script *s, lua_State *co, int ref, bool usable)
{
    if (!usable || s->door->idle != NULL) {
        luaL_unref(s->L, LUA_REGISTRYINDEX, ref);
        return;
    }
    s->door->idle = co;
    s->door->idle_ref = ref;
}

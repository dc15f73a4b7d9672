/* script - see script.h. */
#include "script/script.h"

#include "script/heap.h"
#include "script/net/net.h"
#include "script/state.h"
#include "script/task.h"
#include "script/timer.h"

#include <stdlib.h>

struct script *script_new(const struct route *route, char **err)
{
    struct script *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->L = script_state_new();
    s->heap = script_heap_new(s->L);
    s->normalised = LUA_NOREF;
    arena_init(&s->settings.arena, NULL, 0);
    script_door_new(s);
    *err = script_load(s, route);
    if (*err == NULL)
        return s;
    script_free(s);
    return NULL;
}

static void script_nothing(void *ctx)
{
    (void)ctx;
}

void script_set_loop(struct script *s, struct loop *loop, void (*hold)(void *ctx),
                     void (*drop)(void *ctx))
{
    s->loop = loop;
    s->hold = hold;
    s->drop = drop;
}

void script_retire(struct script *s)
{
    s->retired = true;
    script_timers_stop(s);
    script_net_retire(s);
}

void script_end_tasks(struct script *s)
{
    script_timers_end(s);
    script_tasks_cancel(s, true);
}

void script_stop(struct script *s)
{
    s->drop = s->hold = script_nothing;
    script_tasks_cancel(s, false);
    script_timers_free(s);
}

/* Calls all finalizers of the script, too. */
static void script_close_lua(struct script *s)
{
    static const struct script_cause cause = {.what = "a finalizer", .source = "at the end"};
    bool outer = script_begin_run(s->L, cause.what, cause.source);
    script_heap_free(s->heap);
    s->heap = NULL;
    script_close_state(s->L, outer);
}

void script_free(struct script *s)
{
    if (s == NULL)
        return;
    script_stop(s);
    s->loop = NULL; /* what the garbage collector still calls finds no server (script_of) */
    s->world = (struct script_world){.ctx = NULL};
    script_close_lua(s);
    script_net_free(s);
    script_boxes_free(s);
    script_hooks_free(s);
    script_balance_free(s);
    script_door_free(s);
    arena_fini(&s->settings.arena);
    free(s);
}

void script_on_worn(struct script *s, void (*worn)(void *ctx), void *ctx)
{
    s->worn = worn;
    s->worn_ctx = ctx;
}

void script_set_world(struct script *s, const struct script_world *world)
{
    s->world = *world;
}

const struct settings *script_settings(const struct script *s)
{
    return &s->settings;
}

size_t script_memory(const struct script *s)
{
    return (size_t)lua_gc(s->L, LUA_GCCOUNT, 0) * 1024;
}

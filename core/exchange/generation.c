/* generation - see generation.h. */
#include "exchange/generation.h"

#include "exchange/grants.h"
#include "script/spans.h"

#include <stdlib.h>

#define SPANS_PATIENCE 2.0 /* seconds that a stop waits for who gets the spans of traces */

static unsigned alive;
static struct generation *all_generations;

unsigned generation_alive(void)
{
    return alive;
}

static void generation_free_backends(struct generation *g)
{
    health_free(g->health);
    for (unsigned i = 0; g->backends != NULL && i < g->settings->backend_count; i++)
        if (g->backends[i] != NULL)
            backend_free(g->backends[i]);
    free(g->backends);
    resolver_free(g->resolver);
}

static bool generation_has_names(const struct settings *settings)
{
    for (unsigned i = 0; i < settings->backend_count; i++)
        for (unsigned j = 0; j < settings->backends[i].server_count; j++)
            if (settings->backends[i].servers[j].is_name)
                return true;
    return false;
}

static const char *generation_make_backends(struct generation *g, struct backends *all)
{
    const struct resolver_options options = {.servers = g->settings->resolver,
                                             .count = g->settings->resolver_count};
    const char *err = NULL;
    if (generation_has_names(g->settings))
        g->resolver = resolver_new(g->loop, &options);
    g->backends = calloc(g->settings->backend_count + 1, sizeof *g->backends);
    if (g->backends == NULL)
        abort();
    for (unsigned i = 0; i < g->settings->backend_count && err == NULL; i++)
        g->backends[i] = backend_new(&g->settings->backends[i], all, g->resolver, g->number, &err);
    return err;
}

static void generation_started(void *ctx, enum script_result result)
{
    struct generation *g = ctx;
    g->started = result == SCRIPT_DONE;
    g->on_started(g->ctx, g, g->started ? NULL : script_failure(g->script));
}

void generation_start(struct generation *g,
                      void (*on_started)(void *ctx, struct generation *g, const char *err),
                      void *ctx)
{
    g->on_started = on_started;
    g->ctx = ctx;
    enum script_result result = script_start(g->script, generation_started, g);
    if (result != SCRIPT_WAITING)
        generation_started(g, result);
}

static void generation_hold_cb(void *ctx)
{
    generation_hold(ctx);
}

static void generation_drop_cb(void *ctx)
{
    generation_drop(ctx);
}

static void generation_last_cb(struct deadline *d)
{
    struct generation *g = (struct generation *)((char *)d - offsetof(struct generation, last));
    generation_hold(g);
    script_end_tasks(g->script);
    generation_drop(g);
}

struct generation *generation_new(const struct route *route, struct backends *backends,
                                  unsigned number, char **err)
{
    struct script *script = script_new(route, err);
    if (script == NULL)
        return NULL;
    struct generation *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    g->script = script;
    g->settings = script_settings(script);
    g->loop = backends->loop;
    g->number = number;
    g->count = 1;
    const char *bad = generation_make_backends(g, backends);
    if (bad == NULL) {
        alive++;
        g->next = all_generations;
        all_generations = g;
        g->health = health_new(g->backends, g->settings->backend_count, g->loop);
        script_set_loop(script, g->loop, generation_hold_cb, generation_drop_cb);
        deadline_init(&g->last, g->loop, generation_last_cb);
        return g;
    }
    *err = strdup(bad);
    generation_free_backends(g);
    script_free(script);
    free(g);
    return NULL;
}

struct generation *generation_hold(struct generation *g)
{
    g->count++;
    return g;
}

void generation_drop(struct generation *g)
{
    if (--g->count > 0)
        return;
    alive--;
    struct generation **at = &all_generations;
    while (*at != g)
        at = &(*at)->next;
    *at = g->next;
    deadline_fini(&g->last);
    if (g->started)
        script_notify(g->script, HOOK_STOP);
    script_stop(g->script);
    generation_free_backends(g);
    grants_free(g->grants);
    script_free(g->script);
    free(g);
}

void generation_reject(struct generation *g)
{
    script_retire(g->script);
    script_end_tasks(g->script);
    generation_drop(g);
}

struct backend *generation_backend(const struct generation *g, struct str name)
{
    int backend = settings_find_backend(g->settings, name);
    return backend >= 0 ? g->backends[backend] : NULL;
}

void generation_serve(struct generation *g)
{
    for (unsigned i = 0; i < g->settings->backend_count; i++)
        backend_serve(g->backends[i]);
}

/* Handles a generation that gets no more requests. */
static void generation_end_its_time(struct generation *old)
{
    health_free(old->health);
    old->health = NULL;
    script_retire(old->script);
    double patience = old->settings->stop_timeout;
    deadline_set(&old->last, patience > 0 ? patience : 0.001); /* 0 is at once, and not never */
}

void generation_retire(struct generation *g)
{
    generation_end_its_time(g);
    for (unsigned i = 0; i < g->settings->backend_count; i++)
        backend_rest(g->backends[i]);
}

bool generation_is_done(const struct generation *g)
{
    return alive == 1 && g->count == 1;
}

void generation_replace(struct generation *g, struct generation *old)
{
    generation_end_its_time(old);
    for (unsigned i = 0; i < old->settings->backend_count; i++)
        backend_retire(old->backends[i], generation_backend(g, old->settings->backends[i].name));
    generation_serve(g); /* after the old one has ended its checks */
}

void generation_refresh(struct generation *g)
{
    for (unsigned i = 0; i < g->settings->backend_count; i++)
        backend_refresh(g->backends[i]);
}

static void generation_wake_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events; /* the timer only ends the loop's sleep */
}

void generation_send_spans(struct generation *g)
{
    ev_timer wake;
    if (g == NULL || !script_spans_wait(g->script))
        return;
    double until = loop_now(g->loop) + SPANS_PATIENCE;
    script_retire(g->script); /* the exporter does not wait for more */
    ev_timer_init(&wake, generation_wake_cb, 0.05, 0.05);
    ev_timer_start(g->loop->ev, &wake);
    while (script_spans_wait(g->script) && loop_now(g->loop) < until)
        ev_run(g->loop->ev, EVRUN_ONCE);
    ev_timer_stop(g->loop->ev, &wake);
}

void generation_end_tasks(void)
{
    for (struct generation *g = all_generations, *next; g != NULL; g = next) {
        generation_hold(g);
        script_end_tasks(g->script);
        next = g->next;
        generation_drop(g);
    }
}

/* renewal - see renewal.h. */
#include "process/renewal.h"

#include "base/log.h"
#include "exchange/control.h"

#include <stdlib.h>
#include <unistd.h>

#define RENEWAL_PAUSE 10.0 /* seconds until a worn script is loaded again that could not be */
#define RENEWAL_LEAST 1.0  /* seconds between two renewals, each of which stops the loop */

void renewal_drop(struct renewal *r)
{
    ev_timer_stop(r->loop->ev, &r->timer);
    if (r->next != NULL)
        generation_reject(r->next);
    r->next = NULL;
}

static void renewal_plan(struct renewal *r, double seconds)
{
    if (ev_is_active(&r->timer) || !r->may(r->ctx))
        return;
    ev_timer_set(&r->timer, seconds, 0);
    ev_timer_start(r->loop->ev, &r->timer);
}

static void renewal_on_worn(void *ctx)
{
    struct renewal *r = ctx;
    double wait = r->from - loop_now(r->loop);
    if (r->next == NULL)
        renewal_plan(r, wait > 0 ? wait : 0);
}

static void renewal_on_started(void *ctx, struct generation *g, const char *err)
{
    struct renewal *r = ctx;
    (void)g;
    r->started = true;
    r->failed = err;
    renewal_plan(r, 0); /* the generation can't be dropped in a call of its own */
}

static void renewal_fail(struct renewal *r, const char *why)
{
    r->from = loop_now(r->loop) + RENEWAL_PAUSE;
    log_error("limits.script_memory: the script holds most of it, and can't begin anew in this "
              "worker: %s",
              why);
}

static void renewal_begin(struct renewal *r)
{
    char *err = NULL;
    struct route route = *r->route;
    route.snapshot = r->snapshot;
    r->started = false;
    r->next = generation_new(&route, r->backends, (*r->serving)->number, &err);
    if (r->next != NULL) {
        control_open(r->next);
        generation_start(r->next, renewal_on_started, r);
    } else {
        renewal_fail(r, err != NULL ? err : "it could not be loaded");
    }
    free(err);
}

static void renewal_end(struct renewal *r)
{
    struct generation *old = *r->serving;
    if (r->failed != NULL) {
        renewal_fail(r, r->failed);
        renewal_drop(r);
        generation_refresh(old);
        return;
    }
    log_warn("limits.script_memory: the script held %zu MB after a collection, of %zu MB; it has "
             "begun anew in this worker: what it kept in variables is gone",
             script_memory(old->script) >> 20, old->settings->limits.script_memory >> 20);
    r->from = loop_now(r->loop) + RENEWAL_LEAST;
    board_count_renewal(r->board, old->number);
    script_on_worn(old->script, NULL, NULL);
    *r->serving = r->next;
    r->next = NULL;
    script_on_worn((*r->serving)->script, renewal_on_worn, r);
    generation_replace(*r->serving, old);
    generation_drop(old);
}

static void renewal_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct renewal *r = timer->data;
    (void)ev;
    (void)events;
    if (!r->may(r->ctx))
        return; /* a reload that fails leaves the script worn: its next hook says so again */
    if (r->next == NULL)
        renewal_begin(r);
    else if (r->started)
        renewal_end(r);
}

void renewal_init(struct renewal *r)
{
    ev_timer_init(&r->timer, renewal_timer_cb, 0, 0);
    r->timer.data = r;
}

void renewal_use(struct renewal *r, int snapshot)
{
    if (r->snapshot > 0)
        close(r->snapshot);
    r->snapshot = snapshot;
    script_on_worn((*r->serving)->script, renewal_on_worn, r);
}

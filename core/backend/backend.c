/* backend - see backend.h. */
#include "backend/backend_inner.h"

#include "base/log.h"
#include "shm/metrics.h"

#include <stdlib.h>

/* --- life --- */

struct backend *backend_new(const struct backend_settings *settings, struct backends *all,
                            struct resolver *resolver, unsigned generation, const char **err)
{
    const struct ledger_limits limits = {settings->queue, settings->per_tenant, true};
    struct backend *b = calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    b->settings = settings;
    b->all = all;
    b->resolver = resolver;
    b->generation = generation;
    b->metrics = metrics_backend(settings->name);
    b->counts = &metrics_own->backend[b->metrics];
    b->on_connect = settings->multiplex == MULTIPLEX_AUTO ? server_ask : NULL;
    deadline_init(&b->probe, all->loop, lease_probe_cb);
    b->group = ledger_open(&all->seat, settings->name, &limits);
    *err = b->group == LEDGER_NONE ? "there are too many backends" : NULL;
    for (unsigned i = 0; i < settings->server_count && *err == NULL; i++) {
        if (settings->servers[i].is_name)
            names_add(b, &settings->servers[i]);
        else
            *err =
                servers_add(b, &settings->servers[i],
                            &(struct conn_place){.list = {settings->servers[i].addr}, .count = 1});
    }
    b->next = all->first;
    all->first = b;
    if (*err == NULL) {
        changed_heed(b);
        return b;
    }
    backend_free(b);
    return NULL;
}

static void backend_unlist(struct backend *b)
{
    struct backend **at = &b->all->first;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
}

void backend_free(struct backend *b)
{
    backend_unlist(b);
    for (int i = 0; i < b->count; i++)
        server_stop_asking(b->servers[i]);
    left_pass(b);
    names_free(b);
    for (int i = 0; i < b->count; i++) {
        server_close_idle(b->servers[i]);
        if (!b->servers[i]->gone)
            ledger_server_gone(&b->all->seat, b->servers[i]->slot);
        free(b->servers[i]);
    }
    deadline_fini(&b->probe);
    if (b->group != LEDGER_NONE)
        ledger_close(&b->all->seat, b->group);
    pick_free(b);
    free(b->servers);
    free(b);
}

/* --- another generation --- */

void backend_rest(struct backend *b)
{
    b->retired = true;
    names_stop(b);
    for (int i = 0; i < b->count; i++)
        server_close_idle(b->servers[i]);
}

void backend_retire(struct backend *b, struct backend *successor)
{
    b->retired = true;
    names_stop(b);
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i];
        struct server *to = successor != NULL ? servers_at(successor, s->slot) : NULL;
        if (to != NULL &&
            (successor->settings->keepalive > 0 || successor->settings->multiplex != MULTIPLEX_NO))
            server_pass_kept(s, to);
        server_close_idle(s);
        /* Addresses of names stay until they are looked up again. */
        if (to == NULL && !s->gone && !s->settings->is_name)
            ledger_server_retire(&b->all->seat, s->slot, b->generation);
    }
}

void backend_refresh(struct backend *b)
{
    const struct ledger_limits limits = {b->settings->queue, b->settings->per_tenant, !b->serves};
    ledger_open(&b->all->seat, b->settings->name, &limits);
    ledger_close(&b->all->seat, b->group);
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone) {
            uint32_t slot = servers_open_slot(b, b->servers[i]->settings, b->servers[i]->address);
            ledger_server_gone(&b->all->seat, slot); /* it is opened once, as before */
        }
}

void backend_serve(struct backend *b)
{
    b->serves = true;
    backend_refresh(b);
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone)
            server_set_checks(b->servers[i]);
    changed_serve(b);
}

struct metrics_backend *backend_counts(const struct backend *b)
{
    return b->counts;
}

/* --- state of servers --- */

void backend_failed(struct backend *b, int server, const char *why)
{
    struct server *s = b->servers[server];
    if (s->settings->is_name)
        names_look_again(b, s->settings);
    bool down = ledger_failed(&b->all->seat, s->slot);
    if (!down)
        return;
    lease_expect_probe(b);
    log_warn("backend '%.*s': server %s is taken out for %g s (fail_timeout) after %u failures "
             "(max_fails), the last: %s",
             STR_FMT(b->settings->name), s->address, b->settings->fail_timeout,
             b->settings->max_fails, why);
}

void backend_answered(struct backend *b, int server, double latency)
{
    struct server *s = b->servers[server];
    bool was_down = backend_server(b, server)->down;
    ledger_answered(&b->all->seat, s->slot, latency);
    if (was_down)
        log_warn("backend '%.*s': server %s answers again", STR_FMT(b->settings->name), s->address);
}

bool backend_checked(struct backend *b, int server, bool good)
{
    const struct health_settings *health = &b->settings->health;
    bool changed =
        ledger_checked(&b->all->seat, b->servers[server]->slot, good, health->rise, health->fall);
    return changed;
}

bool backend_check_due(struct backend *b, int server, double interval, double timeout)
{
    return !b->servers[server]->gone &&
           ledger_check_due(&b->all->seat, b->servers[server]->slot, interval, timeout);
}

void backend_check_over(struct backend *b, int server, double interval)
{
    ledger_check_over(&b->all->seat, b->servers[server]->slot, interval);
}

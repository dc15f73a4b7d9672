/*
 * servers - see backend_inner.h. This file has the table of a backend's servers, each with its
 * place in the ledger, and the backend's group there.
 */
#include "backend/backend_inner.h"

#include "base/log.h"

#include <stdlib.h>

/* Seconds after which a server that took one request at a time is tried with several again. */
#define ALONE_FOR 60.0

#define RESTED 0.02 /* seconds that a kept TCP connection must have been idle for `once` */

const struct change *servers_change(const struct backend *b, const char *address)
{
    return changes_find(&b->all->changed, b->settings->name, str_of(address));
}

double servers_weight(const struct backend *b, const struct server_settings *settings,
                      const char *address)
{
    const struct change *change = servers_change(b, address);
    return change != NULL && change->kind != CHANGE_REMOVE ? change->weight : settings->weight;
}

uint32_t servers_open_slot(struct backend *b, const struct server_settings *settings,
                           const char *address)
{
    const struct ledger_server_limits limits = {
        .max_conns = settings->max_conns,
        .keepalive = b->settings->keepalive,
        .max_fails = b->settings->max_fails,
        .fail_timeout = b->settings->fail_timeout,
        .slow_start = b->settings->slow_start,
        .weight = servers_weight(b, settings, address),
        .backup = settings->backup,
        .prepared = !b->serves,
        .generation = b->generation,
    };
    uint32_t slot = ledger_server_open(&b->all->seat, b->group, str_of(address), &limits);
    return slot;
}

/* A number for one more server: that of a server which is gone and has no connections, or a new
 * one. */
static struct server *servers_number(struct backend *b)
{
    for (int i = 0; i < b->count; i++)
        if (b->servers[i]->gone && b->servers[i]->conns == 0)
            return b->servers[i];
    if (b->count == BACKEND_SERVERS)
        return NULL;
    struct server **list = realloc(b->servers, (size_t)(b->count + 1) * sizeof *list);
    struct server *s = calloc(1, sizeof *s);
    if (list == NULL || s == NULL)
        abort();
    b->servers = list;
    s->number = b->count;
    s->gone = true; /* until it is filled in */
    return list[b->count++] = s;
}

void server_set_checks(const struct server *s)
{
    const struct backend *b = s->backend;
    const struct backend_settings *settings = b->settings;
    enum ledger_reads reads = settings->load.n > 0          ? LEDGER_READS_LOAD
                              : settings->health.reads_pool ? LEDGER_READS_POOL
                                                            : LEDGER_READS_NOTHING;
    ledger_server_set_checks(&b->all->seat, s->slot, b->generation, settings->health.enabled,
                             reads);
}

const char *servers_add(struct backend *b, const struct server_settings *settings,
                        const struct conn_place *place)
{
    char address[ADDR_TEXT_SIZE];
    addr_text(&place->list[0], address);
    const struct change *change = servers_change(b, address);
    if (change != NULL && change->kind == CHANGE_REMOVE)
        return NULL;
    uint32_t slot = servers_open_slot(b, settings, address);
    struct server *s = slot != LEDGER_NONE ? servers_number(b) : NULL;
    if (s == NULL)
        return "there are too many servers";
    *s = (struct server){
        .backend = b,
        .settings = settings,
        .place = *place,
        .slot = slot,
        .number = s->number,
        .rest = RESTED,
        .weight = servers_weight(b, settings, address),
    };
    memcpy(s->address, address, sizeof address);
    if (settings->is_added) {
        s->own = *settings;
        s->own.address = str_of(s->address);
        s->settings = &s->own;
    }
    b->changes++;
    if (b->serves)
        server_set_checks(s);
    return NULL;
}

struct server *servers_at(const struct backend *b, uint32_t slot)
{
    for (int i = 0; i < b->count; i++)
        if (b->servers[i]->slot == slot && !b->servers[i]->gone)
            return b->servers[i];
    return NULL;
}

struct str backend_address(const struct backend *b, int server)
{
    return str_of(b->servers[server]->address);
}

const struct addr *backend_addr(const struct backend *b, int server)
{
    return &b->servers[server]->place.list[0];
}

struct ledger_server *backend_server(const struct backend *b, int server)
{
    return ledger_at(&b->all->seat, b->servers[server]->slot);
}

uint32_t backend_place(const struct backend *b, int server)
{
    return b->servers[server]->slot;
}

int backend_server_count(const struct backend *b)
{
    return b->count;
}

bool backend_is_gone(const struct backend *b, int server)
{
    return b->servers[server]->gone;
}

int backend_find(const struct backend *b, struct str address)
{
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone && (str_eq(str_of(b->servers[i]->address), address) ||
                                     str_eq(b->servers[i]->settings->address, address)))
            return i;
    return -1;
}

int backend_server_of(const struct conn *c)
{
    return c->server->number;
}

/* --- the group --- */

unsigned backend_metrics(const struct backend *b)
{
    return b->metrics;
}

const struct backend_settings *backend_settings(const struct backend *b)
{
    return b->settings;
}

void backend_hold(struct backend *b, bool held)
{
    ledger_hold(&b->all->seat, b->group, held);
}

bool backend_is_held(const struct backend *b)
{
    return ledger_is_held(&b->all->seat, b->group);
}

unsigned backend_queued(const struct backend *b)
{
    return ledger_queued(&b->all->seat, b->group);
}

unsigned backend_queue_room(const struct backend *b)
{
    return ledger_queue_room(&b->all->seat, b->group);
}

void backend_tenant(const struct backend *b, struct str tenant, unsigned *active, unsigned *queued)
{
    ledger_tenant_claims(&b->all->seat, b->group, tenant, active, queued);
}

void backend_tenants(const struct backend *b, unsigned *active, unsigned *queued)
{
    ledger_tenants_claims(&b->all->seat, b->group, active, queued);
}

void backend_drain(struct backend *b, int server, bool draining)
{
    ledger_drain(&b->all->seat, b->servers[server]->slot, draining);
}

unsigned backend_active(const struct backend *b, struct str address)
{
    return ledger_active(&b->all->seat, b->group, address);
}

void backend_takes_one(struct backend *b, int server, const char *why)
{
    const struct server *s = b->servers[server];
    struct ledger_server *slot = backend_server(b, server);
    if (b->settings->multiplex == MULTIPLEX_YES && slot->sharing != LEDGER_ALONE)
        log_warn("backend '%.*s': server %s takes one request on a connection (%s): it gets one at "
                 "a time, and is tried again after %g s",
                 STR_FMT(b->settings->name), s->address, why, ALONE_FOR);
    slot->alone_until = ledger_now() + ALONE_FOR;
    slot->sharing = LEDGER_ALONE;
}

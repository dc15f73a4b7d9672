/*
 * names - see backend.h. This file has servers that are given by name. Each address of a name is a
 * server, an IPv4 and an IPv6 address together one. An address that the next answer does not have
 * gets no new requests. A failed look-up leaves the last good answer in place.
 */
#include "backend/backend_inner.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOKUP_PAUSE 1.0 /* seconds between two look-ups after failed connects */
#define RETRY_PAUSE  2.0 /* seconds after a failed look-up, or `resolve` if that is less */

/* Makes the servers of a name's addresses, which are sorted. An IPv4 and an IPv6 address count as
 * one machine, so that its limits are not doubled. Returns the number of servers. */
static unsigned names_pair(const struct addr *list, unsigned count, struct conn_place *out)
{
    unsigned v4 = 0;
    while (v4 < count && list[v4].sa.sa_family == AF_INET)
        v4++;
    unsigned v6 = count - v4, servers = v4 > v6 ? v4 : v6;
    for (unsigned i = 0; i < servers; i++) {
        out[i] = (struct conn_place){.list = {i < v4 ? list[i] : list[v4 + i]}, .count = 1};
        if (i < v4 && i < v6)
            out[i].list[out[i].count++] = list[v4 + i];
    }
    return servers;
}

static struct server *names_find(const struct backend *b, const struct server_name *name,
                                 const struct addr *addr)
{
    for (int i = 0; i < b->count; i++)
        if (b->servers[i]->settings == name->settings && !b->servers[i]->gone &&
            addr_compare(&b->servers[i]->place.list[0], addr) == 0)
            return b->servers[i];
    return NULL;
}

/* Drops servers of the name that the answer does not have any more. */
static void names_drop_others(struct backend *b, const struct server_name *name,
                              const struct conn_place *list, unsigned count)
{
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i];
        bool listed = s->settings != name->settings || s->gone;
        for (unsigned j = 0; j < count && !listed; j++)
            listed = addr_compare(&list[j].list[0], &s->place.list[0]) == 0;
        if (listed)
            continue;
        log_info("backend '%.*s': %s is no address of %.*s any more", STR_FMT(b->settings->name),
                 s->address, STR_FMT(name->settings->address));
        server_go(s);
    }
}

/* Sets the second address, which may be new, changed or gone. */
static void names_set_second(struct conn_place *place, const struct conn_place *now)
{
    bool same = place->count == now->count &&
                (now->count == 1 || addr_compare(&place->list[1], &now->list[1]) == 0);
    if (same)
        return;
    place->list[1] = now->list[1];
    place->count = now->count;
    place->first = 0;
}

static void names_apply(struct server_name *name, const struct addr *list, unsigned count)
{
    struct backend *b = name->backend;
    struct conn_place servers[LOOKUP_MAX_ADDRS];
    count = names_pair(list, count, servers);
    for (unsigned i = 0; i < count; i++) {
        struct server *s = names_find(b, name, &servers[i].list[0]);
        const char *err = NULL;
        if (s != NULL)
            names_set_second(&s->place, &servers[i]);
        else
            err = servers_add(b, name->settings, &servers[i]);
        if (err != NULL)
            log_error("backend '%.*s': %.*s: %s", STR_FMT(b->settings->name),
                      STR_FMT(name->settings->address), err);
    }
    names_drop_others(b, name, servers, count);
}

static void names_answered(struct lookup *lookup, const struct addr *list, unsigned count,
                           const char *err)
{
    struct server_name *name =
        (struct server_name *)((char *)lookup - offsetof(struct server_name, lookup));
    const struct backend_settings *settings = name->backend->settings;
    if (err == NULL && name->failed)
        log_info("backend '%.*s': %.*s is known again", STR_FMT(settings->name),
                 STR_FMT(name->settings->address));
    if (err != NULL && !name->failed)
        log_warn("backend '%.*s': %s; %s", STR_FMT(settings->name), err,
                 name->backend->count > 0 ? "the last good answer stays"
                                          : "requests for it are answered 503 until it is known");
    name->answered = true;
    name->failed = err != NULL;
    snprintf(name->problem, sizeof name->problem, "%s", err != NULL ? err : "");
    bool soon = err != NULL && settings->resolve > RETRY_PAUSE;
    deadline_set(&name->again, soon ? RETRY_PAUSE : settings->resolve);
    if (err == NULL)
        names_apply(name, list, count);
    else if (name->backend->count == 0) /* leases that wait for the first answer end */
        ledger_refuse_all(&name->backend->all->seat, name->backend->group);
}

static void names_look_up(struct server_name *name)
{
    struct str host;
    uint16_t port;
    if (lookup_is_waiting(&name->lookup) || !addr_is_name(name->settings->address.p, &host, &port))
        return;
    name->asked_at = loop_now(name->backend->all->loop);
    lookup_start(name->backend->resolver, &name->lookup, host, port, names_answered);
}

static void names_again_cb(struct deadline *d)
{
    names_look_up((struct server_name *)((char *)d - offsetof(struct server_name, again)));
}

void names_add(struct backend *b, const struct server_settings *settings)
{
    if (b->names == NULL)
        b->names = calloc(b->settings->server_count, sizeof *b->names);
    if (b->names == NULL)
        abort();
    struct server_name *name = &b->names[b->name_count++];
    *name = (struct server_name){.backend = b, .settings = settings};
    deadline_init(&name->again, b->all->loop, names_again_cb);
    names_look_up(name);
}

void names_look_again(struct backend *b, const struct server_settings *settings)
{
    for (unsigned i = 0; i < b->name_count; i++)
        if (b->names[i].settings == settings &&
            loop_now(b->all->loop) - b->names[i].asked_at > LOOKUP_PAUSE)
            names_look_up(&b->names[i]);
}

bool names_are_looking(const struct backend *b)
{
    for (unsigned i = 0; i < b->name_count; i++)
        if (!b->names[i].answered)
            return true;
    return false;
}

void names_stop(struct backend *b)
{
    for (unsigned i = 0; i < b->name_count; i++) {
        lookup_cancel(&b->names[i].lookup);
        deadline_clear(&b->names[i].again);
    }
}

void names_free(struct backend *b)
{
    names_stop(b);
    for (unsigned i = 0; i < b->name_count; i++)
        deadline_fini(&b->names[i].again);
    free(b->names);
}

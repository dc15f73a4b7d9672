/*
 * ledger_lists - see ledger.h. This file: tenants, the lists that claims are in, a worker's claims
 * and box, and the lock.
 *
 * Counts and lists can be made again from the claims (rebuild), which is what happens when a worker
 * dies, inside the lock or outside. Claims belong to workers: each takes them from a part of its
 * own without a lock. What one worker has to tell another (a grant, a connection to give up) is
 * marked in the claim, which then lies in the other's box until it is collected.
 */
#include "ledger_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* --- tenants; the group is locked --- */

static uint32_t *bucket_of(struct group *g, uint64_t hash)
{
    return &g->tenants[(hash ^ hash >> 32) % LEDGER_BUCKETS];
}

void ledger_lock_directory(struct ledger *l)
{
    if (pthread_mutex_lock(&l->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&l->lock); /* each change in there is one store, or repeated */
}

uint32_t ledger_new_tenant(struct ledger *l, struct group *g, uint64_t hash)
{
    ledger_lock_directory(l);
    uint32_t at = l->free_tenant;
    if (at != LEDGER_NONE)
        l->free_tenant = l->tenants[at].next;
    else if (l->tenants_used < LEDGER_TENANTS)
        at = l->tenants_used++;
    pthread_mutex_unlock(&l->lock);
    if (at == LEDGER_NONE) /* too many at once: they share what the nameless have */
        return g->anyone;
    uint32_t *bucket = bucket_of(g, hash);
    l->tenants[at] = (struct tenant){
        .hash = hash, .bucket_next = *bucket, .head = LEDGER_NONE, .tail = LEDGER_NONE};
    *bucket = at;
    return at;
}

uint32_t ledger_find_tenant(struct ledger *l, struct group *g, uint64_t hash)
{
    if (hash == 0)
        return g->anyone;
    for (uint32_t at = *bucket_of(g, hash); at != LEDGER_NONE; at = l->tenants[at].bucket_next)
        if (l->tenants[at].hash == hash)
            return at;
    return ledger_new_tenant(l, g, hash);
}

/* Forgets a tenant that has nothing any more. */
void ledger_leave_tenant(struct ledger *l, struct group *g, uint32_t tenant)
{
    struct tenant *t = &l->tenants[tenant];
    if (t->active > 0 || t->waiting > 0 || tenant == g->anyone)
        return;
    uint32_t *at = bucket_of(g, t->hash);
    while (*at != tenant)
        at = &l->tenants[*at].bucket_next;
    *at = t->bucket_next;
    ledger_lock_directory(l);
    t->next = l->free_tenant;
    l->free_tenant = tenant;
    pthread_mutex_unlock(&l->lock);
}

static void list_tenant(struct ledger *l, struct group *g, uint32_t tenant)
{
    struct tenant *t = &l->tenants[tenant];
    t->listed = true;
    t->prev = LEDGER_NONE;
    t->next = g->waiting;
    if (t->next != LEDGER_NONE)
        l->tenants[t->next].prev = tenant;
    g->waiting = tenant;
}

static void unlist_tenant(struct ledger *l, struct group *g, uint32_t tenant)
{
    struct tenant *t = &l->tenants[tenant];
    if (t->prev != LEDGER_NONE)
        l->tenants[t->prev].next = t->next;
    else
        g->waiting = t->next;
    if (t->next != LEDGER_NONE)
        l->tenants[t->next].prev = t->prev;
    t->listed = false;
}

bool ledger_is_capped(const struct ledger *l, const struct group *g, uint32_t tenant)
{
    return g->per_tenant > 0 && tenant != g->anyone && l->tenants[tenant].active >= g->per_tenant;
}

/* --- lists of claims; the group is locked --- */

void ledger_wait_in_line(struct ledger *l, struct group *g, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct tenant *t = &l->tenants[c->tenant];
    c->state = CLAIM_WAITING;
    c->next = LEDGER_NONE;
    c->prev = t->tail;
    if (t->tail != LEDGER_NONE)
        l->claims[t->tail].next = claim;
    else
        t->head = claim;
    t->tail = claim;
    t->waiting++;
    g->queued++;
    if (!t->listed)
        list_tenant(l, g, c->tenant);
}

void ledger_leave_line(struct ledger *l, struct group *g, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct tenant *t = &l->tenants[c->tenant];
    if (c->prev != LEDGER_NONE)
        l->claims[c->prev].next = c->next;
    else
        t->head = c->next;
    if (c->next != LEDGER_NONE)
        l->claims[c->next].prev = c->prev;
    else
        t->tail = c->prev;
    t->waiting--;
    g->queued--;
    if (t->waiting == 0)
        unlist_tenant(l, g, c->tenant);
}

void ledger_become_idle(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    c->state = CLAIM_IDLE;
    c->prev = LEDGER_NONE;
    c->next = s->idle_head;
    if (c->next != LEDGER_NONE)
        l->claims[c->next].prev = claim;
    else
        s->idle_tail = claim;
    s->idle_head = claim;
    s->idle++;
}

void ledger_leave_idle(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    if (c->prev != LEDGER_NONE)
        l->claims[c->prev].next = c->next;
    else
        s->idle_head = c->next;
    if (c->next != LEDGER_NONE)
        l->claims[c->next].prev = c->prev;
    else
        s->idle_tail = c->prev;
    s->idle--;
}

void ledger_become_active(struct ledger *l, uint32_t claim, uint32_t server)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[server];
    c->state = CLAIM_ACTIVE;
    c->server = server;
    s->active++;
    s->requests++;
    l->tenants[c->tenant].active++;
}

void ledger_leave_active(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    l->servers[c->server].active--;
    l->tenants[c->tenant].active--;
}

/* --- a worker's claims and box --- */

uint32_t ledger_take_claim(struct ledger_seat *seat)
{
    struct ledger *l = seat->ledger;
    struct part *part = &l->parts[seat->worker];
    uint32_t at = seat->free;
    if (at != LEDGER_NONE)
        seat->free = l->claims[at].next;
    else if (part->used < LEDGER_WORKER_MAX)
        at = seat->worker * LEDGER_WORKER_MAX + part->used++;
    return at;
}

/* What lies in the box is only marked, and free once it has been collected. */
void ledger_free_claim(struct ledger_seat *seat, uint32_t claim)
{
    struct claim *c = &seat->ledger->claims[claim];
    if (__atomic_load_n(&c->in_box, __ATOMIC_ACQUIRE)) {
        c->state = CLAIM_DROPPED;
        return;
    }
    c->state = CLAIM_FREE;
    c->next = seat->free;
    seat->free = claim;
}

/* Leaves news for the claim's worker. The group is locked, so nobody else marks this claim. `seat`
 * is NULL when it is the master that speaks. */
void ledger_post(struct ledger *l, struct ledger_seat *seat, uint32_t claim, enum claim_event event)
{
    struct claim *c = &l->claims[claim];
    struct part *part = &l->parts[c->worker];
    c->event = (uint8_t)event;
    if (c->in_box)
        return;
    c->in_box = true;
    uint32_t head = __atomic_load_n(&part->box, __ATOMIC_RELAXED);
    do
        c->box_next = head;
    while (!__atomic_compare_exchange_n(&part->box, &head, claim, false, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
    if (seat != NULL && seat->worker == c->worker)
        seat->posted = true;
    else if (head == LEDGER_NONE && write(part->wake, &(uint64_t){1}, 8) < 0)
        return; /* full: it is awake already */
}

/* --- counts made again --- */

static void clear_group(struct ledger *l, struct group *g)
{
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        struct ledger_server *s = &l->servers[at];
        s->active = s->idle = 0;
        s->idle_head = s->idle_tail = LEDGER_NONE;
    }
    for (unsigned i = 0; i < LEDGER_BUCKETS; i++)
        for (uint32_t at = g->tenants[i]; at != LEDGER_NONE; at = l->tenants[at].bucket_next)
            l->tenants[at] = (struct tenant){.hash = l->tenants[at].hash,
                                             .bucket_next = l->tenants[at].bucket_next,
                                             .head = LEDGER_NONE,
                                             .tail = LEDGER_NONE};
    g->queued = 0;
    g->waiting = LEDGER_NONE;
}

static int compare_since(const void *a, const void *b, void *claims)
{
    const struct claim *all = claims;
    double x = all[*(const uint32_t *)a].since, y = all[*(const uint32_t *)b].since;
    return x < y ? -1 : x > y;
}

/* Whoever locked the group died in there, or has gone with claims of it: all counts and lists are
 * made again from the claims that are left. */
void ledger_rebuild(struct ledger *l, struct group *g, uint32_t group)
{
    size_t count = 0, room = 64;
    uint32_t *waiters = malloc(room * sizeof *waiters);
    clear_group(l, g);
    for (unsigned w = 0; w < l->workers; w++) {
        for (uint32_t i = 0; i < l->parts[w].used; i++) {
            uint32_t claim = w * LEDGER_WORKER_MAX + i;
            struct claim *c = &l->claims[claim];
            if (c->group != group || c->state == CLAIM_FREE || c->state == CLAIM_DROPPED)
                continue;
            if (c->state == CLAIM_IDLE)
                ledger_become_idle(l, claim);
            if (c->state == CLAIM_ACTIVE) {
                l->servers[c->server].active++;
                l->tenants[c->tenant].active++;
            }
            if (c->state != CLAIM_WAITING)
                continue;
            if (count == room)
                waiters = realloc(waiters, (room *= 2) * sizeof *waiters);
            if (waiters == NULL)
                abort();
            waiters[count++] = claim;
        }
    }
    qsort_r(waiters, count, sizeof *waiters, compare_since, l->claims);
    for (size_t i = 0; i < count; i++)
        ledger_wait_in_line(l, g, waiters[i]);
    free(waiters);
}

struct group *ledger_lock_group(struct ledger *l, uint32_t group)
{
    struct group *g = &l->groups[group];
    if (pthread_mutex_lock(&g->lock) == EOWNERDEAD) {
        pthread_mutex_consistent(&g->lock);
        ledger_rebuild(l, g, group);
    }
    return g;
}

void ledger_unlock_group(struct group *g)
{
    pthread_mutex_unlock(&g->lock);
}

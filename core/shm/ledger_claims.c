/*
 * ledger_claims - see ledger_claims.h.
 *
 * When a worker dies inside the lock, counts and lists are made again from the claims
 * (ledger_rebuild). A claim's fields and its news are written before its state, so that the claims
 * are right at whatever instruction the worker died; the news are posted again. Claims belong to
 * workers: each takes them from its own part without a lock. News for another worker (a grant, a
 * connection to give up) are written to the claim, and a bit in that worker's mailbox marks the
 * claim until the worker reads it.
 */
#include "shm/ledger_claims.h"

#include "shm/lock.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

double ledger_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- tenants; the group is locked --- */

static unsigned ledger_bucket(uint64_t hash)
{
    return (hash ^ hash >> 32) % LEDGER_BUCKETS;
}

static uint32_t *ledger_bucket_of(struct group *g, uint64_t hash)
{
    return &g->tenants[ledger_bucket(hash)];
}

/* When the tenant was last served. For a tenant whose place was reused this is the latest time of
 * such tenants, so that a tenant can't come before waiting ones because its time was dropped. */
static double ledger_served_before(const struct group *g, uint64_t hash)
{
    const struct served *s = &g->served[hash % LEDGER_SERVED];
    return s->hash == hash ? s->at : g->forgotten;
}

static void ledger_remember_served(struct group *g, const struct tenant *t)
{
    struct served *s = &g->served[t->hash % LEDGER_SERVED];
    if (s->hash != t->hash && s->at > g->forgotten)
        g->forgotten = s->at;
    *s = (struct served){t->hash, t->served};
}

void ledger_lock_directory(struct ledger *l)
{
    lock_enter(
        &l->lock); /* each change under this lock is one store, or is repeated by the next worker */
}

void ledger_unlock_directory(struct ledger *l)
{
    lock_leave(&l->lock);
}

uint32_t ledger_new_tenant(struct ledger *l, struct group *g, uint64_t hash)
{
    ledger_lock_directory(l);
    uint32_t at = l->free_tenant;
    if (at != LEDGER_NONE)
        l->free_tenant = l->tenants[at].next;
    else if (l->tenants_used < LEDGER_TENANTS)
        at = l->tenants_used++;
    ledger_unlock_directory(l);
    /* too many tenants at once: this one shares the place of requests without one */
    if (at == LEDGER_NONE)
        return g->anyone;
    uint32_t *bucket = ledger_bucket_of(g, hash);
    l->tenants[at] = (struct tenant){.hash = hash,
                                     .bucket_next = *bucket,
                                     .head = LEDGER_NONE,
                                     .tail = LEDGER_NONE,
                                     .served = ledger_served_before(g, hash)};
    __atomic_store_n(bucket, at,
                     __ATOMIC_RELEASE); /* last, so that a tenant in the list is complete */
    return at;
}

uint32_t ledger_known_tenant(const struct ledger *l, const struct group *g, uint64_t hash)
{
    if (hash == 0)
        return g->anyone;
    uint32_t at = g->tenants[ledger_bucket(hash)];
    while (at != LEDGER_NONE && l->tenants[at].hash != hash)
        at = l->tenants[at].bucket_next;
    return at;
}

uint32_t ledger_find_tenant(struct ledger *l, struct group *g, uint64_t hash)
{
    uint32_t at = ledger_known_tenant(l, g, hash);
    return at != LEDGER_NONE ? at : ledger_new_tenant(l, g, hash);
}

/* Frees a tenant without claims. */
void ledger_leave_tenant(struct ledger *l, struct group *g, uint32_t tenant)
{
    struct tenant *t = &l->tenants[tenant];
    if (t->active > 0 || t->waiting > 0 || tenant == g->anyone)
        return;
    uint32_t *at = ledger_bucket_of(g, t->hash);
    while (*at != tenant)
        at = &l->tenants[*at].bucket_next;
    *at = t->bucket_next;
    ledger_remember_served(g, t);
    ledger_lock_directory(l);
    t->next = l->free_tenant;
    l->free_tenant = tenant;
    ledger_unlock_directory(l);
}

static void ledger_list_tenant(struct ledger *l, struct group *g, uint32_t tenant)
{
    struct tenant *t = &l->tenants[tenant];
    t->listed = true;
    t->prev = LEDGER_NONE;
    t->next = g->waiting;
    if (t->next != LEDGER_NONE)
        l->tenants[t->next].prev = tenant;
    g->waiting = tenant;
}

static void ledger_unlist_tenant(struct ledger *l, struct group *g, uint32_t tenant)
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

/* Writes the state after all other fields of the claim; the barrier keeps the compiler from moving
 * it. */
static void ledger_set_state(struct claim *c, enum claim_state state)
{
    __atomic_store_n(&c->state, (uint8_t)state, __ATOMIC_RELEASE);
}

static void ledger_count_waiter(struct ledger *l, struct group *g, const struct claim *c, int by)
{
    struct tenant *t = &l->tenants[c->tenant];
    t->waiting += (uint32_t)by;
    g->queued += (uint32_t)by;
    if (c->avoid != LEDGER_NONE)
        g->avoiding += (uint32_t)by;
    if (!c->only) {
        g->anyone_of[c->worker] += (uint32_t)by;
        ledger_set_worker(&g->with_anyone, c->worker, g->anyone_of[c->worker] > 0);
        return;
    }
    t->named += (uint32_t)by;
    if (c->server != LEDGER_NONE)
        l->servers[c->server].named += (uint32_t)by;
}

void ledger_wait_in_line(struct ledger *l, struct group *g, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct tenant *t = &l->tenants[c->tenant];
    ledger_set_state(c, CLAIM_WAITING);
    c->next = LEDGER_NONE;
    c->prev = t->tail;
    if (t->tail != LEDGER_NONE)
        l->claims[t->tail].next = claim;
    else
        t->head = claim;
    t->tail = claim;
    ledger_count_waiter(l, g, c, 1);
    if (!t->listed)
        ledger_list_tenant(l, g, c->tenant);
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
    ledger_count_waiter(l, g, c, -1);
    if (t->waiting == 0)
        ledger_unlist_tenant(l, g, c->tenant);
}

void ledger_become_idle(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    ledger_set_state(c, CLAIM_IDLE);
    c->prev = LEDGER_NONE;
    c->next = s->idle_head;
    if (c->next != LEDGER_NONE)
        l->claims[c->next].prev = claim;
    else
        s->idle_tail = claim;
    s->idle_head = claim;
    s->idle++;
    s->leaving += c->leaving;
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
    s->leaving -= c->leaving;
    c->leaving = false;
}

static void ledger_count_active(struct ledger *l, const struct claim *c, int by)
{
    struct ledger_server *s = &l->servers[c->server];
    if (c->last) {
        s->spare += (uint32_t)by;
        return;
    }
    s->active += (uint32_t)by;
    s->extra += (uint32_t)by * c->extra;
    l->tenants[c->tenant].active += (uint32_t)by;
}

void ledger_become_active(struct ledger *l, uint32_t claim, uint32_t server)
{
    struct claim *c = &l->claims[claim];
    c->server = server;
    ledger_set_state(c, CLAIM_ACTIVE);
    ledger_count_active(l, c, 1);
    l->servers[server].requests++;
    if (!c->last)
        l->tenants[c->tenant].served = ledger_now();
}

void ledger_leave_active(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    ledger_count_active(l, c, -1);
    c->extra = 0;
}

void ledger_leave(struct ledger *l, struct group *g, uint32_t claim)
{
    switch (l->claims[claim].state) {
    case CLAIM_WAITING:
        ledger_leave_line(l, g, claim);
        break;
    case CLAIM_ACTIVE:
        ledger_leave_active(l, claim);
        break;
    case CLAIM_IDLE:
        ledger_leave_idle(l, claim);
        break;
    default:
        break;
    }
}

/* --- a worker's claims and mailbox --- */

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

void ledger_free_claim(struct ledger_seat *seat, uint32_t claim)
{
    struct claim *c = &seat->ledger->claims[claim];
    c->event = LEDGER_NOTHING;
    ledger_set_state(c, CLAIM_FREE);
    c->next = seat->free;
    seat->free = claim;
}

/* Marks in the mailbox that the claim has news. */
static void ledger_mark(struct part *part, uint32_t claim)
{
    uint32_t at = claim % LEDGER_WORKER_MAX;
    __atomic_fetch_or(&part->news[at / 64], 1ull << at % 64, __ATOMIC_RELEASE);
    __atomic_fetch_or(&part->words[at / 64 / 64], 1ull << at / 64 % 64, __ATOMIC_RELEASE);
}

static void ledger_wake(struct part *part)
{
    if (write(part->wake, &(uint64_t){1}, 8) < 0)
        return; /* a full eventfd is readable, so the worker wakes anyway */
}

void ledger_post(struct ledger *l, struct ledger_seat *seat, uint32_t claim,
                 enum ledger_event event)
{
    struct claim *c = &l->claims[claim];
    struct part *part = &l->parts[c->worker];
    c->event = (uint8_t)event;
    ledger_mark(part, claim);
    if (seat != NULL && seat->worker == c->worker) {
        if (!seat->noted && seat->note_news != NULL)
            seat->note_news(seat);
        seat->noted = true;
    } else if (!__atomic_exchange_n(&part->woken, true, __ATOMIC_ACQ_REL)) {
        ledger_wake(part);
    }
}

void ledger_ask_to_leave(struct ledger *l, struct ledger_seat *seat, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    if (c->leaving)
        return;
    c->leaving = true;
    l->servers[c->server].leaving++;
    ledger_post(l, seat, claim, LEDGER_GIVE_UP);
}

/* --- counts made again --- */

static void ledger_clear_group(struct ledger *l, struct group *g)
{
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        struct ledger_server *s = &l->servers[at];
        s->active = s->spare = s->idle = s->leaving = s->named = s->extra = 0;
        s->idle_head = s->idle_tail = LEDGER_NONE;
    }
    for (unsigned i = 0; i < LEDGER_BUCKETS; i++)
        for (uint32_t at = g->tenants[i]; at != LEDGER_NONE; at = l->tenants[at].bucket_next) {
            struct tenant *t = &l->tenants[at];
            t->active = t->waiting = t->named = 0;
            t->head = t->tail = LEDGER_NONE;
            t->listed = false;
        }
    g->queued = g->avoiding = 0;
    memset(g->anyone_of, 0, sizeof g->anyone_of);
    memset(&g->with_anyone, 0, sizeof g->with_anyone);
    g->waiting = LEDGER_NONE;
}

/* Frees all tenants without claims. */
static void ledger_sweep_tenants(struct ledger *l, struct group *g)
{
    for (unsigned i = 0; i < LEDGER_BUCKETS; i++)
        for (uint32_t at = g->tenants[i], next; at != LEDGER_NONE; at = next) {
            next = l->tenants[at].bucket_next;
            ledger_leave_tenant(l, g, at);
        }
}

/* Posts the news of a claim again, since the dead worker may have posted only a part of them. */
static void ledger_tell_again(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    struct part *part = &l->parts[c->worker];
    if (c->state == CLAIM_IDLE && c->leaving)
        c->event = LEDGER_GIVE_UP;
    if (c->event == LEDGER_NOTHING)
        return;
    ledger_mark(part, claim);
    ledger_wake(part);
}

static int ledger_compare_since(const void *a, const void *b, void *claims)
{
    const struct claim *all = claims;
    double x = all[*(const uint32_t *)a].since, y = all[*(const uint32_t *)b].since;
    return x < y ? -1 : x > y;
}

/* Counts one claim. Waiting claims are counted later, when they are sorted. */
static bool ledger_count_again(struct ledger *l, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    if (c->state == CLAIM_IDLE)
        ledger_become_idle(l, claim);
    if (c->state == CLAIM_ACTIVE)
        ledger_count_active(l, c, 1);
    ledger_tell_again(l, claim);
    return c->state == CLAIM_WAITING;
}

/* Grows the list. Without memory the process ends, and the next worker that takes the lock repeats
 * the work. */
static uint32_t *ledger_grow(uint32_t *list, size_t room)
{
    uint32_t *more = realloc(list, room * sizeof *more);
    if (more == NULL)
        abort();
    return more;
}

/* Makes all counts and lists of a group from the claims, after a worker has died inside the lock.
 */
static void ledger_rebuild(struct ledger *l, struct group *g, uint32_t group)
{
    size_t count = 0, room = 64;
    uint32_t *waiters = ledger_grow(NULL, room);
    ledger_clear_group(l, g);
    for (unsigned w = 0; w < l->workers; w++) {
        for (uint32_t i = 0; i < l->parts[w].used; i++) {
            uint32_t claim = w * LEDGER_WORKER_MAX + i;
            const struct claim *c = &l->claims[claim];
            if (c->state == CLAIM_FREE || c->group != group || !ledger_count_again(l, claim))
                continue;
            if (count == room)
                waiters = ledger_grow(waiters, room *= 2);
            waiters[count++] = claim;
        }
    }
    qsort_r(waiters, count, sizeof *waiters, ledger_compare_since, l->claims);
    for (size_t i = 0; i < count; i++)
        ledger_wait_in_line(l, g, waiters[i]);
    free(waiters);
    ledger_sweep_tenants(l, g);
}

struct group *ledger_lock_group(struct ledger *l, uint32_t group)
{
    struct group *g = &l->groups[group];
    if (lock_enter(&g->lock))
        ledger_rebuild(l, g, group);
    return g;
}

void ledger_unlock_group(struct group *g)
{
    lock_leave(&g->lock);
}

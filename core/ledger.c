/*
 * ledger - see ledger.h. This file: who may have a connection, and when.
 *
 * A free place goes to the tenant that has the fewest, and there to the one that has waited
 * longest.
 */
#include "ledger_inner.h"

#include <unistd.h>

#define HEAD_START 0.005 /* seconds that a worker's own waiter may be younger than others' */

/* --- who may go --- */

bool ledger_has_room(const struct ledger_server *s)
{
    return s->max_conns == 0 || s->active + s->idle < s->max_conns;
}

unsigned ledger_tier_of(const struct ledger_server *s, double now)
{
    if (s->gone || s->draining || s->sick)
        return LEDGER_NO_TIER;
    return (s->backup ? 1u : 0u) + (s->down && now < s->retry_at ? 2u : 0u);
}

unsigned ledger_group_tier(const struct ledger *l, const struct group *g, double now)
{
    unsigned tier = LEDGER_NO_TIER;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        unsigned own = ledger_tier_of(&l->servers[at], now);
        if (own < tier)
            tier = own;
    }
    return tier;
}

unsigned ledger_tier(const struct ledger_seat *seat, uint32_t group, double now)
{
    return ledger_group_tier(seat->ledger, &seat->ledger->groups[group], now);
}

double ledger_weight(const struct ledger_server *s, double now)
{
    double up = now - s->up_since;
    if (s->slow_start <= 0 || s->up_since <= 0 || up >= s->slow_start)
        return s->weight;
    return s->weight * (up > s->slow_start / 100 ? up / s->slow_start : 0.01);
}

/* The server with room that has the least to do for its weight. */
static uint32_t free_server(const struct ledger *l, const struct group *g, double now,
                            const bool *skip)
{
    unsigned tier = ledger_group_tier(l, g, now), index = 0;
    uint32_t best = LEDGER_NONE;
    double least = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next, index++) {
        const struct ledger_server *s = &l->servers[at];
        if (skip[index % 64] || ledger_tier_of(s, now) != tier || !ledger_has_room(s))
            continue;
        double load = (s->active + 1) / ledger_weight(s, now);
        if (best == LEDGER_NONE || load < least) {
            best = at;
            least = load;
        }
    }
    return tier == LEDGER_NO_TIER ? LEDGER_NONE : best;
}

static bool may_have(const struct ledger *l, const struct claim *c, uint32_t server)
{
    if (c->only)
        return c->server == server;
    const struct ledger_server *s = &l->servers[server];
    return c->avoid != server || (s->next == LEDGER_NONE && l->groups[c->group].servers == server);
}

/* The tenant's first waiter for the server; if that worker is not `own`, the first of `own` may
 * have a head start. */
static uint32_t first_waiter(const struct ledger *l, const struct tenant *t, uint32_t server,
                             unsigned own)
{
    uint32_t first = LEDGER_NONE;
    for (uint32_t at = t->head; at != LEDGER_NONE; at = l->claims[at].next) {
        const struct claim *c = &l->claims[at];
        if (!may_have(l, c, server))
            continue;
        if (first != LEDGER_NONE && c->since - l->claims[first].since > HEAD_START)
            break;
        if (own == LEDGER_NONE || c->worker == own)
            return at;
        if (first == LEDGER_NONE)
            first = at;
    }
    return first;
}

/* Whose turn it is on that server: the tenant with the fewest connections, then the longest wait.
 */
static uint32_t next_waiter(const struct ledger *l, const struct group *g, uint32_t server,
                            unsigned own)
{
    uint32_t best = LEDGER_NONE;
    const struct tenant *best_tenant = NULL;
    for (uint32_t at = g->waiting; at != LEDGER_NONE; at = l->tenants[at].next) {
        const struct tenant *t = &l->tenants[at];
        if (ledger_is_capped(l, g, at) || (best_tenant != NULL && t->active > best_tenant->active))
            continue;
        uint32_t claim = first_waiter(l, t, server, own);
        if (claim == LEDGER_NONE)
            continue;
        if (best_tenant == NULL || t->active < best_tenant->active ||
            l->claims[claim].since < l->claims[best].since) {
            best = claim;
            best_tenant = t;
        }
    }
    return best;
}

/* A server that failed too often is tried by one request at a time. */
static void note_probe(struct ledger_server *s)
{
    if (s->down)
        s->retry_at = ledger_now() + s->fail_timeout;
}

static void grant(struct ledger *l, struct ledger_seat *seat, struct group *g, uint32_t claim,
                  uint32_t server)
{
    ledger_leave_line(l, g, claim);
    ledger_become_active(l, claim, server);
    note_probe(&l->servers[server]);
    ledger_post(l, seat, claim, EVENT_GRANT);
}

/* Asks for one idle connection to be closed, the oldest first: somebody waits for its place. */
static void ask_to_give_up(struct ledger *l, struct ledger_seat *seat, struct ledger_server *s)
{
    for (uint32_t at = s->idle_tail; at != LEDGER_NONE; at = l->claims[at].prev) {
        if (l->claims[at].event == EVENT_GIVE_UP)
            continue;
        ledger_post(l, seat, at, EVENT_GIVE_UP);
        return;
    }
}

/* Grants what can be granted now. */
void ledger_pump(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    bool skip[64] = {false};
    double now = g->queued > 0 ? ledger_now() : 0;
    while (g->queued > 0 && !g->held) {
        uint32_t server = free_server(l, g, now, skip);
        if (server == LEDGER_NONE)
            return;
        uint32_t claim = next_waiter(l, g, server, LEDGER_NONE);
        if (claim != LEDGER_NONE) {
            grant(l, seat, g, claim, server);
            continue;
        }
        unsigned index = 0;
        for (uint32_t at = g->servers; at != server; at = l->servers[at].next)
            index++;
        skip[index % 64] = true;
    }
}

/* --- asking and giving back --- */

static bool may_go(const struct ledger *l, const struct group *g, const struct claim *c,
                   const struct ledger_wish *wish)
{
    const struct ledger_server *s = &l->servers[wish->server];
    if (g->held || wish->server == LEDGER_NONE || s->draining || s->gone || !ledger_has_room(s))
        return false;
    return !ledger_is_capped(l, g, c->tenant);
}

uint32_t ledger_room_of(const struct ledger *l, const struct group *g)
{
    uint64_t servers = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        servers += !l->servers[at].gone;
    uint64_t room = (servers > 0 ? servers : 1) * g->queue;
    return room < LEDGER_NONE ? (uint32_t)room : LEDGER_NONE;
}

static void make_room(struct ledger *l, struct ledger_seat *seat, struct group *g,
                      const struct ledger_wish *wish)
{
    for (uint32_t at = g->servers; at != LEDGER_NONE && !g->held; at = l->servers[at].next)
        if ((wish->server == LEDGER_NONE || wish->server == at || !wish->only) &&
            l->servers[at].idle > 0 && !ledger_has_room(&l->servers[at]))
            ask_to_give_up(l, seat, &l->servers[at]);
}

static enum ledger_answer acquire(struct ledger *l, struct ledger_seat *seat, struct group *g,
                                  const struct ledger_wish *wish, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    c->tenant = ledger_find_tenant(l, g, wish->tenant);
    if (may_go(l, g, c, wish)) {
        ledger_become_active(l, claim, wish->server);
        note_probe(&l->servers[wish->server]);
        return LEDGER_GRANTED;
    }
    if (g->queued >= ledger_room_of(l, g)) {
        ledger_leave_tenant(l, g, c->tenant);
        return LEDGER_FULL;
    }
    c->since = ledger_now();
    ledger_wait_in_line(l, g, claim);
    make_room(l, seat, g, wish);
    if (wish->server == LEDGER_NONE) /* there may be room that the caller did not see */
        ledger_pump(l, seat, g);
    return LEDGER_WAITING;
}

enum ledger_answer ledger_acquire(struct ledger_seat *seat, const struct ledger_wish *wish,
                                  uint32_t *claim)
{
    struct ledger *l = seat->ledger;
    uint32_t at = ledger_take_claim(seat);
    if (at == LEDGER_NONE)
        return LEDGER_FULL;
    l->claims[at] = (struct claim){
        .holder = wish->holder,
        .group = wish->group,
        .server = wish->server,
        .avoid = wish->avoid,
        .only = wish->only,
        .fresh = wish->fresh,
        .worker = (uint16_t)seat->worker,
        .state = CLAIM_DROPPED, /* until it is in a list */
    };
    struct group *g = ledger_lock_group(l, wish->group);
    enum ledger_answer answer = acquire(l, seat, g, wish, at);
    ledger_unlock_group(g);
    *claim = at;
    if (answer == LEDGER_FULL)
        ledger_free_claim(seat, at);
    return answer;
}

/* Changes whose share an active or idle connection is. */
static void change_tenant(struct ledger *l, struct group *g, struct claim *c, uint32_t tenant)
{
    uint32_t before = c->tenant;
    c->tenant = tenant;
    if (before != tenant)
        ledger_leave_tenant(l, g, before);
}

bool ledger_reuse(struct ledger_seat *seat, uint32_t claim, uint64_t tenant, void *holder)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint32_t whose = ledger_find_tenant(l, g, tenant);
    bool good = c->event != EVENT_GIVE_UP && !g->held && !l->servers[c->server].draining &&
                !l->servers[c->server].gone && !ledger_is_capped(l, g, whose);
    if (good) {
        ledger_leave_idle(l, claim);
        c->tenant = whose;
        c->holder = holder;
        ledger_become_active(l, claim, c->server);
    } else {
        ledger_leave_tenant(l, g, whose);
    }
    ledger_unlock_group(g);
    return good;
}

/* An idle connection holds nobody's share. */
static enum ledger_kept keep(struct ledger *l, struct group *g, uint32_t claim, void *holder)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    if (s->idle >= s->keepalive || g->held || s->draining || s->gone)
        return LEDGER_CLOSE;
    ledger_leave_active(l, claim);
    change_tenant(l, g, c, g->anyone);
    c->holder = holder;
    ledger_become_idle(l, claim);
    return LEDGER_KEEP;
}

static enum ledger_kept release(struct ledger *l, struct ledger_seat *seat, struct group *g,
                                uint32_t claim, void *holder, void **next)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    uint32_t server = c->server, tenant = c->tenant, waiter = LEDGER_NONE;
    if (g->queued > 0 && !g->held && !s->draining && !s->gone && s->keepalive > 0 &&
        (s->max_conns == 0 || s->active + s->idle <= s->max_conns)) {
        l->tenants[tenant].active--; /* its own share is free for the choice */
        waiter = next_waiter(l, g, server, seat->worker);
        l->tenants[tenant].active++;
    }
    if (waiter != LEDGER_NONE && l->claims[waiter].worker == seat->worker &&
        !l->claims[waiter].fresh) {
        struct claim *w = &l->claims[waiter];
        uint32_t whose = w->tenant;
        *next = w->holder;
        ledger_leave_line(l, g, waiter);
        ledger_leave_active(l, claim);
        ledger_free_claim(seat, waiter);
        change_tenant(l, g, c, whose);
        ledger_become_active(l, claim, server);
        return LEDGER_NEXT;
    }
    return waiter == LEDGER_NONE ? keep(l, g, claim, holder) : LEDGER_CLOSE;
}

enum ledger_kept ledger_release(struct ledger_seat *seat, uint32_t claim, void *holder, void **next)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, l->claims[claim].group);
    enum ledger_kept kept = release(l, seat, g, claim, holder, next);
    ledger_unlock_group(g);
    return kept;
}

void ledger_drop(struct ledger_seat *seat, uint32_t claim)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint32_t tenant = c->tenant;
    if (c->state == CLAIM_WAITING)
        ledger_leave_line(l, g, claim);
    else if (c->state == CLAIM_ACTIVE)
        ledger_leave_active(l, claim);
    else if (c->state == CLAIM_IDLE)
        ledger_leave_idle(l, claim);
    ledger_free_claim(seat, claim);
    ledger_leave_tenant(l, g, tenant);
    ledger_pump(l, seat, g);
    ledger_unlock_group(g);
}

void ledger_refuse_all(struct ledger_seat *seat, uint32_t group)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    for (uint32_t t = g->waiting; t != LEDGER_NONE; t = l->tenants[t].next)
        for (uint32_t at = l->tenants[t].head; at != LEDGER_NONE; at = l->claims[at].next)
            if (l->claims[at].worker == seat->worker)
                ledger_post(l, seat, at, EVENT_REFUSE);
    ledger_unlock_group(g);
}

/* --- the box --- */

void ledger_join(struct ledger_seat *seat, struct ledger *l, unsigned worker)
{
    seat->ledger = l;
    seat->worker = worker;
    seat->free = LEDGER_NONE;
    seat->posted = false;
}

int ledger_wake_fd(const struct ledger_seat *seat)
{
    return seat->ledger->parts[seat->worker].wake;
}

/* One claim of the box. Its event is read and cleared under the lock, where it was written. */
static void collect(struct ledger_seat *seat, uint32_t claim)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint8_t event = c->event, state = c->state;
    void *holder = c->holder;
    uint32_t server = c->server;
    c->event = EVENT_NONE;
    __atomic_store_n(&c->in_box, false, __ATOMIC_RELEASE);
    ledger_unlock_group(g);
    if (state == CLAIM_DROPPED)
        ledger_free_claim(seat, claim);
    else if (state == CLAIM_ACTIVE && event == EVENT_GRANT)
        seat->on_grant(holder, claim, server);
    else if (state == CLAIM_WAITING && event == EVENT_REFUSE)
        seat->on_refuse(holder);
    else if (state == CLAIM_IDLE && event == EVENT_GIVE_UP)
        seat->on_give_up(holder);
}

void ledger_collect(struct ledger_seat *seat)
{
    struct ledger *l = seat->ledger;
    struct part *part = &l->parts[seat->worker];
    uint64_t count;
    if (read(part->wake, &count, sizeof count) < 0)
        count = 0; /* our own news, which wakes nobody */
    seat->posted = false;
    uint32_t at = __atomic_exchange_n(&part->box, LEDGER_NONE, __ATOMIC_ACQUIRE),
             first = LEDGER_NONE;
    while (at != LEDGER_NONE) { /* the latest came first */
        uint32_t next = l->claims[at].box_next;
        l->claims[at].box_next = first;
        first = at;
        at = next;
    }
    while (first != LEDGER_NONE) {
        uint32_t next = l->claims[first].box_next;
        collect(seat, first);
        first = next;
    }
}

/* Takes everything of a worker that has ended out of the claims. */
static bool forget_claims(struct ledger *l, unsigned worker, uint32_t group)
{
    bool any = false;
    for (uint32_t i = 0; i < l->parts[worker].used; i++) {
        struct claim *c = &l->claims[worker * LEDGER_WORKER_MAX + i];
        if (c->group != group || c->state == CLAIM_FREE)
            continue;
        c->state = CLAIM_FREE;
        any = true;
    }
    return any;
}

void ledger_worker_gone(struct ledger *l, unsigned worker)
{
    for (uint32_t i = 0; i < LEDGER_GROUPS; i++) {
        struct group *g = &l->groups[i];
        if (g->key == 0)
            continue;
        ledger_lock_group(l, i);
        g->refs[worker] = 0;
        if (forget_claims(l, worker, i))
            ledger_rebuild(l, g, i);
        ledger_pump(l, NULL, g);
        ledger_unlock_group(g);
    }
    l->parts[worker].box = LEDGER_NONE;
    l->parts[worker].used = 0;
}

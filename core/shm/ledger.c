/*
 * ledger - see ledger.h. This file: who may have a connection, and when.
 *
 * A free place goes to the tenant that has the fewest, of several to the one that has been given
 * none for the longest time, and there to the one that has waited longest.
 */
#include "shm/ledger_inner.h"

#include <unistd.h>

#define HEAD_START                                                                                 \
    0.005 /* seconds by which a waiting claim of the same worker may be younger than those of      \
             others */

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

/* The classes of servers that there are now. */
struct tiers {
    double now;
    unsigned best, second; /* LEDGER_NO_TIER: there is none */
    uint32_t best_count;
};

static struct tiers tiers_of(const struct ledger *l, const struct group *g, double now)
{
    struct tiers t = {.now = now, .best = LEDGER_NO_TIER, .second = LEDGER_NO_TIER};
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        unsigned own = ledger_tier_of(&l->servers[at], now);
        if (own < t.best) {
            t.second = t.best;
            t.best = own;
            t.best_count = 0;
        }
        if (own == t.best)
            t.best_count++;
        else if (own < t.second)
            t.second = own;
    }
    return t;
}

unsigned ledger_tier(const struct ledger_seat *seat, uint32_t group, double now)
{
    return tiers_of(seat->ledger, &seat->ledger->groups[group], now).best;
}

double ledger_weight(const struct ledger_server *s, double now)
{
    double up = now - s->up_since;
    if (s->slow_start <= 0 || s->up_since <= 0 || up >= s->slow_start)
        return s->weight;
    return s->weight * (up > s->slow_start / 100 ? up / s->slow_start : 0.01);
}

/* The class that a waiter is for: the best, of the servers that it does not avoid if there are any.
 */
static unsigned tier_for(const struct ledger *l, const struct tiers *t, const struct claim *c)
{
    if (c->avoid == LEDGER_NONE || t->second == LEDGER_NO_TIER || t->best_count > 1 ||
        ledger_tier_of(&l->servers[c->avoid], t->now) != t->best)
        return t->best;
    return t->second;
}

static bool may_have(const struct ledger *l, const struct tiers *t, const struct claim *c,
                     uint32_t server)
{
    unsigned tier = ledger_tier_of(&l->servers[server], t->now);
    if (tier == LEDGER_NO_TIER)
        return false;
    if (c->only)
        return c->server == server;
    if (l->server_refs[server][c->worker] == 0) /* the claim's worker does not know the server */
        return false;
    if (l->servers[server].retired != 0 && c->generation > l->servers[server].retired)
        return false;
    if (c->generation < l->servers[server].since) /* a later generation has brought the server */
        return false;
    if (c->avoid == server) /* a server that the claim avoids is better than none */
        return t->best_count == 1 && t->second == LEDGER_NO_TIER;
    return tier == tier_for(l, t, c);
}

/* False when it is clear that no waiting claim may have the server. `anyone`: some claims may have
 * any server. */
static bool is_wanted(const struct ledger *l, const struct group *g, const struct tiers *t,
                      uint32_t server, bool anyone)
{
    const struct ledger_server *s = &l->servers[server];
    unsigned tier = ledger_tier_of(s, t->now);
    if (tier == LEDGER_NO_TIER)
        return false;
    if (s->named > 0)
        return true;
    return anyone && (tier == t->best || (tier == t->second && g->avoiding > 0)) &&
           ledger_have_common(&g->with_anyone, &l->known[server]);
}

/* The server with room that has the least to do for its weight, of the best class that has one. */
static uint32_t free_server(const struct ledger *l, const struct group *g, const struct tiers *t,
                            bool anyone)
{
    uint32_t best = LEDGER_NONE;
    unsigned best_tier = LEDGER_NO_TIER;
    double least = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        const struct ledger_server *s = &l->servers[at];
        if (s->skipped || !ledger_has_room(s) || !is_wanted(l, g, t, at, anyone))
            continue;
        unsigned tier = ledger_tier_of(s, t->now);
        double load = (s->active + 1) / ledger_weight(s, t->now);
        if (tier < best_tier || (tier == best_tier && load < least)) {
            best = at;
            best_tier = tier;
            least = load;
        }
    }
    return best;
}

/* The tenant's first waiter for the server; if that worker is not `own`, the first of `own` may
 * have a head start. */
static uint32_t first_waiter(const struct ledger *l, const struct tiers *tiers,
                             const struct tenant *t, uint32_t server, unsigned own)
{
    uint32_t first = LEDGER_NONE;
    for (uint32_t at = t->head; at != LEDGER_NONE; at = l->claims[at].next) {
        const struct claim *c = &l->claims[at];
        if (!may_have(l, tiers, c, server))
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

/* The tenant's turn comes before that of the best so far. Claims of the same worker count as older
 * by the head start above. */
static bool comes_first(const struct tenant *t, const struct claim *c, const struct tenant *best,
                        const struct claim *of_best, unsigned own)
{
    double ahead = (c->worker == own ? HEAD_START : 0) - (of_best->worker == own ? HEAD_START : 0);
    if (t->active != best->active)
        return t->active < best->active;
    if (t->served != best->served)
        return t->served - ahead < best->served;
    return c->since - ahead < of_best->since;
}

/* The claim whose turn it is on the server: of the tenant with the fewest connections, then of the
 * one that was served least recently, then the oldest. */
static uint32_t next_waiter(const struct ledger *l, const struct group *g,
                            const struct tiers *tiers, uint32_t server, unsigned own)
{
    uint32_t best = LEDGER_NONE;
    const struct tenant *best_tenant = NULL;
    for (uint32_t at = g->waiting; at != LEDGER_NONE; at = l->tenants[at].next) {
        const struct tenant *t = &l->tenants[at];
        if (ledger_is_capped(l, g, at) || (best_tenant != NULL && t->active > best_tenant->active))
            continue;
        if (t->named == t->waiting && l->servers[server].named == 0)
            continue;
        uint32_t claim = first_waiter(l, tiers, t, server, own);
        if (claim == LEDGER_NONE)
            continue;
        if (best_tenant == NULL ||
            comes_first(t, &l->claims[claim], best_tenant, &l->claims[best], own)) {
            best = claim;
            best_tenant = t;
        }
    }
    return best;
}

/* True when a claim waits that could have any server. */
static bool has_anyone(const struct ledger *l, const struct group *g)
{
    for (uint32_t at = g->waiting; at != LEDGER_NONE; at = l->tenants[at].next)
        if (l->tenants[at].waiting > l->tenants[at].named && !ledger_is_capped(l, g, at))
            return true;
    return false;
}

/* A server that failed too often is tried by one request at a time. True: it was in service for
 * that until now, so claims that waited for it may have other servers: call ledger_pump. */
static bool note_probe(struct ledger_server *s)
{
    double now = ledger_now();
    bool was_due = s->down && now >= s->retry_at;
    if (s->down)
        s->retry_at = now + s->fail_timeout;
    return was_due;
}

static void ledger_grant(struct ledger *l, struct ledger_seat *seat, struct group *g,
                         uint32_t claim, uint32_t server)
{
    ledger_leave_line(l, g, claim);
    l->claims[claim].event = LEDGER_GRANT;
    ledger_become_active(l, claim, server);
    note_probe(&l->servers[server]);
    ledger_post(l, seat, claim, LEDGER_GRANT);
}

static void grant_all(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    bool anyone = true;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        l->servers[at].skipped = false;
    while (g->queued > 0) {
        struct tiers tiers = tiers_of(l, g, ledger_now());
        uint32_t server = free_server(l, g, &tiers, anyone);
        if (server == LEDGER_NONE)
            return;
        uint32_t claim = next_waiter(l, g, &tiers, server, LEDGER_NONE);
        if (claim != LEDGER_NONE) {
            ledger_grant(l, seat, g, claim, server);
            continue;
        }
        l->servers[server].skipped = true;
        anyone = anyone && has_anyone(l, g);
    }
}

/* The oldest idle connection of the server that has not been asked yet. */
static void ask_one(struct ledger *l, struct ledger_seat *seat, const struct ledger_server *s)
{
    uint32_t at = s->idle_tail;
    while (l->claims[at].leaving)
        at = l->claims[at].prev;
    ledger_ask_to_leave(l, seat, at);
}

/* Asks workers to close idle connections whose places claims wait for: as many as wait, so that
 * many waiting claims are not served one by one. */
static void ledger_make_room(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    uint32_t leaving = 0;
    bool anyone = has_anyone(l, g);
    struct tiers tiers = tiers_of(l, g, ledger_now());
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        leaving += l->servers[at].leaving;
    for (uint32_t at = g->servers; at != LEDGER_NONE && leaving < g->queued;
         at = l->servers[at].next) {
        const struct ledger_server *s = &l->servers[at];
        if (s->idle <= s->leaving || ledger_has_room(s) || !is_wanted(l, g, &tiers, at, anyone) ||
            next_waiter(l, g, &tiers, at, LEDGER_NONE) == LEDGER_NONE)
            continue;
        ask_one(l, seat, s);
        leaving++;
    }
}

void ledger_pump(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    if (g->queued == 0 || g->held)
        return;
    grant_all(l, seat, g);
    if (g->queued > 0)
        ledger_make_room(l, seat, g);
}

/* --- asking and giving back --- */

static bool may_go(const struct ledger *l, const struct group *g, const struct claim *c,
                   const struct ledger_request *request)
{
    if (g->held || request->server == LEDGER_NONE || ledger_is_capped(l, g, c->tenant))
        return false;
    const struct ledger_server *s = &l->servers[request->server];
    return !s->draining && !s->gone && ledger_has_room(s);
}

uint32_t ledger_room_of(const struct ledger *l, const struct group *g)
{
    uint64_t servers = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        servers += !l->servers[at].gone;
    uint64_t room = (servers > 0 ? servers : 1) * g->queue;
    return room < LEDGER_NONE ? (uint32_t)room : LEDGER_NONE;
}

/* A claim that waits only until an idle connection is closed does not count as queued. */
static uint32_t idle_of(const struct ledger *l, const struct group *g, const struct claim *c)
{
    uint32_t idle = 0;
    if (g->held || ledger_is_capped(l, g, c->tenant))
        return 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        if (!c->only || c->server == at)
            idle += l->servers[at].idle;
    return idle;
}

static enum ledger_answer ledger_ask(struct ledger *l, struct ledger_seat *seat, struct group *g,
                                     const struct ledger_request *request, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    c->tenant = ledger_find_tenant(l, g, request->tenant);
    ledger_pump(l, seat,
                g); /* a claim that came first may go by now: a probe may have become due */
    if (may_go(l, g, c, request)) {
        ledger_become_active(l, claim, request->server);
        if (note_probe(&l->servers[request->server]))
            ledger_pump(l, seat, g);
        return LEDGER_GRANTED;
    }
    c->since = ledger_now();
    ledger_wait_in_line(l, g, claim);
    ledger_pump(l, seat, g); /* there may be room that the caller did not see */
    if (c->state != CLAIM_WAITING || g->queued <= ledger_room_of(l, g) ||
        g->queued - ledger_room_of(l, g) <= idle_of(l, g, c))
        return LEDGER_WAITING;
    ledger_leave_line(l, g, claim);
    ledger_leave_tenant(l, g, c->tenant);
    ledger_free_claim(seat, claim);
    return LEDGER_FULL;
}

enum ledger_answer ledger_acquire(struct ledger_seat *seat, const struct ledger_request *request,
                                  uint32_t *claim)
{
    struct ledger *l = seat->ledger;
    uint32_t at = ledger_take_claim(seat);
    if (at == LEDGER_NONE)
        return LEDGER_FULL;
    l->claims[at] = (struct claim){
        .holder = request->holder,
        .group = request->group,
        .server = request->server,
        .avoid = request->avoid,
        .only = request->only,
        .fresh = request->fresh,
        .generation = request->generation,
        .worker = (uint16_t)seat->worker,
        .state = CLAIM_FREE, /* until it is in a list */
    };
    struct group *g = ledger_lock_group(l, request->group);
    enum ledger_answer answer = ledger_ask(l, seat, g, request, at);
    ledger_unlock_group(g);
    *claim = at;
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
    bool good = !c->leaving && !g->held && !l->servers[c->server].draining &&
                !l->servers[c->server].gone && !ledger_is_capped(l, g, whose);
    if (good) {
        ledger_leave_idle(l, claim);
        c->tenant = whose;
        c->holder = holder;
        ledger_become_active(l, claim, c->server);
        if (note_probe(&l->servers[c->server]))
            ledger_pump(l, seat, g);
    } else {
        ledger_leave_tenant(l, g, whose);
    }
    ledger_unlock_group(g);
    return good;
}

/* True when a limit was lowered below what is in use. */
static bool ledger_is_over(const struct ledger_server *s)
{
    return s->max_conns > 0 && s->active + s->idle > s->max_conns;
}

/* An idle connection counts for no tenant. */
static enum ledger_kept ledger_keep(struct ledger *l, struct group *g, uint32_t claim, void *holder)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    if (s->idle >= s->keepalive || g->held || s->draining || s->gone || ledger_is_over(s))
        return LEDGER_CLOSE;
    ledger_leave_active(l, claim);
    change_tenant(l, g, c, g->anyone);
    c->holder = holder;
    ledger_become_idle(l, claim);
    return LEDGER_KEEP;
}

static enum ledger_kept ledger_give_back(struct ledger *l, struct ledger_seat *seat,
                                         struct group *g, uint32_t claim, void *holder, void **next)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    uint32_t server = c->server, tenant = c->tenant, waiter = LEDGER_NONE;
    if (g->queued > 0 && !g->held && s->keepalive > 0 && !ledger_is_over(s)) {
        struct tiers tiers = tiers_of(l, g, ledger_now());
        l->tenants[tenant].active--; /* the released connection does not count against its own
                                        tenant in the choice */
        waiter = next_waiter(l, g, &tiers, server, seat->worker);
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
    return waiter == LEDGER_NONE ? ledger_keep(l, g, claim, holder) : LEDGER_CLOSE;
}

enum ledger_kept ledger_release(struct ledger_seat *seat, uint32_t claim, void *holder, void **next)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, l->claims[claim].group);
    enum ledger_kept kept = ledger_give_back(l, seat, g, claim, holder, next);
    if (kept != LEDGER_CLOSE) /* its tenant has one less: others of it may go elsewhere */
        ledger_pump(l, seat, g);
    ledger_unlock_group(g);
    return kept;
}

void ledger_drop(struct ledger_seat *seat, uint32_t claim)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint32_t tenant = c->tenant;
    ledger_leave(l, g, claim);
    ledger_free_claim(seat, claim);
    ledger_leave_tenant(l, g, tenant);
    ledger_pump(l, seat, g);
    ledger_unlock_group(g);
}

void ledger_nudge(struct ledger_seat *seat, uint32_t group)
{
    struct group *g = ledger_lock_group(seat->ledger, group);
    ledger_pump(seat->ledger, seat, g);
    ledger_unlock_group(g);
}

void ledger_refuse_all(struct ledger_seat *seat, uint32_t group)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    for (uint32_t t = g->waiting; t != LEDGER_NONE; t = l->tenants[t].next)
        for (uint32_t at = l->tenants[t].head; at != LEDGER_NONE; at = l->claims[at].next)
            if (l->claims[at].worker == seat->worker)
                ledger_post(l, seat, at, LEDGER_REFUSE);
    ledger_unlock_group(g);
}

void ledger_refuse_lost(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    double now = ledger_now();
    if (g->queued == 0 || g->held)
        return;
    unsigned best = tiers_of(l, g, now).best;
    for (uint32_t t = g->waiting; t != LEDGER_NONE; t = l->tenants[t].next)
        for (uint32_t at = l->tenants[t].head; at != LEDGER_NONE; at = l->claims[at].next) {
            const struct claim *c = &l->claims[at];
            bool named = c->only && c->server != LEDGER_NONE;
            if ((named ? ledger_tier_of(&l->servers[c->server], now) : best) == LEDGER_NO_TIER)
                ledger_post(l, seat, at, LEDGER_REFUSE);
        }
}

/* --- the box --- */

void ledger_join(struct ledger_seat *seat, struct ledger *l, unsigned worker)
{
    *seat = (struct ledger_seat){.ledger = l, .worker = worker, .free = LEDGER_NONE};
}

int ledger_wake_fd(const struct ledger_seat *seat)
{
    return seat->ledger->parts[seat->worker].wake;
}

void ledger_open_mailbox(struct ledger_seat *seat)
{
    struct part *part = &seat->ledger->parts[seat->worker];
    uint64_t count;
    /* Our own news wake nobody, so there may be nothing to read. */
    if ((!seat->noted || __atomic_load_n(&part->woken, __ATOMIC_RELAXED)) &&
        read(part->wake, &count, sizeof count) < 0)
        count = 0;
    /* Cleared after the read: a worker that finds the flag false from now on writes to the eventfd
     * again. */
    (void)__atomic_exchange_n(&part->woken, false, __ATOMIC_ACQ_REL);
    seat->noted = false;
    seat->part = 0;
    seat->words = seat->pending = 0;
}

static uint64_t mailbox_take(uint64_t *bits)
{
    return __atomic_load_n(bits, __ATOMIC_ACQUIRE) != 0
               ? __atomic_exchange_n(bits, 0, __ATOMIC_ACQ_REL)
               : 0;
}

/* The next claim of the box; LEDGER_NONE: there is none. A bit that is set behind the place that
 * has been reached is for another time, so that this comes to its end. */
static uint32_t mailbox_next(struct ledger_seat *seat)
{
    struct part *part = &seat->ledger->parts[seat->worker];
    while (seat->pending == 0) {
        while (seat->words == 0) {
            if (seat->part == MAILBOX_PARTS)
                return LEDGER_NONE;
            seat->words = mailbox_take(&part->words[seat->part++]);
        }
        seat->word = (seat->part - 1) * 64 + (uint32_t)__builtin_ctzll(seat->words);
        seat->words &= seat->words - 1;
        seat->pending = mailbox_take(&part->news[seat->word]);
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(seat->pending);
    seat->pending &= seat->pending - 1;
    return seat->worker * LEDGER_WORKER_MAX + seat->word * 64 + bit;
}

/* The state that a claim has as long as the event means something. */
static const uint8_t mailbox_states[] = {
    [LEDGER_GRANT] = CLAIM_ACTIVE, [LEDGER_REFUSE] = CLAIM_WAITING, [LEDGER_GIVE_UP] = CLAIM_IDLE};

bool ledger_next_news(struct ledger_seat *seat, struct ledger_news *news)
{
    struct ledger *l = seat->ledger;
    for (uint32_t at; (at = mailbox_next(seat)) != LEDGER_NONE;) {
        struct claim *c = &l->claims[at];
        struct group *g = ledger_lock_group(l, c->group); /* the event is written under the lock */
        uint8_t state = c->state;
        *news = (struct ledger_news){c->event, c->holder, at, c->server};
        c->event = LEDGER_NOTHING;
        ledger_unlock_group(g);
        if (news->event != LEDGER_NOTHING && state == mailbox_states[news->event])
            return true;
    }
    return false;
}

/* Removes the claims of a worker that has ended from the lists. Where it died inside the lock, the
 * lists were made again when the lock was taken. */
static void forget_claims(struct ledger *l, unsigned worker)
{
    for (uint32_t i = 0; i < l->parts[worker].used; i++) {
        uint32_t claim = worker * LEDGER_WORKER_MAX + i;
        struct claim *c = &l->claims[claim];
        if (c->state == CLAIM_FREE)
            continue;
        struct group *g = ledger_lock_group(l, c->group);
        ledger_leave(l, g, claim);
        c->state = CLAIM_FREE;
        c->event = LEDGER_NOTHING;
        ledger_leave_tenant(l, g, c->tenant);
        ledger_unlock_group(g);
    }
}

void ledger_worker_gone(struct ledger *l, unsigned worker)
{
    struct part *part = &l->parts[worker];
    forget_claims(l, worker);
    for (uint32_t i = 0; i < LEDGER_GROUPS; i++) {
        struct group *g = &l->groups[i];
        if (g->key == 0 || g->refs[worker] == 0)
            continue;
        ledger_lock_group(l, i);
        g->refs[worker] = 0;
        ledger_forget_servers(l, NULL, g, worker);
        ledger_pump(l, NULL, g);
        ledger_unlock_group(g);
    }
    memset(part->words, 0, sizeof part->words);
    memset(part->news, 0, sizeof part->news);
    part->woken = false;
    part->used = 0;
}

/*
 * ledger_turns - see ledger_turns.h.
 *
 * A free place is given to the tenant with the fewest connections; of several, to the tenant that
 * was given none for the longest time; of that tenant's claims, to the one that has waited longest.
 */
#include "shm/ledger_turns.h"

#include "shm/ledger_claims.h"

/* Seconds by which a waiting claim of the same worker may be younger than those of others. */
#define HEAD_START 0.005

/* --- which claims may be granted --- */

bool ledger_has_room(const struct ledger_server *s)
{
    uint32_t conns = s->active + s->idle;
    return (s->max_conns == 0 || conns < s->max_conns) &&
           (s->offered_conns == 0 || conns < s->offered_conns) &&
           (s->offered_reqs == 0 || s->active + s->extra < s->offered_reqs);
}

unsigned ledger_tier_of(const struct ledger_server *s, double now)
{
    if (s->gone || s->draining || s->sick)
        return LEDGER_NO_TIER;
    return (s->backup ? 1u : 0u) + (s->down && now < s->retry_at ? LEDGER_LAST_TIERS : 0u);
}

/* The classes of servers (ledger_tier) that the group has now. */
struct tiers {
    double now;
    unsigned best, second; /* LEDGER_NO_TIER: there is none */
    uint32_t best_count;
};

static struct tiers turn_tiers_of(const struct ledger *l, const struct group *g, double now)
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
    return turn_tiers_of(seat->ledger, &seat->ledger->groups[group], now).best;
}

double ledger_weight(const struct ledger_server *s, double now)
{
    double up = now - s->up_since;
    if (s->slow_start <= 0 || s->up_since <= 0 || up >= s->slow_start)
        return s->weight;
    return s->weight * (up > s->slow_start / 100 ? up / s->slow_start : 0.01);
}

/* The class of servers that a waiting claim may have: the best one, counting only servers that the
 * claim does not avoid if there are any. */
static unsigned turn_tier_for(const struct ledger *l, const struct tiers *t, const struct claim *c)
{
    if (c->avoid == LEDGER_NONE || t->second == LEDGER_NO_TIER || t->best_count > 1 ||
        ledger_tier_of(&l->servers[c->avoid], t->now) != t->best)
        return t->best;
    return t->second;
}

static bool turn_may_have(const struct ledger *l, const struct tiers *t, const struct claim *c,
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
    return tier == turn_tier_for(l, t, c);
}

/* False when it is clear that no waiting claim may have the server. `anyone`: some claims may have
 * any server. */
static bool turn_is_wanted(const struct ledger *l, const struct group *g, const struct tiers *t,
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
static uint32_t turn_free_server(const struct ledger *l, const struct group *g,
                                 const struct tiers *t, bool anyone)
{
    uint32_t best = LEDGER_NONE;
    unsigned best_tier = LEDGER_NO_TIER;
    double least = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        const struct ledger_server *s = &l->servers[at];
        if (s->skipped || !ledger_has_room(s) || !turn_is_wanted(l, g, t, at, anyone))
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

/* The tenant's first waiting claim for the server. If it is of another worker than `own`, the first
 * claim of `own` may come before it by the head start. */
static uint32_t turn_first_waiter(const struct ledger *l, const struct tiers *tiers,
                                  const struct tenant *t, uint32_t server, unsigned own)
{
    uint32_t first = LEDGER_NONE;
    for (uint32_t at = t->head; at != LEDGER_NONE; at = l->claims[at].next) {
        const struct claim *c = &l->claims[at];
        if (!turn_may_have(l, tiers, c, server))
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

/* True when the tenant's turn comes before that of the best tenant so far. Claims of the worker
 * `own` count as older by the head start above. */
static bool turn_comes_first(const struct tenant *t, const struct claim *c,
                             const struct tenant *best, const struct claim *of_best, unsigned own)
{
    double ahead = (c->worker == own ? HEAD_START : 0) - (of_best->worker == own ? HEAD_START : 0);
    if (t->active != best->active)
        return t->active < best->active;
    if (t->served != best->served)
        return t->served - ahead < best->served;
    return c->since - ahead < of_best->since;
}

static uint32_t turn_next_waiter(const struct ledger *l, const struct group *g,
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
        uint32_t claim = turn_first_waiter(l, tiers, t, server, own);
        if (claim == LEDGER_NONE)
            continue;
        if (best_tenant == NULL ||
            turn_comes_first(t, &l->claims[claim], best_tenant, &l->claims[best], own)) {
            best = claim;
            best_tenant = t;
        }
    }
    return best;
}

uint32_t ledger_next_waiter(const struct ledger *l, const struct group *g, uint32_t server,
                            unsigned own)
{
    struct tiers tiers = turn_tiers_of(l, g, ledger_now());
    return turn_next_waiter(l, g, &tiers, server, own);
}

/* True when one place of the limit is left after one more has been used, or none is used. */
static bool turn_leaves_one(uint32_t used, uint32_t limit)
{
    return limit == 0 || used == 0 || used + 1 < limit;
}

static bool turn_has_spare(const struct ledger_server *s)
{
    uint32_t conns = s->active + s->idle + s->spare;
    return turn_leaves_one(conns, s->max_conns) && turn_leaves_one(conns, s->offered_conns) &&
           turn_leaves_one(s->active + s->extra + s->spare, s->offered_reqs);
}

uint32_t ledger_spare_server(const struct ledger *l, const struct group *g, const struct claim *c)
{
    struct tiers tiers = turn_tiers_of(l, g, ledger_now());
    uint32_t best = LEDGER_NONE;
    double least = 0;
    if (g->held || g->queued > 0 || tiers.best >= LEDGER_LAST_TIERS)
        return LEDGER_NONE;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        const struct ledger_server *s = &l->servers[at];
        if (!turn_may_have(l, &tiers, c, at) || !turn_has_spare(s))
            continue;
        double load = (s->active + s->spare + 1) / ledger_weight(s, tiers.now);
        if (best == LEDGER_NONE || load < least) {
            best = at;
            least = load;
        }
    }
    return best;
}

/* True when a claim waits that may have any server. */
static bool turn_has_anyone(const struct ledger *l, const struct group *g)
{
    for (uint32_t at = g->waiting; at != LEDGER_NONE; at = l->tenants[at].next)
        if (l->tenants[at].waiting > l->tenants[at].named && !ledger_is_capped(l, g, at))
            return true;
    return false;
}

bool ledger_note_probe(struct ledger_server *s)
{
    double now = ledger_now();
    bool was_due = s->down && now >= s->retry_at;
    if (s->down)
        s->retry_at = now + s->fail_timeout;
    return was_due;
}

static void turn_grant(struct ledger *l, struct ledger_seat *seat, struct group *g, uint32_t claim,
                       uint32_t server)
{
    ledger_leave_line(l, g, claim);
    l->claims[claim].event = LEDGER_GRANT;
    ledger_become_active(l, claim, server);
    ledger_note_probe(&l->servers[server]);
    ledger_post(l, seat, claim, LEDGER_GRANT);
}

static void turn_grant_all(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    bool anyone = true;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        l->servers[at].skipped = false;
    while (g->queued > 0) {
        struct tiers tiers = turn_tiers_of(l, g, ledger_now());
        uint32_t server = turn_free_server(l, g, &tiers, anyone);
        if (server == LEDGER_NONE)
            return;
        uint32_t claim = turn_next_waiter(l, g, &tiers, server, LEDGER_NONE);
        if (claim != LEDGER_NONE) {
            turn_grant(l, seat, g, claim, server);
            continue;
        }
        l->servers[server].skipped = true;
        anyone = anyone && turn_has_anyone(l, g);
    }
}

/* Asks for the oldest idle connection of the server that is not being closed yet. */
static void turn_ask_one(struct ledger *l, struct ledger_seat *seat, const struct ledger_server *s)
{
    uint32_t at = s->idle_tail;
    while (l->claims[at].leaving)
        at = l->claims[at].prev;
    ledger_ask_to_leave(l, seat, at);
}

/* Asks workers to close idle connections whose places claims wait for: as many connections as
 * claims wait, so that many claims are not granted one after another. */
static void turn_make_room(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    uint32_t leaving = 0;
    bool anyone = turn_has_anyone(l, g);
    struct tiers tiers = turn_tiers_of(l, g, ledger_now());
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        leaving += l->servers[at].leaving;
    for (uint32_t at = g->servers; at != LEDGER_NONE && leaving < g->queued;
         at = l->servers[at].next) {
        const struct ledger_server *s = &l->servers[at];
        if (s->idle <= s->leaving || ledger_has_room(s) ||
            !turn_is_wanted(l, g, &tiers, at, anyone) ||
            turn_next_waiter(l, g, &tiers, at, LEDGER_NONE) == LEDGER_NONE)
            continue;
        turn_ask_one(l, seat, s);
        leaving++;
    }
}

void ledger_pump(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    if (g->queued == 0 || g->held)
        return;
    turn_grant_all(l, seat, g);
    if (g->queued > 0)
        turn_make_room(l, seat, g);
}

uint32_t ledger_room_of(const struct ledger *l, const struct group *g)
{
    uint64_t servers = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        servers += !l->servers[at].gone;
    uint64_t room = (servers > 0 ? servers : 1) * g->queue;
    return room < LEDGER_NONE ? (uint32_t)room : LEDGER_NONE;
}

void ledger_refuse_lost(struct ledger *l, struct ledger_seat *seat, struct group *g)
{
    double now = ledger_now();
    if (g->queued == 0 || g->held)
        return;
    unsigned best = turn_tiers_of(l, g, now).best;
    for (uint32_t t = g->waiting; t != LEDGER_NONE; t = l->tenants[t].next)
        for (uint32_t at = l->tenants[t].head; at != LEDGER_NONE; at = l->claims[at].next) {
            const struct claim *c = &l->claims[at];
            bool named = c->only && c->server != LEDGER_NONE;
            if ((named ? ledger_tier_of(&l->servers[c->server], now) : best) == LEDGER_NO_TIER)
                ledger_post(l, seat, at, LEDGER_REFUSE);
        }
}

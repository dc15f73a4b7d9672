/*
 * ledger_seats - seats of one ledger that act as workers, what becomes of those who ask, and the
 * check that counts, lists and claims of the ledger agree.
 *
 * For ledger_test and ledger_crowd_test. Times are set back in the ledger's own data
 * (ledger_map.h), so that nothing has to be waited for.
 */
#ifndef MG_LEDGER_SEATS_H
#define MG_LEDGER_SEATS_H

#include "../test.h"
#include "shm/ledger_claims.h"

#include <poll.h>

enum { WORKERS = 4 };

/* Somebody who wants a connection, and what has become of it. */
struct ask {
    struct ledger_seat *seat;
    uint32_t claim, server;
    enum { GONE, WAITING, ACTIVE, IDLE } state;
    int grants, refusals, asked_to_leave;
};

static struct ledger *ledger;
static struct ledger_seat seats[WORKERS];

static inline void on_grant(void *holder, uint32_t claim, uint32_t server)
{
    struct ask *a = holder;
    check_int(a->state, WAITING);
    check_int(claim, a->claim);
    a->state = ACTIVE;
    a->server = server;
    a->grants++;
}

static inline void on_refuse(void *holder)
{
    struct ask *a = holder;
    check_int(a->state, WAITING);
    ledger_drop(a->seat, a->claim);
    a->state = GONE;
    a->refusals++;
}

/* The test closes it when it wants. */
static inline void on_give_up(void *holder)
{
    struct ask *a = holder;
    check_int(a->state, IDLE);
    a->asked_to_leave++;
}

/* What a worker does with what is in its box. */
static inline void seat_collect_with(struct ledger_seat *seat, void (*give_up)(void *holder))
{
    struct ledger_news news;
    ledger_open_mailbox(seat);
    while (ledger_next_news(seat, &news)) {
        if (news.event == LEDGER_GRANT)
            on_grant(news.holder, news.claim, news.server);
        else if (news.event == LEDGER_REFUSE)
            on_refuse(news.holder);
        else
            give_up(news.holder);
    }
}

static inline void seat_collect(struct ledger_seat *seat)
{
    seat_collect_with(seat, on_give_up);
}

static inline void sit_down(unsigned worker)
{
    ledger_join(&seats[worker], ledger, worker);
}

static inline void make_seats(void)
{
    ledger = ledger_new(WORKERS);
    if (ledger == NULL)
        abort();
    for (unsigned i = 0; i < WORKERS; i++)
        sit_down(i);
}

static inline void begin(const char *name)
{
    test(name);
    make_seats();
}

static inline uint32_t open_group(uint32_t queue, uint32_t per_tenant)
{
    const struct ledger_limits limits = {queue, per_tenant, false};
    uint32_t group = LEDGER_NONE;
    for (unsigned i = 0; i < WORKERS; i++)
        group = ledger_open(&seats[i], STR("php"), &limits);
    return group;
}

static const struct ledger_server_limits usual = {
    .max_conns = 1, .keepalive = 8, .max_fails = 3, .fail_timeout = 10, .weight = 1};

static inline uint32_t open_server(uint32_t group, const char *address, uint32_t max_conns)
{
    struct ledger_server_limits limits = usual;
    uint32_t server = LEDGER_NONE;
    limits.max_conns = max_conns;
    for (unsigned i = 0; i < WORKERS; i++)
        server = ledger_server_open(&seats[i], group, str_of(address), &limits);
    return server;
}

/* Readable, as the loop would see it, or news of its own. */
static inline bool has_news(const struct ledger_seat *seat)
{
    struct pollfd p = {.fd = ledger_wake_fd(seat), .events = POLLIN};
    return seat->noted || poll(&p, 1, 0) > 0;
}

/* What the loops of the workers do: nobody looks into a box without a reason. */
static inline void collect(void)
{
    for (bool any = true; any;) {
        any = false;
        for (unsigned i = 0; i < WORKERS; i++) {
            if (!has_news(&seats[i]))
                continue;
            seat_collect(&seats[i]);
            any = true;
        }
    }
}

static inline enum ledger_answer want(struct ask *a, unsigned worker,
                                      const struct ledger_request *request)
{
    struct ledger_request own = *request;
    *a = (struct ask){.seat = &seats[worker], .server = request->server};
    own.tenant += own.tenant > 0; /* 1 is none, either */
    own.holder = a;
    enum ledger_answer answer = ledger_acquire(a->seat, &own, &a->claim);
    a->state = answer == LEDGER_GRANTED ? ACTIVE : answer == LEDGER_WAITING ? WAITING : GONE;
    return answer;
}

/* For any tenant on that server, or any other. */
static inline enum ledger_answer ask(struct ask *a, unsigned worker, uint32_t group,
                                     uint32_t server, uint64_t tenant)
{
    const struct ledger_request request = {
        .group = group, .server = server, .avoid = LEDGER_NONE, .tenant = tenant};
    return want(a, worker, &request);
}

/* Behind all others. */
static inline enum ledger_answer ask_last(struct ask *a, unsigned worker, uint32_t group)
{
    const struct ledger_request request = {
        .group = group, .server = LEDGER_NONE, .avoid = LEDGER_NONE, .fresh = true, .last = true};
    enum ledger_answer answer = want(a, worker, &request);
    if (answer == LEDGER_GRANTED)
        a->server = ledger_server_of(a->seat, a->claim);
    return answer;
}

/* Without a look into the boxes. */
static inline void drop_only(struct ask *a)
{
    ledger_drop(a->seat, a->claim);
    a->state = GONE;
}

static inline void drop(struct ask *a)
{
    drop_only(a);
    collect();
}

static inline enum ledger_kept release_only(struct ask *a)
{
    void *next = NULL;
    enum ledger_kept kept = ledger_release(a->seat, a->claim, a, &next);
    if (kept == LEDGER_CLOSE)
        ledger_drop(a->seat, a->claim);
    if (kept == LEDGER_NEXT) {
        struct ask *to = next;
        check_int(to->state, WAITING);
        to->claim = a->claim;
        to->server = a->server;
        to->state = ACTIVE;
        to->grants++;
    }
    a->state = kept == LEDGER_KEEP ? IDLE : GONE;
    return kept;
}

static inline enum ledger_kept release(struct ask *a)
{
    enum ledger_kept kept = release_only(a);
    collect();
    return kept;
}

static inline bool reuse(struct ask *a, uint64_t tenant)
{
    if (!ledger_reuse(a->seat, a->claim, tenant + (tenant > 0), a))
        return false;
    a->state = ACTIVE;
    return true;
}

static inline const struct ledger_server *server_at(uint32_t server)
{
    return ledger_at(&seats[0], server);
}

/* --- counts, lists and claims agree --- */

static inline bool is_usable(const struct ledger_server *s)
{
    return ledger_tier_of(s, ledger_now()) != LEDGER_NO_TIER;
}

/* The rules once more, in the plainest words: may this one who waits go to that server? */
static inline bool could_go(const struct group *g, const struct claim *c, uint32_t server)
{
    double now = ledger_now();
    const struct ledger_server *s = &ledger->servers[server];
    unsigned best = LEDGER_NO_TIER;
    if (g->held || !is_usable(s) || ledger_is_capped(ledger, g, c->tenant))
        return false;
    if (c->only)
        return c->server == server;
    if (ledger->server_refs[server][c->worker] == 0)
        return false;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = ledger->servers[at].next) {
        unsigned tier = ledger_tier_of(&ledger->servers[at], now);
        if (at != c->avoid && tier < best)
            best = tier;
    }
    if (best == LEDGER_NO_TIER)
        return server == c->avoid;
    return server != c->avoid && ledger_tier_of(s, now) == best;
}

struct sums {
    uint32_t active, spare, idle, queued, leaving;
};

static inline bool check_waiter(const struct group *g, uint32_t claim, uint32_t leaving)
{
    const struct claim *c = &ledger->claims[claim];
    bool good = true;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = ledger->servers[at].next) {
        const struct ledger_server *s = &ledger->servers[at];
        if (!could_go(g, c, at))
            continue;
        good = check(!ledger_has_room(s)) && good; /* nobody waits while it has room */
        if (s->idle > 0) /* it is in the way: somebody was asked to close one */
            good = check(leaving > 0) && good;
    }
    return good;
}

static inline bool check_server(uint32_t server)
{
    const struct ledger_server *s = &ledger->servers[server];
    struct sums sums = {0};
    uint32_t listed = 0;
    for (unsigned w = 0; w < WORKERS; w++)
        for (uint32_t i = 0; i < ledger->parts[w].used; i++) {
            const struct claim *c = &ledger->claims[w * LEDGER_WORKER_MAX + i];
            bool here = c->group == s->group && c->server == server;
            sums.active += here && c->state == CLAIM_ACTIVE && !c->last;
            sums.spare += here && c->state == CLAIM_ACTIVE && c->last;
            sums.idle += here && c->state == CLAIM_IDLE;
            sums.leaving += here && c->state == CLAIM_IDLE && c->leaving;
            sums.queued += here && c->state == CLAIM_WAITING && c->only;
        }
    for (uint32_t at = s->idle_head; at != LEDGER_NONE; at = ledger->claims[at].next)
        listed++;
    bool good = check_int(s->active, sums.active) && check_int(s->spare, sums.spare) &&
                check_int(s->idle, sums.idle) && check_int(listed, sums.idle) &&
                check_int(s->leaving, sums.leaving) && check_int(s->named, sums.queued);
    if (s->max_conns > 0)
        good = check(s->active + s->idle <= s->max_conns) && good;
    return good;
}

static inline bool check_tenants(const struct group *g, uint32_t active, uint32_t queued)
{
    struct sums sums = {0};
    uint32_t listed = 0;
    for (unsigned i = 0; i < LEDGER_BUCKETS; i++)
        for (uint32_t at = g->tenants[i]; at != LEDGER_NONE; at = ledger->tenants[at].bucket_next) {
            const struct tenant *t = &ledger->tenants[at];
            sums.active += t->active;
            sums.queued += t->waiting;
            listed += t->listed;
            if (!check(t->listed == (t->waiting > 0)) ||
                !check(at == g->anyone || t->active + t->waiting > 0))
                return false;
        }
    for (uint32_t at = g->waiting; at != LEDGER_NONE; at = ledger->tenants[at].next)
        listed--;
    return check_int(listed, 0) && check_int(sums.active, active) && check_int(sums.queued, queued);
}

static inline bool check_group(uint32_t group)
{
    const struct group *g = &ledger->groups[group];
    struct sums sums = {0};
    bool good = true;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = ledger->servers[at].next) {
        good = check_server(at) && good;
        sums.active += ledger->servers[at].active;
        sums.leaving += ledger->servers[at].leaving;
    }
    for (uint32_t t = g->waiting; t != LEDGER_NONE; t = ledger->tenants[t].next)
        for (uint32_t at = ledger->tenants[t].head; at != LEDGER_NONE;
             at = ledger->claims[at].next) {
            sums.queued++;
            good = check_waiter(g, at, sums.leaving) && good;
        }
    return check_int(g->queued, sums.queued) && check_tenants(g, sums.active, sums.queued) && good;
}

/* Nothing is left of anybody. */
static inline bool check_empty(uint32_t group)
{
    const struct group *g = &ledger->groups[group];
    bool good = check_group(group) && check_int(g->queued, 0) && check_int(g->avoiding, 0);
    for (uint32_t at = g->servers; at != LEDGER_NONE && good; at = ledger->servers[at].next)
        good = check_int(ledger->servers[at].active, 0) && check_int(ledger->servers[at].idle, 0);
    for (unsigned w = 0; w < WORKERS; w++)
        for (uint32_t i = 0; i < ledger->parts[w].used && good; i++)
            good = check_int(ledger->claims[w * LEDGER_WORKER_MAX + i].state, CLAIM_FREE);
    return good;
}

static inline void end(uint32_t group)
{
    check_group(group);
    ledger_free(ledger);
}

#endif

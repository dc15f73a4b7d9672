/*
 * ledger_share - see ledger.h. This file has several requests on one connection. Such requests
 * count for their server (`extra`), not for max_conns; waiting claims come before new requests.
 */
#include "shm/ledger_claims.h"
#include "shm/ledger_turns.h"

void ledger_let_share(struct ledger_seat *seat, uint32_t claim)
{
    seat->ledger->claims[claim].shared = true;
}

/* Whether the server takes one more request, by the limits that it has given. */
static bool ledger_takes_another(const struct ledger_server *s)
{
    return !s->draining && !s->gone &&
           (s->offered_reqs == 0 || s->active + s->extra < s->offered_reqs);
}

static void ledger_add_request(struct ledger *l, uint32_t claim, uint32_t tenant)
{
    struct claim *c = &l->claims[claim];
    c->extra++;
    l->servers[c->server].extra++;
    l->servers[c->server].requests++;
    l->tenants[tenant].served = ledger_now();
}

bool ledger_share(struct ledger_seat *seat, uint32_t claim, uint64_t tenant)
{
    struct ledger *l = seat->ledger;
    const struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    bool good =
        !g->held && ledger_takes_another(&l->servers[c->server]) &&
        (g->queued == 0 || ledger_next_waiter(l, g, c->server, seat->worker) == LEDGER_NONE);
    if (good) {
        uint32_t whose = ledger_find_tenant(l, g, tenant);
        ledger_add_request(l, claim, whose);
        ledger_leave_tenant(l, g, whose);
    }
    ledger_unlock_group(g);
    return good;
}

void *ledger_share_next(struct ledger_seat *seat, uint32_t claim)
{
    struct ledger *l = seat->ledger;
    const struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint32_t waiter = LEDGER_NONE;
    void *holder = NULL;
    if (g->queued > 0 && !g->held && ledger_takes_another(&l->servers[c->server]))
        waiter = ledger_next_waiter(l, g, c->server, seat->worker);
    if (waiter != LEDGER_NONE && l->claims[waiter].worker == seat->worker &&
        !l->claims[waiter].fresh) {
        uint32_t whose = l->claims[waiter].tenant;
        holder = l->claims[waiter].holder;
        ledger_leave_line(l, g, waiter);
        ledger_free_claim(seat, waiter);
        ledger_add_request(l, claim, whose);
        ledger_leave_tenant(l, g, whose);
    }
    ledger_unlock_group(g);
    return holder;
}

void ledger_unshare(struct ledger_seat *seat, uint32_t claim)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    if (c->extra > 0) {
        c->extra--;
        l->servers[c->server].extra--;
    }
    if (g->queued > 0 && l->servers[c->server].offered_reqs > 0)
        ledger_pump(l, seat, g);
    ledger_unlock_group(g);
}

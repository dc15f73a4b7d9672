/*
 * queue - see lease.h. This file has leases that wait in a backend's queue, and the ledger's news
 * about them.
 */
#include "backend/backend_inner.h"

#include <errno.h>

#define PROBE_PAUSE 0.05
#define UNKNOWN_MAX 4 /* grants of unknown servers before a request gives up */

/* --- probes --- */

/* Sets the deadline at which a server that is down may be tried again, its fail_timeout being over.
 * The ledger has no timers, so a worker grants the waiting leases then. */
void lease_expect_probe(struct backend *b)
{
    double now = ledger_now(), first = 0;
    for (int i = 0; i < b->count && backend_queued(b) > 0; i++) {
        const struct ledger_server *slot = backend_server(b, i);
        double left = slot->retry_at - now;
        if (b->servers[i]->gone || !slot->down)
            continue;
        left = left > PROBE_PAUSE ? left : PROBE_PAUSE;
        if (first == 0 || left < first)
            first = left;
    }
    deadline_set(&b->probe, first);
}

void lease_probe_cb(struct deadline *d)
{
    struct backend *b = (struct backend *)((char *)d - offsetof(struct backend, probe));
    ledger_nudge(&b->all->seat, b->group);
    lease_expect_probe(b);
}

/* --- the queue --- */

static enum ledger_answer lease_ask(struct lease *x, uint32_t slot)
{
    struct backend *b = x->backend;
    const struct ledger_request request = {
        .group = b->group,
        .server = slot,
        .only = x->only,
        .fresh = x->fresh,
        .last = x->last,
        .avoid = x->avoid,
        .tenant = x->tenant,
        .generation = b->generation,
        .holder = x,
    };
    enum ledger_answer answer = ledger_acquire(&b->all->seat, &request, &x->claim);
    x->waiting = answer == LEDGER_WAITING;
    return answer;
}

static void lease_refuse(struct lease *x, enum failure failure, const char *detail)
{
    x->waiting = false;
    deadline_fini(&x->deadline);
    x->ops->on_refused(x->user, failure, detail);
}

/* Asks again for a lease that was granted a server of another generation of this worker. */
static void lease_ask_again(struct lease *x, uint32_t unknown)
{
    x->avoid = unknown;
    if (x->only || ++x->unknown > UNKNOWN_MAX || lease_ask(x, LEDGER_NONE) == LEDGER_FULL)
        lease_refuse(x, FAILURE_QUEUE, "the queue is full");
}

/* Begins a lease with the connection of its claim, which may be NULL. */
static void lease_begin(struct lease *x, struct conn *c)
{
    if (c == NULL) {
        lease_refuse(x, FAILURE_CONNECT, conn_error_text(errno));
        return;
    }
    server_hand_over(c, x);
}

/* Runs at the end of the turn in which a lease was granted. */
static void lease_called_cb(struct deferred *d)
{
    struct lease *x = (struct lease *)((char *)d - offsetof(struct lease, call));
    struct conn *c = x->given;
    x->called = false;
    x->given = NULL;
    if (c == NULL) {
        lease_ask_again(x, x->called_to);
        return;
    }
    x->server = c->server->number;
    if (x->once && !conn_can_offer(c) && !conn_is_shared(c)) /* it has not rested */
        c = server_reconnect(c, x);
    lease_begin(x, c);
}

/* Takes a lease out of the queue. A lease that was granted a connection gives it to the next one.
 */
static void lease_leave_queue(struct lease *x)
{
    struct conn *c = x->given;
    if (!x->called) {
        ledger_drop(&x->backend->all->seat, x->claim);
        return;
    }
    x->called = false;
    x->given = NULL;
    loop_undefer(&x->call);
    if (c != NULL)
        server_release(c);
}

static void lease_waited_cb(struct deadline *d)
{
    struct lease *x = (struct lease *)((char *)d - offsetof(struct lease, deadline));
    lease_leave_queue(x);
    lease_refuse(x, FAILURE_QUEUE, "it waited in the queue for queue_timeout");
}

static void lease_wait(struct lease *x)
{
    double patience = x->backend->settings->queue_timeout;
    deadline_init(&x->deadline, x->backend->all->loop, lease_waited_cb);
    deadline_set(&x->deadline, patience > 0 ? patience : 0.001);
    lease_expect_probe(x->backend);
}

/* A kept or shared connection for the lease. */
static struct conn *lease_find(struct lease *x, struct server *s)
{
    struct conn *c = server_join(s, x);
    if (c != NULL)
        return c;
    c = server_reuse(s, x);
    if (c != NULL && conn_is_shared(c) && c->list == NULL)
        conn_list_add(&s->shared, c);
    return c;
}

enum lease_result backend_acquire(struct backend *b, struct lease *x,
                                  const struct lease_terms *terms, struct conn **conn,
                                  enum failure *failure, const char **detail)
{
    struct server *s = terms->server >= 0 ? b->servers[terms->server] : NULL;
    *x = (struct lease){
        .backend = b,
        .ops = terms->ops,
        .user = terms->user,
        .connect_timeout = terms->connect_timeout,
        .tenant = ledger_tenant(&b->all->seat, terms->tenant),
        .avoid = terms->avoid >= 0 ? b->servers[terms->avoid]->slot : LEDGER_NONE,
        .server = terms->server,
        .only = terms->only,
        .fresh = terms->fresh || terms->last,
        .once = terms->once,
        .last = terms->last,
        .call = {.run = lease_called_cb},
    };
    *conn = s != NULL && !terms->fresh ? lease_find(x, s) : NULL;
    if (*conn != NULL)
        return LEASE_READY;
    switch (lease_ask(x, s != NULL ? s->slot : LEDGER_NONE)) {
    case LEDGER_WAITING:
        lease_wait(x);
        return LEASE_WAITING;
    case LEDGER_FULL:
        *failure = FAILURE_QUEUE;
        *detail = x->last ? "no connection is to spare" : "the queue is full";
        return LEASE_FAILED;
    case LEDGER_GRANTED:
        break;
    }
    if (x->last) { /* a server that this worker has open is one of the backend's, or was */
        s = servers_at(b, ledger_server_of(&b->all->seat, x->claim));
        if (s == NULL) {
            ledger_drop(&b->all->seat, x->claim);
            *failure = FAILURE_QUEUE;
            *detail = "no connection is to spare";
            return LEASE_FAILED;
        }
        x->server = s->number;
    }
    *conn = server_connect(s, x, x->claim);
    *failure = FAILURE_CONNECT;
    *detail = *conn == NULL ? conn_error_text(errno) : NULL;
    if (b->on_connect != NULL)
        b->on_connect(s);
    return *conn != NULL ? LEASE_READY : LEASE_FAILED;
}

void backend_cancel(struct lease *x)
{
    if (!x->waiting)
        return;
    x->waiting = false;
    deadline_fini(&x->deadline);
    lease_leave_queue(x);
}

/* --- news from the ledger --- */

static void lease_granted(struct lease *x, uint32_t claim, uint32_t slot)
{
    struct server *s = servers_at(x->backend, slot);
    if (s == NULL) {
        ledger_drop(&x->backend->all->seat, claim);
        lease_ask_again(x, slot);
        return;
    }
    x->server = s->number;
    struct conn *c = x->fresh ? NULL : server_join(s, x);
    if (c != NULL) { /* another lease has been granted one in the same moment */
        ledger_drop(&x->backend->all->seat, claim);
        lease_hand_over(x, c);
    } else {
        lease_begin(x, server_connect(s, x, claim));
    }
}

/* True when no server is left that the lease could wait for, so that a new request would be refused
 * at once. */
static bool lease_is_hopeless(const struct lease *x)
{
    const struct backend *b = x->backend;
    struct backend_candidates any;
    if (!x->only)
        return backend_choose(b, NULL, 0, &any) == CHOICE_NONE;
    if (backend_is_held(b))
        return false;
    return x->server < 0 || b->servers[x->server]->gone ||
           ledger_tier_of(backend_server(b, x->server), 0) == LEDGER_NO_TIER;
}

static const char *lease_why_hopeless(const struct lease *x)
{
    if (x->only)
        return "the server that it waited for is drained, or its health checks fail";
    for (int i = 0; i < x->backend->count; i++)
        if (!x->backend->servers[i]->gone)
            return "all servers are drained, or their health checks fail";
    return "no address of its names could be found";
}

/* Handles LEDGER_REFUSE: the ledger has no server for the claim. If this worker has none either,
 * the lease is refused, as a new one would be. */
static void lease_refused(struct lease *x)
{
    if (!lease_is_hopeless(x))
        return;
    const char *why = lease_why_hopeless(x);
    ledger_drop(&x->backend->all->seat, x->claim);
    x->server = -1;
    lease_refuse(x, FAILURE_CONNECT, why);
}

static void backends_collect(struct backends *all)
{
    struct ledger_news news;
    ledger_open_mailbox(&all->seat);
    while (ledger_next_news(&all->seat, &news)) {
        struct conn *c = news.holder;
        if (news.event == LEDGER_GRANT)
            lease_granted(news.holder, news.claim, news.server);
        else if (news.event == LEDGER_REFUSE)
            lease_refused(news.holder);
        else if (c->state == CONN_IDLE)
            conn_close(c);
    }
}

static void backends_collect_cb(struct deferred *d)
{
    backends_collect((struct backends *)((char *)d - offsetof(struct backends, collect)));
}

static void backends_wake_cb(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    (void)events;
    backends_collect(io->data);
}

/* Defers the reading of the worker's own news to the end of the turn. */
static void backends_note_news(struct ledger_seat *seat)
{
    struct backends *all = (struct backends *)((char *)seat - offsetof(struct backends, seat));
    loop_defer(all->loop, &all->collect);
}

void backends_init(struct backends *all, struct loop *loop, struct ledger *ledger, unsigned worker)
{
    *all = (struct backends){.loop = loop, .collect = {.run = backends_collect_cb}};
    ledger_join(&all->seat, ledger, worker);
    all->seat.note_news = backends_note_news;
    ev_io_init(&all->wake, backends_wake_cb, ledger_wake_fd(&all->seat), EV_READ);
    all->wake.data = all;
    ev_io_start(loop->ev, &all->wake);
}

void backends_fini(struct backends *all)
{
    if (all->loop == NULL)
        return;
    backends_collect(all);
    loop_undefer(&all->collect);
    ev_io_stop(all->loop->ev, &all->wake);
}

/*
 * kept - see backend_inner.h. This file has the connections of one server under their claims:
 * making them, keeping idle ones, and releasing one whose request is over.
 */
#include "backend/backend_inner.h"

#include "base/log.h"

#include <errno.h>

/* Seconds. A connection that its server closes within RETIRING may have been a child's last. A
 * server that was still at work after a reply may be so again for AT_WORK_FOR. */
#define RETIRING    1.0
#define AT_WORK_FOR 60.0
#define STRAY_MAX   1000u /* bytes of one message */

void conn_list_add(struct conn_list *list, struct conn *c)
{
    c->list = list;
    c->prev = NULL;
    c->next = list->first;
    if (c->next != NULL)
        c->next->prev = c;
    else
        list->last = c;
    list->first = c;
}

void conn_unlist(struct conn *c)
{
    struct conn_list *list = c->list;
    if (list == NULL)
        return;
    c->list = NULL;
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        list->first = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        list->last = c->prev;
}

void server_close_idle(struct server *s)
{
    while (s->idle.first != NULL)
        conn_close(s->idle.first);
}

void server_go(struct server *s)
{
    struct backend *b = s->backend;
    s->gone = true;
    b->changes++;
    ledger_server_gone(&b->all->seat, s->slot);
    server_close_idle(s);
}

/* Learns how long a kept connection must rest. PHP-FPM ends a child (pm.max_requests) after the
 * work that follows its last answer, which may take long (fastcgi_finish_request). The next such
 * child may take longer, so the time is doubled. */
static void server_learn_rest(struct server *s, double idle)
{
    if (idle < RETIRING && s->rest < 2 * idle)
        s->rest = 2 * idle;
}

static void server_conn_closed(struct conn *c)
{
    struct backends *all = c->server->backend->all;
    c->server->conns--;
    conn_unlist(c);
    if (c->state == CONN_IDLE && c->ended)
        server_learn_rest(c->server, loop_now(all->loop) - c->idle_since);
    ledger_drop(&all->seat, c->claim);
}

/* Gives the connection to a waiting lease, which may be of another generation. The lease begins at
 * the end of the turn, when the reply to the connection's last request has been passed on. */
static void server_give(struct lease *x, struct conn *c)
{
    struct server *to = c->server;
    if (x->backend != to->backend)
        to = servers_at(x->backend, to->slot);
    x->called = true;
    x->called_to = c->server->slot;
    if (to == NULL) {
        conn_close(c);
    } else {
        server_adopt(c, to);
        x->given = c;
    }
    loop_defer(x->backend->all->loop, &x->call);
}

/* True when the server takes several requests on a connection, and the settings want that. */
static bool server_shares(const struct server *s)
{
    const struct ledger_server *slot = ledger_at(&s->backend->all->seat, s->slot);
    enum multiplex multiplex = s->backend->settings->multiplex;
    if (multiplex == MULTIPLEX_NO ||
        (slot->sharing == LEDGER_ALONE && ledger_now() < slot->alone_until))
        return false;
    return multiplex == MULTIPLEX_YES || slot->sharing == LEDGER_SHARES;
}

/* Whether the connection may be kept. A shared one is kept regardless of `keepalive`, since it
 * occupies no process. */
static bool server_keeps(const struct conn *c)
{
    const struct backend_settings *settings = c->server->backend->settings;
    return (conn_is_shared(c) ? server_shares(c->server) : settings->keepalive > 0) &&
           c->requests < settings->keepalive_requests;
}

void server_release(struct conn *c)
{
    struct backend *b = c->server->backend;
    const struct backend_settings *settings = b->settings;
    void *next = NULL;
    conn_unlist(c);
    if (!server_keeps(c)) {
        conn_close(c);
        return;
    }
    switch (ledger_release(&b->all->seat, c->claim, c, &next)) {
    case LEDGER_KEEP:
        conn_idle(c, settings->keepalive_idle);
        conn_list_add(&c->server->idle, c);
        break;
    case LEDGER_NEXT:
        server_give(next, c);
        break;
    case LEDGER_CLOSE:
        conn_close(c);
        break;
    }
}

/* Logs STDERR of a request without a holder: its reply is complete, or its client has left. */
static void server_stray(struct conn *c, struct str text)
{
    static struct log_quota quotas[64] = {[0 ... 63] = {.most = LOG_MOST}};
    const struct server *s = c->server;
    log_within(&quotas[s->slot % 64], LOG_WARN,
               "backend '%.*s': server %s wrote after its answer: %.*s",
               STR_FMT(s->backend->settings->name), s->address,
               (int)(text.n < STRAY_MAX ? text.n : STRAY_MAX), text.p);
}

/* --- several requests on a connection --- */

static bool server_conn_may_be_joined(const struct conn *c)
{
    return conn_has_place(c) && c->requests < c->server->backend->settings->keepalive_requests;
}

static struct conn *server_find_place(const struct server *s)
{
    for (struct conn *c = s->shared.first; c != NULL; c = c->next)
        if (server_conn_may_be_joined(c))
            return c;
    return NULL;
}

bool server_has_place(const struct server *s)
{
    return s->shared.first != NULL && server_find_place(s) != NULL && server_shares(s);
}

struct conn *server_join(struct server *s, const struct lease *x)
{
    struct conn *c = s->shared.first != NULL && server_shares(s) ? server_find_place(s) : NULL;
    return c != NULL && ledger_share(&s->backend->all->seat, c->claim, x->tenant) ? c : NULL;
}

void lease_hand_over(struct lease *x, struct conn *c)
{
    x->waiting = false;
    x->server = c->server->number;
    deadline_fini(&x->deadline);
    x->ops->on_conn(x->user, c);
}

/* True while the connection is in the list of shared ones. A request that it was given to may have
 * closed it, when the request could not be sent. */
static bool server_has_shared(const struct server *s, const struct conn *c)
{
    const struct conn *one = s->shared.first;
    while (one != NULL && one != c)
        one = one->next;
    return one != NULL;
}

/* Fills a shared connection with waiting leases of this worker whose turn it is. A lease of another
 * generation takes the connection over to its own. */
static void server_fill(struct conn *c)
{
    struct lease *x;
    while (server_conn_may_be_joined(c) && backend_queued(c->server->backend) > 0 &&
           server_shares(c->server) &&
           (x = ledger_share_next(&c->server->backend->all->seat, c->claim)) != NULL) {
        struct server *to = servers_at(x->backend, c->server->slot);
        if (to != NULL && to != c->server) {
            conn_unlist(c);
            server_adopt(c, to);
            conn_list_add(&to->shared, c);
        }
        struct server *s = c->server;
        lease_hand_over(x, c);
        if (!server_has_shared(s, c))
            return;
    }
}

static void server_freed(struct conn *c)
{
    ledger_unshare(&c->server->backend->all->seat, c->claim);
    server_fill(c);
}

void server_hand_over(struct conn *c, struct lease *x)
{
    struct server *s = c->server;
    bool shared = conn_is_shared(c);
    if (shared && c->list == NULL)
        conn_list_add(&s->shared, c);
    lease_hand_over(x, c);
    if (shared && server_has_shared(s, c))
        server_fill(c);
}

/* --- new connections, and replacements --- */

/* A connection under a claim that has been granted. */
struct conn *server_connect(struct server *s, const struct lease *x, uint32_t claim)
{
    struct backends *all = s->backend->all;
    bool shared = !x->fresh && server_shares(s);
    const struct conn_target target = {
        .place = &s->place,
        .connect_timeout = x->connect_timeout,
        .backlog_timeout = s->backend->settings->queue_timeout,
        .channels = shared ? s->backend->settings->max_reqs : 1,
        .owned = s->settings->owned,
        .owner = s->settings->owner,
    };
    struct conn *c = conn_new(all->loop, &target);
    if (c == NULL) {
        int err = errno;
        ledger_drop(&all->seat, claim);
        errno = err;
        return NULL;
    }
    c->server = s;
    s->conns++;
    c->claim = claim;
    c->closed = server_conn_closed;
    c->released = server_release;
    c->stray = server_stray;
    if (conn_is_shared(c)) {
        c->freed = server_freed;
        ledger_let_share(&all->seat, claim);
        conn_list_add(&s->shared, c);
    }
    return c;
}

/* Replaces a connection under the same claim. NULL: the claim is dropped, see errno. */
struct conn *server_reconnect(struct conn *c, const struct lease *x)
{
    struct server *s = c->server;
    uint32_t claim = c->claim;
    s->conns--;
    c->closed = NULL;
    conn_reset(c);
    return server_connect(s, x, claim);
}

/* The connection that has been idle the longest, if that is long enough for its server. */
static struct conn *server_find_rested(const struct server *s)
{
    for (struct conn *c = s->idle.last; c != NULL; c = c->prev)
        if (conn_has_rested(c, s->rest))
            return c;
    return NULL;
}

/* Chooses a kept connection for the request; NULL: none is suitable. The latest one is the warmest;
 * but where processes work after their answers, the one that has been idle the longest comes first.
 * A request that can't be sent again gets no TCP connection that has not rested, since the server
 * may be about to close it. */
static struct conn *server_choose_idle(const struct server *s, const struct lease *x)
{
    if (!x->once || s->idle.first == NULL)
        return s->idle.first;
    if (conn_is_shared(s->idle.first))
        return conn_has_rested(s->idle.first, 0) ? s->idle.first : NULL;
    if (!conn_can_offer(s->idle.first))
        return server_find_rested(s);
    double now = loop_now(s->backend->all->loop);
    bool at_work = s->last_at_work > 0 && now - s->last_at_work < AT_WORK_FOR;
    return at_work ? s->idle.last : s->idle.first;
}

/* Takes one of the server's kept connections, if the ledger grants it. If none is suitable, one of
 * them is replaced by a new connection. */
struct conn *server_reuse(struct server *s, const struct lease *x)
{
    struct conn *good = server_choose_idle(s, x);
    struct conn *c = good != NULL ? good : s->idle.first;
    if (c == NULL || !ledger_reuse(&s->backend->all->seat, c->claim, x->tenant, NULL))
        return NULL;
    conn_unlist(c);
    return good != NULL ? c : server_reconnect(c, x);
}

/* Replaces `c`, which is closed, by `other`, whose own claim is dropped. */
static void server_replace(struct conn *other, struct conn *c)
{
    struct backends *all = c->server->backend->all;
    uint32_t spare = other->claim;
    conn_unlist(other);
    other->claim = c->claim;
    c->server->conns--;
    c->closed = NULL;
    conn_close(c);
    ledger_drop(&all->seat, spare);
}

struct conn *backend_replace(const struct lease *x, struct conn *c, bool ended, bool fresh)
{
    struct server *s = c->server;
    if (!ended)
        s->last_at_work = loop_now(s->backend->all->loop);
    struct conn *other = fresh ? NULL : server_choose_idle(s, x);
    if (other == NULL)
        return server_reconnect(c, x);
    server_replace(other, c);
    return other;
}

void server_adopt(struct conn *c, struct server *to)
{
    c->server->conns--;
    to->conns++;
    c->server = to;
    c->place = &to->place;
    c->addr = &to->place.list[0];
}

/* Passes the idle and the shared connections of one server to another. */
void server_pass_kept(struct server *from, struct server *to)
{
    while (from->shared.first != NULL && server_shares(to)) {
        struct conn *c = from->shared.first;
        conn_unlist(c);
        server_adopt(c, to);
        conn_list_add(&to->shared, c);
    }
    while (from->idle.last != NULL) {
        struct conn *c = from->idle.last;
        conn_unlist(c);
        server_adopt(c, to);
        conn_list_add(&c->server->idle, c);
        to->rest = from->rest > to->rest ? from->rest : to->rest;
        deadline_set(&c->deadline, to->backend->settings->keepalive_idle);
    }
}

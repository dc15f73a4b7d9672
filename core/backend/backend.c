/* backend - see backend.h. */
#include "backend/backend_inner.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PROBE_PAUSE 0.05
#define RESTED      0.02 /* seconds that a kept TCP connection must have been idle for `once` */
#define RETIRING                                                                                   \
    1.0 /* one that its server closes within this time may have been a child's last                \
         */
#define AT_WORK_FOR                                                                                \
    60.0              /* seconds in which a server that works on after its answers does so again */
#define UNKNOWN_MAX 4 /* grants of unknown servers before a request gives up */

const char *backend_error_name(enum backend_error error)
{
    switch (error) {
    case BACKEND_CONNECT:
        return "connect";
    case BACKEND_TIMEOUT:
        return "timeout";
    case BACKEND_CLOSED:
        return "closed";
    case BACKEND_PROTOCOL:
        return "protocol";
    case BACKEND_BUSY:
    case BACKEND_QUEUE:
        return "busy";
    }
    return "?";
}

/* --- news from the ledger --- */

static void on_grant(struct lease *x, uint32_t claim, uint32_t slot);
static void on_refuse(struct lease *x);

static void backends_collect(struct backends *all)
{
    struct ledger_news news;
    ledger_open_box(&all->seat);
    while (ledger_next_news(&all->seat, &news)) {
        struct conn *c = news.holder;
        if (news.event == LEDGER_GRANT)
            on_grant(news.holder, news.claim, news.server);
        else if (news.event == LEDGER_REFUSE)
            on_refuse(news.holder);
        else if (c->state == CONN_IDLE)
            conn_close(c);
    }
}

static void collect_cb(struct deferred *d)
{
    backends_collect((struct backends *)((char *)d - offsetof(struct backends, collect)));
}

static void wake_cb(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    (void)events;
    backends_collect(io->data);
}

/* What is left for this worker itself is collected at the end of the turn. */
static void note_news(struct ledger_seat *seat)
{
    struct backends *all = (struct backends *)((char *)seat - offsetof(struct backends, seat));
    loop_defer(all->loop, &all->collect);
}

void backends_init(struct backends *all, struct loop *loop, struct ledger *ledger, unsigned worker)
{
    *all = (struct backends){.loop = loop, .collect = {.run = collect_cb}};
    ledger_join(&all->seat, ledger, worker);
    all->seat.note_news = note_news;
    ev_io_init(&all->wake, wake_cb, ledger_wake_fd(&all->seat), EV_READ);
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

/* --- the group --- */

static uint32_t open_slot(struct backend *b, const struct server_settings *settings,
                          const char *address)
{
    const struct ledger_server_limits limits = {
        .max_conns = settings->max_conns,
        .keepalive = b->settings->keepalive,
        .max_fails = b->settings->max_fails,
        .fail_timeout = b->settings->fail_timeout,
        .slow_start = b->settings->slow_start,
        .weight = settings->weight,
        .backup = settings->backup,
        .prepared = !b->serves,
        .generation = b->generation,
    };
    uint32_t slot = ledger_server_open(&b->all->seat, b->group, str_of(address), &limits);
    return slot;
}

/* A number for one more server: of one that has gone, if nothing of it is left. */
static struct server *place_for(struct backend *b)
{
    for (int i = 0; i < b->count; i++)
        if (b->servers[i]->gone && b->servers[i]->conns == 0)
            return b->servers[i];
    if (b->count == BACKEND_SERVERS)
        return NULL;
    struct server **list = realloc(b->servers, (size_t)(b->count + 1) * sizeof *list);
    struct server *s = calloc(1, sizeof *s);
    if (list == NULL || s == NULL)
        abort();
    b->servers = list;
    s->number = b->count;
    s->gone = true; /* until it is filled in */
    return list[b->count++] = s;
}

static void heed_checks(const struct server *s)
{
    const struct backend *b = s->backend;
    ledger_server_heed(&b->all->seat, s->slot, b->generation, b->settings->health.enabled,
                       b->settings->load.n > 0);
}

const char *backend_add_server(struct backend *b, const struct server_settings *settings,
                               const struct conn_place *place)
{
    char address[ADDR_TEXT_SIZE];
    addr_text(&place->list[0], address);
    uint32_t slot = open_slot(b, settings, address);
    struct server *s = slot != LEDGER_NONE ? place_for(b) : NULL;
    if (s == NULL)
        return "there are too many servers";
    *s = (struct server){
        .backend = b,
        .settings = settings,
        .place = *place,
        .slot = slot,
        .number = s->number,
        .rest = RESTED,
    };
    memcpy(s->address, address, sizeof address);
    if (b->serves)
        heed_checks(s);
    return NULL;
}

/* --- probes --- */

/* Time alone brings a server that is down into question again, and nobody would say so to who waits
 * in the queue. */
static void expect_probe(struct backend *b)
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

static void probe_cb(struct deadline *d)
{
    struct backend *b = (struct backend *)((char *)d - offsetof(struct backend, probe));
    ledger_nudge(&b->all->seat, b->group);
    expect_probe(b);
}

/* --- life --- */

struct backend *backend_new(const struct backend_settings *settings, struct backends *all,
                            struct resolver *resolver, unsigned generation, const char **err)
{
    const struct ledger_limits limits = {settings->queue, settings->per_tenant, true};
    struct backend *b = calloc(1, sizeof *b);
    if (b == NULL || (b->names = calloc(settings->server_count + 1, sizeof *b->names)) == NULL)
        abort();
    b->settings = settings;
    b->all = all;
    b->resolver = resolver;
    b->generation = generation;
    deadline_init(&b->probe, all->loop, probe_cb);
    b->group = ledger_open(&all->seat, settings->name, &limits);
    *err = b->group == LEDGER_NONE ? "there are too many backends" : NULL;
    for (unsigned i = 0; i < settings->server_count && *err == NULL; i++) {
        if (settings->servers[i].is_name)
            backend_add_name(b, &settings->servers[i]);
        else
            *err = backend_add_server(
                b, &settings->servers[i],
                &(struct conn_place){.list = {settings->servers[i].addr}, .count = 1});
    }
    b->next = all->first;
    all->first = b;
    if (*err == NULL)
        return b;
    backend_free(b);
    return NULL;
}

static void backend_unlist(struct backend *b)
{
    struct backend **at = &b->all->first;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
}

void backend_free(struct backend *b)
{
    backend_unlist(b);
    backend_pass_left(b);
    for (unsigned i = 0; i < b->name_count; i++) {
        lookup_cancel(&b->names[i].lookup);
        deadline_fini(&b->names[i].again);
    }
    for (int i = 0; i < b->count; i++) {
        while (b->servers[i]->idle != NULL)
            conn_close(b->servers[i]->idle);
        if (!b->servers[i]->gone)
            ledger_server_gone(&b->all->seat, b->servers[i]->slot);
        free(b->servers[i]);
    }
    deadline_fini(&b->probe);
    if (b->group != LEDGER_NONE)
        ledger_close(&b->all->seat, b->group);
    free(b->names);
    free(b->servers);
    free(b);
}

const struct backend_settings *backend_settings(const struct backend *b)
{
    return b->settings;
}

struct str backend_address(const struct backend *b, int server)
{
    return str_of(b->servers[server]->address);
}

const struct addr *backend_addr(const struct backend *b, int server)
{
    return &b->servers[server]->place.list[0];
}

struct ledger_server *backend_server(const struct backend *b, int server)
{
    return ledger_at(&b->all->seat, b->servers[server]->slot);
}

uint32_t backend_place(const struct backend *b, int server)
{
    return b->servers[server]->slot;
}

int backend_server_count(const struct backend *b)
{
    return b->count;
}

bool backend_is_gone(const struct backend *b, int server)
{
    return b->servers[server]->gone;
}

int backend_find(const struct backend *b, struct str address)
{
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone && (str_eq(str_of(b->servers[i]->address), address) ||
                                     str_eq(b->servers[i]->settings->address, address)))
            return i;
    return -1;
}

int backend_server_of(const struct conn *c)
{
    return c->server->number;
}

/* --- kept connections --- */

static void unlink_idle(struct conn *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->server->idle = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    else
        c->server->idle_last = c->prev;
}

static void link_idle(struct conn *c)
{
    struct server *s = c->server;
    c->prev = NULL;
    c->next = s->idle;
    if (c->next != NULL)
        c->next->prev = c;
    else
        s->idle_last = c;
    s->idle = c;
}

/* PHP-FPM ends a child (pm.max_requests) when it has done what is left to do after its last answer,
 * which may be much (fastcgi_finish_request). What has happened once happens again, and not always
 * as soon. */
static void learn_rest(struct server *s, double idle)
{
    if (idle < RETIRING && s->rest < 2 * idle)
        s->rest = 2 * idle;
}

static void conn_closed(struct conn *c)
{
    struct backends *all = c->server->backend->all;
    c->server->conns--;
    if (c->state == CONN_IDLE)
        unlink_idle(c);
    else if (c->state == CONN_LEFT)
        backend_left_closed(c);
    if (c->state == CONN_IDLE && c->ended)
        learn_rest(c->server, ev_now(all->loop->ev) - c->idle_since);
    ledger_drop(&all->seat, c->claim);
}

static struct conn *connect_to(struct server *s, const struct lease *x, uint32_t claim);
static void backend_release(struct conn *c);

/* Another connection in its place, under the same claim. NULL: the claim is dropped, errno says
 * why. */
static struct conn *connect_anew(struct conn *c, const struct lease *x)
{
    struct server *s = c->server;
    uint32_t claim = c->claim;
    s->conns--;
    c->closed = NULL;
    conn_reset(c);
    return connect_to(s, x, claim);
}

/* The one that has been idle the longest, if that is long enough for its server. */
static struct conn *find_rested(const struct server *s)
{
    for (struct conn *c = s->idle_last; c != NULL; c = c->prev)
        if (conn_has_rested(c, s->rest))
            return c;
    return NULL;
}

/* A kept connection that the request may go on; NULL: there is none. The latest is the warmest, but
 * where processes work on after their answers the one that has had the longest time for it comes
 * first. What can't be sent again does not go on a TCP connection that has not rested, since there
 * nothing shows whether the server is just about to close it. */
static struct conn *choose_idle(const struct server *s, const struct lease *x)
{
    if (!x->once || s->idle == NULL)
        return s->idle;
    if (!conn_can_offer(s->idle))
        return find_rested(s);
    double now = ev_now(s->backend->all->loop->ev);
    bool at_work = s->last_at_work > 0 && now - s->last_at_work < AT_WORK_FOR;
    return at_work ? s->idle_last : s->idle;
}

/* One of the server's kept connections, if the ledger lets us have it. Where none is good enough
 * one of them gives its place to a new one. */
static struct conn *take_idle(struct server *s, const struct lease *x)
{
    struct conn *good = choose_idle(s, x);
    struct conn *c = good != NULL ? good : s->idle;
    if (c == NULL || !ledger_reuse(&s->backend->all->seat, c->claim, x->tenant, NULL))
        return NULL;
    unlink_idle(c);
    return good != NULL ? c : connect_anew(c, x);
}

/* `other` takes the place of `c`, which is closed; its own is free for others. */
static void take_over(struct conn *other, struct conn *c)
{
    struct backends *all = c->server->backend->all;
    uint32_t spare = other->claim;
    unlink_idle(other);
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
        s->last_at_work = ev_now(s->backend->all->loop->ev);
    struct conn *other = fresh ? NULL : choose_idle(s, x);
    if (other == NULL)
        return connect_anew(c, x);
    take_over(other, c);
    return other;
}

static void hand_over(struct lease *x, struct conn *c)
{
    x->waiting = false;
    x->server = c->server->number;
    deadline_fini(&x->deadline);
    x->ops->on_conn(x->user, c);
}

struct server *backend_server_at(const struct backend *b, uint32_t slot)
{
    for (int i = 0; i < b->count; i++)
        if (b->servers[i]->slot == slot && !b->servers[i]->gone)
            return b->servers[i];
    return NULL;
}

void backend_move(struct conn *c, struct server *to)
{
    c->server->conns--;
    to->conns++;
    c->server = to;
    c->place = &to->place;
    c->addr = &to->place.list[0];
}

static void ask_again(struct lease *x, uint32_t unknown);
static void backend_refuse(struct lease *x, enum backend_error error, const char *detail);

/* Who waits may belong to another generation than the connection that is free. It begins at the end
 * of the turn: the stream that gives the connection back is still on the stack, the end of its
 * answer waits in the buffer that all clients share, and whoever begins may fail at once. */
static void give_to(struct lease *x, struct conn *c)
{
    struct server *to = c->server;
    if (x->backend != to->backend)
        to = backend_server_at(x->backend, to->slot);
    x->called = true;
    x->called_to = c->server->slot;
    if (to == NULL) {
        conn_close(c);
    } else {
        backend_move(c, to);
        x->given = c;
    }
    loop_defer(x->backend->all->loop, &x->call);
}

/* The end of the turn in which a lease was called. */
static void called_cb(struct deferred *d)
{
    struct lease *x = (struct lease *)((char *)d - offsetof(struct lease, call));
    struct conn *c = x->given;
    x->called = false;
    x->given = NULL;
    if (c == NULL) {
        ask_again(x, x->called_to);
        return;
    }
    x->server = c->server->number;
    if (x->once && !conn_can_offer(c)) /* it has not rested */
        c = connect_anew(c, x);
    if (c != NULL)
        hand_over(x, c);
    else
        backend_refuse(x, BACKEND_CONNECT, strerror(errno));
}

/* A lease that was called gives what it got to the next one, any other one leaves the queue. */
static void leave_queue(struct lease *x)
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
        backend_release(c);
}

/* The request is over, and the connection could serve another one: it is kept, given to who waits,
 * or closed. */
static void backend_release(struct conn *c)
{
    struct backend *b = c->server->backend;
    const struct backend_settings *settings = b->settings;
    void *next = NULL;
    if (settings->keepalive == 0 || c->requests >= settings->keepalive_requests) {
        conn_close(c);
        return;
    }
    switch (ledger_release(&b->all->seat, c->claim, c, &next)) {
    case LEDGER_KEEP:
        conn_idle(c, settings->keepalive_idle);
        link_idle(c);
        break;
    case LEDGER_NEXT:
        give_to(next, c);
        break;
    case LEDGER_CLOSE:
        conn_close(c);
        break;
    }
}

/* --- another generation --- */

/* The idle connections of one server are the other's from now on. */
static void backend_pass_kept(struct server *from, struct server *to)
{
    while (from->idle_last != NULL) {
        struct conn *c = from->idle_last;
        unlink_idle(c);
        backend_move(c, to);
        link_idle(c);
        to->rest = from->rest > to->rest ? from->rest : to->rest;
        deadline_set(&c->deadline, to->backend->settings->keepalive_idle);
    }
}

static void end_lookups(struct backend *b)
{
    for (unsigned i = 0; i < b->name_count; i++) {
        lookup_cancel(&b->names[i].lookup);
        deadline_clear(&b->names[i].again);
    }
}

void backend_rest(struct backend *b)
{
    end_lookups(b);
    for (int i = 0; i < b->count; i++)
        while (b->servers[i]->idle != NULL)
            conn_close(b->servers[i]->idle);
}

void backend_retire(struct backend *b, struct backend *successor)
{
    end_lookups(b);
    for (int i = 0; i < b->count; i++) {
        struct server *s = b->servers[i];
        struct server *to = successor != NULL ? backend_server_at(successor, s->slot) : NULL;
        if (to != NULL && successor->settings->keepalive > 0)
            backend_pass_kept(s, to);
        while (s->idle != NULL)
            conn_close(s->idle);
        /* Addresses of names are looked up anew: until then they stay. */
        if (to == NULL && !s->gone && !s->settings->is_name)
            ledger_server_retire(&b->all->seat, s->slot, b->generation);
    }
}

void backend_serve(struct backend *b)
{
    b->serves = true;
    backend_refresh(b);
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone)
            heed_checks(b->servers[i]);
}

void backend_refresh(struct backend *b)
{
    const struct ledger_limits limits = {b->settings->queue, b->settings->per_tenant, !b->serves};
    ledger_open(&b->all->seat, b->settings->name, &limits);
    ledger_close(&b->all->seat, b->group);
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone) {
            uint32_t slot = open_slot(b, b->servers[i]->settings, b->servers[i]->address);
            ledger_server_gone(&b->all->seat, slot); /* it is opened once, as before */
        }
}

/* --- leases --- */

/* A connection under a claim that has been granted. */
static struct conn *connect_to(struct server *s, const struct lease *x, uint32_t claim)
{
    struct backends *all = s->backend->all;
    const struct conn_target target = {
        .place = &s->place,
        .connect_timeout = x->connect_timeout,
        .backlog_timeout = s->backend->settings->queue_timeout,
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
    c->closed = conn_closed;
    c->released = backend_release;
    return c;
}

static enum ledger_answer backend_request_claim(struct lease *x, uint32_t slot)
{
    struct backend *b = x->backend;
    const struct ledger_request request = {
        .group = b->group,
        .server = slot,
        .only = x->only,
        .fresh = x->fresh,
        .avoid = x->avoid,
        .tenant = x->tenant,
        .generation = b->generation,
        .holder = x,
    };
    enum ledger_answer answer = ledger_acquire(&b->all->seat, &request, &x->claim);
    x->waiting = answer == LEDGER_WAITING;
    return answer;
}

static void backend_refuse(struct lease *x, enum backend_error error, const char *detail)
{
    x->waiting = false;
    deadline_fini(&x->deadline);
    x->ops->on_refused(x->user, error, detail);
}

/* It was given a server of this worker's other generation: there may be a better one. */
static void ask_again(struct lease *x, uint32_t unknown)
{
    x->avoid = unknown;
    if (x->only || ++x->unknown > UNKNOWN_MAX || backend_request_claim(x, LEDGER_NONE) == LEDGER_FULL)
        backend_refuse(x, BACKEND_QUEUE, "the queue is full");
}

static void on_grant(struct lease *x, uint32_t claim, uint32_t slot)
{
    struct server *s = backend_server_at(x->backend, slot);
    if (s == NULL) {
        ledger_drop(&x->backend->all->seat, claim);
        ask_again(x, slot);
        return;
    }
    x->server = s->number;
    struct conn *c = connect_to(s, x, claim);
    if (c != NULL)
        hand_over(x, c);
    else
        backend_refuse(x, BACKEND_CONNECT, strerror(errno));
}

/* Whoever came now would not wait. */
static bool is_hopeless(const struct lease *x)
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

static const char *why_hopeless(const struct lease *x)
{
    if (x->only)
        return "the server that it waited for is drained, or its health checks fail";
    for (int i = 0; i < x->backend->count; i++)
        if (!x->backend->servers[i]->gone)
            return "all servers are drained, or their health checks fail";
    return "no address of its names could be found";
}

/* Maybe nobody is left to wait for: then it is answered as those are who come now. */
static void on_refuse(struct lease *x)
{
    if (!is_hopeless(x))
        return;
    const char *why = why_hopeless(x);
    ledger_drop(&x->backend->all->seat, x->claim);
    x->server = -1;
    backend_refuse(x, BACKEND_CONNECT, why);
}

static void waited_cb(struct deadline *d)
{
    struct lease *x = (struct lease *)((char *)d - offsetof(struct lease, deadline));
    leave_queue(x);
    backend_refuse(x, BACKEND_QUEUE, "it waited in the queue for queue_timeout");
}

static void wait_for_it(struct lease *x)
{
    double patience = x->backend->settings->queue_timeout;
    deadline_init(&x->deadline, x->backend->all->loop, waited_cb);
    deadline_set(&x->deadline, patience > 0 ? patience : 0.001);
    expect_probe(x->backend);
}

enum lease_result backend_acquire(struct backend *b, struct lease *x, const struct acquire *acquire,
                                  struct conn **conn, enum backend_error *error,
                                  const char **detail)
{
    struct server *s = acquire->server >= 0 ? b->servers[acquire->server] : NULL;
    *x = (struct lease){
        .backend = b,
        .ops = acquire->ops,
        .user = acquire->user,
        .connect_timeout = acquire->connect_timeout,
        .tenant = ledger_tenant(&b->all->seat, acquire->tenant),
        .avoid = acquire->avoid >= 0 ? b->servers[acquire->avoid]->slot : LEDGER_NONE,
        .server = acquire->server,
        .only = acquire->only,
        .fresh = acquire->fresh,
        .once = acquire->once,
        .call = {.run = called_cb},
    };
    *conn = s != NULL && !acquire->fresh ? take_idle(s, x) : NULL;
    if (*conn != NULL)
        return LEASE_READY;
    switch (backend_request_claim(x, s != NULL ? s->slot : LEDGER_NONE)) {
    case LEDGER_WAITING:
        wait_for_it(x);
        return LEASE_WAITING;
    case LEDGER_FULL:
        *error = BACKEND_QUEUE;
        *detail = "the queue is full";
        return LEASE_FAILED;
    case LEDGER_GRANTED:
        break;
    }
    *conn = connect_to(s, x, x->claim);
    *error = BACKEND_CONNECT;
    *detail = *conn == NULL ? strerror(errno) : NULL;
    return *conn != NULL ? LEASE_READY : LEASE_FAILED;
}

void backend_cancel(struct lease *x)
{
    if (!x->waiting)
        return;
    x->waiting = false;
    deadline_fini(&x->deadline);
    leave_queue(x);
}

/* --- what is known of a server --- */

void backend_failed(struct backend *b, int server, const char *why)
{
    struct server *s = b->servers[server];
    if (s->settings->is_name)
        backend_look_again(b, s->settings);
    bool down = ledger_failed(&b->all->seat, s->slot);
    if (!down)
        return;
    expect_probe(b);
    log_warn("backend '%.*s': server %s is taken out for %g s (fail_timeout) after %u failures "
             "(max_fails), the last: %s",
             STR_FMT(b->settings->name), s->address, b->settings->fail_timeout,
             b->settings->max_fails, why);
}

void backend_answered(struct backend *b, int server, double latency)
{
    struct server *s = b->servers[server];
    bool was_down = backend_server(b, server)->down;
    ledger_answered(&b->all->seat, s->slot, latency);
    if (was_down)
        log_warn("backend '%.*s': server %s answers again", STR_FMT(b->settings->name), s->address);
}

bool backend_checked(struct backend *b, int server, bool good)
{
    const struct health_settings *health = &b->settings->health;
    bool changed =
        ledger_checked(&b->all->seat, b->servers[server]->slot, good, health->rise, health->fall);
    return changed;
}

bool backend_check_due(struct backend *b, int server, double interval, double timeout)
{
    return !b->servers[server]->gone &&
           ledger_check_due(&b->all->seat, b->servers[server]->slot, interval, timeout);
}

void backend_check_over(struct backend *b, int server, double interval)
{
    ledger_check_over(&b->all->seat, b->servers[server]->slot, interval);
}

/* --- operators --- */

void backend_hold(struct backend *b, bool held)
{
    ledger_hold(&b->all->seat, b->group, held);
}

bool backend_is_held(const struct backend *b)
{
    return ledger_is_held(&b->all->seat, b->group);
}

unsigned backend_queued(const struct backend *b)
{
    return ledger_queued(&b->all->seat, b->group);
}

unsigned backend_queue_room(const struct backend *b)
{
    return ledger_queue_room(&b->all->seat, b->group);
}

void backend_drain(struct backend *b, int server, bool draining)
{
    ledger_drain(&b->all->seat, b->servers[server]->slot, draining);
}

/*
 * client - see client.h.
 *
 *     idle --byte--> head --complete--> [body] --> waiting --> replying --written--> idle, or close
 *
 * Input is read into the loop's buffer and used up at once; what can't be used yet (a pipelined
 * request, a body that nobody wants so far) is kept in `in`. Output goes through the sender.
 *
 * Everything goes through client_process, which is called by events of the socket and of the clock
 * and by the loop (client_queue). The exchange's step runs in it or elsewhere; what it tells the
 * front (front_ops) is only noted.
 */
#include "front/client_inner.h"

#include "base/log.h"
#include "base/lookup.h"

#include <errno.h>
#include <stdlib.h>

#define READ_SIZE     65536 /* of one read from a client */
#define IN_MARK       16384 /* kept input beyond which reading stops */
#define IN_MAX        (2 * LOOP_READ_SIZE)
#define SKIP_TIME     2.0  /* for a body that is dropped to keep the connection */
#define LINGER_TIME   30.0 /* for one that is dropped so that the response arrives, in all */
#define LINGER_IDLE   5.0  /* and between two reads */
#define LINGER_BYTES  (256u << 20)
#define REFUSED_TIME  2.0 /* the same for who was never welcome, or where we stop */
#define REFUSED_BYTES 65536
#define FIRST_REQUEST 1.0 /* a connection made just before a stop may still send one */
#define REFUSED_MAX   256 /* of connections too many that are told so at a time */

static void client_process(struct client *c, const char *data, size_t n);
static void turn_away(struct client *c);

/* --- the connection's end --- */

void client_free(struct client *c)
{
    struct clients *all = c->clients;
    ev_io_stop(all->loop->ev, &c->io);
    deadline_fini(&c->deadline);
    loop_undefer(&c->step);
    sender_fini(&c->sender);
    /* Nothing but a reset tells a client whose body ends with the connection that there is more. */
    c->transport.ops->close(&c->transport, c->until_eof);
    client_leave_census(c);
    all->refused -= c->refused;
    buf_fini(&c->in);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        all->list = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    all->count--;
    free(c);
    if (all->count == 0 && all->on_empty != NULL)
        all->on_empty(all->ctx);
}

/* What only the client knows of its request is told, before the exchange ends. */
static void client_end_request(struct client *c)
{
    c->req->body_out += c->sender.file_sent;
    client_forget_request(c);
}

/* The client has left, or must: whatever is under way is dropped. */
static void client_gone(struct client *c, const char *why)
{
    if (c->exchange != NULL) {
        client_end_request(c);
        exchange_gone(c->exchange, why);
    }
    c->exchange = NULL;
    client_free(c);
}

/* --- interest --- */

static bool wants_read(const struct client *c)
{
    if (c->eof)
        return false;
    return c->lingering || buf_len(&c->in) < IN_MARK;
}

void client_rearm(struct client *c)
{
    int events = (wants_read(c) ? EV_READ : 0) | (sender_waits(&c->sender) ? EV_WRITE : 0);
    struct ev_loop *ev = c->clients->loop->ev;
    if (!ev_is_active(&c->io) || (c->io.events & (EV_READ | EV_WRITE)) != events) {
        ev_io_stop(ev, &c->io);
        if (events != 0) {
            ev_io_set(&c->io, c->io.fd, events);
            ev_io_start(ev, &c->io);
        }
    }
}

void client_queue(struct client *c)
{
    loop_step(c->clients->loop, &c->step);
}

/* --- the request --- */

static void on_body(void *ctx, struct str bytes)
{
    struct client *c = ctx;
    if (!c->ended)
        exchange_body(c->exchange, bytes);
}

static void on_chunk(void *ctx, uint64_t at_least)
{
    struct client *c = ctx;
    if (!c->ended)
        exchange_body_announced(c->exchange, at_least);
}

static const struct h1_body body_ops = {.on_bytes = on_body, .on_chunk = on_chunk};

static void begin_request(struct client *c)
{
    const struct limits *limits;
    c->exchange = exchange_new(*c->clients->current, &c->front, &c->req);
    limits = exchange_limits(c->exchange);
    c->h1 = h1_new(c->req, limits, &body_ops, c);
    c->req->client = c->peer;
    c->req->local = c->local;
    c->req->listener = c->listener;
    c->req->control = c->control;
    c->requests++;
    c->head_done = c->body_done = c->want_body = c->ended = c->cut = false;
    c->head_waits = c->chunked = c->until_eof = c->skipping = false;
    c->lingered = 0;
    deadline_set(&c->deadline, limits->header_timeout);
}

static void client_refuse(struct client *c, int status, const char *reason)
{
    c->body_done = true;
    c->head_done = true;
    if (c->ended)
        c->close = true;
    else
        exchange_refuse(c->exchange, status, reason);
}

/* Nothing that follows can be understood, or is wanted. */
static void refuse_and_close(struct client *c, int status, const char *reason)
{
    c->eof = true;
    client_refuse(c, status, reason);
}

static void head_complete(struct client *c)
{
    bool has_body = h1_has_body(c->h1);
    const char *reason;
    int status = client_name_request(c, &reason);
    if (status != 0) {
        refuse_and_close(c, status, reason);
        return;
    }
    c->head_done = true;
    c->body_done = !has_body;
    deadline_clear(&c->deadline); /* from here on the backend's timeouts count */
    exchange_begin(c->exchange, has_body);
}

/* Feeds the parser; returns the bytes used. */
static size_t client_feed(struct client *c, const char *data, size_t n)
{
    size_t used;
    bool whole = c->fresh; /* a head, if this is one */
    c->fresh = false;
    switch (h1_feed(c->h1, data, n, &used)) {
    case H1_HEAD:
        if (!whole) /* its end may have been sent after files were looked up in this turn */
            lookup_begin_turn();
        head_complete(c);
        break;
    case H1_END:
        c->body_done = true;
        if (!c->ended)
            exchange_body_end(c->exchange);
        break;
    case H1_ERROR:
        refuse_and_close(c, h1_status(c->h1), h1_reason(c->h1));
        break;
    case H1_MORE:
        if (c->head_done && used > 0 && !c->ended)
            deadline_set(&c->deadline, exchange_limits(c->exchange)->body_timeout);
        break;
    }
    return used;
}

/* Unread input makes the kernel answer with a reset, which takes the response with it where the
 * client sends its whole request before it reads. So it is read and dropped, within bounds. */
static void start_linger(struct client *c)
{
    double time = c->refused || c->clients->stopping ? REFUSED_TIME : LINGER_TIME;
    c->lingering = true;
    c->lingered = 0;
    c->linger_end = ev_now(c->clients->loop->ev) + time;
    buf_fini(&c->in);
    c->transport.ops->shutdown(&c->transport);
    deadline_set(&c->deadline, time < LINGER_IDLE ? time : LINGER_IDLE);
    c->eof = false;
    client_rearm(c);
}

static void drop_input(struct client *c, ssize_t n)
{
    double left = c->linger_end - ev_now(c->clients->loop->ev);
    c->lingered += n > 0 ? (uint64_t)n : 0;
    if (n <= 0 || left <= 0 || c->lingered > (c->refused ? REFUSED_BYTES : LINGER_BYTES))
        client_free(c);
    else
        deadline_set(&c->deadline, left < LINGER_IDLE ? left : LINGER_IDLE);
}

/* How long a client may say nothing before a request. Where connections are not kept the first one
 * has as long as its head has. */
static double idle_timeout(const struct clients *clients)
{
    const struct limits *limits = &(*clients->current)->settings->limits;
    return limits->keepalive_timeout > 0 ? limits->keepalive_timeout : limits->header_timeout;
}

/* The response is written: on to the next request, or close. Returns false when c is gone. */
static bool finish_request(struct client *c)
{
    bool unread = !c->body_done || c->eof;
    struct exchange *exchange = c->exchange;
    bool broken = c->sender.broken != NULL;
    /* A reset ends a body that has no other end; otherwise what has been sent must arrive. */
    bool at_once = broken || !unread || (c->cut && (c->until_eof || c->req->bytes_out == 0));
    client_end_request(c);
    sender_rest(&c->sender);
    c->sending = false;
    c->exchange = NULL;
    c->req = NULL;
    c->h1 = NULL;
    if (broken)
        exchange_gone(exchange, c->sender.broken);
    else
        exchange_done(exchange);
    c->close |= broken || (c->clients->stopping && c->clients->patience <= 0);
    if (!broken && !c->cut)
        c->until_eof = false;
    if (!c->close) {
        deadline_set(&c->deadline,
                     c->clients->stopping ? c->clients->patience : idle_timeout(c->clients));
        return true;
    }
    if (at_once) {
        client_free(c);
        return false;
    }
    start_linger(c);
    return false;
}

/* Drops a body that nobody wants, as far as that is worth it. */
static bool may_skip_body(const struct client *c)
{
    return c->ended && !c->close && c->lingered <= CLIENT_SKIP_BYTES && !h1_expects_continue(c->h1);
}

/* Who sends all before it reads anything would wait for us, and we for it. */
static bool may_drop_body(const struct client *c)
{
    return may_skip_body(c) || (c->ended && c->close && !c->eof && c->lingered <= LINGER_BYTES);
}

/* Begins to drop the rest of a body that nobody wants; the client has little time for it in all. */
static void start_skipping(struct client *c)
{
    if (c->skipping)
        return;
    c->skipping = true;
    deadline_set(&c->deadline, SKIP_TIME);
}

/* The header of the PROXY protocol, which comes before the first request. False: as in
 * client_advance. */
static bool read_address(struct client *c, struct str in, size_t *used, bool *gone)
{
    switch (client_read_address(c, in, used)) {
    case CLIENT_ADDRESS_MORE:
        return false;
    case CLIENT_ADDRESS_KNOWN:
        if (!c->clients->stopping)
            deadline_set(&c->deadline, idle_timeout(c->clients));
        return true;
    case CLIENT_ADDRESS_BAD:
        client_free(c);
        break;
    case CLIENT_ADDRESS_TOO_MANY:
        turn_away(c);
        break;
    }
    *gone = true;
    return false;
}

/* One step forward. Sets *used to the bytes taken. Returns false when nothing more can be done now,
 * or c is gone (*gone). */
static bool client_advance(struct client *c, const char *data, size_t n, size_t *used, bool *gone)
{
    *used = 0;
    if (c->awaits_address)
        return n > 0 && read_address(c, (struct str){data, n}, used, gone);
    if (c->sender.turn.n > 0 && n > 0) /* a pipelined request need not wait for the turn's end */
        client_note_sent(c, sender_write(&c->sender));
    if (c->exchange == NULL) {
        if (n == 0)
            return false;
        begin_request(c);
        return true;
    }
    if (c->ended && sender_is_done(&c->sender)) {
        if (c->body_done || c->eof || !may_skip_body(c)) {
            c->close |= !c->body_done;
            *gone = !finish_request(c);
            return !*gone;
        }
        start_skipping(c);
    }
    bool reading = !c->head_done || (!c->body_done && (c->want_body || may_drop_body(c)));
    if (n == 0 || !reading)
        return false;
    *used = client_feed(c, data, n);
    if (c->ended && !c->body_done)
        c->lingered += *used;
    return true;
}

static void keep_input(struct client *c, const char *data, size_t n)
{
    if (buf_len(&c->in) > 0) /* the bytes are c->in's own */
        buf_consume(&c->in, buf_len(&c->in) - n);
    else
        buf_append(&c->in, data, n);
    if (buf_len(&c->in) == 0 && c->in.cap > 0)
        buf_fini(&c->in);
}

/* Does all that can be done with what has come: new bytes, or (n = 0) those that were kept. */
static void client_process(struct client *c, const char *data, size_t n)
{
    bool gone = false;
    size_t used;
    if (buf_len(&c->in) > 0) {
        buf_append(&c->in, data, n);
        data = buf_peek(&c->in).p;
        n = buf_len(&c->in);
    }
    c->fresh = n > 0 && buf_len(&c->in) == 0;
    do {
        while (client_advance(c, data, n, &used, &gone)) {
            data += used;
            n -= used;
        }
        if (gone)
            return; /* lingering or freed; either way nothing is left to do */
    } while (c->exchange != NULL && exchange_run(c->exchange));
    loop_undefer(&c->step); /* all that the exchange has said has been seen */
    keep_input(c, data, n);
    if (c->sender.broken != NULL) {
        client_gone(c, c->sender.broken);
        return;
    }
    if (c->eof && (c->exchange == NULL || !c->head_done)) { /* nothing can come any more */
        client_gone(c, "the client closed the connection inside its request");
        return;
    }
    if (!client_pass(c))
        client_rearm(c);
}

/* --- events --- */

/* A client that has sent its requests whole still gets its answers. */
static void client_ended_input(struct client *c)
{
    c->eof = true;
    if (c->exchange == NULL || !c->head_done || (!c->body_done && !c->ended))
        client_gone(c, "the client closed the connection inside its request");
    else if (!c->ended && exchange_only_waits(c->exchange))
        client_gone(c, "the client closed the connection while the request only waited");
    else
        client_process(c, NULL, 0);
}

static void client_readable(struct client *c)
{
    struct loop *loop = c->clients->loop;
    ssize_t n = c->transport.ops->read(&c->transport, loop->in, READ_SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c->lingering)
        drop_input(c, n);
    else if (n > 0)
        client_process(c, loop->in, (size_t)n);
    else if (n == 0)
        client_ended_input(c);
    else
        client_gone(c, "the client reset the connection");
}

static void client_on_turn(struct sender *sender)
{
    struct client *c = (struct client *)((char *)sender - offsetof(struct client, sender));
    client_note_sent(c, sender_write(sender));
    client_process(c, NULL, 0);
}

static void client_step(struct deferred *d)
{
    client_process((struct client *)((char *)d - offsetof(struct client, step)), NULL, 0);
}

static void client_writable(struct client *c)
{
    client_note_sent(c, sender_write(&c->sender));
    if (c->sender.broken != NULL)
        return;
    bool done = sender_is_done(&c->sender);
    if (done)
        deadline_clear(&c->deadline);
    if (done && c->ended) {
        client_process(c, NULL, 0);
        return;
    }
    if (c->exchange != NULL && !c->ended && (done || sender_room(&c->sender) >= LOOP_READ_SIZE))
        exchange_room(c->exchange);
    client_rearm(c);
}

static void client_io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct client *c = io->data;
    (void)ev;
    if (events & EV_WRITE && sender_waits(&c->sender))
        client_writable(c);
    else if (events & EV_READ)
        client_readable(c);
    else
        client_rearm(c);
}

static void client_missed_cb(struct deadline *d)
{
    struct client *c = (struct client *)((char *)d - offsetof(struct client, deadline));
    if (c->exchange == NULL) {
        client_free(c); /* idle for too long, or lingering */
    } else if (!c->head_done) {
        refuse_and_close(c, 408, "the head did not come within header_timeout");
        client_process(c, NULL, 0);
    } else if (!sender_is_done(&c->sender)) {
        client_gone(c, "the client took nothing within send_timeout");
    } else if (!c->body_done && !c->ended && c->want_body) {
        refuse_and_close(c, 408, "the body did not come within body_timeout");
        client_process(c, NULL, 0);
    } else if (c->ended) {
        c->close = true; /* the rest of the body does not come in time to keep the connection */
        client_process(c, NULL, 0);
    }
}

/* --- connections too many --- */

/* For the last words to a client: what the socket does not take is lost. Returns the bytes that it
 * took. */
static size_t write_at_once(struct client *c, char *text, size_t size)
{
    struct iovec v = {text, size};
    ssize_t n = c->transport.ops->writev(&c->transport, &v, 1, false);
    return n > 0 ? (size_t)n : 0;
}

/* Says 503 at once, whatever the client asks for, and drops what it sends. */
static void turn_away(struct client *c)
{
    struct clients *all = c->clients;
    char text[H1_TOO_MANY_SIZE];
    size_t n = h1_too_many(text, loop_date(all->loop));
    if (all->refused >= REFUSED_MAX || write_at_once(c, text, n) != n) {
        client_free(c);
        return;
    }
    c->refused = true;
    all->refused++;
    start_linger(c);
}

/* --- life --- */

void clients_init(struct clients *clients, struct loop *loop, struct generation **current)
{
    *clients = (struct clients){.loop = loop, .current = current};
    sender_turn_init(&clients->turn, loop);
}

void clients_fini(struct clients *clients)
{
    sender_turn_fini(&clients->turn);
}

struct client *client_make(struct clients *clients, int fd, const struct peer *peer,
                           const struct peer *local)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->clients = clients;
    c->peer = *peer;
    c->local = *local;
    buf_init(&c->in, IN_MAX);
    deadline_init(&c->deadline, clients->loop, client_missed_cb);
    c->step.run = client_step;
    c->front.ops = &client_front_ops;
    ev_io_init(&c->io, client_io_cb, fd, EV_READ);
    c->io.data = c;
    transport_plain(&c->transport, fd);
    sender_init(&c->sender, &c->transport, &clients->turn, client_on_turn);
    c->next = clients->list;
    if (c->next != NULL)
        c->next->prev = c;
    clients->list = c;
    clients->count++;
    return c;
}

static void stop_idle(struct client *c, double patience);

void client_begin(struct client *c)
{
    struct clients *all = c->clients;
    ev_io_start(all->loop->ev, &c->io);
    if (c->awaits_address) /* it has been sent already: a balancer writes it first */
        deadline_set(&c->deadline, (*all->current)->settings->limits.header_timeout);
    else
        deadline_set(&c->deadline, idle_timeout(all));
    if (all->stopping)
        stop_idle(c, all->patience);
}

void client_new(struct clients *clients, int fd, const struct client_origin *origin)
{
    struct peer peer, local;
    peer_from(&peer, &origin->remote);
    peer_from(&local, &origin->local);
    struct client *c = client_make(clients, fd, &peer, &local);
    c->listener = origin->listener;
    c->control = origin->control;
    c->awaits_address = origin->proxy_protocol;
    if (client_enter_census(c))
        client_begin(c);
    else
        turn_away(c);
}

/* An idle connection may have a request in its socket already, or, just accepted, on its way. */
static void stop_idle(struct client *c, double patience)
{
    struct clients *all = c->clients;
    unsigned before = all->count;
    if (c->requests == 0 && patience < FIRST_REQUEST)
        patience = FIRST_REQUEST;
    if (patience > 0)
        deadline_set(&c->deadline, patience);
    client_readable(c);
    if (all->count == before && c->exchange == NULL && !c->lingering && patience <= 0)
        client_free(c);
}

/* Its response is out: a stop does not wait long for it to be read. */
static void client_hasten(struct client *c)
{
    double end = ev_now(c->clients->loop->ev) + REFUSED_TIME;
    if (c->linger_end <= end)
        return;
    c->linger_end = end;
    deadline_set(&c->deadline, REFUSED_TIME);
}

void clients_stop(struct clients *clients, double patience)
{
    clients->stopping = true;
    clients->patience = patience;
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        if (c->lingering)
            client_hasten(c);
        else if (c->exchange == NULL)
            stop_idle(c, patience);
    }
}

/* The server ends before its request does. Who has no byte of an answer is told so, as far as the
 * socket takes it at once. */
static void cut_short(struct client *c)
{
    char text[H1_TOO_MANY_SIZE];
    if (c->exchange == NULL) {
        client_free(c);
        return;
    }
    if (exchange_is_unanswered(c->exchange) && sender_is_done(&c->sender)) {
        size_t n = h1_too_many(text, loop_date(c->clients->loop));
        c->req->bytes_out += write_at_once(c, text, n);
    }
    client_end_request(c);
    exchange_stopped(c->exchange, "the server was stopped");
    c->exchange = NULL;
    client_free(c);
}

void clients_close(struct clients *clients)
{
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        cut_short(c);
    }
}

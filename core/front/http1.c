/*
 * http1 - see http1.h.
 *
 *     idle --byte--> head --complete--> [body] --> waiting --> replying --written--> idle, or close
 *
 * Input is read into a buffer of the loop's and used up at once; what can't be used yet (a
 * pipelined request, a body that the exchange does not want so far) is kept in `in`. Output is the
 * reply's.
 *
 * Everything goes through http1_process, which is called by events of the socket and of the clock
 * and by the loop (client_queue). The exchange's step runs in it or elsewhere; what it tells the
 * front (front_ops) is only noted.
 */
#include "front/http1.h"

#include "base/lookup.h"
#include "exchange/exchange.h"
#include "front/admission.h"
#include "front/handover.h"
#include "front/reply.h"
#include "http/h1.h"

#include <errno.h>
#include <stdlib.h>

#define IN_MARK       16384 /* kept input beyond which reading stops */
#define IN_MAX        (2 * LOOP_READ_SIZE)
#define SKIP_TIME     2.0  /* for a body that is dropped to keep the connection */
#define LINGER_TIME   30.0 /* for one that is dropped so that the response arrives, in all */
#define LINGER_IDLE   5.0  /* and between two reads */
#define LINGER_BYTES  (256u << 20)
#define REFUSED_TIME  2.0 /* the same for who was never welcome, or where we stop */
#define REFUSED_BYTES 65536
#define SKIP_BYTES    65536 /* of an unread body that are dropped to keep the connection */
#define REFUSED_MAX   256   /* of connections too many that are told so at a time */
#define SPARE_MAX     256   /* active parts that are kept */

/* A connection that is not idle: there are bytes of a request, or an answer, or its end is near. An
 * idle one is its struct client alone. */
struct http1 {
    struct client_active active;
    struct client *client;
    struct exchange *exchange; /* the request under way, NULL when idle; and of that request: */
    struct request *req;
    struct h1 *h1;
    struct reply *reply;
    struct buf *in;    /* input that can't be used yet; NULL: there is none */
    double linger_end; /* by then it is closed, in the loop's clock */
    uint32_t dropped;  /* bytes that were read and dropped behind the response, < 2 LINGER_BYTES */
    bool
        fresh : 1; /* nothing of the bytes of this read has been taken, and none were kept before */
    bool head_done : 1;
    bool body_done : 1;
    bool want_body : 1;
    bool skipping : 1;  /* the response is out, the rest of the body is read and dropped */
    bool counted : 1;   /* the request, in the census: see admission_begin_request */
    bool eof : 1;       /* the client has closed its sending side */
    bool lingering : 1; /* the response is out; what comes is dropped */
    bool refused : 1;   /* one too many: it has its 503, and lingers */
    bool reset : 1;     /* the client must see that its response is not whole */
};

static void http1_process(struct http1 *c, const char *data, size_t n);
static void http1_turn_away(struct http1 *c);

/* --- the active part --- */

/* The active part of a connection, NULL where it is idle. */
static struct http1 *http1_of(const struct client *client)
{
    return (struct http1 *)client_active(client);
}

/* The connection, which is idle, becomes active. Where requests come one after the other this takes
 * the part that the last one has left. */
static struct http1 *http1_wake(struct client *client)
{
    struct clients *all = client_clients(client);
    struct http1 *c = (struct http1 *)all->spare;
    if (c != NULL) {
        all->spare = all->spare->next;
        all->spare_count--;
    } else {
        c = malloc(sizeof *c);
        if (c == NULL)
            abort();
    }
    *c = (struct http1){.client = client};
    client_wake(client, &c->active);
    return c;
}

/* Nothing of the connection refers to it any more. */
static void http1_spare(struct clients *all, struct http1 *c)
{
    struct client_spare *spare = (struct client_spare *)c;
    if (all->spare_count >= SPARE_MAX) {
        free(c);
        return;
    }
    spare->next = all->spare;
    all->spare = spare;
    all->spare_count++;
}

/* --- kept input --- */

static size_t http1_kept(const struct http1 *c)
{
    return c->in != NULL ? buf_len(c->in) : 0;
}

static void http1_keep(struct http1 *c, const char *data, size_t n)
{
    if (c->in == NULL) {
        c->in = malloc(sizeof *c->in);
        if (c->in == NULL)
            abort();
        buf_init(c->in, IN_MAX);
    }
    buf_append(c->in, data, n);
}

static void http1_drop_kept(struct http1 *c)
{
    if (c->in == NULL)
        return;
    buf_fini(c->in);
    free(c->in);
    c->in = NULL;
}

/* --- the connection's end --- */

/* An idle connection, or what is left of another one. */
static void http1_close(struct client *client, bool reset)
{
    admission_leave(client);
    client_fini(client, reset);
    free(client);
}

static void http1_free(struct http1 *c)
{
    struct clients *all = client_clients(c->client);
    all->refused -= c->refused;
    http1_drop_kept(c);
    http1_close(c->client, c->reset);
    http1_spare(all, c);
}

/* What only the connection knows of its request is told, before the exchange ends. */
static struct exchange *http1_end_request(struct http1 *c)
{
    struct exchange *exchange = c->exchange;
    if (c->counted)
        admission_end_request(c->client, c->req);
    reply_fini(c->reply);
    c->counted = false;
    c->exchange = NULL;
    c->req = NULL;
    c->h1 = NULL;
    c->reply = NULL;
    return exchange;
}

/* The client has left, or must: what is under way is dropped. */
static void http1_gone(struct http1 *c, const char *why)
{
    if (c->exchange != NULL) {
        /* Nothing but a reset tells a client whose body ends with the connection that there is
         * more. */
        c->reset = c->reply->until_eof;
        exchange_gone(http1_end_request(c), why);
    }
    http1_free(c);
}

/* --- interest --- */

static bool http1_wants_read(const struct http1 *c)
{
    if (c->eof)
        return false;
    return c->lingering || http1_kept(c) < IN_MARK;
}

static bool http1_waits_to_write(const struct http1 *c)
{
    return c->reply != NULL && sender_waits(&c->reply->sender);
}

/* Derives what to wait for from the state. */
static void http1_rearm(struct http1 *c)
{
    client_watch(c->client,
                 (http1_wants_read(c) ? EV_READ : 0) | (http1_waits_to_write(c) ? EV_WRITE : 0));
}

/* --- the response --- */

static struct http1 *http1_of_front(struct front *front)
{
    return http1_of(reply_of_front(front)->client);
}

static void http1_want_body(struct front *front, bool want)
{
    struct http1 *c = http1_of_front(front);
    c->want_body = want;
    if (!want)
        return;
    if (h1_expects_continue(c->h1) && !c->body_done && http1_kept(c) == 0 &&
        !c->reply->head_waits) {
        h1_continued(c->h1);
        reply_continue(c->reply);
    }
    deadline_set(&c->active.deadline, exchange_limits(c->exchange)->body_timeout);
    if (http1_kept(c) > 0) /* some of it is here already */
        client_queue(c->client);
}

static void http1_end(struct front *front)
{
    struct http1 *c = http1_of_front(front);
    reply_end(front);
    if (http1_kept(c) > 0) /* a pipelined request need not wait for the turn's end */
        client_queue(c->client);
}

static const struct front_ops http1_front_ops = {
    .want_body = http1_want_body,
    .hints = reply_hints,
    .respond = reply_respond,
    .body = reply_body,
    .file = reply_file,
    .flush = reply_flush,
    .end = http1_end,
    .retract = reply_retract,
    .cut = reply_cut,
    .room = reply_room,
};

/* The connection closes after the response: the client asked for that, has sent all that it will,
 * or sends a body that is not worth reading; or it is one of the last that it gets here. */
static bool http1_closes(const struct reply *r)
{
    const struct http1 *c = http1_of(r->client);
    bool unread = !c->body_done && (h1_expects_continue(c->h1) || h1_left(c->h1) > SKIP_BYTES);
    return unread || exchange_wants_close(c->exchange) || !h1_keepalive(c->h1) ||
           c->client->requests >= r->limits->keepalive_requests ||
           r->limits->keepalive_timeout <= 0 || client_clients(c->client)->stopping ||
           (c->eof && http1_kept(c) == 0);
}

static void http1_on_turn(struct sender *sender)
{
    struct reply *reply = reply_of_sender(sender);
    struct http1 *c = http1_of(reply->client);
    reply_write(reply);
    http1_process(c, NULL, 0);
}

/* --- the request --- */

static void http1_on_body(void *ctx, struct str bytes)
{
    struct http1 *c = ctx;
    if (!c->reply->ended)
        exchange_body(c->exchange, bytes);
}

static void http1_on_chunk(void *ctx, uint64_t at_least)
{
    struct http1 *c = ctx;
    if (!c->reply->ended)
        exchange_body_announced(c->exchange, at_least);
}

static const struct h1_body http1_body_ops = {.on_bytes = http1_on_body,
                                              .on_chunk = http1_on_chunk};

static void http1_begin_request(struct http1 *c)
{
    const struct client *client = c->client;
    const struct endpoint *endpoint = client->endpoint;
    c->exchange = exchange_new(*client_clients(c->client)->current, &c->req);
    const struct limits *limits = exchange_limits(c->exchange);
    c->reply = reply_new(c->client, c->req, limits, &http1_front_ops, http1_closes, http1_on_turn);
    exchange_set_front(c->exchange, &c->reply->front);
    c->h1 = h1_new(c->req, limits, &http1_body_ops, c);
    c->req->client = client->peer;
    c->req->local = endpoint->local;
    c->req->listener = endpoint->listener;
    c->req->control = endpoint->control;
    client_count_request(c->client);
    c->head_done = c->body_done = c->want_body = c->skipping = false;
    c->dropped = 0;
    deadline_clear(&c->active.deadline); /* header_timeout, where the head is not whole at once */
}

/* Nothing that follows can be understood, or is wanted. */
static void http1_refuse(struct http1 *c, int status, const char *reason)
{
    c->eof = true;
    c->body_done = true;
    c->head_done = true;
    if (c->reply->ended)
        c->reply->close = true;
    else
        exchange_refuse(c->exchange, status, reason);
}

static void http1_head_complete(struct http1 *c)
{
    bool has_body = h1_has_body(c->h1), counted;
    const char *reason;
    int status = admission_begin_request(c->client, c->req, &counted, &reason);
    c->counted = counted;
    if (status != 0) {
        http1_refuse(c, status, reason);
        return;
    }
    c->head_done = true;
    c->body_done = !has_body;
    deadline_clear(&c->active.deadline); /* from here on the backend's timeouts count */
    exchange_begin(c->exchange, has_body);
}

/* Feeds the parser; returns the bytes used. */
static size_t http1_feed(struct http1 *c, const char *data, size_t n)
{
    size_t used;
    bool whole = c->fresh; /* a head, if this is one */
    c->fresh = false;
    switch (h1_feed(c->h1, data, n, &used)) {
    case H1_HEAD:
        if (!whole) /* its end may have been sent after files were looked up in this turn */
            lookup_begin_turn();
        http1_head_complete(c);
        break;
    case H1_END:
        c->body_done = true;
        if (!c->reply->ended)
            exchange_body_end(c->exchange);
        break;
    case H1_ERROR:
        http1_refuse(c, h1_status(c->h1), h1_reason(c->h1));
        break;
    case H1_MORE:
        if (!c->head_done && c->active.deadline.at == 0)
            deadline_set(&c->active.deadline, exchange_limits(c->exchange)->header_timeout);
        else if (c->head_done && used > 0 && !c->reply->ended)
            deadline_set(&c->active.deadline, exchange_limits(c->exchange)->body_timeout);
        break;
    }
    return used;
}

/* --- input that is dropped --- */

/* Unread input makes the kernel answer with a reset, which takes the response with it where the
 * client sends its whole request before it reads. So it is read and dropped, within bounds. */
static void http1_linger(struct http1 *c)
{
    double time = c->refused || client_clients(c->client)->stopping ? REFUSED_TIME : LINGER_TIME;
    c->lingering = true;
    c->dropped = 0;
    c->linger_end = ev_now(client_clients(c->client)->loop->ev) + time;
    http1_drop_kept(c);
    client_shutdown(c->client);
    deadline_set(&c->active.deadline, time < LINGER_IDLE ? time : LINGER_IDLE);
    c->eof = false;
    http1_rearm(c);
}

static void http1_drop_input(struct http1 *c, ssize_t n)
{
    double left = c->linger_end - ev_now(client_clients(c->client)->loop->ev);
    c->dropped += n > 0 ? (uint32_t)n : 0;
    if (n <= 0 || left <= 0 || c->dropped > (c->refused ? REFUSED_BYTES : LINGER_BYTES))
        http1_free(c);
    else
        deadline_set(&c->active.deadline, left < LINGER_IDLE ? left : LINGER_IDLE);
}

/* The response is out: a stop does not wait long for it to be read. */
static void http1_hasten(struct http1 *c)
{
    double end = ev_now(client_clients(c->client)->loop->ev) + REFUSED_TIME;
    if (c->linger_end <= end)
        return;
    c->linger_end = end;
    deadline_set(&c->active.deadline, REFUSED_TIME);
}

/* The rest of a body is dropped to keep the connection, as far as that is worth it. */
static bool http1_may_skip_body(const struct http1 *c)
{
    return c->reply->ended && !c->reply->close && c->dropped <= SKIP_BYTES &&
           !h1_expects_continue(c->h1);
}

/* A client that sends all before it reads anything would wait for this side, and this side for it.
 */
static bool http1_may_drop_body(const struct http1 *c)
{
    return http1_may_skip_body(c) ||
           (c->reply->ended && c->reply->close && !c->eof && c->dropped <= LINGER_BYTES);
}

/* The client has little time in all for a rest that is dropped. */
static void http1_start_skipping(struct http1 *c)
{
    if (!c->skipping)
        deadline_set(&c->active.deadline, SKIP_TIME);
    c->skipping = true;
}

/* --- one step after the other --- */

/* The response is written: on to the next request, or close. Returns false when the connection is
 * gone, or lingers. */
static bool http1_finish_request(struct http1 *c)
{
    struct clients *all = client_clients(c->client);
    const struct reply *reply = c->reply;
    bool unread = !c->body_done || c->eof;
    const char *broken = reply->sender.broken;
    bool close = reply->close || broken != NULL || (all->stopping && all->patience <= 0);
    /* A reset ends a body that has no other end; otherwise what has been sent must arrive. */
    bool at_once =
        broken != NULL || !unread || (reply->cut && (reply->until_eof || c->req->bytes_out == 0));
    c->reset = reply->until_eof && (broken != NULL || reply->cut);
    struct exchange *exchange = http1_end_request(c);
    if (broken != NULL)
        exchange_gone(exchange, broken);
    else
        exchange_done(exchange);
    if (!close) /* http1_process lets it sleep if nothing more has come */
        return true;
    if (at_once)
        http1_free(c);
    else
        http1_linger(c);
    return false;
}

/* The header of the PROXY protocol, which comes before the first request. False: as in
 * http1_advance. */
static bool http1_read_address(struct http1 *c, struct str in, size_t *used, bool *gone)
{
    switch (admission_read_address(c->client, in, used)) {
    case ADMISSION_MORE:
        return false;
    case ADMISSION_KNOWN:
        return true;
    case ADMISSION_BAD:
        http1_free(c);
        break;
    case ADMISSION_TOO_MANY:
        http1_turn_away(c);
        break;
    }
    *gone = true;
    return false;
}

/* One step forward. Sets *used to the bytes taken. Returns false when nothing more can be done now,
 * or the connection is gone (*gone). */
static bool http1_advance(struct http1 *c, const char *data, size_t n, size_t *used, bool *gone)
{
    struct reply *reply = c->reply;
    *used = 0;
    if (c->client->proxy_protocol)
        return n > 0 && http1_read_address(c, (struct str){data, n}, used, gone);
    if (c->exchange == NULL) {
        if (n > 0)
            http1_begin_request(c);
        return n > 0;
    }
    if (reply->sender.turn.n > 0 &&
        n > 0) /* a pipelined request does not wait for the turn's end */
        reply_write(reply);
    if (reply->ended && sender_is_done(&reply->sender)) {
        if (c->body_done || c->eof || !http1_may_skip_body(c)) {
            reply->close |= !c->body_done;
            *gone = !http1_finish_request(c);
            return !*gone;
        }
        http1_start_skipping(c);
    }
    bool reading = !c->head_done || (!c->body_done && (c->want_body || http1_may_drop_body(c)));
    if (n == 0 || !reading)
        return false;
    *used = http1_feed(c, data, n);
    if (reply->ended && !c->body_done)
        c->dropped += (uint32_t)*used;
    return true;
}

static void http1_keep_input(struct http1 *c, const char *data, size_t n)
{
    if (n == 0)
        http1_drop_kept(c);
    else if (c->in != NULL) /* the bytes are its own */
        buf_consume(c->in, buf_len(c->in) - n);
    else
        http1_keep(c, data, n);
}

/* Nothing of a request has come. */
static bool http1_is_idle(const struct http1 *c)
{
    return c->exchange == NULL && !c->lingering && !c->eof && !loop_is_queued(&c->active.step) &&
           http1_kept(c) == 0;
}

/* The worker leaves and the connection is idle: another worker has it from now on. True: the
 * connection is gone. */
static bool http1_hand_over(struct client *client)
{
    struct handover *successor = client_clients(client)->successor;
    struct http1 *c = http1_of(client);
    if (successor == NULL || (c != NULL && !http1_is_idle(c)) || !handover_pass(successor, client))
        return false;
    if (c != NULL)
        http1_free(c);
    else
        http1_close(client, false);
    return true;
}

/* All that could be done has been done: the connection sleeps, or waits for what it needs. One that
 * still owes the header of the PROXY protocol has less time than an idle one. */
static void http1_settle(struct http1 *c)
{
    struct client *client = c->client;
    if (!http1_is_idle(c) || client->proxy_protocol) {
        http1_rearm(c);
        return;
    }
    client_watch(client, EV_READ);
    http1_drop_kept(c);
    client_sleep(client);
    http1_spare(client_clients(client), c);
}

/* Does all that can be done with what has come: new bytes, or (n = 0) those that were kept. */
static void http1_process(struct http1 *c, const char *data, size_t n)
{
    bool gone = false;
    size_t used;
    c->fresh = n > 0 && c->in == NULL;
    if (c->in != NULL) {
        http1_keep(c, data, n);
        data = buf_peek(c->in).p;
        n = buf_len(c->in);
    }
    do {
        while (http1_advance(c, data, n, &used, &gone)) {
            data += used;
            n -= used;
        }
        if (gone)
            return; /* lingering or freed; either way nothing is left to do */
    } while (c->exchange != NULL && exchange_run(c->exchange));
    loop_undefer(&c->active.step); /* all that the exchange has said has been seen */
    http1_keep_input(c, data, n);
    if (c->reply != NULL && c->reply->sender.broken != NULL) {
        http1_gone(c, c->reply->sender.broken);
        return;
    }
    if (c->eof && (c->exchange == NULL || !c->head_done)) { /* nothing can come any more */
        http1_gone(c, "the client closed the connection inside its request");
        return;
    }
    if (!http1_hand_over(c->client))
        http1_settle(c);
}

/* --- events --- */

/* A client that has sent its requests whole still gets its answers. */
static void http1_ended_input(struct http1 *c)
{
    c->eof = true;
    if (c->exchange == NULL || !c->head_done || (!c->body_done && !c->reply->ended))
        http1_gone(c, "the client closed the connection inside its request");
    else if (!c->reply->ended && exchange_only_waits(c->exchange))
        http1_gone(c, "the client closed the connection while the request only waited");
    else
        http1_process(c, NULL, 0);
}

/* One read from the client, of which the bytes stand in *bytes. */
static ssize_t http1_read(struct client *client, const char **bytes)
{
    struct inputs *inputs = &client_clients(client)->loop->inputs;
    char *room = inputs_room(inputs);
    ssize_t n = client_read(client, room, INPUT_SIZE);
    inputs_filled(inputs, n);
    *bytes = room;
    return n;
}

/* The first bytes of a request, or the end of an idle connection. */
static void http1_idle_readable(struct client *client)
{
    const char *bytes;
    ssize_t n = http1_read(client, &bytes);
    if (n > 0)
        http1_process(http1_wake(client), bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        http1_close(client, false);
}

static void http1_readable(struct http1 *c)
{
    const char *bytes;
    ssize_t n = http1_read(c->client, &bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c->lingering)
        http1_drop_input(c, n);
    else if (n > 0)
        http1_process(c, bytes, (size_t)n);
    else if (n == 0)
        http1_ended_input(c);
    else
        http1_gone(c, "the client reset the connection");
}

static void http1_writable(struct http1 *c)
{
    struct reply *reply = c->reply;
    reply_write(reply);
    if (reply->sender.broken != NULL) /* the connection's step closes it */
        return;
    bool done = sender_is_done(&reply->sender);
    if (done)
        deadline_clear(&c->active.deadline);
    if (done && reply->ended) {
        http1_process(c, NULL, 0);
        return;
    }
    if (!reply->ended && (done || sender_room(&reply->sender) >= LOOP_READ_SIZE))
        exchange_room(c->exchange);
    http1_rearm(c);
}

static void http1_on_io(struct ev_loop *ev, ev_io *io, int events)
{
    struct client *client = client_of_io(io);
    struct http1 *c = http1_of(client);
    (void)ev;
    if (c == NULL)
        http1_idle_readable(client);
    else if (events & EV_WRITE && http1_waits_to_write(c))
        http1_writable(c);
    else if (events & EV_READ)
        http1_readable(c);
    else
        http1_rearm(c);
}

static void http1_on_step(struct deferred *d)
{
    http1_process((struct http1 *)((char *)d - offsetof(struct http1, active.step)), NULL, 0);
}

static void http1_on_missed(struct deadline *d)
{
    struct http1 *c = (struct http1 *)((char *)d - offsetof(struct http1, active.deadline));
    if (c->exchange == NULL) {
        http1_free(c); /* lingering for too long, or no header of the PROXY protocol */
    } else if (!c->head_done) {
        http1_refuse(c, 408, "the head did not come within header_timeout");
        http1_process(c, NULL, 0);
    } else if (!sender_is_done(&c->reply->sender)) {
        http1_gone(c, "the client took nothing within send_timeout");
    } else if (!c->body_done && !c->reply->ended && c->want_body) {
        http1_refuse(c, 408, "the body did not come within body_timeout");
        http1_process(c, NULL, 0);
    } else if (c->reply->ended) {
        c->reply->close = true; /* the rest of the body does not come in time to keep the
                                   connection */
        http1_process(c, NULL, 0);
    }
}

static void http1_expire(struct client *client)
{
    http1_close(client, false);
}

/* --- life --- */

/* For the last words to a client: what the socket does not take is lost. Returns the bytes that it
 * took. */
static size_t http1_write_at_once(struct http1 *c, char *text, size_t size)
{
    struct iovec v = {text, size};
    ssize_t n = client_writev(c->client, &v, 1);
    return n > 0 ? (size_t)n : 0;
}

/* Says 503 at once, whatever the client asks for, and drops what it sends. */
static void http1_turn_away(struct http1 *c)
{
    struct clients *all = client_clients(c->client);
    char text[H1_TOO_MANY_SIZE];
    size_t n = h1_too_many(text, loop_date(all->loop));
    if (all->refused >= REFUSED_MAX || http1_write_at_once(c, text, n) != n) {
        http1_free(c);
        return;
    }
    c->refused = true;
    all->refused++;
    http1_linger(c);
}

static struct client *http1_new(struct clients *clients, int fd, const struct client_origin *origin)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        abort();
    client_init(client, clients, &http1_protocol, fd, origin);
    return client;
}

/* An idle connection may have a request in its socket already, or, just accepted, on its way. Its
 * time is that of a stop from now on, see clients_idle_timeout. */
static void http1_stop_idle(struct client *client, double patience)
{
    struct clients *all = client_clients(client);
    unsigned before = all->count;
    bool may_stay = patience > 0 || client->requests == 0;
    client_sleep(client);
    http1_idle_readable(client);
    if (all->count == before && http1_of(client) == NULL && !may_stay)
        http1_close(client, false);
}

static void http1_begin(struct client *client)
{
    struct clients *all = client_clients(client);
    client_watch(client, EV_READ);
    if (client->proxy_protocol) /* it has been sent already: a balancer writes it first */
        deadline_set(&http1_wake(client)->active.deadline,
                     clients_settings(all)->limits.header_timeout);
    if (all->stopping)
        http1_protocol.stop(client, all->patience);
}

static void http1_accept(struct clients *clients, int fd, const struct client_origin *origin)
{
    struct client *client = http1_new(clients, fd, origin);
    if (admission_enter(client))
        http1_begin(client);
    else
        http1_turn_away(http1_wake(client));
}

static void http1_resume(struct clients *clients, int fd, const struct client_origin *origin,
                         unsigned requests)
{
    struct client *client = http1_new(clients, fd, origin);
    client->requests = requests;
    admission_count(client);
    if (!http1_hand_over(client)) /* this worker leaves as well */
        http1_begin(client);
}

static void http1_pass(struct client *client)
{
    http1_hand_over(client);
}

/* What is under way goes on; a request that has been sent is still answered. */
static void http1_stop(struct client *client, double patience)
{
    struct http1 *c = http1_of(client);
    if (c == NULL)
        http1_stop_idle(client, patience);
    else if (c->lingering)
        http1_hasten(c);
    else if (c->exchange == NULL) { /* the header of the PROXY protocol is on its way */
        deadline_set(&c->active.deadline, clients_idle_timeout(client_clients(client)));
        http1_readable(c);
    }
}

/* The server ends before the request does. A client without a byte of an answer is told so, as far
 * as the socket takes it at once. */
static void http1_cut(struct client *client)
{
    struct http1 *c = http1_of(client);
    char text[H1_TOO_MANY_SIZE];
    if (c == NULL) {
        http1_close(client, false);
        return;
    }
    if (c->exchange != NULL) {
        if (exchange_is_unanswered(c->exchange) && sender_is_done(&c->reply->sender)) {
            size_t n = h1_too_many(text, loop_date(client_clients(client)->loop));
            c->req->bytes_out += http1_write_at_once(c, text, n);
        }
        c->reset = c->reply->until_eof;
        exchange_stopped(http1_end_request(c), "the server was stopped");
    }
    http1_free(c);
}

const struct protocol http1_protocol = {
    .name = "http",
    .accept = http1_accept,
    .resume = http1_resume,
    .pass = http1_pass,
    .stop = http1_stop,
    .cut = http1_cut,
    .expire = http1_expire,
    .on_io = http1_on_io,
    .on_missed = http1_on_missed,
    .on_step = http1_on_step,
};

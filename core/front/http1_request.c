/*
 * http1_request - see http1_inner.h. This file: one request after the other.
 *
 *     idle --byte--> head --complete--> [body] --> waiting --> replying --written--> idle, or close
 *
 * Input is used up where it was read; what can't be used yet (a pipelined request, a body that the
 * exchange does not want so far) is kept in `in`. Output is the reply's.
 *
 * Everything goes through http1_process, which is called by events of the socket and of the clock
 * and by the loop (client_queue). The exchange's step runs in it or elsewhere; what it tells the
 * front (front_ops) is only noted.
 */
#include "base/lookup.h"
#include "front/admission.h"
#include "front/http1_inner.h"
#include "http/h1.h"

#define SKIP_TIME  2.0   /* for a body that is dropped to keep the connection */
#define SKIP_BYTES 65536 /* of an unread body that are dropped to keep the connection */

/* --- its end --- */

/* What only the connection knows of its request is told, before the exchange ends. */
struct exchange *http1_end_request(struct http1 *c)
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
void http1_gone(struct http1 *c, const char *why)
{
    if (c->exchange != NULL) {
        /* Nothing but a reset tells a client whose body ends with the connection that there is
         * more. */
        c->reset = c->reply->until_eof;
        exchange_gone(http1_end_request(c), why);
    }
    http1_free(c);
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
void http1_refuse(struct http1 *c, int status, const char *reason)
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

/* --- a body that is not wanted --- */

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
           (c->reply->ended && c->reply->close && !c->eof && c->dropped <= HTTP1_DROPPED_MAX);
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

/* Does all that can be done with what has come: new bytes, or (n = 0) those that were kept. */
void http1_process(struct http1 *c, const char *data, size_t n)
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

/*
 * http1_request - see http1_inner.h. This file has the requests of a connection, one after the
 * other.
 *
 *     idle --byte--> head --complete--> [body] --> waiting --> responding --written--> idle, or
 * close
 *
 * Input is used from the read buffer. Input that can't be used yet (a pipelined request, a body
 * that the exchange does not want yet) is kept in `in`. Output is the response's.
 *
 * All events of the socket and the deadline, arrivals, and the loop's step (client_queue), call
 * http1_process. The exchange's step runs in it or elsewhere; its calls to the front (front_ops)
 * only note facts.
 */
#include "base/lookup.h"
#include "front/admission.h"
#include "front/http1_inner.h"
#ifdef MG_HTTP2
#    include "front/http2.h"
#endif
#include "http/h1.h"

#define SKIP_TIME  2.0   /* seconds in which an unread body is dropped to keep the connection */
#define SKIP_BYTES 65536 /* bytes of it that are dropped */

/* --- the end of a request --- */

/* Ends the connection's part of a request and returns its exchange, which the caller ends. */
struct exchange *http1_end_request(struct http1 *c)
{
    struct exchange *exchange = c->exchange;
    if (c->counted)
        admission_end_request(c->client, c->req);
    http1_response_fini(c->response);
    c->counted = false;
    c->exchange = NULL;
    c->req = NULL;
    c->h1 = NULL;
    c->response = NULL;
    return exchange;
}

/* Drops the request, if there is one, and closes the connection. */
void http1_gone(struct http1 *c, const char *why)
{
    if (c->exchange != NULL) {
        /* A body that ends with the connection is seen to be incomplete only by a reset. */
        c->reset = c->response->until_eof;
        exchange_gone(http1_end_request(c), why);
    }
    http1_free(c);
}

/* --- the response --- */

static struct http1 *http1_of_front(struct front *front)
{
    return http1_of(http1_response_of_front(front)->client);
}

static void http1_want_body(struct front *front, bool want)
{
    struct http1 *c = http1_of_front(front);
    c->want_body = want;
    if (!want)
        return;
    if (h1_expects_continue(c->h1) && !c->body_done && http1_kept(c).n == 0 &&
        !c->response->head_waits) {
        h1_continued(c->h1);
        http1_response_continue(c->response);
    }
    deadline_set(&c->active.deadline, exchange_limits(c->exchange)->body_timeout);
    if (http1_kept(c).n > 0) /* a part of the body has been read */
        client_queue(c->client);
}

static void http1_end(struct front *front)
{
    struct http1 *c = http1_of_front(front);
    http1_response_end(front);
    if (http1_kept(c).n > 0) /* a pipelined request need not wait for the end of the turn */
        client_queue(c->client);
}

static const struct front_ops http1_front_ops = {
    .want_body = http1_want_body,
    .hints = http1_response_hints,
    .respond = http1_response_respond,
    .body = http1_response_body,
    .file = http1_response_file,
    .flush = http1_response_flush,
    .end = http1_end,
    .retract = http1_response_retract,
    .cut = http1_response_cut,
    .drop = http1_response_drop,
    .room = http1_response_room,
};

/* True when the connection closes after the response: the client or the exchange asked for it, the
 * client sends nothing more, its unread body is too large, keepalive_requests is reached, or the
 * worker stops. */
static bool http1_closes(const struct http1_response *r)
{
    const struct http1 *c = http1_of(r->client);
    bool unread = !c->body_done && (h1_expects_continue(c->h1) || h1_left(c->h1) > SKIP_BYTES);
    return unread || exchange_wants_close(c->exchange) || !h1_keepalive(c->h1) ||
           c->client->requests >= r->limits->keepalive_requests ||
           r->limits->keepalive_timeout <= 0 || client_clients(c->client)->stopping ||
           (c->eof && http1_kept(c).n == 0);
}

static void http1_on_turn(struct sender *sender)
{
    struct http1_response *response = http1_response_of_sender(sender);
    struct http1 *c = http1_of(response->client);
    http1_response_write(response);
    http1_process(c, NULL, 0);
}

/* --- the request --- */

static void http1_on_body(void *ctx, struct str bytes)
{
    struct http1 *c = ctx;
    if (!c->response->ended)
        exchange_body(c->exchange, bytes);
}

static void http1_on_chunk(void *ctx, uint64_t at_least)
{
    struct http1 *c = ctx;
    if (!c->response->ended)
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
    c->response = http1_response_new(c->client, c->req, limits, &http1_front_ops, http1_closes,
                                     http1_on_turn);
    exchange_set_front(c->exchange, &c->response->front);
    c->h1 = h1_new(c->req, limits, &http1_body_ops, c);
    c->req->client = client->peer;
    c->req->local = endpoint->local;
    c->req->listener = endpoint->listener;
    c->req->control = endpoint->control;
    if (client_tls(c->client) != NULL)
        admission_describe_tls(c->client, c->req);
    client_count_request(c->client);
    c->head_done = c->body_done = c->want_body = c->skipping = false;
    c->dropped = 0;
    /* header_timeout is set when the head is not complete at once */
    deadline_clear(&c->active.deadline);
}

/* Refuses the request. Later input can't be understood or is not wanted. */
void http1_refuse(struct http1 *c, int status, const char *reason)
{
    c->eof = true;
    c->body_done = true;
    c->head_done = true;
    if (c->response->ended)
        c->response->close = true;
    else
        exchange_refuse(c->exchange, status, reason);
}

static void http1_head_complete(struct http1 *c)
{
    bool has_body = h1_has_body(c->h1), counted;
    const char *reason;
    int status = admission_begin_request(c->client, c->req, &counted, &reason);
    c->counted = counted;
    const struct tls *tls = client_tls(c->client);
    if (status == 0 && tls != NULL && tls_state(tls) == TLS_CLEAR) {
        status = 400;
        reason = "a plain HTTP request was sent to a port for HTTPS";
        c->req->unencrypted = true;
    }
    if (status != 0) {
        http1_refuse(c, status, reason);
        return;
    }
    c->head_done = true;
    c->body_done = !has_body;
    deadline_clear(&c->active.deadline); /* the exchange has its own timeouts */
    exchange_begin(c->exchange, has_body);
}

/* Feeds the parser. Returns the bytes used. */
static size_t http1_feed(struct http1 *c, const char *data, size_t n)
{
    size_t used;
    bool whole = c->fresh; /* all bytes of the head, if there is one, come from this read */
    enum h1_event event = h1_feed(c->h1, data, n, &used);
    c->fresh = false;
    if (!c->head_done)
        c->req->head_in += used;
    switch (event) {
    case H1_HEAD:
        if (!whole) /* the head's end may be younger than this turn's file lookups */
            lookup_begin_turn();
        http1_head_complete(c);
        break;
    case H1_END:
        c->body_done = true;
        if (!c->response->ended)
            exchange_body_end(c->exchange);
        break;
    case H1_ERROR:
        http1_refuse(c, h1_status(c->h1), h1_reason(c->h1));
        break;
    case H1_MORE:
        if (!c->head_done && c->active.deadline.at == 0)
            deadline_set(&c->active.deadline, exchange_limits(c->exchange)->header_timeout);
        else if (c->head_done && used > 0 && !c->response->ended)
            deadline_set(&c->active.deadline, exchange_limits(c->exchange)->body_timeout);
        break;
    }
    return used;
}

/* --- a body that is not wanted --- */

/* True when the rest of a body may be dropped to keep the connection. */
static bool http1_may_skip_body(const struct http1 *c)
{
    return c->response->ended && !c->response->close && c->dropped <= SKIP_BYTES &&
           !h1_expects_continue(c->h1);
}

/* True when the rest of a body is read although it is not wanted: a client that sends all of it
 * before it reads would never read the response. */
static bool http1_may_drop_body(const struct http1 *c)
{
    return http1_may_skip_body(c) ||
           (c->response->ended && c->response->close && !c->eof && c->dropped <= HTTP1_DROPPED_MAX);
}

/* Begins to drop the rest of a body, for SKIP_TIME in all. */
static void http1_start_skipping(struct http1 *c)
{
    if (!c->skipping)
        deadline_set(&c->active.deadline, SKIP_TIME);
    c->skipping = true;
}

/* --- one step after the other --- */

/* Ends a request whose response has been written, or broken off. `behind`: input has come behind
 * it. Returns false when the connection is freed, or lingers. */
static bool http1_finish_request(struct http1 *c, bool behind)
{
    struct clients *all = client_clients(c->client);
    const struct http1_response *response = c->response;
    bool unread = !c->body_done || c->eof || behind;
    const char *broken = response->sender.broken;
    bool close = response->close || broken != NULL || (all->stopping && all->patience <= 0);
    /* The connection closes at once when it is broken or has no unread input, and when the response
     * was cut with no other end or before its first byte. Otherwise lingering lets the response
     * arrive. */
    bool at_once = broken != NULL || !unread ||
                   (response->cut && (response->until_eof || c->req->bytes_out == 0));
    c->reset = response->until_eof && (broken != NULL || response->cut);
    struct exchange *exchange = http1_end_request(c);
    if (broken != NULL)
        exchange_gone(exchange, broken);
    else
        exchange_done(exchange);
    if (!close) /* http1_process puts the connection to sleep if no more input has come */
        return true;
    if (at_once)
        http1_free(c);
    else
        http1_linger(c);
    return false;
}

/* Where the connection has TLS, all that has come behind the PROXY header is the transport's. */
static void http1_begin_tls(struct http1 *c, struct str in, size_t *used)
{
    struct tls *tls = client_tls(c->client);
    if (tls == NULL)
        return;
    tls_begin(tls, in.p + *used, in.n - *used);
    if (tls_has_more(tls))
        ev_feed_event(client_clients(c->client)->loop->ev, &c->client->io, EV_READ);
    *used = in.n;
}

/* Reads the PROXY header, which comes before the first request. False: see http1_advance. */
static bool http1_read_address(struct http1 *c, struct str in, size_t *used, bool *gone)
{
    switch (admission_read_address(c->client, in, used)) {
    case ADMISSION_MORE:
        return false;
    case ADMISSION_KNOWN:
        http1_begin_tls(c, in, used);
        return true;
    case ADMISSION_BAD:
        http1_free(c);
        break;
    case ADMISSION_TOO_MANY:
        http1_turn_away(c, CENSUS_PER_IP, str_skip(in, *used));
        break;
    }
    *gone = true;
    return false;
}

#ifdef MG_HTTP2
static bool http1_chose_http2(const struct client *client)
{
    const struct tls *tls = client_tls(client);
    return tls != NULL && str_eq(tls_alpn(tls), STR("h2"));
}

/* Whether the connection may begin with HTTP/2's preface: its listener says so, or ALPN has chosen
 * h2. */
static bool http1_may_be_http2(const struct client *client)
{
    return client_tls(client) != NULL ? http1_chose_http2(client) : client->endpoint->h2c;
}

/* Where ALPN has chosen HTTP/2 the client may speak nothing else. */
static enum http2_preface http1_preface(const struct client *client, struct str bytes)
{
    return http1_chose_http2(client) ? HTTP2_YES : http2_preface(bytes);
}

/* Gives a connection that has begun with HTTP/2's preface to that protocol; c is gone. */
static bool http1_to_http2(struct http1 *c, struct str bytes)
{
    struct client *client = c->client;
    struct clients *all = client_clients(client);
    client_sleep(client);
    http2_take(client, bytes);
    http1_spare(all, c);
    return true;
}

#endif

/* Does one step of the connection. Sets *used to the bytes of input used. Returns false when
 * nothing more can be done now, or when the connection is freed or lingers (*gone). */
static bool http1_advance(struct http1 *c, const char *data, size_t n, size_t *used, bool *gone)
{
    struct http1_response *response = c->response;
    *used = 0;
    if (c->client->proxy_protocol)
        return n > 0 && http1_read_address(c, (struct str){data, n}, used, gone);
    if (c->exchange == NULL) {
#ifdef MG_HTTP2
        if (n > 0 && c->client->requests == 0 && http1_may_be_http2(c->client)) {
            enum http2_preface preface = http1_preface(c->client, (struct str){data, n});
            if (preface == HTTP2_YES)
                *gone = http1_to_http2(c, (struct str){data, n});
            if (preface == HTTP2_MAYBE && c->active.deadline.at == 0)
                deadline_set(&c->active.deadline,
                             clients_settings(client_clients(c->client))->limits.header_timeout);
            if (preface != HTTP2_NO)
                return false;
        }
#endif
        if (n > 0)
            http1_begin_request(c);
        return n > 0;
    }
    if (response->sender.turn.n > 0 &&
        n > 0) /* a pipelined request need not wait for the end of the turn */
        http1_response_write(response);
    if (response->ended && sender_is_done(&response->sender)) {
        if (c->body_done || (c->eof && n == 0) || !http1_may_skip_body(c)) {
            response->close |= !c->body_done;
            *gone = !http1_finish_request(c, n > 0);
            return !*gone;
        }
        http1_start_skipping(c);
    }
    bool reading = !c->head_done || (!c->body_done && (c->want_body || http1_may_drop_body(c)));
    if (n == 0 || !reading)
        return false;
    *used = http1_feed(c, data, n);
    if (response->ended && !c->body_done)
        c->dropped += (uint32_t)*used;
    return true;
}

/* Does all steps that are possible with new bytes, or (n = 0) with the kept ones. */
void http1_process(struct http1 *c, const char *data, size_t n)
{
    bool gone = false, arriving = c->arriving;
    size_t used;
    c->arriving = false;
    c->fresh = n > 0 && http1_kept(c).n == 0;
    if (c->exchange != NULL) /* what it has noted is older: its server may not take the body */
        exchange_run(c->exchange);
    if (http1_kept(c).n > 0) {
        if (n > 0)
            http1_keep(c, data, n);
        data = http1_kept(c).p;
        n = http1_kept(c).n;
    }
    do {
        while (http1_advance(c, data, n, &used, &gone)) {
            data += used;
            n -= used;
        }
        if (gone)
            return; /* the connection lingers or is freed */
        /* http1_want_body asks for 100 Continue where nothing of the body has come */
        if (n < http1_kept(c).n)
            http1_keep_input(c, data, n, false);
    } while (c->exchange != NULL && !arriving && exchange_run(c->exchange));
    loop_undefer(&c->active.step); /* the facts that the exchange has noted have been handled */
    http1_keep_input(c, data, n, arriving);
    if (c->response != NULL && c->response->sender.broken != NULL) {
        http1_gone(c, c->response->sender.broken);
        return;
    }
    if (c->eof && http1_lacks_input(c)) { /* no more input can come */
        http1_gone(c, "the client closed the connection inside its request");
        return;
    }
    if (!http1_hand_over(c->client))
        http1_settle(c);
}

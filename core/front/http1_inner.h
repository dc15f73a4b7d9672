/*
 * http1_inner - the layout of an HTTP/1 connection that is not idle, for front/http1*.c only. A
 * file calls those below it:
 *
 *     http1          events of the socket and of the clock; accept, stop and cut
 *     http1_request  one request after the other: parser, exchange, response
 *     http1_conn     the connection itself: its active part, kept input, what it waits for, its end
 */
#ifndef MG_FRONT_HTTP1_INNER_H
#define MG_FRONT_HTTP1_INNER_H

#include "front/http1.h"

#include "base/buf.h"
#include "exchange/exchange.h"
#include "front/http1_response.h"

#define HTTP1_DROPPED_MAX (256u << 20) /* bytes that are dropped behind a response */

/* A connection that is not idle: there are bytes of a request, or a response, or its end is near.
 * An idle one is its struct client alone. */
struct http1 {
    struct client_active active;
    struct client *client;
    struct exchange *exchange; /* the request under way, NULL when idle; and of that request: */
    struct request *req;
    struct h1 *h1;
    struct http1_response *response;
    struct buf *in;      /* input that can't be used yet, copied; NULL: there is none */
    struct input *input; /* the buffer of a read that holds such input, rest; NULL: none */
    struct str rest;
    struct str arrived; /* read in this turn, and not handled yet: the step is queued */
    double linger_end;  /* by then it is closed, in the loop's clock */
    uint32_t
        dropped; /* bytes that were read and dropped behind the response, < 2 HTTP1_DROPPED_MAX */
    bool
        fresh : 1; /* nothing of the bytes of this read has been taken, and none were kept before */
    bool head_done : 1;
    bool body_done : 1;
    bool want_body : 1;
    bool skipping : 1;  /* the response is out, the rest of the body is read and dropped */
    bool counted : 1;   /* the request, in the census: see admission_begin_request */
    bool arriving : 1;  /* the exchange's step is for the stage behind this one */
    bool eof : 1;       /* the client has closed its sending side */
    bool lingering : 1; /* the response is out; what comes is dropped */
    bool refused : 1;   /* one too many: it lingers */
    bool undecided : 1; /* and has no answer yet: its first bytes say by which protocol */
    bool by_ip : 1;     /* of limits.per_ip */
    bool reset : 1;     /* the client must see that its response is not whole */
};

/* The active part of a connection, NULL where it is idle. */
static inline struct http1 *http1_of(const struct client *client)
{
    return (struct http1 *)client_active(client);
}

/* The input that can't be used yet. */
static inline struct str http1_kept(const struct http1 *c)
{
    return c->in != NULL ? buf_peek(c->in) : c->rest;
}

/* True when nothing can be done about the request before more input comes. */
static inline bool http1_lacks_input(const struct http1 *c)
{
    return c->exchange == NULL || !c->head_done ||
           (!c->body_done && !c->response->ended && http1_kept(c).n == 0);
}

static inline bool http1_waits_to_write(const struct http1 *c)
{
    return c->response != NULL && sender_waits(&c->response->sender);
}

/* True while ciphertext waits that no sender knows of: a part of the handshake. */
static inline bool http1_transport_waits(const struct http1 *c)
{
    const struct tls *tls = client_tls(c->client);
    return tls != NULL && tls_waits(tls);
}

/* --- http1_conn.c --- */

/* Makes an idle connection active. */
struct http1 *http1_wake(struct client *client);
/* Ends an active part to which the connection has no pointer any more. */
void http1_spare(struct clients *all, struct http1 *c);
/* Closes an idle connection, or what is left of another one. */
void http1_close(struct client *client, bool reset);
/* Closes the connection; its request must have ended (http1_end_request). */
void http1_free(struct http1 *c);
/* Of what has come, or (where some was kept) of the kept input, the last n bytes wait, `in_place`
 * where they are if that is possible. */
void http1_keep_input(struct http1 *c, const char *data, size_t n, bool in_place);
/* These bytes wait behind those that are kept already. */
void http1_keep(struct http1 *c, const char *data, size_t n);
/* Watches the socket for what the state says. */
void http1_rearm(struct http1 *c);
/* Lingers after the last response: input is read and dropped for some time. */
void http1_linger(struct http1 *c);
/* A read of a lingering connection has brought n bytes, or its end; c may be gone. */
void http1_drop_input(struct http1 *c, const char *bytes, ssize_t n);
/* Shortens lingering for a stop. */
void http1_hasten(struct http1 *c);
/* Writes a last response once. Returns the bytes that the socket took; the rest is lost. */
size_t http1_write_at_once(struct http1 *c, const char *text, size_t size);
/* One connection too many: says 503 at once, whatever the client asks for; where it may speak
 * HTTP/2, as soon as its first bytes say which protocol it speaks. They may have come already. c
 * may be gone. */
void http1_turn_away(struct http1 *c, enum census_answer answer, struct str bytes);
/* The worker leaves and the connection is idle: another worker has it from now on. True: the
 * connection is gone. */
bool http1_hand_over(struct client *client);
/* All that could be done has been done: the connection sleeps, or waits for what it needs. */
void http1_settle(struct http1 *c);

/* --- http1_request.c --- */

/* Does all that can be done with what has come: n new bytes, or (n = 0) those that were kept. c may
 * be gone. */
void http1_process(struct http1 *c, const char *data, size_t n);
/* Nothing that follows can be understood, or is wanted: the response is this error. */
void http1_refuse(struct http1 *c, int status, const char *reason);
/* The client has left, or must: what is under way is dropped, and the connection closes. */
void http1_gone(struct http1 *c, const char *why);
/* The request under way is the connection's no more: the caller ends its exchange. */
struct exchange *http1_end_request(struct http1 *c);

#endif

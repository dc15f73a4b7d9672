/*
 * http1_response - the response to one request as HTTP/1: its head, the framing of its body, the
 * counts for the access log, the deadline of a slow client.
 *
 *     exchange --front_ops--> http1_response --> sender --> transport
 *
 * The head waits for the first bytes of the body, so that both leave in one call, and so that a
 * response of which nothing has left can be taken back. It lives in the arena of its request.
 */
#ifndef MG_FRONT_HTTP1_RESPONSE_H
#define MG_FRONT_HTTP1_RESPONSE_H

#include "exchange/front.h"
#include "front/clients.h"

struct http1_response {
    struct front front; /* for the exchange */
    struct client *client;
    struct request *req;
    const struct limits *limits; /* of the request's generation */
    /* Whether the connection must close after the response. Called when the head is made. */
    bool (*closes)(const struct http1_response *r);
    struct transport transport; /* the client's */
    struct sender sender;
    bool head_waits : 1; /* respond was called, the head has not left */
    bool chunked : 1;
    bool until_eof : 1; /* the connection's end is the body's: if it comes too soon, by a reset */
    bool ended : 1;     /* the response is whole, or */
    bool cut : 1;       /* broken off */
    bool close : 1;     /* the connection closes after it */
    bool sending : 1;   /* the deadline is send_timeout's: something waits for the client */
    bool spool_reported : 1;
};

/* `front`: the functions below, and the connection's own. on_turn: see sender_init. What has
 * changed for the connection (the response is broken, or waits for room in the socket, or does not
 * any more) is said by client_queue. */
struct http1_response *http1_response_new(struct client *client, struct request *req,
                                          const struct limits *limits,
                                          const struct front_ops *front,
                                          bool (*closes)(const struct http1_response *r),
                                          void (*on_turn)(struct sender *s));
/* Called before the request is freed. Bytes that have not left are lost. */
void http1_response_fini(struct http1_response *r);

static inline struct http1_response *http1_response_of_sender(struct sender *s)
{
    return (struct http1_response *)((char *)s - offsetof(struct http1_response, sender));
}
static inline struct http1_response *http1_response_of_front(struct front *front)
{
    return (struct http1_response *)((char *)front - offsetof(struct http1_response, front));
}

/* Writes waiting bytes, as far as the socket takes them. */
void http1_response_write(struct http1_response *r);
/* 100 Continue. */
void http1_response_continue(struct http1_response *r);

/* Of front_ops. */
void http1_response_hints(struct front *front, const struct headers *headers);
void http1_response_respond(struct front *front);
void http1_response_body(struct front *front, struct str bytes);
bool http1_response_file(struct front *front, struct file_source *source,
                         const struct file_piece *pieces, unsigned count);
void http1_response_flush(struct front *front);
void http1_response_end(struct front *front);
bool http1_response_retract(struct front *front);
void http1_response_cut(struct front *front);
void http1_response_drop(struct front *front, const char *why);
size_t http1_response_room(struct front *front);

#endif

/*
 * proxy - one request from its head to its line in the log. It alone knows front, script and back.
 *
 *     proxy_new -> (front fills request) -> proxy_begin -> decide -> reply | file | FastCGI
 *                                                              body -> acquire -> pump -> end
 *     -> front->end or front->cut -> (front has written everything) -> proxy_done
 *
 * The front is an interface: HTTP/1 now, FastCGI-in and HTTP/2 as others. A front embeds nothing of
 * proxy; proxy knows nothing of sockets. Calls to the front do not call back, so either side may
 * finish what it is doing; `end` and `cut` are the last calls.
 */
#ifndef MG_EXCHANGE_PROXY_H
#define MG_EXCHANGE_PROXY_H

#include "exchange/generation.h"
#include "http/request.h"

struct proxy;

struct front_ops {
    /* Let the body come (proxy_body, proxy_body_end), or hold it back. */
    void (*want_body)(void *front, bool want);
    /* The head is in req->response. It is sent with the first flush. */
    void (*respond)(void *front);
    /* A slice of the body, valid until flush or end is called. */
    void (*body)(void *front, struct str bytes);
    /* The body are these pieces of fd, which is the front's to close. The list lives as long as the
     * request. */
    void (*file)(void *front, int fd, const struct file_piece *pieces, unsigned count);
    /* Send what has come so far. */
    void (*flush)(void *front);
    /* The response is whole. */
    void (*end)(void *front);
    /* Takes a response back of which nothing has left: true, and another may follow; else false. */
    bool (*retract)(void *front);
    /* The response can't be completed: make the client see that. */
    void (*cut)(void *front);
    /* The bytes that can still be kept for the client, who is slower (limits.response_memory, and
     * limits.spool unless response.unbuffered). 0: make no more until proxy_room. */
    size_t (*room)(void *front);
};

/* A request on this generation; *req is for the front to fill. */
struct proxy *proxy_new(struct generation *generation, const struct front_ops *ops, void *front,
                        struct request **req);

/* The head is complete and valid. has_body: proxy_body and proxy_body_end follow once wanted. */
void proxy_begin(struct proxy *px, bool has_body);
/* The request is malformed or too late: answer with this status and close. Instead of proxy_begin,
 * or during the body. */
void proxy_refuse(struct proxy *px, int status, const char *reason);
void proxy_body(struct proxy *px, struct str bytes);
/* The framing of the body says that it has so many bytes at least. */
void proxy_body_announced(struct proxy *px, uint64_t at_least);
void proxy_body_end(struct proxy *px);
/* There is room for the client again. */
void proxy_room(struct proxy *px);
/* Everything is written: the line is logged and the request forgotten. */
void proxy_done(struct proxy *px);
/* The client left before that. `why` for the log. */
void proxy_gone(struct proxy *px, const char *why);
/* This server ends before that: the client is not to blame. A request that has no answer yet is
 * logged as 503, a cut answer with its own status. */
void proxy_stopped(struct proxy *px, const char *why);
/* Nothing of an answer has been given to the front. */
bool proxy_is_unanswered(const struct proxy *px);

/* The request only waits, in a backend's queue or in a hook: nothing is lost if nobody wants it any
 * more. */
bool proxy_only_waits(const struct proxy *px);

/* Requests that this process has begun. */
uint64_t proxy_requests(void);

/* The time limit for what the front waits for, from the request's generation. */
const struct limits *proxy_limits(const struct proxy *px);
/* True when the connection must close after the response (an error of ours, a close decision). */
bool proxy_wants_close(const struct proxy *px);

#endif

/*
 * stream - one FastCGI request on one connection: params and STDIN out, STDOUT and STDERR in, until
 * END_REQUEST or a failure.
 *
 * Embedded in whoever asks (proxy, health). It takes a lease on a connection, which may have to
 * wait in the backend's queue, gives it back when END_REQUEST came and everything was sent, and
 * closes it otherwise. Exactly one of on_end and on_fail is called, unless stream_abort comes
 * first; the stream may be started again after either.
 *
 * A kept connection that proves to be of no use before the request can have begun is replaced here,
 * under the same claim. For a request that can't be sent twice (`once`) that includes everything up
 * to the last record of PARAMS, which no server begins without: where the connection is a unix
 * socket, BEGIN_REQUEST and PARAMS go ahead, and their end and STDIN follow when the server has
 * read them.
 */
#ifndef MG_BACKEND_STREAM_H
#define MG_BACKEND_STREAM_H

#include "backend/backend.h"
#include "http/request.h"

struct stream_ops {
    /* A slice of STDOUT, valid until the call of on_turn or on_end that follows. Returns NULL, or
     * why this can't be an answer: then the connection is closed and on_fail is called. */
    const char *(*on_stdout)(void *ctx, struct str bytes);
    void (*on_stderr)(void *ctx, struct str bytes);
    /* All that one read brought has been handed over. */
    void (*on_turn)(void *ctx);
    /* A streamed body: there is room for more of it (stream_body). */
    void (*on_room)(void *ctx);
    /* END_REQUEST. The connection is no longer the stream's. */
    void (*on_end)(void *ctx, uint32_t app_status, uint8_t protocol_status);
    void (*on_fail)(void *ctx, enum backend_error error, const char *detail);
};

/* When things happened, in seconds of the loop's clock; 0: they have not. */
struct stream_times {
    double asked, granted, opened, first_byte;
};

struct stream {
    struct channel *channel; /* NULL: not started, in the queue, or over */
    struct lease lease;
    struct stream_times times;
    int server; /* that it went to; -1: none yet */
    struct loop *loop;
    const struct stream_ops *ops;
    void *ctx;
    const struct stream_request *request; /* valid while channel is */
    uint64_t body_at;                     /* bytes of STDIN encoded so far */
    uint64_t written;                     /* bytes that the kernel had taken, once it has failed */
    uint64_t bytes_in;                    /* that came for this request */
    bool stdin_open;                      /* the end of STDIN has not been sent */
    bool ended;
    bool offer;        /* the end of PARAMS has not been sent: nothing can have begun */
    unsigned replaced; /* connections that were of no use */
    bool reused;       /* the connection had served another request before */
    bool answered;     /* set by the caller once it has seen a head: without one the connection
                        * is not used again */
    uint32_t app_status;
    uint8_t protocol_status;
    const char *rejected; /* what on_stdout said */
};

/* What to send. Everything stays the caller's and must live until the stream is over. */
struct stream_request {
    struct backend *backend;
    int server; /* -1: any, from the queue */
    int avoid;  /* not this one, which has just failed; -1: none */
    bool only;  /* that server and no other */
    bool fresh; /* not a kept connection */
    bool once;  /* it can't be sent again: see struct acquire */
    struct str tenant;
    enum fcgi_role role;
    const struct params *params;
    struct spool *body; /* NULL: the body comes through stream_body, or there is none */
    bool streamed;
    double connect_timeout, send_timeout, read_timeout;
};

/* Begins. Returns NULL, or the reason why that was not possible, with *error (nothing else is
 * called then). The params fit into records: FCGI_PAIR_MAX. */
const char *stream_start(struct stream *s, struct loop *loop, const struct stream_request *request,
                         const struct stream_ops *ops, void *ctx, enum backend_error *error);

/* A slice of a streamed body. Returns false when the caller should hold back until on_room. */
bool stream_body(struct stream *s, struct str bytes);
/* The streamed body is complete. */
void stream_body_end(struct stream *s);
/* Stops and resumes reading. */
void stream_pause(struct stream *s, bool paused);
/* The next read takes at most so many bytes. */
void stream_read_max(struct stream *s, size_t bytes);
/* Drops the request: the connection is closed, nothing is called any more. */
void stream_abort(struct stream *s);
/* The same for a request that the server may be working on: it keeps its place there until the
 * server has noticed, see backend_leave. */
void stream_leave(struct stream *s);

/* It has been started and is not over. */
static inline bool stream_active(const struct stream *s)
{
    return s->channel != NULL || s->lease.waiting;
}

/* It waits in the backend's queue. */
static inline bool stream_waits(const struct stream *s)
{
    return s->lease.waiting;
}

#endif

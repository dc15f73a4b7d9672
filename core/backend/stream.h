/*
 * stream - one FastCGI request on one connection: params and STDIN out, STDOUT and STDERR in, until
 * END_REQUEST or a failure.
 *
 * Embedded in whoever asks (exchange, subrequest, health). It takes a lease on a connection, which
 * may have to wait in the backend's queue, gives it back when END_REQUEST came and everything was
 * sent, and closes it otherwise.
 *
 * It calls nobody: what connection, lease and clock bring is noted, and the user's step is queued
 * (loop_step). The step asks stream_next until that says STREAM_NOTHING. A stream tells either
 * STREAM_END or STREAM_FAILED, unless stream_abort comes first, and may be started again after it.
 *
 * A kept connection that proves to be of no use before the request can have begun is replaced here,
 * under the same claim. For a request that can't be sent twice (`once`) that includes everything up
 * to the last record of PARAMS, which no server begins without: where the connection is a unix
 * socket, BEGIN_REQUEST and PARAMS go ahead, and their end and STDIN follow when the server has
 * read them.
 *
 * A stream does not know whether other requests share its connection. Where the connection is read
 * for others while the user can take no more (stream_pause), what comes is kept here, in memory and
 * then in a file, and handed out when the user goes on. END_REQUEST gives the id back at once.
 */
#ifndef MG_BACKEND_STREAM_H
#define MG_BACKEND_STREAM_H

#include "backend/lease.h"
#include "base/backlog.h"
#include "http/request.h"

enum stream_event {
    STREAM_NOTHING, /* the step is queued again when there is something */
    STREAM_STDOUT,  /* a slice of it, valid until the event is over (loop_run_steps) */
    STREAM_STDERR,  /* likewise */
    STREAM_ROOM,    /* a streamed body: there is room for more of it (stream_body) */
    STREAM_END, /* END_REQUEST: app_status, protocol_status. The connection has been given back */
    STREAM_FAILED, /* error, detail. The connection has gone */
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
    struct deferred *step;                /* the user's */
    const struct stream_request *request; /* valid while channel is */
    uint64_t body_at;                     /* bytes of STDIN encoded so far */
    uint64_t written;                     /* bytes that the kernel had taken, once it has failed */
    uint64_t bytes_in;                    /* that came for this request */
    uint64_t data_at;                     /* bytes of a filter's DATA, likewise */
    bool stdin_open;                      /* the end of STDIN, or of DATA, has not been sent */
    bool in_data;                         /* that of STDIN has, DATA follows */
    bool offer;                           /* the last byte of the last param has not been sent, so
                                           * nothing can have begun */
    char offer_rest;                      /* that byte */
    unsigned replaced;                    /* connections that were of no use */
    bool reused;                          /* the connection had been kept */
    bool shared;                          /* others may have been on the connection, too */
    bool paused;                          /* the user can take no more */
    bool keeps;                           /* and yet records come */
    struct backlog *kept;                 /* what has come meanwhile; NULL: nothing */
    size_t told;                          /* of that: bytes that the user is looking at */
    bool told_over;                       /* or has looked at: its step has ended */
    bool answered; /* set by the user once it has seen a head: without one the connection is not
                    * used again */
    /* What stream_next has not told yet, in this order. */
    unsigned slice, last_slice, slices; /* of STDOUT and STDERR: first, last, how many */
    const char *rejected;               /* a record that can't be part of an answer */
    bool ended, failed, room;
    uint32_t app_status;
    uint8_t protocol_status;
    enum backend_error error;
    const char *detail; /* until the step has seen it */
};

/* What to send. Everything stays the caller's and must live until the stream is over. */
struct stream_request {
    struct backend *backend;
    int server; /* -1: any, from the queue */
    int avoid;  /* not this one, which has just failed; -1: none */
    bool only;  /* that server and no other */
    bool fresh; /* not a kept connection */
    bool once;  /* it can't be sent again: see struct lease_terms */
    struct str tenant;
    const struct backlog_limits *spool; /* of what is kept; NULL: the user never pauses */
    enum fcgi_role role;
    const struct params *params;
    struct spool *body; /* NULL: the body comes through stream_body, or there is none */
    struct spool
        *data; /* of a filter, behind the body, which is not streamed; NULL: there is none */
    bool streamed;
    double connect_timeout, send_timeout, read_timeout;
    double first_byte_timeout; /* in place of read_timeout until a byte has come; 0: that, too */
};

/* Bytes that the params of a request may have as name-value pairs, whatever connection it goes on.
 */
#define STREAM_PARAMS_MAX (16u << 20)

/* Whether a stream can send the params: the name and the value of each have pair_max bytes at most,
 * and fit into a record (FCGI_PAIR_MAX); all together are no more than STREAM_PARAMS_MAX. When they
 * don't fit, *large is the param that is too large, or NULL: all together are. */
bool stream_params_fit(const struct params *params, size_t pair_max, const struct param **large);

/* Begins a request whose params fit (stream_params_fit): the caller has checked them, since it
 * knows what to answer. What fails at once is told by the step, too. */
void stream_start(struct stream *s, struct loop *loop, const struct stream_request *request,
                  struct deferred *step);

/* The next thing that has happened; *content is set for STDOUT and STDERR. */
enum stream_event stream_next(struct stream *s, struct str *content);

/* A slice of a streamed body. Returns false when the caller should hold back until
 * STREAM_ROOM. */
bool stream_body(struct stream *s, struct str bytes);
/* The streamed body is complete. */
void stream_body_end(struct stream *s);
/* Stops and resumes reading. */
void stream_pause(struct stream *s, bool paused);
/* The next read takes at most so many bytes. */
void stream_read_max(struct stream *s, size_t bytes);
/* Drops the request: the connection is closed, nothing is told any more. */
void stream_abort(struct stream *s);
/* The same for a request that the server may be working on: it keeps its place there until the
 * server has noticed, see backend_leave. */
void stream_leave(struct stream *s);

/* The user has all of the answer, while the server works on: the stream is over, and the connection
 * serves another request when END_REQUEST has come. False: there is something to tell yet, or the
 * request has not been sent whole. */
bool stream_let_end(struct stream *s);

/* It has been started and is not over. */
static inline bool stream_active(const struct stream *s)
{
    return s->channel != NULL || s->lease.waiting || s->kept != NULL;
}

/* It waits in the backend's queue. */
static inline bool stream_waits(const struct stream *s)
{
    return s->lease.waiting;
}

#endif

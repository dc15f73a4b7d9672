/*
 * stream - one FastCGI request on one connection: params and STDIN out, STDOUT and STDERR in, until
 * END_REQUEST or a failure.
 *
 * A stream is embedded in its user (exchange, subrequest, health). It takes a lease on a
 * connection, which may have to wait in the backend's queue. It gives the connection back when
 * END_REQUEST has come and everything has been sent, and closes it otherwise.
 *
 * A stream does not call its user: events of the connection, the lease and the clock are noted, and
 * the user's step is queued (loop_step). The step calls stream_next until it returns
 * STREAM_NOTHING. The last event of a stream is STREAM_END or STREAM_FAILED, unless stream_abort
 * comes first; after each of the three the stream may be started again.
 *
 * A kept connection that fails before the request can have begun is replaced here, under the same
 * claim. A request that can't be sent twice (`once`) has not begun before the last record of
 * PARAMS, without which no server starts to work. On a unix socket BEGIN_REQUEST and PARAMS are
 * therefore sent first, and the end of PARAMS and STDIN follow when the server has read them.
 *
 * A stream does not need to know whether other requests share its connection. A connection that is
 * read for other requests while the user is paused (stream_pause) still brings records: their
 * content is kept here, in memory and then in a file, and handed out when the user resumes.
 * END_REQUEST gives the request id back at once.
 */
#ifndef MG_BACKEND_STREAM_H
#define MG_BACKEND_STREAM_H

#include "backend/lease.h"
#include "base/backlog.h"
#include "http/request.h"

enum stream_event {
    STREAM_NOTHING, /* no event; the step is queued again for the next one */
    STREAM_STDOUT,  /* a slice of STDOUT, valid until the loop's event is over (loop_run_steps) */
    STREAM_STDERR,  /* a slice of STDERR, valid as long */
    STREAM_ROOM,    /* there is room for more of a streamed body (stream_body) */
    /* END_REQUEST: see app_status, protocol_status. The connection has been given back */
    STREAM_END,
    STREAM_FAILED, /* see error and detail. The connection is closed, or there was none */
};

/* The times of a stream's stages, in seconds of the loop's clock; 0: not reached. */
struct stream_times {
    double asked, granted, opened, first_byte;
};

struct stream {
    struct channel *channel; /* NULL: the stream is not started, in the queue, or over */
    struct lease lease;
    struct stream_times times;
    int server; /* the server of the connection; -1: none yet */
    struct loop *loop;
    struct deferred *step;                /* the user's step */
    const struct stream_request *request; /* valid while channel is */
    uint64_t body_at;                     /* bytes of STDIN encoded so far */
    uint64_t written;                     /* after a failure: bytes that the kernel had taken */
    uint64_t bytes_in;                    /* bytes that came for this request */
    uint64_t data_at;                     /* bytes of a filter's DATA encoded so far */
    bool stdin_open;                      /* the end of STDIN, or of DATA, has not been sent */
    bool in_data;                         /* the end of STDIN has been sent, DATA follows */
    /* the last byte of the last param has not been sent, so the server can't have begun the
     * request */
    bool offer;
    char offer_rest; /* the last byte of the last param */
    /* kept connections that failed before the request began */
    unsigned replaced;
    bool reused; /* the connection had been kept */
    bool shared; /* other requests may have been on the connection */
    bool paused; /* the user has asked for no more STDOUT (stream_pause) */
    /* paused, but the connection is read for other requests */
    bool keeps;
    struct backlog *kept; /* STDOUT that came while paused; NULL: none */
    size_t told;          /* bytes of `kept` that the user's step has been given */
    bool told_over;       /* the step that was given them has ended */
    /* set by the user when the reply's head has been seen; without a head the connection is not
     * used again */
    bool answered;
    /* Events that stream_next has not returned yet, in this order. */
    /* the list of STDOUT's and STDERR's slices: first, last, count */
    unsigned slice, last_slice, slices;
    const char *rejected; /* the fault of a record that can't be part of a reply */
    bool ended, failed, room;
    uint32_t app_status;
    uint8_t protocol_status;
    enum failure failure;
    const char *detail; /* text that is valid until the step has ended */
};

/* A request to send. All of it is the caller's and must live until the stream is over. */
struct stream_request {
    struct backend *backend;
    int server; /* -1: any, from the queue */
    int avoid;  /* a server that has just failed and is not chosen; -1: none */
    bool only;  /* `server` and no other */
    bool fresh; /* a new connection, not a kept one */
    bool once;  /* the request can't be sent again: see struct lease_terms */
    bool last;  /* behind all other requests, see ledger_acquire; `server` is -1 */
    struct str tenant;
    /* The slot of shm/underway where the stream notes how far it is; 0: none. */
    unsigned underway;
    const struct backlog_limits *spool; /* limits of `kept`; NULL: the user never pauses */
    enum fcgi_role role;
    const struct params *params;
    struct spool *body; /* NULL: the body is passed to stream_body, or there is none */
    struct spool
        *data; /* a filter's DATA, sent after the body, which is not streamed; NULL: none */
    bool streamed;
    double connect_timeout, send_timeout, read_timeout;
    double first_byte_timeout; /* replaces read_timeout until a byte has come; 0: read_timeout */
};

/* The most bytes that the params of a request may have as name-value pairs. */
#define STREAM_PARAMS_MAX (16u << 20)

/* True when a stream can send the params: the name and the value of each have pair_max bytes at
 * most and fit into a record (FCGI_PAIR_MAX); all together have STREAM_PARAMS_MAX bytes at most.
 * Otherwise *large is the param that is too large, or NULL when all together are. */
bool stream_params_fit(const struct params *params, size_t pair_max, const struct param **large);

/* Begins a request whose params fit. The caller has checked that (stream_params_fit), since the
 * response to params that don't fit is the caller's choice. A failure at once is an event of
 * stream_next, too. */
void stream_start(struct stream *s, struct loop *loop, const struct stream_request *request,
                  struct deferred *step);

/* Returns the next event; *content is set for STDOUT and STDERR. */
enum stream_event stream_next(struct stream *s, struct str *content);

/* Sends a slice of a streamed body. Returns false when the caller should hold back until
 * STREAM_ROOM. */
bool stream_body(struct stream *s, struct str bytes);
/* Ends the streamed body. */
void stream_body_end(struct stream *s);
/* Stops (paused) or resumes the events of STDOUT and STDERR. */
void stream_pause(struct stream *s, bool paused);
/* Limits the next read of a connection that is not shared. */
void stream_read_max(struct stream *s, size_t bytes);
/* Drops the request and its events: the connection is closed, or, where others share it, told to
 * abort the request. */
void stream_abort(struct stream *s);
/* Drops a request that the server may be working on: the request counts for the server until the
 * server has noticed, see backend_leave. */
void stream_leave(struct stream *s);

/* Ends the stream of a user that has all of the reply while the server works on. The connection
 * serves another request after END_REQUEST. False, and nothing is done: an event is not returned
 * yet, or the request has not been sent whole. */
bool stream_let_end(struct stream *s);

/* True from the start of a stream to its end. */
static inline bool stream_active(const struct stream *s)
{
    return s->channel != NULL || s->lease.waiting || s->kept != NULL;
}

/* True while the stream waits in the backend's queue. */
static inline bool stream_waits(const struct stream *s)
{
    return s->lease.waiting;
}

#endif

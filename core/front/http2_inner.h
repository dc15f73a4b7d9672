/*
 * http2_inner - the layout of an HTTP/2 connection and of its streams, for front/http2*.c only. A
 * file calls those below it:
 *
 *     http2          the connection: its life, what comes, what it waits for
 *     http2_session  nghttp2's session: its settings and callbacks
 *     http2_stream   one request from its header block to its end, and its response (front_ops)
 *     http2_leave    the stages in which a connection ends
 *     http2_out      the frames that go out: gathered for one write; what the socket did not take
 *     http2_toll     the bounds of frames that cost work and bring none
 *
 * nghttp2 calls back while it is fed (mem_recv) and while it is asked for frames (mem_send). A
 * callback notes, submits frames, or gives bytes of a body on, and frees a stream's request only
 * while it is fed. All frames leave in `flush`, at the end of the loop's turn.
 *
 * Its streams' requests and their memory end before the connection: a struct http2_stream lies in
 * the arena of its request, and nghttp2 finds it by the stream's id (user data), which is cleared
 * when the request ends before the stream does.
 */
#ifndef MG_FRONT_HTTP2_INNER_H
#define MG_FRONT_HTTP2_INNER_H

#include "front/http2.h"

#include "base/backlog.h"
#include "base/region.h"
#include "exchange/exchange.h"
#include "http/h2.h"

#include <nghttp2/nghttp2.h>

enum {
    HTTP2_WINDOW = 65535,        /* bytes of a body that a client may send before it is wanted */
    HTTP2_BODY_WINDOW = 1 << 20, /* the same of a body that is wanted */
    HTTP2_CONNECTION_WINDOW = 16 << 20, /* of all streams: what comes is taken from it at once */
};

enum http2_stage {
    HTTP2_OPEN,
    HTTP2_NOTICED,   /* a GOAWAY without a last stream has been queued, and a PING behind it */
    HTTP2_LEAVING,   /* the last GOAWAY has been queued: streams under way end, no more begin */
    HTTP2_LINGERING, /* all is written; what comes is dropped */
};

/* The allowance of http2_toll. */
struct http2_toll {
    double points;
    double at; /* of the loop's clock */
};

struct http2 {
    struct client_active active; /* its deadline: the earliest of the times below */
    struct client *client;
    nghttp2_session *session_;       /* see http2_session */
    struct region memory;            /* of the session; packed while the connection is idle */
    struct http2_stream *streams;    /* those with a request */
    struct http2_stream *ready;      /* those whose response has changed since the last flush, */
    struct http2_stream **ready_end; /* in the order in which it has */
    struct http2_stream *over;       /* those whose response has left */
    unsigned count;                  /* of streams */
    struct http2_stream *heading;    /* the one whose header block comes; NULL: none */
    struct http2_stream *found;      /* what http2_session_stream has found last; NULL: nothing */
    unsigned continuations;          /* frames of that block behind its first */
    struct deferred flush;
    struct buf out; /* bytes that the socket did not take */
    struct http2_toll toll;
    double sent_at;     /* when DATA was last gathered, in the loop's clock */
    const char *broken; /* why nothing can be read or written any more; NULL: it can */
    enum http2_stage stage;
    double idle_by, pack_by, head_by, write_by, leave_by; /* in the loop's clock; 0: none */
    uint32_t refused; /* the error code with which the connection ends; 0: none */
    uint32_t dropped; /* bytes that were read while lingering */
    bool in_head : 1; /* a header block has begun and not ended */
    bool feeding : 1; /* mem_recv is on the stack */
    bool blocked : 1; /* `out` has bytes */
};

/* One request. Lies in its arena. */
struct http2_stream {
    struct front front;
    struct http2 *connection;
    struct http2_stream *next, **at; /* in connection->streams */
    struct http2_stream *next_ready, *next_over;
    struct exchange *exchange;
    struct request *req;
    const struct limits *limits;
    struct deadline deadline; /* send_timeout while bytes wait, else body_timeout */
    struct deferred step;
    int32_t id;
    struct h2_head head;
    struct backlog kept; /* body that the exchange does not want yet */
    uint64_t body_bytes; /* that have come */
    struct backlog out;  /* body of the response */
    struct front_file file;
    const char *broken;   /* why the response breaks off; NULL: it does not */
    const char *no_spool; /* why the spool could not be used for this response */
    bool trailing : 1;    /* trailers come */
    bool body_done : 1;   /* the end of the body is here, or no more of it is wanted */
    bool body_told : 1;   /* the exchange knows of it */
    bool remote_done : 1; /* END_STREAM has come */
    bool want_body : 1;
    bool counted : 1;    /* see admission_begin_request */
    bool head_waits : 1; /* respond was called, and no HEADERS have been submitted */
    bool submitted : 1;
    bool deferred : 1; /* nghttp2 waits for nghttp2_session_resume_data */
    bool ended : 1;    /* the response is whole, or */
    bool cut : 1;      /* broken off */
    bool sent : 1;     /* all of it has been given to the connection */
    bool closed : 1;   /* nghttp2's stream has ended */
    bool is_ready : 1, is_over : 1;
    bool window_open : 1; /* HTTP2_BODY_WINDOW holds */
    bool sending : 1;     /* the deadline is send_timeout's */
};

static inline struct loop *http2_loop(const struct http2 *h)
{
    return client_clients(h->client)->loop;
}
static inline const struct limits *http2_limits(const struct http2 *h)
{
    return &clients_settings(client_clients(h->client))->limits;
}

/* --- http2_session.c --- */

void http2_session_open(struct http2 *h);
void http2_session_close(struct http2 *h);
/* Packs the session's memory, of a connection without streams that has nothing to write. */
static inline void http2_session_pack(struct http2 *h)
{
    region_pack(&h->memory);
}
/* nghttp2's session, unpacked. */
static inline nghttp2_session *http2_session(struct http2 *h)
{
    if (region_is_packed(&h->memory))
        region_unpack(&h->memory);
    return h->session_;
}

/* The stream of an id, NULL: its request has ended. nghttp2's callbacks ask for the same one
 * several times in a row. */
static inline struct http2_stream *http2_session_stream(struct http2 *h, int32_t id)
{
    if (h->found == NULL || h->found->id != id)
        h->found = nghttp2_session_get_stream_user_data(http2_session(h), id);
    return h->found;
}

/* --- http2_stream.c --- */

struct http2_stream *http2_stream_begin(struct http2 *h, int32_t id);
/* Its header block, or its trailers, are complete; `last`: so is its body. */
void http2_stream_head(struct http2_stream *s, bool last);
void http2_stream_trailers(struct http2_stream *s, bool last);
/* Refuses the request; what still comes of it is dropped. */
void http2_stream_refuse(struct http2_stream *s, struct refusal refusal);
void http2_stream_body(struct http2_stream *s, struct str bytes);
void http2_stream_body_end(struct http2_stream *s);
/* Submits to nghttp2 what is new of its response. */
void http2_stream_submit(struct http2_stream *s);
/* The flush that has sent its bytes is over: what waits, what there is room for. */
void http2_stream_flushed(struct http2_stream *s);
/* All of its response has left, or was broken off: s is gone. */
void http2_stream_done(struct http2_stream *s);
/* The client has gone, or (stopped) this worker goes before it does. s is gone. */
void http2_stream_drop(struct http2_stream *s, const char *why, bool stopped);
/* The server stops: submits a 503 where the client has no byte of a response, else RST_STREAM. */
void http2_stream_stop(struct http2_stream *s);

/* Bytes of the response's body that wait. */
static inline uint64_t http2_stream_waiting(const struct http2_stream *s)
{
    return backlog_size(&s->out) + (s->file.count > 0 ? front_file_left(&s->file) : 0);
}

/* --- http2_leave.c --- */

/* Says that the connection ends with what is under way: by a notice, and when the client has seen
 * it, or after a time, by the last GOAWAY (RFC 9113 section 6.8). */
void http2_leave(struct http2 *h);
/* The last GOAWAY, without a notice. */
void http2_leave_now(struct http2 *h);
/* The client has answered the PING behind the notice. */
void http2_ping_answered(struct http2 *h);
/* Notes that the connection must end because of what the client does; `why` is for the log. */
void http2_refuse(struct http2 *h, uint32_t code, const char *why);

/* --- http2_out.c --- */

/* The next flush, which is not queued by that, sends what is new of the stream's response. */
void http2_out_touch(struct http2_stream *s);
/* The stream's response has left, or was broken off: the stream ends behind the flush. */
void http2_out_over(struct http2_stream *s);
/* Queues a flush. */
void http2_flush(struct http2 *h);
/* Writes frames as far as the socket takes them. */
void http2_out_write(struct http2 *h);
/* nghttp2's send_data_callback. */
int http2_out_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header,
                   size_t length, nghttp2_data_source *source, void *ctx);

/* --- http2_toll.c --- */

/* A frame has come that costs so many points. False: the client has sent too many of them. */
bool http2_toll_pay(struct http2 *h, unsigned points);
/* So many bytes of bodies have gone, for which a client may send WINDOW_UPDATEs. */
void http2_toll_earn(struct http2 *h, size_t bytes);

#endif

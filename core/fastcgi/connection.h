/*
 * connection - one connection to a FastCGI server: connecting, bytes in both directions, records of
 * the requests on it.
 *
 * The owner (backend) makes and closes a connection. Each request on it has a channel, which is one
 * request id: the connection passes each record to the holder of its id's channel (stream), which
 * therefore need not know whether other requests share the connection. Queues and limits are the
 * owner's, which is called when an id or the connection becomes free (`closed`, `released`,
 * `freed`).
 *
 *        conn_new --> [backlog] --> [connecting] --on_open--> [open] <--> [idle] --> closed
 *                                                              \--> [left] --------/
 *
 * The owner sets the number of channels (`room`): a connection with one is alone with its request,
 * one with several is shared. The tables show who holds a request id, and what ends it:
 *
 *   id        | holder | its records                | ends by
 *   ----------|--------|----------------------------|--------------------------------------------
 *   free      | -      | the connection breaks      | channel_begin
 *   held      | stream | on_record, on_turn         | END_REQUEST; channel_drop, channel_let_end
 *   over      | stream | the connection breaks      | channel_release
 *   reserved  | -      | dropped; STDERR is `stray` | END_REQUEST, or its deadline
 *
 *   what happens                | alone                      | shared
 *   ----------------------------|----------------------------|---------------------------------
 *   the holder gives up         | the connection is closed   | ABORT_REQUEST, the id is reserved
 *   the holder has all it wants | the id is reserved         | the id is reserved
 *   the holder can take no more | the connection is not read | it is read: the holder keeps it
 *   the holder's deadline       | the connection fails       | the request fails, as given up
 *   a reserved id's deadline    | the connection is closed   | no new request; closed when the
 *                               |                            | others are over
 *   a reply that is not whole   | the connection is closed   | likewise
 *   broken records, or the end  | its request fails          | all fail that are not over
 *   writing a small piece       | at once                    | with others of the loop's turn
 *   writing much                | as the socket takes it     | in turns of CHANNEL_SHARE bytes
 *
 * A server may close a kept connection at the moment when a request is written to it. A request
 * that can't be sent twice is therefore offered first (channel_offer): the first part is written,
 * and the rest follows when the server has read it. A shared connection has no offers, since unread
 * bytes may be those of any of its requests.
 */
#ifndef MG_FASTCGI_CONNECTION_H
#define MG_FASTCGI_CONNECTION_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/loop.h"
#include "fastcgi/failure.h"
#include "fastcgi/record.h"

#include <sys/uio.h>

/* Calls to the holder of a channel. After on_fail the channel is free, after on_lost it is still
 * the holder's. */
struct channel_ops {
    void (*on_open)(void *user);
    /* Passes a record of this request, or a slice of one, whose bytes are valid until this event's
     * loop_run_steps is over. Returns false when the holder wants no more records. */
    bool (*on_record)(void *user, const struct fcgi_event *event);
    /* Called when all records of one read have been passed on; n: the bytes of this request in the
     * read. May release or drop the channel. */
    void (*on_turn)(void *user, size_t n);
    /* Replaces on_record and on_turn on a connection with another protocol: bytes in the loop's
     * read buffer. May drop the channel. */
    void (*on_bytes)(void *user, const char *bytes, size_t n);
    /* Called when more may be written, after bytes had to wait or channel_may_write returned false.
     */
    void (*on_drain)(void *user);
    /* The request has failed. `written`: bytes of it that the kernel had taken. `detail` is valid
     * until the step is over. */
    void (*on_fail)(void *user, enum failure failure, const char *detail, uint64_t written);
    /* The server has read the bytes of channel_offer, and had not closed the connection then. */
    void (*on_taken)(void *user);
    /* Replaces on_fail where a kept connection can't be used for a request that can't have begun:
     * no byte of it has been written, or it was only offered. `ended`: the server has closed the
     * connection; otherwise the server has not read the offer (its process is still at work). */
    void (*on_lost)(void *user, bool ended);
};

enum channel_state {
    CHANNEL_FREE,
    CHANNEL_HELD,
    CHANNEL_OVER,     /* END_REQUEST has come, and the holder has not released the channel yet */
    CHANNEL_RESERVED, /* the holder has gone, END_REQUEST has not come yet */
    /* END_REQUEST has come without a holder: free when the current read has been decoded */
    CHANNEL_ENDED,
};

/* One request id of a connection; part of struct conn. */
struct channel {
    struct conn *conn;
    const struct channel_ops *ops;
    void *user;
    struct deadline deadline;
    const char *deadline_detail;
    uint64_t begun; /* bytes that the connection had been given before this request's first byte */
    uint64_t end;   /* and when the request gave it its last one so far */
    double begun_at;
    size_t read_max;
    size_t heard; /* bytes of its records in the current read */
    size_t put;   /* bytes written since the other channels' last turn */
    uint16_t id;
    enum channel_state state;
    bool reused; /* the connection was kept: it had no request, and had served others before */
    bool paused;
    bool deaf;  /* the holder wants no more records */
    bool waits; /* on_drain is called when more may be written */
};

enum conn_state {
    CONN_BACKLOG, /* the unix socket's listen queue was full; `retry` tries again */
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_IDLE,
    CONN_LEFT,   /* the client of its request has gone, see conn_leave */
    CONN_CLOSED, /* the socket is closed; the memory stays until no holder needs it */
};

/* The addresses of one server. A name may have an IPv4 and an IPv6 address: both are tried in turn,
 * first the one that worked last. */
struct conn_place {
    struct addr list[2];
    unsigned count, first;
    char failure[160]; /* the errors of both addresses when both failed last */
};

struct conn {
    ev_io io;
    ev_timer retry;           /* CONN_BACKLOG */
    struct deferred arrival;  /* handles what was read */
    struct str arrived;       /* that; in the loop's buffer */
    struct deferred flush;    /* writes `out` at the end of the loop's turn */
    struct deadline deadline; /* bounds connecting, an offer, an idle connection */
    struct loop *loop;
    struct fcgi_decoder decoder;
    struct buf out;
    uint64_t written; /* bytes of all requests that the kernel has taken */
    uint64_t quiet;   /* the value of `written` when the last reply had ended */
    size_t read_max;  /* the most bytes of the next read */
    struct conn_place *place;
    /* index in the place of the first address, and addresses that have failed */
    unsigned first_tried, tries;
    int refused;     /* errno of the first address that failed */
    double patience; /* time at which connect_timeout is over */
    bool owned;      /* the socket must be this user's: */
    uid_t owner;
    const struct addr *addr;
    enum conn_state state;
    bool broken;  /* writing failed; what the server has sent is still read */
    bool ended;   /* the server has closed the connection */
    bool foreign; /* a record came with an id that no request has */
    bool excess;  /* bytes followed the last END_REQUEST */
    /* a reply was not whole, or did not come: no other request begins on the connection */
    bool spent;
    bool hungry;  /* a request has written its share and has more to write */
    bool blamed;  /* see conn_blame */
    size_t aside; /* bytes of management records in the current read */
    double read_at;
    double idle_since;
    struct deferred look; /* checks whether the server has read the offer */
    size_t unread;        /* bytes of the offer that were unread at the last check */
    bool offered, watched;
    bool unsaid; /* the offer waits to be written */
    /* calls to channels that have not returned; any of them may close the connection */
    unsigned calling;
    /* The owner's members. */
    void (*released)(struct conn *c); /* its last request is over, and another one may begin */
    void (*closed)(struct conn *c);
    void (*freed)(struct conn *c); /* a request is over while others are not; may be NULL */
    /* Passes STDERR of a request without a holder; may be NULL. */
    void (*stray)(struct conn *c, struct str text);
    struct server *server;
    struct conn_list *list; /* the list that the connection is in; NULL: none */
    struct conn *prev, *next;
    uint32_t claim;
    unsigned requests; /* requests that have begun on the connection */
    unsigned active;   /* ids that are not free */
    unsigned awaited;  /* active ids whose END_REQUEST has not come */
    unsigned paused;   /* active ids whose holders are paused */
    unsigned turn;     /* the channel that is called first when more can be written */
    unsigned room;
    struct channel channels[]; /* the ids 1 to `room` */
};

/* The detail of FAILURE_CLOSED when the server has closed the connection without a reset. */
extern const char conn_ended[];

struct conn_target {
    struct conn_place *place; /* must outlive the connection */
    double connect_timeout;   /* seconds for all of its addresses */
    double backlog_timeout;   /* seconds of waiting while the listen queue is full */
    unsigned channels;        /* requests at the same time; 0: one */
    bool owned;               /* a unix socket must be this user's: */
    uid_t owner;
};

/* Replaces an errno: the unix socket is not of the user that the target names. A socket is that
 * user's when a process of that user listens on it, or when a process of root does and the file is
 * that user's (PHP-FPM opens the sockets of its pools as root). A socket that another user has put
 * in its place is refused. */
#define CONN_FOREIGN (-1)
/* The detail of a failure to connect whose time is over. */
#define CONN_TIMED_OUT "no connection within connect_timeout"
/* The text of an errno or of CONN_FOREIGN. */
const char *conn_error_text(int err);

/* Makes a connection and begins to connect. NULL: connecting failed at once, see errno. Unless the
 * connection is open already, on_open or on_fail follows, never before this returns. */
struct conn *conn_new(struct loop *loop, const struct conn_target *target);
/* Closes the connection: calls `closed`, if it is set, and frees the memory. */
void conn_close(struct conn *c);
/* Closes a connection whose requests are all over, without a TIME_WAIT: ports would run out where
 * each request closes a connection. */
void conn_reset(struct conn *c);
/* Makes a connection without requests idle. It is closed after `seconds`, or when the server closes
 * it or sends anything. */
void conn_idle(struct conn *c, double seconds);
/* True when the connection has been idle for `seconds` and the server has neither closed it nor
 * sent anything. */
bool conn_has_rested(const struct conn *c, double seconds);
/* Leaves a connection, not a shared one, whose request's client has gone. The sending side is shut
 * down, and the connection is closed when a byte of the reply or the end comes, or at the request's
 * deadline. False, and nothing is done: no byte of the request has been written. */
bool conn_leave(struct conn *c);

/* True when several requests may be on the connection at the same time. */
static inline bool conn_is_shared(const struct conn *c)
{
    return c->room > 1;
}
/* True when another request may begin on the shared connection now. */
bool conn_has_place(const struct conn *c);
/* True the first time for each connection: its failure counts for the server once, although all
 * requests that share it fail. */
bool conn_blame(struct conn *c);

/* --- channels --- */

#define CHANNEL_SHARE 65536 /* bytes that one request may write before the others' turn */

/* Begins a request on a connection with a free id. The channel is the holder's until it is released
 * or dropped, or until on_fail. */
struct channel *channel_begin(struct conn *c, const struct channel_ops *ops, void *user);
/* Frees the id of a request that is over in both directions. `whole`: the reply was complete;
 * otherwise the connection serves no other request. */
void channel_release(struct channel *ch, bool whole);
/* Gives up the request. */
void channel_drop(struct channel *ch);
/* Ends the holder's part while the server works on: the id is reserved until END_REQUEST comes or
 * the request's deadline is over. */
void channel_let_end(struct channel *ch);

static inline bool channel_is_open(const struct channel *ch)
{
    return ch->conn->state == CONN_OPEN;
}

/* The buffer of bytes that wait to be written; append, then call channel_write. */
struct buf *channel_out(struct channel *ch);
/* Writes the waiting bytes and then the slices, as far as the socket takes them; the rest is copied
 * to channel_out. A broken pipe is not reported here, since bytes that the server has sent before
 * may still be read. */
void channel_write(struct channel *ch, const struct iovec *slices, int count);
/* Writes channel_out at the end of the loop's turn, when other connections write, too. */
void channel_write_soon(struct channel *ch);
/* True when no bytes of the request wait, and more can be written. Those of other requests on the
 * connection may wait. */
bool channel_is_drained(const struct channel *ch);
/* True when more may be written at once. Otherwise on_drain follows. */
bool channel_may_write(struct channel *ch);
/* channel_may_write for the first bytes of a request's body: a connection that is not shared may
 * always write them, behind the params. */
bool channel_may_begin(struct channel *ch);
/* True where the kernel shows whether the server has read what was written: on a unix socket that
 * is not shared. */
bool conn_can_offer(const struct conn *c);
/* Offers the first part of a request, with which the server can't begin yet: writes channel_out at
 * the end of the turn. on_taken or on_lost follows, never before this returns. The request must be
 * the only one of its connection. */
void channel_offer(struct channel *ch);
/* Stops or resumes reading (back-pressure). False: a shared connection is read for its other
 * requests, so records still come, and the holder must keep them. */
bool channel_pause(struct channel *ch, bool paused);
/* Limits the next read; does nothing on a shared connection. */
void channel_read_max(struct channel *ch, size_t bytes);
/* Sets the holder's deadline: on_fail(FAILURE_TIMEOUT, detail) is called when it is missed. 0:
 * none. A closed connection sets none. */
void channel_deadline(struct channel *ch, double seconds, const char *detail);

#endif

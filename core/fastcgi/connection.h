/*
 * connection - one connection to a FastCGI server: connecting, bytes in both directions, records of
 * the requests on it.
 *
 * A connection is made and closed by its owner (backend). A request on it has a channel, which is
 * one request id: the connection hands each record to the channel of its id, so who asks (stream)
 * does not know whether other requests share the connection. The connection knows nothing of queues
 * and limits: `closed`, `released` and `freed` tell its owner what becomes of it.
 *
 *        conn_new --> [backlog] --> [connecting] --on_open--> [open] <--> [idle] --> closed
 *                                                              \--> [left] --------/
 *
 * It has as many channels as its owner has said (`room`): one, and then it is alone with its
 * request; or several, and then it is shared. Who owns what, and what becomes of it:
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
 *   an answer that is not whole | the connection is closed   | likewise
 *   broken records, or the end  | its request fails          | all fail that are not over
 *   writing a small piece       | at once                    | with others of the loop's turn
 *   writing much                | as the socket takes it     | in turns of CHANNEL_SHARE bytes
 *
 * A server may close a kept connection at the moment when a request is written to it. Where the
 * request can't be sent twice, its first part is only offered (channel_offer): the rest follows
 * once the server has been seen to read that. A shared connection has no offers: what is unread
 * may be of any of its requests.
 */
#ifndef MG_FASTCGI_CONNECTION_H
#define MG_FASTCGI_CONNECTION_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/loop.h"
#include "fastcgi/record.h"

#include <sys/uio.h>

enum backend_error {
    BACKEND_CONNECT,  /* no connection to a server */
    BACKEND_TIMEOUT,  /* send or read */
    BACKEND_CLOSED,   /* it closed before the end */
    BACKEND_PROTOCOL, /* what came is no answer */
    BACKEND_BUSY,     /* FCGI_OVERLOADED, FCGI_CANT_MPX_CONN */
    BACKEND_QUEUE,    /* it was full, or took too long */
};

/* Calls to the holder of a channel. After on_fail the channel is gone, after on_lost it is still
 * the holder's. */
struct channel_ops {
    void (*on_open)(void *user);
    /* A record of this request, or a slice of one, which is valid until this event's loop_run_steps
     * is over. Returns false when the holder wants no more of them. */
    bool (*on_record)(void *user, const struct fcgi_event *event);
    /* All records that one read brought have been handed over; n: the bytes of this request among
     * what was read. May release or drop the channel. */
    void (*on_turn)(void *user, size_t n);
    /* In place of on_record and on_turn, for a connection that speaks another protocol: bytes in
     * the loop's read buffer. May drop the channel. */
    void (*on_bytes)(void *user, const char *bytes, size_t n);
    /* Everything given to channel_write is on its way. */
    void (*on_drain)(void *user);
    /* `written`: bytes of this request that the kernel had taken. `detail` outlives the event. */
    void (*on_fail)(void *user, enum backend_error error, const char *detail, uint64_t written);
    /* What channel_offer wrote has been read, and the server had not hung up then. */
    void (*on_taken)(void *user);
    /* In place of on_fail where a kept connection is of no use for a request that can't have begun:
     * nothing of it has been written, or it was only offered. `ended`: the server has closed it;
     * otherwise it has not read what was offered (a process that is still at work). */
    void (*on_lost)(void *user, bool ended);
};

enum channel_state {
    CHANNEL_FREE,
    CHANNEL_HELD,
    CHANNEL_OVER,     /* END_REQUEST has come, and its holder has not released it yet */
    CHANNEL_RESERVED, /* its holder has gone: END_REQUEST is waited for */
    CHANNEL_ENDED,    /* reserved, and over: free once the read at hand has been decoded */
};

/* One request id of a connection, part of it. */
struct channel {
    struct conn *conn;
    const struct channel_ops *ops;
    void *user;
    struct deadline deadline;
    const char *deadline_detail;
    uint64_t begun; /* how many bytes the connection had been given before this request's first */
    double begun_at;
    size_t read_max;
    size_t heard; /* bytes of its records in the read at hand */
    size_t put;   /* bytes written since others had their turn */
    uint16_t id;
    enum channel_state state;
    bool
        reused; /* the connection was kept: it had no request on it, and had served others before */
    bool paused;
    bool deaf;  /* its holder wants no more records */
    bool waits; /* for on_drain */
};

enum conn_state {
    CONN_BACKLOG, /* the unix socket's queue was full; the next try is due soon */
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_IDLE,
    CONN_LEFT,   /* the client of its request has gone */
    CONN_CLOSED, /* its requests are being told that it has failed */
};

/* Where one server is to be had. A name may have an IPv4 and an IPv6 address of it: they are tried
 * in turn, the one that answered last first. */
struct conn_place {
    struct addr list[2];
    unsigned count, first;
    char failure[160]; /* how both failed, when they did last */
};

struct conn {
    ev_io io;
    ev_timer retry;           /* CONN_BACKLOG */
    struct deferred flush;    /* what waits in `out` is written at the end of the turn */
    struct deadline deadline; /* of connecting, of an offer, of an idle connection */
    struct loop *loop;
    struct fcgi_decoder decoder;
    struct buf out;
    uint64_t written; /* bytes that the kernel has taken, of all requests */
    uint64_t quiet;   /* those that it had taken when its last answer was over */
    size_t read_max;  /* the next read takes at most so many bytes */
    struct conn_place *place;
    unsigned first_tried, tries; /* index in the place, and how many have failed */
    int refused;                 /* errno of the first of them */
    double patience;             /* when connect_timeout is over */
    bool owned;                  /* only a socket of this user will do: */
    uid_t owner;
    const struct addr *addr;
    enum conn_state state;
    bool broken;  /* writing failed; reading goes on to its end */
    bool ended;   /* the server has hung up */
    bool foreign; /* a record came for an id that no request has */
    bool excess;  /* bytes followed the last END_REQUEST */
    bool spent;   /* an answer was not whole, or did not come: no other request begins on it */
    bool hungry;  /* a request has had its turn and has more to write */
    bool blamed;  /* see conn_blame */
    size_t aside; /* bytes of management records in the read at hand */
    double read_at;
    double idle_since;
    struct deferred look; /* has what was offered been read? */
    size_t unread;        /* of the offer, at the last look */
    bool offered, watched;
    bool unsaid;      /* the offer has not been written */
    unsigned calling; /* its channels, of which any may close it */
    /* The owner's. */
    void (*released)(struct conn *c); /* its last request is over, and it is fit for another one */
    void (*closed)(struct conn *c);
    void (*freed)(struct conn *c); /* a request is over, others are not; may be NULL */
    /* STDERR of a request without a holder; may be NULL. */
    void (*stray)(struct conn *c, struct str text);
    struct server *server;
    struct conn_list *list; /* that it is in; NULL: none */
    struct conn *prev, *next;
    uint32_t claim;
    unsigned requests; /* that have begun on it */
    unsigned active;   /* ids that are not free */
    unsigned awaited;  /* of them: those whose END_REQUEST has not come */
    unsigned paused;   /* of them: those that can't take more now */
    unsigned turn;     /* the first one that is told when more can be written */
    unsigned room;
    struct channel channels[]; /* of the ids 1 to `room` */
};

/* The detail of BACKEND_CLOSED where the server has closed in good order. */
extern const char conn_ended[];

struct conn_target {
    struct conn_place *place; /* lives as long as the connection */
    double connect_timeout;   /* for all of its addresses */
    double backlog_timeout;   /* a full listen queue is waited out */
    unsigned channels;        /* requests that it may carry at the same time; 0: one */
    bool owned;               /* a unix socket that is not of this user is not connected to: */
    uid_t owner;
};

/* In place of an errno: the unix socket is not of the user that the target names. Either a process
 * of that user listens on it, or one of root does and its file is that user's (PHP-FPM opens the
 * sockets of its pools as root). What another user has put in its place is neither. */
#define CONN_FOREIGN (-1)
/* An errno, or CONN_FOREIGN, in words. */
const char *conn_error_text(int err);

/* Begins to connect. NULL: it could not even be begun, errno says why. Where it is not open yet,
 * on_open or on_fail follows; never before this returns. */
struct conn *conn_new(struct loop *loop, const struct conn_target *target);
/* Calls `closed`, if it is set, and frees it. */
void conn_close(struct conn *c);
/* The same for one whose server has answered everything. It leaves no TIME_WAIT behind: ports would
 * run out where each request closes one. */
void conn_reset(struct conn *c);
/* No request is on it: it is closed after `seconds`, or when its server hangs up or says anything.
 */
void conn_idle(struct conn *c, double seconds);
/* Idle, it has been so for `seconds`, and its server has not hung up meanwhile. */
bool conn_has_rested(const struct conn *c, double seconds);
/* Not of a shared one: the client of its request has gone. The connection is closed when something
 * of the answer comes, or the end, or at the request's deadline; the server is told that nothing
 * follows. False: no byte of the request is on its way, so there is nothing to wait for. */
bool conn_leave(struct conn *c);

/* Several requests may be on it at the same time. */
static inline bool conn_is_shared(const struct conn *c)
{
    return c->room > 1;
}
/* It is shared, and another request may begin on it now. */
bool conn_has_place(const struct conn *c);
/* True once for each connection: its failure is held against the server. Those of the requests that
 * share it are one. */
bool conn_blame(struct conn *c);

/* --- channels --- */

#define CHANNEL_SHARE 65536 /* bytes that one request writes before others have their turn */

/* A request begins on the connection, which has an id for it. The channel stays until it is
 * released or dropped, or on_fail. */
struct channel *channel_begin(struct conn *c, const struct channel_ops *ops, void *user);
/* The request is over on both sides. `whole`: its answer is what it ought to be; otherwise the
 * connection serves no other request. */
void channel_release(struct channel *ch, bool whole);
/* The request is given up. */
void channel_drop(struct channel *ch);
/* The holder has all that it wants, while the server works on: the id is the connection's until
 * END_REQUEST comes, which the deadline at hand still bounds. */
void channel_let_end(struct channel *ch);

static inline bool channel_is_open(const struct channel *ch)
{
    return ch->conn->state == CONN_OPEN;
}

/* The bytes that wait to be written; append, then channel_write. */
struct buf *channel_out(struct channel *ch);
/* Writes what waits and then the slices, as far as the socket takes them; the rest is copied to
 * channel_out. A broken pipe is not reported here: what the server said before may still be read.
 */
void channel_write(struct channel *ch, const struct iovec *slices, int count);
/* Writes what waits in channel_out at the end of the loop's turn, together with what other
 * connections have to write. */
void channel_write_soon(struct channel *ch);
/* Nothing waits, and more can be written. */
bool channel_is_drained(const struct channel *ch);
/* True: more may be written at once. Otherwise on_drain follows. */
bool channel_may_write(struct channel *ch);
/* The same for the first of a request's body, behind its params. */
bool channel_may_begin(struct channel *ch);
/* It can be seen whether the server has read what was written: the connection is a unix socket. */
bool conn_can_offer(const struct conn *c);
/* Writes what waits in channel_out at the end of the turn: a request can't begin with it yet.
 * on_taken or on_lost follows, never before this returns. The request is the only one of its
 * connection. */
void channel_offer(struct channel *ch);
/* Stops and resumes reading (back-pressure). False: the connection is read for others, so records
 * come all the same, and the holder must keep them. */
bool channel_pause(struct channel *ch, bool paused);
/* The next read takes at most so many bytes, where nobody shares it. */
void channel_read_max(struct channel *ch, size_t bytes);
/* The holder's deadline: on_fail(BACKEND_TIMEOUT, detail) when it is missed. 0: none. */
void channel_deadline(struct channel *ch, double seconds, const char *detail);

#endif

/*
 * connection - one connection to a FastCGI server: connecting, bytes in both directions, the clock.
 *
 * Made and closed by backend, used by whoever it is given to (stream), who sets ops and user. It
 * knows nothing of queues and shares: `closed` tells its owner that it goes.
 *
 *        conn_new --> [backlog] --> [connecting] --on_open--> [open] <--> [idle] --> closed
 *                                                              \--> [left] --------/
 *
 * A server may close a kept connection at the moment when a request is written to it. Where the
 * request can't be sent twice, its first part is only offered (conn_offer): the rest follows once
 * the server has been seen to read that.
 */
#ifndef MG_FASTCGI_CONNECTION_H
#define MG_FASTCGI_CONNECTION_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/loop.h"

#include <sys/uio.h>

enum backend_error {
    BACKEND_CONNECT,  /* no connection to a server */
    BACKEND_TIMEOUT,  /* send or read */
    BACKEND_CLOSED,   /* it closed before the end */
    BACKEND_PROTOCOL, /* what came is no answer */
    BACKEND_BUSY,     /* FCGI_OVERLOADED, FCGI_CANT_MPX_CONN */
    BACKEND_QUEUE,    /* it was full, or took too long */
};

/* Calls to the holder of a connection. After on_fail the connection is gone, after on_lost it is
 * still the holder's, to be closed. */
struct conn_ops {
    void (*on_open)(void *user);
    /* Bytes in the loop's read buffer. May release or close the connection. */
    void (*on_bytes)(void *user, const char *bytes, size_t n);
    /* Everything given to conn_write is on its way. */
    void (*on_drain)(void *user);
    /* `written`: bytes of this request that the kernel had taken. */
    void (*on_fail)(void *user, enum backend_error error, const char *detail, uint64_t written);
    /* What conn_offer wrote has been read, and the server had not hung up then. */
    void (*on_taken)(void *user);
    /* In place of on_fail where a kept connection is of no use for a request that can't have begun:
     * nothing of it has been written, or it was only offered. `ended`: the server has closed it;
     * otherwise it has not read what was offered (a process that is still at work). */
    void (*on_lost)(void *user, bool ended);
};

enum conn_state {
    CONN_BACKLOG, /* the unix socket's queue was full; the next try is due soon */
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_IDLE,
    CONN_LEFT, /* nobody wants the answer */
};

/* Where one server is to be had. A name may have an IPv4 and an IPv6 address of it: they are tried
 * in turn, the one that answered last first. */
struct conn_place {
    struct addr list[2];
    unsigned count, first;
};

struct conn {
    ev_io io;
    ev_timer retry;        /* CONN_BACKLOG */
    struct deferred flush; /* what waits in `out` is written at the end of the turn */
    struct deadline deadline;
    const char *deadline_detail;
    struct loop *loop;
    const struct conn_ops *ops;
    void *user;
    struct buf out;
    uint64_t written;
    size_t read_max;
    struct conn_place *place;
    unsigned begun, tries; /* the place's first address, and how many have failed */
    int refused;           /* errno of the first of them */
    ev_tstamp patience;    /* when connect_timeout is over */
    const struct addr *addr;
    enum conn_state state;
    bool paused;
    bool broken; /* writing failed; reading goes on to its end */
    bool reused; /* it has served another request before */
    bool ended;  /* the server has hung up */
    ev_tstamp idle_since;
    struct deferred look; /* has what was offered been read? */
    size_t unread;        /* of the offer, at the last look */
    bool offered, watched;
    /* The owner's. */
    void (*closed)(struct conn *c);
    struct server *server;
    struct conn *prev, *next; /* kept idle, the latest first: it is the warmest; or left */
    uint32_t claim;
    unsigned requests;
};

/* The detail of BACKEND_CLOSED where the server has closed in good order. */
extern const char conn_ended[];

struct conn_target {
    struct conn_place *place; /* lives as long as the connection */
    double connect_timeout;   /* for all of its addresses */
    double backlog_timeout;   /* a full listen queue is waited out */
};

/* Begins to connect. NULL: it could not even be begun, errno says why. Where it is not open yet,
 * on_open or on_fail follows; never before this returns. */
struct conn *conn_new(struct loop *loop, const struct conn_target *target);
/* Calls `closed`, if it is set, and frees it. */
void conn_close(struct conn *c);
/* The same for one whose server has answered everything. It leaves no TIME_WAIT behind: ports would
 * run out where each request closes one. */
void conn_reset(struct conn *c);
static inline bool conn_is_open(const struct conn *c)
{
    return c->state == CONN_OPEN;
}

/* Another request begins on it. */
void conn_use(struct conn *c, const struct conn_ops *ops, void *user);
/* Nobody uses it: closed after `seconds`, or when its server hangs up or says anything. */
void conn_idle(struct conn *c, double seconds);
/* Idle, it has been so for `seconds`, and its server has not hung up meanwhile. */
bool conn_has_rested(const struct conn *c, double seconds);
/* Nobody wants the answer any more. It is closed when something of it comes, or the end, or at its
 * deadline; the server is told that nothing follows. False: no byte of the request is on its way,
 * so there is nothing to wait for. */
bool conn_leave(struct conn *c);
/* Fit for another request: nothing waits to be written, nothing has failed. */
bool conn_is_fit(const struct conn *c);

/* The bytes that wait to be written; append, then conn_write. */
struct buf *conn_out(struct conn *c);
/* Writes what waits and then the slices, as far as the socket takes them; the rest is copied to
 * conn_out. A broken pipe is not reported here: what the server said before may still be read. */
void conn_write(struct conn *c, const struct iovec *slices, int count);
/* Writes what waits in conn_out at the end of the loop's turn, together with what other connections
 * have to write. */
void conn_write_soon(struct conn *c);
/* It can be seen whether the server has read what was written: it is a unix socket. */
bool conn_can_offer(const struct conn *c);
/* Writes what waits in conn_out, with which a request can't begin yet. on_taken or on_lost follows,
 * never before this returns. */
void conn_offer(struct conn *c);
/* Nothing waits, and more can be written. */
bool conn_is_drained(const struct conn *c);
/* Stops and resumes reading (back-pressure). */
void conn_pause(struct conn *c, bool paused);
/* The next read takes at most so many bytes. */
void conn_read_max(struct conn *c, size_t bytes);
/* The holder's deadline: on_fail(BACKEND_TIMEOUT, detail) when it is missed. 0: none. */
void conn_deadline(struct conn *c, double seconds, const char *detail);

#endif

/*
 * backend - a named group of servers and the connections to them.
 *
 * Belongs to a generation. Connections come as acquire and release: a kept one where there is one,
 * else a new one, which may still be connecting. What flows on a connection is the business of
 * whoever holds it (stream); backend moves bytes, watches the clock, and closes what went idle.
 *
 *        backend_acquire --> [connecting] --on_open--> [in use] --conn_release--> [idle] --> closed
 *                       \_________kept and open_________/  \______conn_close_______________/
 */
#ifndef MG_BACKEND_H
#define MG_BACKEND_H

#include "fcgi.h"
#include "loop.h"
#include "settings.h"

#include <sys/uio.h>

struct backend;
struct server;

enum backend_error {
    BACKEND_CONNECT,  /* no connection to the server */
    BACKEND_TIMEOUT,  /* connect, send or read */
    BACKEND_CLOSED,   /* it closed before the end */
    BACKEND_PROTOCOL, /* what came is no answer */
    BACKEND_BUSY,     /* FCGI_OVERLOADED, FCGI_CANT_MPX_CONN */
};

/* "connect", "timeout", ...: what `err.kind` says. */
const char *backend_error_name(enum backend_error error);

struct conn;

/* Calls to the holder of a connection. After on_fail the connection is gone. */
struct conn_ops {
    void (*on_open)(void *user);
    /* Bytes in the loop's read buffer. May release or close the connection. */
    void (*on_bytes)(void *user, const char *bytes, size_t n);
    /* Everything given to conn_write is on its way. */
    void (*on_drain)(void *user);
    /* `written`: bytes of this request that the kernel had taken. */
    void (*on_fail)(void *user, enum backend_error error, const char *detail, uint64_t written);
};

struct backend *backend_new(const struct backend_settings *settings, struct loop *loop);
/* Closes idle connections. Nobody may hold one any more. */
void backend_free(struct backend *b);
const struct backend_settings *backend_settings(const struct backend *b);

/* The next server in turn, or the one with that address (n = 0: any). -1: there is none such.
 * `after` >= 0: the one behind that, for another attempt. */
int backend_pick(struct backend *b, struct str address, int after);
struct str backend_address(const struct backend *b, int server);

struct acquire {
    int server;
    bool fresh; /* not a kept one */
    double connect_timeout;
    const struct conn_ops *ops;
    void *user;
};

/* A connection for one request. NULL: it could not even be begun, errno says why. Check
 * conn_is_open: if it is not, on_open or on_fail follows. Never calls back before it returns. */
struct conn *backend_acquire(struct backend *b, const struct acquire *acquire);
bool conn_is_open(const struct conn *c);

/* The bytes that wait to be written; append, then conn_write. */
struct buf *conn_out(struct conn *c);
/* Writes what waits and then the slices, as far as the socket takes them; the rest is copied to
 * conn_out. A broken pipe is not reported here: what the server said before may still be read. */
void conn_write(struct conn *c, const struct iovec *slices, int count);
/* Writes what waits in conn_out at the end of the loop's turn, together with what other connections
 * have to write. */
void conn_write_soon(struct conn *c);
/* Nothing waits, and more can be written. */
bool conn_is_drained(const struct conn *c);
/* Stops and resumes reading (back-pressure). */
void conn_pause(struct conn *c, bool paused);
/* The holder's deadline: on_fail(BACKEND_TIMEOUT, detail) when it is missed. 0: none. */
void conn_deadline(struct conn *c, double seconds, const char *detail);

/* Gives the connection back: kept when the backend keeps connections, else closed. */
void conn_release(struct conn *c);
/* Closes it: it is not fit for another request. */
void conn_close(struct conn *c);

#endif

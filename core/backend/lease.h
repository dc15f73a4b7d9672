/*
 * lease - a request's turn on a connection to one of a backend's servers. The connection's claim
 * lies in the ledger, so that max_conns and the queue hold over all workers.
 *
 *     backend_choose -> backend_acquire --LEASE_READY------------------> conn -> channel_begin
 *                                      \--LEASE_WAITING --on_conn----/         \-> channel_release
 *                                                       \--on_refused
 */
#ifndef MG_BACKEND_LEASE_H
#define MG_BACKEND_LEASE_H

#include "backend/backend.h"

struct lease_ops {
    /* Called when the lease gets its connection, which may still be connecting. */
    void (*on_conn)(void *user, struct conn *conn);
    void (*on_refused)(void *user, enum failure failure, const char *detail);
};

/* A request for a connection. Embedded in its user; in use from backend_acquire until on_conn,
 * on_refused or backend_cancel. */
struct lease {
    struct backend *backend;
    const struct lease_ops *ops;
    void *user;
    struct deadline deadline;
    double connect_timeout;
    uint64_t tenant;
    uint32_t claim;
    uint32_t avoid;
    int server;       /* the granted server */
    unsigned unknown; /* grants of servers that this backend does not know */
    bool only, fresh, once, last;
    bool waiting;
    bool called;        /* granted: `call` runs at the end of the loop's turn */
    uint32_t called_to; /* place of the granted server */
    struct conn *given; /* its connection; NULL: the server is not this backend's */
    struct deferred call;
};

struct lease_terms {
    int server; /* -1: wait for any */
    int avoid;  /* a server that has just failed; -1: none */
    bool only;  /* only that server */
    bool fresh; /* not a kept connection */
    /* it can't be sent again: a kept one that can be tried (channel_offer), or has rested */
    bool once;
    /* any server, behind all other requests: see ledger_acquire. It never waits */
    bool last;
    double connect_timeout;
    struct str tenant;
    const struct lease_ops *ops;
    void *user;
};

enum lease_result {
    LEASE_READY,   /* *conn, which may be connecting: on_open or on_fail follows */
    LEASE_WAITING, /* in the queue: on_conn or on_refused follows */
    LEASE_FAILED,  /* *error and *detail */
};

enum lease_result backend_acquire(struct backend *b, struct lease *x,
                                  const struct lease_terms *terms, struct conn **conn,
                                  enum failure *failure, const char **detail);
/* Leaves the queue. */
void backend_cancel(struct lease *x);
/* The connection, got by x, has been kept and is of no use: the server has `ended` it, or is still
 * at work for the request before. It is closed, and another one to the same server returned, under
 * the same claim: a kept one, if there is one and `fresh` is not set, or a new one, maybe still
 * connecting. NULL: there is none, and the claim is dropped; errno says why. */
struct conn *backend_replace(const struct lease *x, struct conn *c, bool ended, bool fresh);

/* The client of a request has left before the first byte of the reply; the connection was got by
 * `x`. Where connections are limited it keeps its place until the server is done with it, or its
 * deadline; otherwise it is closed. A request that shares its connection is aborted. */
void backend_leave(const struct lease *x, struct channel *ch);
/* Keeps the connection in use after a complete answer, until the server has sent END_REQUEST. */
void backend_let_end(struct channel *ch);

#endif

/*
 * farewell - sockets of connections that have ended while the kernel still had records to send.
 *
 *     client_fini --socket--> farewell --all has left, or FAREWELL_TIME--> closed
 *
 * Plain TCP sends what it has behind a close(2). TLS in the kernel (tls/ktls) does not: a record
 * that TCP had no room for is dropped, so a client that reads slowly would miss the end of its
 * response. Such a socket stays open here until the client has acknowledged all, or for a minute.
 * Each worker has one, embedded in its struct clients.
 */
#ifndef MG_FRONT_FAREWELL_H
#define MG_FRONT_FAREWELL_H

#include "base/loop.h"

enum { FAREWELL_SOCKETS = 256 };

struct farewell_socket {
    int fd;
    bool unsaid;  /* close_notify is still to be sent */
    bool quiet;   /* at the last look the client had acknowledged all */
    double until; /* of the loop's clock */
};

/* All members are private. */
struct farewell {
    struct deadline look;         /* its on_missed is the farewell's */
    struct farewell_socket *list; /* NULL: none was needed yet */
    unsigned count;
    void (*on_left)(struct farewell *f);
};

/* `on_left` is called behind each socket that was taken, when it has been closed. */
void farewell_init(struct farewell *f, struct loop *loop, void (*on_left)(struct farewell *f));
/* Closes all sockets, without on_left. */
void farewell_fini(struct farewell *f);
/* Takes a socket. `unsaid`: close_notify has still to be sent. False: it was closed, since there
 * are FAREWELL_SOCKETS already. */
bool farewell_take(struct farewell *f, int fd, bool unsaid);

#endif

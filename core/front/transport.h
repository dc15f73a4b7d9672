/*
 * transport - reading and writing of one client's connection, which client and sender call in place
 * of the socket. Plain TCP and unix sockets are one table of functions, TLS is another one.
 *
 *     protocol --> transport --plain--> socket
 *                           \---TLS--> tls/connection --> socket
 *
 * No function waits or watches the socket: libev watches `fd`. All return the result of the system
 * call of that name; on -1 with EAGAIN or EINTR the caller tries again later. Bytes of a write that
 * were not reported as written are given again before any others.
 *
 * The state of a transport lies behind its struct client (client_size), so that an idle plain
 * connection has none.
 */
#ifndef MG_FRONT_TRANSPORT_H
#define MG_FRONT_TRANSPORT_H

#include "tls/connection.h"

#include <stdbool.h>
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* 0: the client has closed its sending side. */
    ssize_t (*read)(struct transport *t, char *out, size_t size);
    /* `more`: other bytes follow at once. */
    ssize_t (*writev)(struct transport *t, struct iovec *slices, int count, bool more);
    /* Bytes of `file` from `at` on. 0: the file ends before; EIO: it can't be read. NULL: the
     * transport needs the bytes, which are read and passed to writev. */
    ssize_t (*sendfile)(struct transport *t, int file, off_t at, size_t size);
    /* Ends writing; reading continues. */
    void (*shutdown)(struct transport *t);
    /* Closes the socket. `reset`: the client must see that its response is incomplete. */
    void (*close)(struct transport *t, bool reset);
};

struct transport {
    const struct transport_ops *ops;
    int fd;
    struct tls *tls; /* valid where ops is transport_tls_ops */
};

/* The bytes as they are. */
extern const struct transport_ops transport_plain_ops;
/* TLS, as a server. EPROTO of `read`: the client has broken off the handshake, or a rule of TLS;
 * the connection is closed. */
extern const struct transport_ops transport_tls_ops;

static inline bool transport_is_tls(const struct transport *t)
{
    return t->ops == &transport_tls_ops;
}

#endif

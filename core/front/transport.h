/*
 * transport - reading and writing of one client's connection, which client and sender call in place
 * of the socket. Plain TCP and unix sockets are one table of functions, TLS is another one, TLS
 * whose records the kernel makes is a third.
 *
 *     protocol --> transport --plain--> socket
 *                           \---TLS--> tls/connection --> socket
 *                            \--kTLS--> tls/connection --> socket, by sendfile too
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

/* What is left of a connection that was closed. */
enum transport_rest {
    TRANSPORT_CLOSED,
    TRANSPORT_SENDS,  /* the socket is open, since the kernel has records that would be lost; */
    TRANSPORT_UNSAID, /* close_notify as well, which is not sent yet. The socket is the caller's */
};

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
    /* Ends the connection. `reset`: the client must see that its response is incomplete. */
    enum transport_rest (*close)(struct transport *t, bool reset);
};

struct transport {
    const struct transport_ops *ops;
    int fd;
    struct tls *tls; /* valid where transport_is_tls */
};

/* The bytes as they are. */
extern const struct transport_ops transport_plain_ops;
/* TLS, as a server. EPROTO of `read`: the client has broken off the handshake, or a rule of TLS;
 * the connection is closed. */
extern const struct transport_ops transport_tls_ops;
/* The same, where the kernel makes the records that are sent (tls_is_in_kernel). */
extern const struct transport_ops transport_ktls_ops;

static inline bool transport_is_tls(const struct transport *t)
{
    return t->ops == &transport_tls_ops || t->ops == &transport_ktls_ops;
}

#endif

/*
 * transport - the bytes of one client's connection, in both directions: what client and sender call
 * in place of the socket. Plain TCP and unix sockets; TLS is another table of functions.
 *
 * Nothing here waits, keeps bytes or watches the socket: libev watches `fd`. All return what the
 * system call of that name does, and -1 with errno: EAGAIN and EINTR mean later.
 */
#ifndef MG_FRONT_TRANSPORT_H
#define MG_FRONT_TRANSPORT_H

#include <stdbool.h>
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* 0: the client has closed its sending side. */
    ssize_t (*read)(struct transport *t, char *out, size_t size);
    /* `more`: other bytes follow at once. */
    ssize_t (*writev)(struct transport *t, struct iovec *slices, int count, bool more);
    /* Bytes of `file` from `at` on. 0: the file ends before; EIO: it can't be read. NULL: the
     * transport has to see the bytes, so they are read and given to writev. */
    ssize_t (*sendfile)(struct transport *t, int file, off_t at, size_t size);
    /* Nothing more is written; reading goes on. */
    void (*shutdown)(struct transport *t);
    /* Closes the socket. `reset`: the client must see that it has not got everything. */
    void (*close)(struct transport *t, bool reset);
};

struct transport {
    const struct transport_ops *ops;
    int fd;
};

/* The bytes as they are. */
extern const struct transport_ops transport_plain_ops;

#endif

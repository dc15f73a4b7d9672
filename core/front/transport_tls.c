/* transport_tls - TLS as a transport: see transport.h. The work is done by tls/connection. */
#include "front/transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t transport_tls_read(struct transport *t, char *out, size_t size)
{
    return tls_read(t->tls, out, size);
}

static ssize_t transport_tls_writev(struct transport *t, struct iovec *slices, int count, bool more)
{
    return tls_writev(t->tls, slices, count, more);
}

static void transport_tls_shutdown(struct transport *t)
{
    tls_end(t->tls);
    if (!tls_waits(t->tls))
        shutdown(t->fd, SHUT_WR);
}

static void transport_tls_close(struct transport *t, bool reset)
{
    struct linger now = {.l_onoff = 1};
    if (!reset)
        tls_end(t->tls);
    tls_fini(t->tls);
    if (reset)
        setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(t->fd);
}

const struct transport_ops transport_tls_ops = {
    .read = transport_tls_read,
    .writev = transport_tls_writev,
    .shutdown = transport_tls_shutdown,
    .close = transport_tls_close,
};

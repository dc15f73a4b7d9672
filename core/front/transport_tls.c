/* transport_tls - TLS as a transport: see transport.h. The work is done by tls/connection;
 * handshakes are counted here. */
#include "front/transport.h"

#include "shm/metrics.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Counts a handshake that a read has ended, with this errno where it has failed. */
static void transport_tls_count(const struct tls *tls, int error)
{
    switch (tls_state(tls)) {
    case TLS_OPENING:
        return;
    case TLS_OPEN: {
        bool is_new = strcmp(tls_version(tls), "TLSv1.3") == 0;
        unsigned version = is_new ? METRICS_TLS_1_3 : METRICS_TLS_1_2;
        metrics_add(&metrics_own->tls[version][tls_is_resumed(tls)], 1);
        return;
    }
    case TLS_CLEAR:
        metrics_add(&metrics_own->handshake[METRICS_NO_TLS], 1);
        return;
    case TLS_BROKEN:
        metrics_add(&metrics_own->handshake[error == EPROTO ? tls_failure_kind() : METRICS_LEFT],
                    1);
    }
}

static ssize_t transport_tls_read(struct transport *t, char *out, size_t size)
{
    bool opening = tls_state(t->tls) == TLS_OPENING;
    ssize_t n = tls_read(t->tls, out, size);
    if (opening) {
        int error = errno;
        transport_tls_count(t->tls, error);
        errno = error;
    }
    return n;
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
    if (tls_state(t->tls) == TLS_OPENING && tls_has_begun(t->tls))
        metrics_add(&metrics_own->handshake[METRICS_LEFT], 1);
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

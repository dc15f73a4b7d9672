/* transport_tls - TLS as a transport, with records of OpenSSL's or of the kernel's: see
 * transport.h. The work is done by tls/connection; handshakes are counted here. */
#include "front/transport.h"

#include "shm/metrics.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bytes that TCP has room for whatever happens: with as few in its queue, no record of the kernel's
 * can wait behind them. */
#define ROOM_FOR_ALL 4096

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
        if (tls_is_in_kernel(tls))
            metrics_add(&metrics_own->ktls, 1);
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

/* Ends TLS, with what an answerless handshake counts as. */
static void transport_tls_end(struct transport *t, bool reset)
{
    if (tls_state(t->tls) == TLS_OPENING && tls_has_begun(t->tls))
        metrics_add(&metrics_own->handshake[METRICS_LEFT], 1);
    if (!reset)
        tls_end(t->tls);
}

static enum transport_rest transport_tls_close(struct transport *t, bool reset)
{
    transport_tls_end(t, reset);
    tls_fini(t->tls);
    return transport_plain_ops.close(t, reset);
}

const struct transport_ops transport_tls_ops = {
    .read = transport_tls_read,
    .writev = transport_tls_writev,
    .shutdown = transport_tls_shutdown,
    .close = transport_tls_close,
};

/* --- with kTLS --- */

static ssize_t transport_ktls_sendfile(struct transport *t, int file, off_t at, size_t size)
{
    return tls_sendfile(t->tls, file, at, size);
}

/* close_notify is the end for the client. No FIN follows it: TCP would take none of the kernel's
 * records behind that, and one may still wait for room. */
static void transport_ktls_shutdown(struct transport *t)
{
    tls_end(t->tls);
}

/* True when a record may wait for room: the client has not acknowledged much of what TCP has. */
static bool transport_ktls_sends(const struct transport *t)
{
    int waiting = 0;
    return ioctl(t->fd, SIOCOUTQ, &waiting) == 0 && waiting > ROOM_FOR_ALL;
}

static enum transport_rest transport_ktls_close(struct transport *t, bool reset)
{
    transport_tls_end(t, reset);
    bool unsaid = tls_waits(t->tls);
    tls_fini(t->tls);
    if (!reset && (unsaid || transport_ktls_sends(t)))
        return unsaid ? TRANSPORT_UNSAID : TRANSPORT_SENDS;
    return transport_plain_ops.close(t, reset);
}

const struct transport_ops transport_ktls_ops = {
    .read = transport_tls_read,
    .writev = transport_tls_writev,
    .sendfile = transport_ktls_sendfile,
    .shutdown = transport_ktls_shutdown,
    .close = transport_ktls_close,
};

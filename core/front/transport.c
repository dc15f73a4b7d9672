/* transport - see transport.h. */
#include "front/transport.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t transport_plain_read(struct transport *t, char *out, size_t size)
{
    return read(t->fd, out, size);
}

static ssize_t transport_plain_writev(struct transport *t, struct iovec *slices, int count,
                                      bool more)
{
    struct msghdr msg = {.msg_iov = slices, .msg_iovlen = (size_t)count};
    if (count == 1 && !more)
        return write(t->fd, slices->iov_base, slices->iov_len);
    return sendmsg(t->fd, &msg, more ? MSG_MORE : 0);
}

static ssize_t transport_plain_sendfile(struct transport *t, int file, off_t at, size_t size)
{
    return sendfile(t->fd, file, &at, size);
}

static void transport_plain_shutdown(struct transport *t)
{
    shutdown(t->fd, SHUT_WR);
}

static enum transport_rest transport_plain_close(struct transport *t, bool reset)
{
    struct linger now = {.l_onoff = 1};
    if (reset)
        setsockopt(t->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(t->fd);
    return TRANSPORT_CLOSED;
}

const struct transport_ops transport_plain_ops = {
    .read = transport_plain_read,
    .writev = transport_plain_writev,
    .sendfile = transport_plain_sendfile,
    .shutdown = transport_plain_shutdown,
    .close = transport_plain_close,
};

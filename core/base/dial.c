/* dial - see dial.h. */
#include "base/dial.h"

#include "base/addr.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* Waits until one of the events is there. Returns them, or 0 when the time is over. */
static int wait_for(int fd, int events, double timeout)
{
    struct pollfd p = {.fd = fd, .events = (short)events};
    int n;
    do
        n = poll(&p, 1, (int)(timeout * 1000));
    while (n < 0 && errno == EINTR);
    return n > 0 ? p.revents : 0;
}

static int connect_to(const struct addr *addr, double timeout, const char **err)
{
    int code = 0;
    socklen_t size = sizeof code;
    *err = NULL;
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, &addr->sa, addr->len) != 0 && errno != EINPROGRESS)) {
        *err = errno == EAGAIN ? "its listen queue is full" : strerror(errno);
    } else if (wait_for(fd, POLLOUT, timeout) == 0) {
        *err = "no connection within the time";
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code != 0) {
        *err = strerror(code);
    }
    if (*err != NULL && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* The addresses of a name are tried in turn. */
static int open_connection(const struct dial *d, const char **err)
{
    struct addr list[ADDR_MOST];
    unsigned count;
    int fd = -1;
    *err = addr_resolve_all(d->address, list, &count);
    if (*err != NULL)
        return -1;
    for (unsigned i = 0; i < count && fd < 0; i++)
        fd = connect_to(&list[i], d->timeout, err);
    return fd;
}

const char *dial_look(const char *address, double timeout)
{
    const char *err;
    const struct dial look = {.address = address, .timeout = timeout};
    int fd = open_connection(&look, &err);
    if (fd >= 0)
        close(fd);
    return err;
}

static void put(int fd, struct buf *out)
{
    struct str rest = buf_peek(out);
    ssize_t n = send(fd, rest.p, rest.n, MSG_NOSIGNAL);
    if (n > 0)
        buf_consume(out, (size_t)n);
    else if (errno != EAGAIN)
        buf_consume(out, rest.n); /* an answer may still be readable */
}

static const char *transfer(int fd, struct dial *d)
{
    char bytes[65536];
    while (!d->done) {
        int ready = wait_for(fd, POLLIN | (buf_len(d->out) > 0 ? POLLOUT : 0), d->timeout);
        if (ready == 0)
            return "no answer within the time";
        if (ready & POLLOUT)
            put(fd, d->out);
        if (!(ready & (POLLIN | POLLHUP | POLLERR)))
            continue;
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EAGAIN)
            continue;
        if (n < 0)
            return strerror(errno);
        const char *err = d->take(d->ctx, (struct str){bytes, (size_t)n}, &d->done);
        if (err != NULL)
            return err;
        if (n == 0 && !d->done)
            return "the connection ended before the answer was complete";
    }
    return NULL;
}

const char *dial(struct dial *d)
{
    const char *err = NULL;
    int fd = open_connection(d, &err);
    if (fd < 0)
        return err;
    err = transfer(fd, d);
    close(fd);
    return err;
}

/* sock - see sock.h. */
#include "script/net/sock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE        16384u /* least bytes of room for one read */
#define PIECE_MOST   262144u
#define DATAGRAM_MAX 65535u

/* The system's words for errno in lower case, as OpenResty gives them; valid until the next call.
 */
static const char *sock_reason(int code)
{
    static char text[128];
    size_t i = 0;
    for (const char *p = strerror(code); *p != '\0' && i + 1 < sizeof text; p++)
        text[i++] = char_lower(*p);
    text[i] = '\0';
    return text;
}

static enum sock_result sock_fail(struct sock *k, const char *reason)
{
    snprintf(k->err, sizeof k->err, "%s", reason);
    return SOCK_FAILED;
}

/* --- connecting --- */

static void sock_forget_list(struct sock *k)
{
    free(k->list);
    k->list = NULL;
    k->count = k->next = 0;
}

static void sock_opened(struct sock *k)
{
    int on = 1;
    ev_io_stop(k->loop->ev, &k->writer);
    deadline_clear(&k->write_limit);
    sock_forget_list(k);
    k->connecting = false;
    ev_io_set(&k->reader, k->fd, EV_READ);
    ev_io_set(&k->writer, k->fd, EV_WRITE);
    if (!k->datagram) /* fails for a unix socket, which has no TCP_NODELAY */
        setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void sock_drop_fd(struct sock *k)
{
    ev_io_stop(k->loop->ev, &k->reader);
    ev_io_stop(k->loop->ev, &k->writer);
    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
}

/* Connects to the next address of the list that does not fail at once. */
static enum sock_result sock_try_next(struct sock *k)
{
    int type = (k->datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    while (k->next < k->count) {
        const struct addr *a = &k->list[k->next++];
        k->fd = socket(a->sa.sa_family, type, 0);
        if (k->fd >= 0 && connect(k->fd, &a->sa, a->len) == 0) {
            sock_opened(k);
            return SOCK_DONE;
        }
        if (k->fd >= 0 && errno == EINPROGRESS) {
            ev_io_set(&k->writer, k->fd, EV_WRITE);
            ev_io_start(k->loop->ev, &k->writer);
            return SOCK_WAITS;
        }
        sock_fail(k, sock_reason(errno));
        sock_drop_fd(k);
    }
    return SOCK_FAILED;
}

static void sock_connect_ended(struct sock *k, enum sock_result result)
{
    char err[sizeof k->err];
    if (result == SOCK_WAITS)
        return;
    if (result == SOCK_FAILED) {
        /* A copy, since the owner's callback may use the sock again. */
        snprintf(err, sizeof err, "%s", k->err);
        sock_close(k);
    }
    k->ops->connected(k, result == SOCK_FAILED ? err : NULL);
}

static void sock_connect_cb(struct sock *k)
{
    int code = 0;
    socklen_t size = sizeof code;
    if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0)
        code = errno;
    if (code == 0) {
        sock_opened(k);
        k->ops->connected(k, NULL);
        return;
    }
    sock_fail(k, sock_reason(code));
    sock_drop_fd(k);
    sock_connect_ended(k, sock_try_next(k));
}

static void sock_looked_up(struct lookup *lookup, const struct addr *list, unsigned count,
                           const char *err)
{
    struct sock *k = (struct sock *)((char *)lookup - offsetof(struct sock, lookup));
    if (count == 0) {
        /* "name: reason" */
        const char *reason = strstr(err, ": ");
        snprintf(k->err, sizeof k->err, "%.*s could not be resolved (%s)",
                 reason != NULL ? (int)(reason - err) : 0, err, reason != NULL ? reason + 2 : err);
        sock_connect_ended(k, SOCK_FAILED);
        return;
    }
    k->list = malloc(count * sizeof *list);
    if (k->list == NULL)
        abort();
    memcpy(k->list, list, count * sizeof *list);
    k->count = count;
    enum sock_result result = sock_try_next(k);
    sock_connect_ended(k, result);
}

enum sock_result sock_connect(struct sock *k, const struct addr *addr, double seconds)
{
    k->list = malloc(sizeof *addr);
    if (k->list == NULL)
        abort();
    *k->list = *addr;
    k->count = 1;
    k->connecting = true;
    loop_update_time(k->loop);
    deadline_set(&k->write_limit, seconds);
    enum sock_result result = sock_try_next(k);
    if (result == SOCK_FAILED)
        sock_close(k);
    return result;
}

enum sock_result sock_connect_name(struct sock *k, struct resolver *resolver, struct str host,
                                   uint16_t port, double seconds)
{
    k->connecting = true;
    loop_update_time(k->loop);
    deadline_set(&k->write_limit, seconds);
    lookup_start(resolver, &k->lookup, host, port, sock_looked_up);
    return SOCK_WAITS;
}

void sock_adopt(struct sock *k, int fd)
{
    k->fd = fd;
    sock_opened(k);
}

/* --- sending --- */

/* Writes what the kernel takes. SOCK_DONE: all bytes have been sent. */
static enum sock_result sock_put(struct sock *k, struct str *rest)
{
    /* A datagram may be empty. */
    for (bool whole = k->datagram; rest->n > 0 || whole; whole = false) {
        ssize_t n = send(k->fd, rest->p, rest->n, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return SOCK_WAITS;
        if (n < 0 && errno != EINTR)
            return sock_fail(k, sock_reason(errno));
        if (n < 0)
            continue;
        *rest = str_skip(*rest, (size_t)n);
    }
    return SOCK_DONE;
}

enum sock_result sock_send(struct sock *k, struct str bytes, double seconds)
{
    enum sock_result result = sock_put(k, &bytes);
    if (result != SOCK_WAITS)
        return result;
    buf_append_str(&k->out, bytes);
    if (k->out.overflow)
        return sock_fail(k, "more than 64 MB at once");
    k->send_seconds = seconds;
    loop_update_time(k->loop);
    deadline_set(&k->write_limit, seconds);
    ev_io_start(k->loop->ev, &k->writer);
    return SOCK_WAITS;
}

void sock_forget_send(struct sock *k)
{
    ev_io_stop(k->loop->ev, &k->writer);
    deadline_clear(&k->write_limit);
    buf_fini(&k->out);
}

static void sock_send_ended(struct sock *k, const char *err)
{
    sock_forget_send(k);
    k->ops->sent(k, err);
}

static void sock_writer_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct sock *k = io->data;
    (void)ev;
    (void)events;
    if (k->connecting) {
        sock_connect_cb(k);
        return;
    }
    struct str rest = buf_peek(&k->out);
    size_t before = rest.n;
    enum sock_result result = sock_put(k, &rest);
    buf_consume(&k->out, before - rest.n);
    if (result == SOCK_WAITS)
        deadline_set(&k->write_limit, k->send_seconds);
    else
        sock_send_ended(k, result == SOCK_FAILED ? k->err : NULL);
}

static void sock_write_limit_cb(struct deadline *d)
{
    struct sock *k = (struct sock *)((char *)d - offsetof(struct sock, write_limit));
    if (k->connecting) {
        sock_fail(k, "timeout");
        sock_connect_ended(k, SOCK_FAILED);
    } else {
        sock_send_ended(k, "timeout");
    }
}

/* --- receiving --- */

enum sock_result sock_fill(struct sock *k, size_t most)
{
    size_t room = most < PIECE ? PIECE : most > PIECE_MOST ? PIECE_MOST : most;
    if (k->datagram)
        room = DATAGRAM_MAX;
    if (room > SOCK_BUFFER - buf_len(&k->in))
        room = SOCK_BUFFER - buf_len(&k->in);
    if (room == 0)
        return sock_fail(k, "more than 64 MB without an end");
    char *to = buf_reserve(&k->in, room);
    ssize_t n;
    do
        n = recv(k->fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? SOCK_WAITS : sock_fail(k, sock_reason(errno));
    buf_commit(&k->in, (size_t)n);
    return n > 0 || k->datagram ? SOCK_DONE : SOCK_ENDED;
}

void sock_await(struct sock *k, double seconds)
{
    loop_update_time(k->loop);
    deadline_set(&k->read_limit, seconds);
    ev_io_start(k->loop->ev, &k->reader);
}

void sock_rest(struct sock *k)
{
    deadline_clear(&k->read_limit);
    ev_io_stop(k->loop->ev, &k->reader);
}

static void sock_reader_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct sock *k = io->data;
    (void)ev;
    (void)events;
    k->ops->readable(k, NULL);
}

static void sock_read_limit_cb(struct deadline *d)
{
    struct sock *k = (struct sock *)((char *)d - offsetof(struct sock, read_limit));
    k->ops->readable(k, "timeout");
}

/* --- life --- */

void sock_init(struct sock *k, struct loop *loop, bool datagram, const struct sock_ops *ops)
{
    k->loop = loop;
    k->ops = ops;
    k->fd = -1;
    k->datagram = datagram;
    buf_init(&k->in, SOCK_BUFFER);
    buf_init(&k->out, SOCK_BUFFER);
    ev_io_init(&k->reader, sock_reader_cb, -1, EV_READ);
    ev_io_init(&k->writer, sock_writer_cb, -1, EV_WRITE);
    k->reader.data = k->writer.data = k;
    deadline_init(&k->read_limit, loop, sock_read_limit_cb);
    deadline_init(&k->write_limit, loop, sock_write_limit_cb);
}

int sock_release(struct sock *k)
{
    int fd = k->fd;
    ev_io_stop(k->loop->ev, &k->reader);
    ev_io_stop(k->loop->ev, &k->writer);
    k->fd = -1;
    sock_close(k);
    return fd;
}

void sock_close(struct sock *k)
{
    lookup_cancel(&k->lookup);
    sock_forget_list(k);
    sock_drop_fd(k);
    k->connecting = false;
    deadline_clear(&k->read_limit);
    deadline_clear(&k->write_limit);
    buf_fini(&k->in);
    buf_fini(&k->out);
}

void sock_fini(struct sock *k)
{
    sock_close(k);
    deadline_fini(&k->read_limit);
    deadline_fini(&k->write_limit);
}

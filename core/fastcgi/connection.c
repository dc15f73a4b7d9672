/*
 * connection - see connection.h.
 *
 * One watcher a connection for both directions. It stays armed for reading while the connection is
 * idle too, so a server that closes a kept connection is noticed at once, and taking one into use
 * costs no epoll_ctl.
 */
#include "fastcgi/connection.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define OUT_MAX       (16u << 20) /* of params; a body is written as it goes */
#define OUT_KEEP      16384       /* memory that an idle connection may hold */
#define BACKLOG_RETRY 0.01
#define PATIENCE      0.005 /* seconds in which something of an offer must be read */

const char conn_ended[] = "the connection ended";

/* --- interest --- */

/* Derives what to wait for from the state; epoll is told only of changes. */
static void conn_rearm(struct conn *c)
{
    int events = 0;
    if (c->state == CONN_CONNECTING)
        events = EV_WRITE;
    else if (c->state != CONN_BACKLOG)
        events = (c->paused ? 0 : EV_READ) | (buf_len(&c->out) > 0 && !c->broken ? EV_WRITE : 0);
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(c->loop->ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->loop->ev, &c->io);
}

/* --- ends --- */

static void end_offer(struct conn *c)
{
    c->offered = false;
    loop_undefer(&c->look);
    if (c->watched)
        loop_ignore_progress(c->loop, c->io.fd);
    c->watched = false;
}

void conn_close(struct conn *c)
{
    struct ev_loop *ev = c->loop->ev;
    ev_io_stop(ev, &c->io);
    ev_timer_stop(ev, &c->retry);
    loop_undefer(&c->flush);
    end_offer(c);
    deadline_fini(&c->deadline);
    if (c->io.fd >= 0)
        close(c->io.fd);
    if (c->closed != NULL) /* only now: whoever gets its place may connect at once */
        c->closed(c);
    buf_fini(&c->out);
    free(c);
}

void conn_reset(struct conn *c)
{
    if (c->addr->sa.sa_family != AF_UNIX)
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    conn_close(c);
}

static void conn_fail(struct conn *c, enum backend_error error, const char *detail)
{
    const struct conn_ops *ops = c->ops;
    void *user = c->user;
    uint64_t written = c->written;
    conn_close(c);
    ops->on_fail(user, error, detail, written);
}

static bool connect_to_other(struct conn *c, int err);

static void conn_lose(struct conn *c, bool ended)
{
    end_offer(c);
    c->ops->on_lost(c->user, ended);
}

/* The connection has ended, or is of no use. */
static void conn_end(struct conn *c, const char *detail)
{
    c->ended = true;
    if (c->reused && (c->offered || c->written == 0))
        conn_lose(c, true);
    else
        conn_fail(c, BACKEND_CLOSED, detail);
}

static void take_stock(struct conn *c);

static void conn_missed_cb(struct deadline *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, deadline));
    if (c->offered)
        take_stock(c);
    else if (c->state == CONN_IDLE || c->state == CONN_LEFT)
        conn_close(c);
    else if (c->state == CONN_OPEN)
        conn_fail(c, BACKEND_TIMEOUT, c->deadline_detail);
    else if (c->state == CONN_BACKLOG)
        conn_fail(c, BACKEND_QUEUE,
                  "its listen queue stayed full for queue_timeout (all of its "
                  "processes are busy)");
    else if (!connect_to_other(c, ETIMEDOUT))
        conn_fail(c, BACKEND_CONNECT, "no connection within connect_timeout");
}

bool conn_is_fit(const struct conn *c)
{
    return c->state == CONN_OPEN && !c->broken && buf_len(&c->out) == 0;
}

void conn_idle(struct conn *c, double seconds)
{
    if (c->out.cap > OUT_KEEP)
        buf_fini(&c->out);
    c->state = CONN_IDLE;
    c->idle_since = ev_now(c->loop->ev);
    c->user = NULL;
    c->paused = false;
    c->read_max = LOOP_READ_SIZE;
    deadline_set(&c->deadline, seconds);
    conn_rearm(c);
}

bool conn_has_rested(const struct conn *c, double seconds)
{
    char byte;
    return c->state == CONN_IDLE && ev_now(c->loop->ev) - c->idle_since >= seconds &&
           recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool conn_leave(struct conn *c)
{
    if (c->state != CONN_OPEN || c->written == 0 || c->broken)
        return false;
    loop_undefer(&c->flush);
    buf_fini(&c->out);
    c->state = CONN_LEFT;
    c->user = NULL;
    c->paused = false;
    shutdown(c->io.fd, SHUT_WR);
    conn_rearm(c);
    return true;
}

void conn_use(struct conn *c, const struct conn_ops *ops, void *user)
{
    if (c->state == CONN_IDLE) {
        c->state = CONN_OPEN;
        deadline_clear(&c->deadline);
    }
    c->reused = c->requests > 0;
    c->requests++;
    c->ops = ops;
    c->user = user;
    c->written = 0;
    c->paused = false;
    c->read_max = LOOP_READ_SIZE;
    conn_rearm(c);
}

/* --- bytes --- */

static void conn_readable(struct conn *c)
{
    struct loop *loop = c->loop;
    ssize_t n = read(c->io.fd, loop->in, c->read_max);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c->state == CONN_IDLE || c->state == CONN_LEFT) { /* the end, or bytes nobody wants */
        c->ended = n <= 0;
        conn_close(c);
        return;
    }
    if (n > 0 && c->written == 0)
        conn_end(c, "it sent bytes that nobody had asked for");
    else if (n > 0)
        c->ops->on_bytes(c->user, loop->in, (size_t)n);
    else
        conn_end(c, n < 0 ? strerror(errno) : conn_ended);
}

static void write_failed(struct conn *c)
{
    c->broken = true;
    buf_fini(&c->out);
}

static void conn_writable(struct conn *c)
{
    conn_write(c, NULL, 0);
    if (c->offered)
        loop_defer(c->loop, &c->look);
    else if (buf_len(&c->out) == 0 && !c->broken)
        c->ops->on_drain(c->user);
}

/* Takes `done` bytes off the front of the slices. */
static void conn_advance(struct iovec **v, int *count, size_t done)
{
    while (*count > 0 && done >= (*v)->iov_len) {
        done -= (*v)->iov_len;
        (*v)++;
        (*count)--;
    }
    if (*count > 0) {
        (*v)->iov_base = (char *)(*v)->iov_base + done;
        (*v)->iov_len -= done;
    }
}

void conn_write(struct conn *c, const struct iovec *slices, int count)
{
    struct iovec list[40], *v = list;
    struct str waiting = buf_peek(&c->out);
    int n = 0;
    if (c->broken || c->state != CONN_OPEN || count > 38)
        return;
    if (waiting.n > 0)
        list[n++] = (struct iovec){(char *)waiting.p, waiting.n};
    for (int i = 0; i < count; i++)
        list[n++] = slices[i];
    if (n == 0)
        return;
    ssize_t done = n == 1 ? write(c->io.fd, v->iov_base, v->iov_len) : writev(c->io.fd, v, n);
    if (done < 0 && errno != EAGAIN && errno != EINTR) {
        write_failed(c);
        conn_rearm(c);
        return;
    }
    size_t put = done > 0 ? (size_t)done : 0;
    c->written += put;
    conn_advance(&v, &n, put);
    if (waiting.n > 0) {
        bool all = put >= waiting.n;
        buf_consume(&c->out, all ? waiting.n : put);
        if (!all) { /* what waited goes first, and it is in c->out already */
            v++;
            n--;
        }
    }
    for (; n > 0; v++, n--)
        buf_append(&c->out, v->iov_base, v->iov_len);
    conn_rearm(c);
}

static void conn_flush_cb(struct deferred *d)
{
    conn_write((struct conn *)((char *)d - offsetof(struct conn, flush)), NULL, 0);
}

void conn_write_soon(struct conn *c)
{
    loop_defer(c->loop, &c->flush);
}

static void conn_opened(struct conn *c)
{
    if (c->place->count > 1)
        c->place->first = c->addr == &c->place->list[1];
    deadline_clear(&c->deadline);
    conn_rearm(c);
    c->ops->on_open(c->user);
}

/* All of its addresses have failed, the last one so. */
static void fail_to_connect(struct conn *c, int err)
{
    char detail[160];
    if (c->refused == 0 || c->refused == err) {
        conn_fail(c, BACKEND_CONNECT, strerror(err));
        return;
    }
    snprintf(detail, sizeof detail, "%s; the name's other address: %s", strerror(c->refused),
             strerror(err));
    conn_fail(c, BACKEND_CONNECT, detail);
}

/* --- offers --- */

/* How much of what was written the other side has not read, with what the kernel needs to keep it.
 * A piece that its reader is just giving back counts 1. */
static size_t unread_of(struct conn *c)
{
    int queued = 0;
    if (ioctl(c->io.fd, SIOCOUTQ, &queued) < 0)
        return SIZE_MAX;
    return buf_len(&c->out) + (queued > 1 ? (size_t)queued : 0);
}

/* All has been read, or thrown away by a close: that can be seen before the queue is empty, so the
 * look at the end comes second. Where bytes have come they are for `readable`. What could not be
 * written will not be read, even where only that side of the connection has ended. */
static void look_at_end(struct conn *c)
{
    char byte;
    ssize_t n = recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0)
        return;
    if (n == 0 || errno != EAGAIN || c->broken) {
        conn_lose(c, true);
        return;
    }
    end_offer(c);
    deadline_clear(&c->deadline);
    c->ops->on_taken(c->user);
}

static void look_cb(struct deferred *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, look));
    size_t unread = c->broken ? 0 : unread_of(c);
    if (unread == 0) {
        look_at_end(c);
        return;
    }
    if (c->watched)
        return;
    c->unread = unread;
    c->watched = loop_watch_progress(c->loop, c->io.fd, &c->look);
    deadline_set(&c->deadline, PATIENCE);
}

/* Some time has passed: is the offer being read at all? */
static void take_stock(struct conn *c)
{
    size_t unread = unread_of(c);
    if (unread == 0) {
        deadline_set(&c->deadline, PATIENCE);
        look_at_end(c);
    } else if (unread < c->unread) {
        c->unread = unread;
        deadline_set(&c->deadline, PATIENCE);
    } else {
        conn_lose(c, false);
    }
}

bool conn_can_offer(const struct conn *c)
{
    return c->addr->sa.sa_family == AF_UNIX;
}

void conn_offer(struct conn *c)
{
    c->offered = true;
    conn_write(c, NULL, 0);
    loop_defer(c->loop, &c->look); /* at the end of the turn it may have been read already */
}

static void finish_connect(struct conn *c)
{
    int err = 0;
    socklen_t size = sizeof err;
    if (getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
        err = errno;
    if (err == 0) {
        c->state = CONN_OPEN;
        conn_opened(c);
    } else if (!connect_to_other(c, err)) {
        fail_to_connect(c, err);
    }
}

static void conn_io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct conn *c = io->data;
    (void)ev;
    if (c->state == CONN_CONNECTING) {
        finish_connect(c);
        return;
    }
    /* Reading first: an answer may have come although writing fails. It may end the connection, so
     * a write waits for the next turn, which comes at once. */
    if (events & EV_READ)
        conn_readable(c);
    else if (events & EV_WRITE)
        conn_writable(c);
}

/* --- connecting --- */

/* One try. Returns 0 or an errno; EAGAIN and EINPROGRESS leave the connection in their state. */
static int try_connect(struct conn *c, const struct addr *addr)
{
    if (connect(c->io.fd, &addr->sa, addr->len) == 0) {
        c->state = CONN_OPEN;
        return 0;
    }
    if (errno == EINPROGRESS) {
        c->state = CONN_CONNECTING;
        return 0;
    }
    if (errno == EAGAIN && addr->sa.sa_family == AF_UNIX) {
        c->state = CONN_BACKLOG;
        return 0;
    }
    return errno;
}

static void retry_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct conn *c = timer->data;
    (void)events;
    int err = try_connect(c, c->addr);
    if (err != 0) {
        conn_fail(c, BACKEND_CONNECT, strerror(err));
        return;
    }
    if (c->state == CONN_BACKLOG) {
        ev_timer_set(timer, BACKLOG_RETRY, 0);
        ev_timer_start(ev, timer);
        return;
    }
    conn_rearm(c);
    if (c->state == CONN_OPEN) {
        deadline_clear(&c->deadline);
        c->ops->on_open(c->user);
    }
}

/* A socket for the address at hand, connecting. Returns 0 or an errno. */
static int conn_begin(struct conn *c)
{
    int family = c->addr->sa.sa_family;
    c->io.fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->io.fd < 0)
        return errno;
    if (family != AF_UNIX)
        setsockopt(c->io.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    int err = try_connect(c, c->addr);
    if (err == 0 && c->state == CONN_CONNECTING) { /* a part of the time for each that is left */
        double left = c->patience - ev_now(c->loop->ev);
        unsigned addresses = c->place->count > c->tries ? c->place->count - c->tries : 1;
        deadline_set(&c->deadline, left > 0.001 ? left / addresses : 0.001);
    }
    return err;
}

/* The next address of the place, after one that has failed. False: there is none. */
static bool take_next(struct conn *c, int err)
{
    if (c->tries + 1 >= c->place->count)
        return false;
    if (c->refused == 0)
        c->refused = err;
    c->tries++;
    c->addr = &c->place->list[(c->begun + c->tries) % c->place->count];
    ev_io_stop(c->loop->ev, &c->io);
    if (c->io.fd >= 0)
        close(c->io.fd);
    return true;
}

/* Begins anew, after one that has failed so: true, and whoever waits may have been called. */
static bool connect_to_other(struct conn *c, int err)
{
    if (!take_next(c, err))
        return false;
    err = conn_begin(c);
    if (err != 0)
        fail_to_connect(c, err);
    else if (c->state == CONN_OPEN)
        conn_opened(c);
    else
        conn_rearm(c);
    return true;
}

struct conn *conn_new(struct loop *loop, const struct conn_target *target)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->loop = loop;
    c->place = target->place;
    c->begun = c->place->first;
    c->addr = &c->place->list[c->begun];
    c->patience = ev_now(loop->ev) + target->connect_timeout;
    c->read_max = LOOP_READ_SIZE;
    buf_init(&c->out, OUT_MAX);
    ev_io_init(&c->io, conn_io_cb, -1, 0);
    c->io.data = c;
    c->flush.run = conn_flush_cb;
    c->look.run = look_cb;
    ev_timer_init(&c->retry, retry_cb, BACKLOG_RETRY, 0);
    c->retry.data = c;
    deadline_init(&c->deadline, loop, conn_missed_cb);
    int err = conn_begin(c);
    if (err != 0 && take_next(c, err))
        err = conn_begin(c);
    if (err != 0) {
        conn_close(c);
        errno = err;
        return NULL;
    }
    if (c->state == CONN_BACKLOG) {
        deadline_set(&c->deadline, target->backlog_timeout > 0 ? target->backlog_timeout : 0.001);
        ev_timer_start(loop->ev, &c->retry);
    }
    return c;
}

struct buf *conn_out(struct conn *c)
{
    return &c->out;
}

bool conn_is_drained(const struct conn *c)
{
    return buf_len(&c->out) == 0 && !c->broken;
}

void conn_pause(struct conn *c, bool paused)
{
    c->paused = paused;
    conn_rearm(c);
}

void conn_read_max(struct conn *c, size_t bytes)
{
    c->read_max = bytes < LOOP_READ_SIZE ? bytes : LOOP_READ_SIZE;
}

void conn_deadline(struct conn *c, double seconds, const char *detail)
{
    c->deadline_detail = detail;
    deadline_set(&c->deadline, seconds);
}

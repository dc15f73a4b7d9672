/*
 * backend - see backend.h.
 *
 * One watcher a connection for both directions. It stays armed for reading while the connection is
 * idle too, so a server that closes a kept connection is noticed at once, and taking one into use
 * costs no epoll_ctl.
 */
#include "backend.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_MAX       (16u << 20) /* of params; a body is written as it goes */
#define OUT_KEEP      16384       /* memory that an idle connection may hold */
#define BACKLOG_RETRY 0.01

struct server {
    const struct server_settings *settings;
    struct conn *idle; /* kept connections, the latest first: it is the warmest */
    unsigned idle_count;
};

struct backend {
    const struct backend_settings *settings;
    struct loop *loop;
    unsigned turn;
    unsigned keep; /* this worker's share of settings->keepalive, for each server */
    struct server servers[];
};

enum conn_state {
    CONN_BACKLOG, /* the unix socket's queue was full; the next try is due soon */
    CONN_CONNECTING,
    CONN_OPEN,
    CONN_IDLE,
};

struct conn {
    ev_io io;
    ev_timer retry;        /* CONN_BACKLOG */
    struct deferred flush; /* what waits in `out` is written at the end of the turn */
    struct deadline deadline;
    const char *deadline_detail;
    struct backend *backend;
    struct server *server;
    struct conn *next;
    const struct conn_ops *ops;
    void *user;
    struct buf out;
    uint64_t written;
    unsigned requests;
    enum conn_state state;
    bool paused;
    bool broken; /* writing failed; reading goes on to its end */
};

const char *backend_error_name(enum backend_error error)
{
    switch (error) {
    case BACKEND_CONNECT:
        return "connect";
    case BACKEND_TIMEOUT:
        return "timeout";
    case BACKEND_CLOSED:
        return "closed";
    case BACKEND_PROTOCOL:
        return "protocol";
    case BACKEND_BUSY:
        return "busy";
    }
    return "?";
}

/* --- the group --- */

struct backend *backend_new(const struct backend_settings *settings, struct loop *loop)
{
    struct backend *b = calloc(1, sizeof *b + settings->server_count * sizeof(struct server));
    if (b == NULL)
        abort();
    b->settings = settings;
    b->loop = loop;
    /* Until the workers share one ledger, each keeps its part, and at least one. */
    b->keep = settings->keepalive / loop->workers;
    if (b->keep == 0 && settings->keepalive > 0)
        b->keep = 1;
    for (unsigned i = 0; i < settings->server_count; i++)
        b->servers[i].settings = &settings->servers[i];
    return b;
}

void backend_free(struct backend *b)
{
    for (unsigned i = 0; i < b->settings->server_count; i++)
        while (b->servers[i].idle != NULL)
            conn_close(b->servers[i].idle);
    free(b);
}

const struct backend_settings *backend_settings(const struct backend *b)
{
    return b->settings;
}

int backend_pick(struct backend *b, struct str address, int after)
{
    unsigned count = b->settings->server_count;
    if (address.n > 0) {
        for (unsigned i = 0; i < count; i++)
            if (str_eq(b->settings->servers[i].address, address))
                return (int)i;
        return -1;
    }
    if (after >= 0)
        return (int)(((unsigned)after + 1) % count);
    return (int)(b->turn++ % count);
}

struct str backend_address(const struct backend *b, int server)
{
    return b->settings->servers[server].address;
}

/* --- interest --- */

/* Derives what to wait for from the state; epoll is told only of changes. */
static void rearm(struct conn *c)
{
    int events = 0;
    if (c->state == CONN_CONNECTING)
        events = EV_WRITE;
    else if (c->state != CONN_BACKLOG)
        events = (c->paused ? 0 : EV_READ) | (buf_len(&c->out) > 0 && !c->broken ? EV_WRITE : 0);
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(c->backend->loop->ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->backend->loop->ev, &c->io);
}

/* --- ends --- */

static void unlink_idle(struct conn *c)
{
    struct conn **at = &c->server->idle;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    c->server->idle_count--;
}

void conn_close(struct conn *c)
{
    struct ev_loop *ev = c->backend->loop->ev;
    if (c->state == CONN_IDLE)
        unlink_idle(c);
    ev_io_stop(ev, &c->io);
    ev_timer_stop(ev, &c->retry);
    loop_undefer(c->backend->loop, &c->flush);
    deadline_fini(&c->deadline);
    if (c->io.fd >= 0)
        close(c->io.fd);
    buf_fini(&c->out);
    free(c);
}

static void fail(struct conn *c, enum backend_error error, const char *detail)
{
    const struct conn_ops *ops = c->ops;
    void *user = c->user;
    uint64_t written = c->written;
    conn_close(c);
    ops->on_fail(user, error, detail, written);
}

static void missed_cb(struct deadline *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, deadline));
    if (c->state == CONN_IDLE)
        conn_close(c);
    else if (c->state == CONN_OPEN)
        fail(c, BACKEND_TIMEOUT, c->deadline_detail);
    else if (c->state == CONN_BACKLOG)
        fail(c, BACKEND_CONNECT, "its listen queue stayed full (all of its processes are busy)");
    else
        fail(c, BACKEND_CONNECT, "no connection within connect_timeout");
}

void conn_release(struct conn *c)
{
    const struct backend_settings *settings = c->backend->settings;
    if (c->broken || buf_len(&c->out) > 0 || c->server->idle_count >= c->backend->keep ||
        c->requests >= settings->keepalive_requests) {
        conn_close(c);
        return;
    }
    if (c->out.cap > OUT_KEEP)
        buf_fini(&c->out);
    c->state = CONN_IDLE;
    c->user = NULL;
    c->paused = false;
    c->next = c->server->idle;
    c->server->idle = c;
    c->server->idle_count++;
    deadline_set(&c->deadline, settings->keepalive_idle);
    rearm(c);
}

/* --- bytes --- */

static void readable(struct conn *c)
{
    struct loop *loop = c->backend->loop;
    ssize_t n = read(c->io.fd, loop->in, LOOP_READ_SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c->state == CONN_IDLE) { /* the end, or bytes that nobody asked for */
        conn_close(c);
        return;
    }
    if (n > 0 && c->written == 0)
        fail(c, BACKEND_CLOSED, "it sent bytes that nobody had asked for");
    else if (n > 0)
        c->ops->on_bytes(c->user, loop->in, (size_t)n);
    else
        fail(c, BACKEND_CLOSED, n < 0 ? strerror(errno) : "the connection ended");
}

static void write_failed(struct conn *c)
{
    c->broken = true;
    buf_fini(&c->out);
}

static void writable(struct conn *c)
{
    conn_write(c, NULL, 0);
    if (buf_len(&c->out) == 0 && !c->broken)
        c->ops->on_drain(c->user);
}

/* Takes `done` bytes off the front of the slices. */
static void advance(struct iovec **v, int *count, size_t done)
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
        rearm(c);
        return;
    }
    size_t put = done > 0 ? (size_t)done : 0;
    c->written += put;
    advance(&v, &n, put);
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
    rearm(c);
}

static void flush_cb(struct deferred *d)
{
    conn_write((struct conn *)((char *)d - offsetof(struct conn, flush)), NULL, 0);
}

void conn_write_soon(struct conn *c)
{
    loop_defer(c->backend->loop, &c->flush);
}

static void finish_connect(struct conn *c)
{
    int err = 0;
    socklen_t size = sizeof err;
    if (getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
        err = errno;
    if (err != 0) {
        fail(c, BACKEND_CONNECT, strerror(err));
        return;
    }
    c->state = CONN_OPEN;
    deadline_clear(&c->deadline);
    rearm(c);
    c->ops->on_open(c->user);
}

static void io_cb(struct ev_loop *ev, ev_io *io, int events)
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
        readable(c);
    else if (events & EV_WRITE)
        writable(c);
}

/* --- connecting --- */

/* One try. Returns 0 or an errno; EAGAIN and EINPROGRESS leave the connection in their state. */
static int try_connect(struct conn *c)
{
    const struct addr *addr = &c->server->settings->addr;
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
    int err = try_connect(c);
    if (err != 0) {
        fail(c, BACKEND_CONNECT, strerror(err));
        return;
    }
    if (c->state == CONN_BACKLOG) {
        ev_timer_set(timer, BACKLOG_RETRY, 0);
        ev_timer_start(ev, timer);
        return;
    }
    rearm(c);
    if (c->state == CONN_OPEN) {
        deadline_clear(&c->deadline);
        c->ops->on_open(c->user);
    }
}

static struct conn *conn_new(struct backend *b, struct server *server)
{
    int family = server->settings->addr.sa.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    if (family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->backend = b;
    c->server = server;
    buf_init(&c->out, OUT_MAX);
    ev_io_init(&c->io, io_cb, fd, 0);
    c->io.data = c;
    c->flush.run = flush_cb;
    ev_timer_init(&c->retry, retry_cb, BACKLOG_RETRY, 0);
    c->retry.data = c;
    deadline_init(&c->deadline, b->loop, missed_cb);
    return c;
}

static struct conn *connect_new(struct backend *b, const struct acquire *acquire)
{
    struct conn *c = conn_new(b, &b->servers[acquire->server]);
    if (c == NULL)
        return NULL;
    int err = try_connect(c);
    if (err != 0) {
        conn_close(c);
        errno = err;
        return NULL;
    }
    if (c->state == CONN_CONNECTING)
        deadline_set(&c->deadline, acquire->connect_timeout);
    if (c->state == CONN_BACKLOG) {
        deadline_set(&c->deadline, b->settings->queue_timeout);
        ev_timer_start(b->loop->ev, &c->retry);
    }
    return c;
}

static struct conn *take_idle(struct server *server)
{
    struct conn *c = server->idle;
    if (c == NULL)
        return NULL;
    server->idle = c->next;
    server->idle_count--;
    c->state = CONN_OPEN;
    deadline_clear(&c->deadline);
    return c;
}

struct conn *backend_acquire(struct backend *b, const struct acquire *acquire)
{
    struct conn *c = acquire->fresh ? NULL : take_idle(&b->servers[acquire->server]);
    if (c == NULL)
        c = connect_new(b, acquire);
    if (c == NULL)
        return NULL;
    c->ops = acquire->ops;
    c->user = acquire->user;
    c->written = 0;
    c->requests++;
    rearm(c);
    return c;
}

bool conn_is_open(const struct conn *c)
{
    return c->state == CONN_OPEN;
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
    rearm(c);
}

void conn_deadline(struct conn *c, double seconds, const char *detail)
{
    c->deadline_detail = detail;
    deadline_set(&c->deadline, seconds);
}

/*
 * connection - see connection.h. This file: its life, what it waits for, its bytes.
 *
 * One watcher a connection for both directions. It stays armed for reading while the connection is
 * idle too, so a server that closes a kept connection is noticed at once, and taking one into use
 * costs no epoll_ctl.
 */
#include "fastcgi/connection_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_MAX      (17u << 20) /* STREAM_PARAMS_MAX in records; a body is written as it goes */
#define OUT_MAX_EACH (1u << 20)  /* and of each request that shares the connection */
#define OUT_KEEP     16384       /* memory that an idle connection may hold */

const char conn_ended[] = "the connection ended";

/* --- interest --- */

/* An open connection is read for its requests, unless one of them can't take more; one that is idle
 * or left is read to see it end. */
static bool conn_reads(const struct conn *c)
{
    return c->state != CONN_OPEN || (c->active > 0 && c->paused == 0);
}

static bool conn_writes(const struct conn *c)
{
    return (buf_len(&c->out) > 0 || c->hungry) && !c->broken;
}

void conn_rearm(struct conn *c)
{
    int events = 0;
    if (c->state == CONN_CONNECTING)
        events = EV_WRITE;
    else if (c->state != CONN_BACKLOG)
        events = (conn_reads(c) ? EV_READ : 0) | (conn_writes(c) ? EV_WRITE : 0);
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(c->loop->ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->loop->ev, &c->io);
}

/* --- ends --- */

/* All of a close but that the memory goes. */
static void conn_shut(struct conn *c)
{
    struct ev_loop *ev = c->loop->ev;
    ev_io_stop(ev, &c->io);
    ev_timer_stop(ev, &c->retry);
    loop_undefer(&c->flush);
    conn_end_offer(c);
    deadline_fini(&c->deadline);
    for (unsigned i = 0; i < c->room; i++)
        deadline_fini(&c->channels[i].deadline);
    if (c->io.fd >= 0)
        close(c->io.fd);
    if (c->closed != NULL) /* only now: another request may connect in its place at once */
        c->closed(c);
    c->state = CONN_CLOSED;
    buf_fini(&c->out);
}

/* The memory of a closed connection that calls its channels, or that one of them still holds, goes
 * when the last of them returns or has released it. */
static void conn_free(struct conn *c)
{
    if (c->calling == 0 && c->active == 0)
        free(c);
}

void conn_call(struct conn *c)
{
    c->calling++;
}

void conn_called(struct conn *c)
{
    c->calling--;
    if (c->state == CONN_CLOSED)
        conn_free(c);
}

void conn_close(struct conn *c)
{
    conn_shut(c);
    for (unsigned i = 0; i < c->room; i++)
        c->channels[i].state = CHANNEL_FREE;
    c->active = 0;
    conn_free(c);
}

void conn_reset(struct conn *c)
{
    if (c->addr->sa.sa_family != AF_UNIX)
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    conn_close(c);
}

void conn_fail(struct conn *c, enum backend_error error, const char *detail)
{
    conn_shut(c);
    conn_tell_failed(c, error, detail);
}

void conn_break(struct conn *c, enum backend_error error, const char *detail)
{
    const struct channel *ch = conn_sole(c);
    c->ended = true;
    if (ch != NULL && ch->reused && (c->offered || channel_written(ch) == 0))
        conn_lose(c, true);
    else
        conn_fail(c, error, detail);
}

static void conn_missed_cb(struct deadline *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, deadline));
    if (c->offered)
        conn_check_progress(c);
    else if (c->state == CONN_IDLE)
        conn_close(c);
    else if (c->state == CONN_BACKLOG)
        conn_fail(c, BACKEND_QUEUE,
                  "its listen queue stayed full for queue_timeout (all of its "
                  "processes are busy)");
    else if (!conn_try_other(c, ETIMEDOUT))
        conn_fail(c, BACKEND_CONNECT, "no connection within connect_timeout");
}

void conn_idle(struct conn *c, double seconds)
{
    if (c->out.cap > OUT_KEEP)
        buf_fini(&c->out);
    c->state = CONN_IDLE;
    c->idle_since = ev_now(c->loop->ev);
    deadline_set(&c->deadline, seconds);
    conn_rearm(c);
}

bool conn_has_rested(const struct conn *c, double seconds)
{
    char byte;
    return c->state == CONN_IDLE && ev_now(c->loop->ev) - c->idle_since >= seconds &&
           recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* --- bytes in --- */

/* Bytes of the answers. */
static void conn_decode(struct conn *c, const char *bytes, size_t n)
{
    size_t used;
    c->aside = 0;
    const char *err = fcgi_feed(&c->decoder, bytes, n, &used, conn_record, c);
    if (err == NULL && c->foreign)
        err = "a record of a request that was never made, or is over";
    if (err != NULL) { /* of several requests nobody knows whose fault it is */
        conn_break(c, c->active > 1 ? BACKEND_CLOSED : BACKEND_PROTOCOL, err);
        return;
    }
    c->excess = used < n;
    conn_end_read(c, n);
}

static void conn_readable(struct conn *c)
{
    struct loop *loop = c->loop;
    ssize_t n = read(c->io.fd, loop->in, c->read_max);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (c->state != CONN_OPEN) { /* idle or left: the end, or bytes of no use */
        c->ended = n <= 0;
        conn_close(c);
        return;
    }
    const struct channel *ch = conn_sole(c);
    c->read_at = ev_now(loop->ev);
    if (n > 0 && c->written == c->quiet)
        conn_break(c, BACKEND_CLOSED, "it sent bytes that nobody had asked for");
    else if (n <= 0)
        conn_break(c, BACKEND_CLOSED, n < 0 ? strerror(errno) : conn_ended);
    else if (ch != NULL && ch->ops->on_bytes != NULL)
        ch->ops->on_bytes(ch->user, loop->in, (size_t)n);
    else
        conn_decode(c, loop->in, (size_t)n);
}

/* --- bytes out --- */

static void conn_write_failed(struct conn *c)
{
    c->broken = true;
    buf_fini(&c->out);
}

/* Removes `done` bytes from the front of the slices. */
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
    if ((done < 0 && errno != EAGAIN && errno != EINTR) || c->out.overflow) {
        conn_write_failed(c);
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

/* What waited has been written. */
static void conn_drained(struct conn *c)
{
    if (c->state == CONN_OPEN && buf_len(&c->out) == 0 && !c->broken)
        conn_tell_drained(c);
}

static void conn_writable(struct conn *c)
{
    conn_write(c, NULL, 0);
    if (c->offered)
        loop_defer(c->loop, &c->look);
    else
        conn_drained(c);
}

static void conn_flush_cb(struct deferred *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, flush));
    conn_write(c, NULL, 0);
    if (conn_is_shared(c))
        conn_drained(c);
}

static void conn_io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct conn *c = io->data;
    struct loop *loop = c->loop;
    (void)ev;
    /* Reading first: an answer may have come although writing fails. It may end the connection, so
     * a write waits for the next turn, which comes at once. */
    if (c->state == CONN_CONNECTING)
        conn_finish_connect(c);
    else if (c->state == CONN_OPEN &&
             c->active == 0) /* what comes is for the next request to read */
        conn_rearm(c);
    else if (events & EV_READ) {
        if ((events & EV_WRITE) && conn_is_shared(c)) /* there may be something to read in each */
            loop_defer(loop, &c->flush);
        conn_readable(c);
    } else if (events & EV_WRITE)
        conn_writable(c);
    loop_run_steps(loop); /* whoever looks at what has been read does it while it is there */
}

/* --- life --- */

struct conn *conn_new(struct loop *loop, const struct conn_target *target)
{
    unsigned room = target->channels > 0 ? target->channels : 1;
    struct conn *c = calloc(1, sizeof *c + room * sizeof c->channels[0]);
    if (c == NULL)
        abort();
    c->loop = loop;
    buf_init(&c->out, room > 1 ? OUT_MAX + room * OUT_MAX_EACH : OUT_MAX);
    ev_io_init(&c->io, conn_io_cb, -1, 0);
    c->io.data = c;
    c->flush.run = conn_flush_cb;
    conn_init_offer(c);
    deadline_init(&c->deadline, loop, conn_missed_cb);
    fcgi_decoder_init(&c->decoder);
    c->room = room;
    c->read_max = LOOP_READ_SIZE;
    for (unsigned i = 0; i < room; i++)
        channel_init(&c->channels[i], c, (uint16_t)(i + 1));
    int err = conn_dial(c, target);
    if (err != 0) {
        conn_close(c);
        errno = err;
        return NULL;
    }
    return c;
}

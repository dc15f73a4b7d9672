/*
 * connection - see connection.h. This file has the connection's socket: the events that it watches,
 * bytes out, its close.
 *
 * A connection has one watcher for both directions. The watcher stays armed for reading while the
 * connection is idle, so that a close by the server is noticed at once, and a request that begins
 * on the connection costs no epoll_ctl.
 */
#include "fastcgi/connection_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define OUT_KEEP 16384 /* bytes of `out` that an idle connection may keep allocated */

/* --- interest --- */

void conn_rearm(struct conn *c)
{
    /* an open connection is read for its requests, unless one of them is paused; an idle or left
     * one so that its end is noticed */
    bool reads = c->state != CONN_OPEN || (c->active > 0 && c->paused == 0);
    bool writes = (buf_len(&c->out) > 0 || c->hungry) && !c->broken;
    int events = 0;
    if (c->state == CONN_CONNECTING)
        events = EV_WRITE;
    else if (c->state != CONN_BACKLOG)
        events = (reads ? EV_READ : 0) | (writes ? EV_WRITE : 0);
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(c->loop->ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->loop->ev, &c->io);
}

/* --- ends --- */

void conn_end_offer(struct conn *c)
{
    c->offered = c->unsaid = false;
    loop_undefer(&c->look);
    if (c->watched)
        loop_ignore_progress(c->loop, c->io.fd);
    c->watched = false;
}

void conn_shut(struct conn *c)
{
    struct ev_loop *ev = c->loop->ev;
    ev_io_stop(ev, &c->io);
    ev_timer_stop(ev, &c->retry);
    loop_undefer(&c->arrival);
    loop_undefer(&c->flush);
    conn_end_offer(c);
    deadline_fini(&c->deadline);
    for (unsigned i = 0; i < c->room; i++)
        deadline_fini(&c->channels[i].deadline);
    if (c->io.fd >= 0)
        close(c->io.fd);
    if (c->closed != NULL) /* after the close, since the owner may connect again at once */
        c->closed(c);
    c->state = CONN_CLOSED;
    buf_fini(&c->out);
}

/* Frees the memory of a closed connection, unless it is calling its channels or a holder has not
 * released one: the last return or release calls this again. */
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

void conn_idle(struct conn *c, double seconds)
{
    if (c->out.cap > OUT_KEEP)
        buf_fini(&c->out);
    c->state = CONN_IDLE;
    c->idle_since = loop_now(c->loop);
    deadline_set(&c->deadline, seconds);
    conn_rearm(c);
}

bool conn_has_rested(const struct conn *c, double seconds)
{
    char byte;
    return c->state == CONN_IDLE && loop_now(c->loop) - c->idle_since >= seconds &&
           recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
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

/*
 * offer - see connection.h. This file sends the first part of a request that can't be sent twice,
 * on a kept connection which the server may be closing at that moment.
 */
#include "fastcgi/connection_inner.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define PATIENCE 0.005 /* seconds in which something of an offer must be read */

void conn_lose(struct conn *c, bool ended)
{
    struct channel *ch = conn_sole(c);
    conn_end_offer(c);
    ch->ops->on_lost(ch->user, ended);
}

/* The written bytes that the other side has not read, in the kernel's accounting. A piece that the
 * reader is just freeing counts 1. */
static size_t conn_unread(struct conn *c)
{
    int queued = 0;
    if (ioctl(c->io.fd, SIOCOUTQ, &queued) < 0)
        return SIZE_MAX;
    return buf_len(&c->out) + (queued > 1 ? (size_t)queued : 0);
}

/* Called when the queue is empty: the bytes were read, or dropped by a close. A close can be seen
 * before it empties the queue, so the end of the connection is checked after the queue. Bytes that
 * have come are left to conn_readable. Bytes that could not be written will not be read, even if
 * only that direction of the connection has ended. */
static void conn_look_at_end(struct conn *c)
{
    char byte;
    ssize_t n = recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0)
        return;
    if (n == 0 || errno != EAGAIN || c->broken) {
        conn_lose(c, true);
        return;
    }
    struct channel *ch = conn_sole(c);
    conn_end_offer(c);
    deadline_clear(&c->deadline);
    ch->ops->on_taken(ch->user);
}

static void conn_look(struct conn *c)
{
    size_t unread = c->broken ? 0 : conn_unread(c);
    if (unread == 0) {
        conn_look_at_end(c);
        return;
    }
    if (c->watched)
        return;
    c->unread = unread;
    c->watched = loop_watch_progress(c->loop, c->io.fd, &c->look);
    deadline_set(&c->deadline, PATIENCE);
}

/* At the end of the turn the offer is written together with what other connections write, so that
 * its server wakes once for all of them. It has the next turn, before which the loop does not
 * sleep, to read it. */
static void conn_look_cb(struct deferred *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, look));
    if (!c->unsaid) {
        conn_look(c);
        return;
    }
    c->unsaid = false;
    conn_write(c, NULL, 0);
    loop_defer(c->loop, &c->look);
}

void conn_check_progress(struct conn *c)
{
    size_t unread = conn_unread(c);
    if (unread == 0) {
        deadline_set(&c->deadline, PATIENCE);
        conn_look_at_end(c);
    } else if (unread < c->unread) {
        c->unread = unread;
        deadline_set(&c->deadline, PATIENCE);
    } else {
        conn_lose(c, false);
    }
}

void conn_init_offer(struct conn *c)
{
    c->look.run = conn_look_cb;
}

bool conn_can_offer(const struct conn *c)
{
    return c->addr->sa.sa_family == AF_UNIX && !conn_is_shared(c);
}

void channel_offer(struct channel *ch)
{
    struct conn *c = ch->conn;
    c->offered = c->unsaid = true;
    loop_defer(c->loop, &c->look);
}

/*
 * dial - see connection.h. This file makes connections: it tries the addresses of the server's
 * place in turn, and waits while the listen queue is full.
 */
#include "fastcgi/connection_inner.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG_RETRY 0.01

static void conn_opened(struct conn *c)
{
    if (c->place->count > 1)
        c->place->first = c->addr == &c->place->list[1];
    deadline_clear(&c->deadline);
    conn_rearm(c);
    conn_tell_opened(c);
}

/* Fails the connection: all of its addresses have failed, the last one with `err`. */
static void conn_fail_to_connect(struct conn *c, int err)
{
    struct conn_place *place = c->place;
    if (c->refused == 0 || c->refused == err) {
        conn_fail(c, FAILURE_CONNECT, conn_error_text(err));
        return;
    }
    snprintf(place->failure, sizeof place->failure, "%s; the name's other address: %s",
             strerror(c->refused), strerror(err));
    conn_fail(c, FAILURE_CONNECT, place->failure);
}

void conn_finish_connect(struct conn *c)
{
    int err = 0;
    socklen_t size = sizeof err;
    if (getsockopt(c->io.fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
        err = errno;
    if (err == 0) {
        c->state = CONN_OPEN;
        conn_opened(c);
    } else if (!conn_try_other(c, err)) {
        conn_fail_to_connect(c, err);
    }
}

const char *conn_error_text(int err)
{
    return err == CONN_FOREIGN ? "the socket is not of the user that `owner` names" : strerror(err);
}

/* Who listens can't be feigned: the kernel remembers whose process has called listen. The file says
 * for whom root has opened the socket. */
static bool conn_is_foreign(const struct conn *c, const struct addr *addr)
{
    struct ucred who;
    socklen_t size = sizeof who;
    struct stat file;
    if (getsockopt(c->io.fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
        return true;
    if (who.uid == c->owner)
        return false;
    return who.uid != 0 || stat(addr->un.sun_path, &file) < 0 || file.st_uid != c->owner;
}

/* Tries to connect once. Returns 0 or an errno; after EAGAIN and EINPROGRESS the connection has
 * their state. */
static int conn_try(struct conn *c, const struct addr *addr)
{
    if (connect(c->io.fd, &addr->sa, addr->len) == 0) {
        c->state = CONN_OPEN;
        return c->owned && conn_is_foreign(c, addr) ? CONN_FOREIGN : 0;
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

static void conn_retry_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct conn *c = timer->data;
    (void)events;
    int err = conn_try(c, c->addr);
    if (err != 0) {
        conn_fail(c, FAILURE_CONNECT, conn_error_text(err));
        return;
    }
    if (c->state == CONN_BACKLOG) {
        ev_timer_set(timer, BACKLOG_RETRY, 0);
        ev_timer_start(ev, timer);
        return;
    }
    if (c->state == CONN_OPEN)
        conn_opened(c);
    else
        conn_rearm(c);
}

/* Makes a socket for the current address and begins to connect. Returns 0 or an errno. */
static int conn_begin(struct conn *c)
{
    int family = c->addr->sa.sa_family;
    c->io.fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->io.fd < 0)
        return errno;
    if (family != AF_UNIX)
        setsockopt(c->io.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    int err = conn_try(c, c->addr);
    if (err == 0 && c->state == CONN_CONNECTING) { /* a part of the time for each that is left */
        double left = c->patience - loop_now(c->loop);
        unsigned addresses = c->place->count > c->tries ? c->place->count - c->tries : 1;
        deadline_set(&c->deadline, left > 0.001 ? left / addresses : 0.001);
    }
    return err;
}

/* Connects to the next address of the place, after one has failed. False: no address is left. */
static bool conn_next_address(struct conn *c, int err)
{
    if (c->tries + 1 >= c->place->count)
        return false;
    if (c->refused == 0)
        c->refused = err;
    c->tries++;
    c->addr = &c->place->list[(c->first_tried + c->tries) % c->place->count];
    ev_io_stop(c->loop->ev, &c->io);
    if (c->io.fd >= 0)
        close(c->io.fd);
    return true;
}

bool conn_try_other(struct conn *c, int err)
{
    if (!conn_next_address(c, err))
        return false;
    err = conn_begin(c);
    if (err != 0)
        conn_fail_to_connect(c, err);
    else if (c->state == CONN_OPEN)
        conn_opened(c);
    else
        conn_rearm(c);
    return true;
}

int conn_dial(struct conn *c, const struct conn_target *target)
{
    c->place = target->place;
    c->first_tried = c->place->first;
    c->addr = &c->place->list[c->first_tried];
    c->owned = target->owned && c->addr->sa.sa_family == AF_UNIX;
    c->owner = target->owner;
    c->patience = loop_now(c->loop) + target->connect_timeout;
    ev_timer_init(&c->retry, conn_retry_cb, BACKLOG_RETRY, 0);
    c->retry.data = c;
    int err = conn_begin(c);
    if (err != 0 && conn_next_address(c, err))
        err = conn_begin(c);
    if (err == 0 && c->state == CONN_BACKLOG) {
        deadline_set(&c->deadline, target->backlog_timeout > 0 ? target->backlog_timeout : 0.001);
        ev_timer_start(c->loop->ev, &c->retry);
    }
    return err;
}

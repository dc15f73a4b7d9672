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

/* An open connection is read for its requests, unless one of them can't take more; one that is idle
 * or left is read to see it end. */
static bool conn_reads(const struct conn *c)
{
    return c->state != CONN_OPEN || (c->active > 0 && c->paused == 0);
}

/* Derives what to wait for from the state; epoll is told only of changes. */
static void conn_rearm(struct conn *c)
{
    int events = 0;
    if (c->state == CONN_CONNECTING)
        events = EV_WRITE;
    else if (c->state != CONN_BACKLOG)
        events =
            (conn_reads(c) ? EV_READ : 0) | (buf_len(&c->out) > 0 && !c->broken ? EV_WRITE : 0);
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(c->loop->ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->loop->ev, &c->io);
}

/* The only request of the connection; NULL: there are several, or none. */
static struct channel *conn_sole(struct conn *c)
{
    for (unsigned i = 0; i < c->room && c->active == 1; i++)
        if (c->channels[i].user != NULL)
            return &c->channels[i];
    return NULL;
}

/* Bytes that the kernel has taken since the request began: where others share the connection, some
 * may be theirs. */
static uint64_t channel_written(const struct channel *ch)
{
    uint64_t written = ch->conn->written;
    return written > ch->begun ? written - ch->begun : 0;
}

/* --- ends --- */

static void conn_end_offer(struct conn *c)
{
    c->offered = false;
    loop_undefer(&c->look);
    if (c->watched)
        loop_ignore_progress(c->loop, c->io.fd);
    c->watched = false;
}

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

/* The memory of a closed connection that calls its channels goes when the last of them returns. */
static void conn_free(struct conn *c)
{
    if (!c->calling)
        free(c);
}

void conn_close(struct conn *c)
{
    conn_shut(c);
    conn_free(c);
}

void conn_reset(struct conn *c)
{
    if (c->addr->sa.sa_family != AF_UNIX)
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    conn_close(c);
}

/* The connection goes, and all requests on it fail. */
static void conn_fail(struct conn *c, enum backend_error error, const char *detail)
{
    conn_shut(c);
    for (unsigned i = 0; i < c->room; i++) {
        struct channel *ch = &c->channels[i];
        void *user = ch->user;
        ch->user = NULL;
        if (user != NULL)
            ch->ops->on_fail(user, error, detail, channel_written(ch));
    }
    conn_free(c);
}

static bool conn_try_other(struct conn *c, int err);

static void conn_lose(struct conn *c, bool ended)
{
    struct channel *ch = conn_sole(c);
    conn_end_offer(c);
    ch->ops->on_lost(ch->user, ended);
}

/* The connection has ended, or is of no use. */
static void conn_break(struct conn *c, enum backend_error error, const char *detail)
{
    const struct channel *ch = conn_sole(c);
    c->ended = true;
    if (ch != NULL && ch->reused && (c->offered || channel_written(ch) == 0))
        conn_lose(c, true);
    else
        conn_fail(c, error, detail);
}

static void conn_check_progress(struct conn *c);

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

static void channel_missed_cb(struct deadline *d)
{
    struct channel *ch = (struct channel *)((char *)d - offsetof(struct channel, deadline));
    if (ch->conn->state == CONN_LEFT)
        conn_close(ch->conn);
    else
        conn_fail(ch->conn, BACKEND_TIMEOUT, ch->deadline_detail);
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

bool conn_leave(struct conn *c)
{
    struct channel *ch = conn_sole(c);
    if (c->state != CONN_OPEN || ch == NULL || channel_written(ch) == 0 || c->broken)
        return false;
    loop_undefer(&c->flush);
    buf_fini(&c->out);
    c->state = CONN_LEFT;
    ch->user = NULL; /* its deadline goes on */
    shutdown(c->io.fd, SHUT_WR);
    conn_rearm(c);
    return true;
}

/* --- channels --- */

struct channel *channel_begin(struct conn *c, const struct channel_ops *ops, void *user)
{
    struct channel *ch = c->channels;
    while (ch->user != NULL)
        ch++;
    if (c->state == CONN_IDLE) {
        c->state = CONN_OPEN;
        deadline_clear(&c->deadline);
    }
    ch->ops = ops;
    ch->user = user;
    ch->begun = c->written + buf_len(&c->out);
    if (c->active == 0) {
        c->quiet = c->written;
        c->read_max = LOOP_READ_SIZE;
    }
    ch->read_max = LOOP_READ_SIZE;
    ch->heard = 0;
    ch->reused = c->requests > 0;
    ch->paused = ch->over = false;
    c->requests++;
    c->active++;
    c->heeded++;
    conn_rearm(c);
    return ch;
}

/* The id is free. */
static void channel_end(struct channel *ch)
{
    struct conn *c = ch->conn;
    ch->user = NULL;
    deadline_clear(&ch->deadline);
    c->active--;
    c->heeded -= !ch->over;
    c->paused -= ch->paused;
}

/* Nothing waits to be written, nothing has failed, and no byte follows the last answer. */
static bool conn_is_fit(const struct conn *c)
{
    return c->state == CONN_OPEN && !c->broken && !c->excess && buf_len(&c->out) == 0 &&
           fcgi_decoder_idle(&c->decoder);
}

void channel_release(struct channel *ch, bool whole)
{
    struct conn *c = ch->conn;
    channel_end(ch);
    c->spent |= !whole;
    if (c->active > 0)
        return;
    if (!c->spent && conn_is_fit(c))
        c->released(c);
    else
        conn_close(c);
}

void channel_drop(struct channel *ch)
{
    struct conn *c = ch->conn;
    channel_end(ch);
    if (c->state == CONN_CLOSED)
        return;
    if (c->active == 0)
        conn_close(c);
    else
        conn_fail(c, BACKEND_CLOSED, "another request on its connection was given up");
}

struct buf *channel_out(struct channel *ch)
{
    return &ch->conn->out;
}

bool channel_is_drained(const struct channel *ch)
{
    return buf_len(&ch->conn->out) == 0 && !ch->conn->broken;
}

void channel_pause(struct channel *ch, bool paused)
{
    ch->conn->paused += paused - ch->paused;
    ch->paused = paused;
    conn_rearm(ch->conn);
}

void channel_read_max(struct channel *ch, size_t bytes)
{
    struct conn *c = ch->conn;
    ch->read_max = bytes;
    c->read_max = LOOP_READ_SIZE;
    for (unsigned i = 0; i < c->room; i++)
        if (c->channels[i].user != NULL && c->channels[i].read_max < c->read_max)
            c->read_max = c->channels[i].read_max;
}

void channel_deadline(struct channel *ch, double seconds, const char *detail)
{
    ch->deadline_detail = detail;
    deadline_set(&ch->deadline, seconds);
}

/* --- bytes --- */

/* A record goes to the request of its id. Management records that were not asked for are
 * ignored. */
static bool conn_record(void *ctx, const struct fcgi_event *event)
{
    struct conn *c = ctx;
    if (event->id == 0)
        return true;
    struct channel *ch = event->id <= c->room ? &c->channels[event->id - 1] : NULL;
    if (ch == NULL || ch->user == NULL || ch->over) {
        c->foreign = true;
        return false;
    }
    ch->heard += FCGI_HEADER_SIZE + event->content.n;
    if (ch->ops->on_record(ch->user, event) && event->type != FCGI_END_REQUEST)
        return true;
    ch->over = true;
    return --c->heeded > 0;
}

/* The channels have been called, and one of them may have closed the connection. */
static void conn_called(struct conn *c)
{
    c->calling = false;
    if (c->state == CONN_CLOSED)
        free(c);
}

/* Bytes of the answers. What is read for the only request of a connection is all its own. */
static void conn_decode(struct conn *c, const char *bytes, size_t n)
{
    size_t used;
    bool sole = c->active == 1;
    const char *err = fcgi_feed(&c->decoder, bytes, n, &used, conn_record, c);
    if (err == NULL && c->foreign)
        err = "a record of a request that was never made";
    if (err != NULL) {
        conn_break(c, BACKEND_PROTOCOL, err);
        return;
    }
    c->excess = used < n;
    c->calling = true;
    for (unsigned i = 0; i < c->room && c->state != CONN_CLOSED; i++) {
        struct channel *ch = &c->channels[i];
        size_t heard = sole ? n : ch->heard;
        ch->heard = 0;
        if (ch->user != NULL && heard > 0)
            ch->ops->on_turn(ch->user, heard);
    }
    conn_called(c);
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
    struct channel *ch = &c->channels[0];
    if (n > 0 && c->written == c->quiet)
        conn_break(c, BACKEND_CLOSED, "it sent bytes that nobody had asked for");
    else if (n <= 0)
        conn_break(c, BACKEND_CLOSED, n < 0 ? strerror(errno) : conn_ended);
    else if (ch->user != NULL && ch->ops->on_bytes != NULL)
        ch->ops->on_bytes(ch->user, loop->in, (size_t)n);
    else
        conn_decode(c, loop->in, (size_t)n);
}

/* Calls each channel, of which any may close the connection. */
static void conn_tell(struct conn *c, void (*tell)(struct channel *ch))
{
    c->calling = true;
    for (unsigned i = 0; i < c->room && c->state != CONN_CLOSED; i++)
        if (c->channels[i].user != NULL)
            tell(&c->channels[i]);
    conn_called(c);
}

static void channel_opened(struct channel *ch)
{
    ch->ops->on_open(ch->user);
}

static void channel_drained(struct channel *ch)
{
    ch->ops->on_drain(ch->user);
}

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

static void conn_write(struct conn *c, const struct iovec *slices, int count)
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

static void conn_writable(struct conn *c)
{
    conn_write(c, NULL, 0);
    if (c->offered)
        loop_defer(c->loop, &c->look);
    else if (buf_len(&c->out) == 0 && !c->broken)
        conn_tell(c, channel_drained);
}

static void conn_flush_cb(struct deferred *d)
{
    conn_write((struct conn *)((char *)d - offsetof(struct conn, flush)), NULL, 0);
}

void channel_write(struct channel *ch, const struct iovec *slices, int count)
{
    conn_write(ch->conn, slices, count);
}

void channel_write_soon(struct channel *ch)
{
    loop_defer(ch->conn->loop, &ch->conn->flush);
}

static void conn_opened(struct conn *c)
{
    if (c->place->count > 1)
        c->place->first = c->addr == &c->place->list[1];
    deadline_clear(&c->deadline);
    conn_rearm(c);
    conn_tell(c, channel_opened);
}

/* All of its addresses have failed, the last one so. */
static void conn_fail_to_connect(struct conn *c, int err)
{
    struct conn_place *place = c->place;
    if (c->refused == 0 || c->refused == err) {
        conn_fail(c, BACKEND_CONNECT, strerror(err));
        return;
    }
    snprintf(place->failure, sizeof place->failure, "%s; the name's other address: %s",
             strerror(c->refused), strerror(err));
    conn_fail(c, BACKEND_CONNECT, place->failure);
}

/* --- offers --- */

/* How much of what was written the other side has not read, with what the kernel needs to keep it.
 * A piece that its reader is just giving back counts 1. */
static size_t conn_unread(struct conn *c)
{
    int queued = 0;
    if (ioctl(c->io.fd, SIOCOUTQ, &queued) < 0)
        return SIZE_MAX;
    return buf_len(&c->out) + (queued > 1 ? (size_t)queued : 0);
}

/* All has been read, or thrown away by a close: that can be seen before the queue is empty, so the
 * look at the end comes second. Where bytes have come they are for `readable`. What could not be
 * written will not be read, even where only that side of the connection has ended. */
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

static void conn_look_cb(struct deferred *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, look));
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

/* Some time has passed: is the offer being read at all? */
static void conn_check_progress(struct conn *c)
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

bool conn_can_offer(const struct conn *c)
{
    return c->addr->sa.sa_family == AF_UNIX;
}

void channel_offer(struct channel *ch)
{
    struct conn *c = ch->conn;
    c->offered = true;
    conn_write(c, NULL, 0);
    loop_defer(c->loop, &c->look); /* at the end of the turn it may have been read already */
}

static void conn_finish_connect(struct conn *c)
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
    else if (events & EV_READ)
        conn_readable(c);
    else if (events & EV_WRITE)
        conn_writable(c);
    loop_run(loop); /* whoever looks at what has been read does it while it is there */
}

/* --- connecting --- */

/* One try. Returns 0 or an errno; EAGAIN and EINPROGRESS leave the connection in their state. */
static int conn_try(struct conn *c, const struct addr *addr)
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

static void conn_retry_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct conn *c = timer->data;
    (void)events;
    int err = conn_try(c, c->addr);
    if (err != 0) {
        conn_fail(c, BACKEND_CONNECT, strerror(err));
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

/* A socket for the address at hand, connecting. Returns 0 or an errno. */
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
        double left = c->patience - ev_now(c->loop->ev);
        unsigned addresses = c->place->count > c->tries ? c->place->count - c->tries : 1;
        deadline_set(&c->deadline, left > 0.001 ? left / addresses : 0.001);
    }
    return err;
}

/* The next address of the place, after one that has failed. False: there is none. */
static bool conn_next_address(struct conn *c, int err)
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

/* The connect has failed with `err`; the place's other address is tried, if there is one. True: it
 * was, and the channels may have been called. */
static bool conn_try_other(struct conn *c, int err)
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

struct conn *conn_new(struct loop *loop, const struct conn_target *target)
{
    unsigned room = target->channels > 0 ? target->channels : 1;
    struct conn *c = calloc(1, sizeof *c + room * sizeof c->channels[0]);
    if (c == NULL)
        abort();
    c->loop = loop;
    c->place = target->place;
    c->begun = c->place->first;
    c->addr = &c->place->list[c->begun];
    c->patience = ev_now(loop->ev) + target->connect_timeout;
    buf_init(&c->out, OUT_MAX);
    ev_io_init(&c->io, conn_io_cb, -1, 0);
    c->io.data = c;
    c->flush.run = conn_flush_cb;
    c->look.run = conn_look_cb;
    ev_timer_init(&c->retry, conn_retry_cb, BACKLOG_RETRY, 0);
    c->retry.data = c;
    deadline_init(&c->deadline, loop, conn_missed_cb);
    fcgi_decoder_init(&c->decoder);
    c->room = room;
    c->read_max = LOOP_READ_SIZE;
    for (unsigned i = 0; i < room; i++) {
        c->channels[i].conn = c;
        c->channels[i].id = (uint16_t)(i + 1);
        deadline_init(&c->channels[i].deadline, loop, channel_missed_cb);
    }
    int err = conn_begin(c);
    if (err != 0 && conn_next_address(c, err))
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

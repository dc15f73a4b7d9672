/*
 * events - see connection.h. This file has the loop's events of a connection: the callbacks, which
 * call the other files, and making a connection.
 */
#include "fastcgi/connection_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_MAX      (17u << 20) /* STREAM_PARAMS_MAX in records; a body is written as it goes */
#define OUT_MAX_EACH (1u << 20)  /* bytes more for each request that shares the connection */

const char conn_ended[] = "the connection ended";

/* --- ends --- */

/* Fails a connection that has ended or can't be used, unless its request can be sent to another
 * one. */
static void conn_break(struct conn *c, enum failure failure, const char *detail)
{
    const struct channel *ch = conn_sole(c);
    c->ended = true;
    if (ch != NULL && ch->reused && (c->offered || channel_written(ch) == 0))
        conn_lose(c, true);
    else
        conn_fail(c, failure, detail);
}

static void conn_missed_cb(struct deadline *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, deadline));
    if (c->offered)
        conn_check_progress(c);
    else if (c->state == CONN_IDLE)
        conn_close(c);
    else if (c->state == CONN_BACKLOG)
        conn_fail(c, FAILURE_QUEUE,
                  "its listen queue stayed full for queue_timeout (all of its "
                  "processes are busy)");
    else if (!conn_try_other(c, ETIMEDOUT))
        conn_fail(c, FAILURE_CONNECT, CONN_TIMED_OUT);
}

/* --- bytes in --- */

/* Decodes bytes that have come. */
static void conn_decode(struct conn *c, const char *bytes, size_t n)
{
    size_t used;
    c->aside = 0;
    const char *err = fcgi_feed(&c->decoder, bytes, n, &used, conn_record, c);
    if (err == NULL && c->foreign)
        err = "a record of a request that was never made, or is over";
    if (err != NULL) { /* of several requests none can be blamed */
        conn_break(c, c->active > 1 ? FAILURE_CLOSED : FAILURE_PROTOCOL, err);
        return;
    }
    c->excess = used < n;
    conn_end_read(c, n);
}

/* Handles the result of a read. */
static void conn_take(struct conn *c, const char *bytes, ssize_t n)
{
    if (c->state != CONN_OPEN) { /* idle or left: the end, or bytes of no use */
        c->ended = n <= 0;
        conn_close(c);
        return;
    }
    const struct channel *ch = conn_sole(c);
    c->read_at = loop_now(c->loop);
    if (n > 0 && c->written == c->quiet)
        conn_break(c, FAILURE_CLOSED, "it sent bytes that were not asked for");
    else if (n <= 0)
        conn_break(c, FAILURE_CLOSED, n < 0 ? strerror(errno) : conn_ended);
    else if (ch != NULL && ch->ops->on_bytes != NULL)
        ch->ops->on_bytes(ch->user, bytes, (size_t)n);
    else
        conn_decode(c, bytes, (size_t)n);
}

static void conn_arrival_cb(struct deferred *d)
{
    struct conn *c = (struct conn *)((char *)d - offsetof(struct conn, arrival));
    struct loop *loop = c->loop;
    conn_take(c, c->arrived.p, (ssize_t)c->arrived.n);
    loop_run_steps(loop);
}

/* Reads once. A small reply is handled with those of other connections. An offer must know at once
 * what the server says to it: a look at the socket would miss what has been read. */
static void conn_readable(struct conn *c)
{
    char *room = loop_room(c->loop);
    ssize_t n = read(c->io.fd, room, c->read_max);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->arrived = (struct str){room, n > 0 ? (size_t)n : 0};
    if (n <= 0 || c->state != CONN_OPEN || c->offered ||
        !loop_server_arrival(c->loop, &c->arrival, (size_t)n))
        conn_take(c, room, n);
}

/* --- bytes out --- */

/* Called when all waiting bytes have been written. */
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
    /* Reads first, since a reply may have come although writing fails. Reading may end the
     * connection, so the write waits for the next turn, which comes at once. */
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
    loop_run_steps(loop); /* steps see what has been read while it is in the buffer */
    loop_run_full_stage(loop);
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
    c->arrival.run = conn_arrival_cb;
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

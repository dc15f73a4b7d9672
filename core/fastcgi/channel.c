/*
 * channel - see connection.h. This file has the requests on a connection: the ids in use, the
 * records of each, ids whose holder has gone.
 */
#include "fastcgi/connection_inner.h"

#include <sys/socket.h>

#define ABORT_PATIENCE 10.0 /* seconds to END_REQUEST of a request that was given up */

/* --- ids --- */

struct channel *conn_sole(struct conn *c)
{
    struct channel *ch = &c->channels[0];
    return !conn_is_shared(c) && ch->state == CHANNEL_HELD ? ch : NULL;
}

uint64_t channel_written(const struct channel *ch)
{
    uint64_t written = ch->conn->written;
    return written > ch->begun ? written - ch->begun : 0;
}

static bool channel_is_awaited(const struct channel *ch)
{
    return ch->state == CHANNEL_HELD || ch->state == CHANNEL_RESERVED;
}

bool conn_has_place(const struct conn *c)
{
    return c->active < c->room && conn_is_shared(c) && !c->spent && !c->broken && !c->ended &&
           c->state != CONN_CLOSED && c->state != CONN_LEFT && buf_len(&c->out) < CONN_OUT_SMALL;
}

bool conn_blame(struct conn *c)
{
    bool first = !c->blamed;
    c->blamed = true;
    return first;
}

struct channel *channel_begin(struct conn *c, const struct channel_ops *ops, void *user)
{
    struct channel *ch = c->channels;
    while (ch->state != CHANNEL_FREE)
        ch++;
    if (c->state == CONN_IDLE) {
        c->state = CONN_OPEN;
        deadline_clear(&c->deadline);
    }
    ch->ops = ops;
    ch->user = user;
    ch->state = CHANNEL_HELD;
    ch->begun = ch->end = c->written + buf_len(&c->out);
    ch->begun_at = loop_now(c->loop);
    ch->reused = c->active == 0 && c->requests > 0;
    if (c->active == 0) {
        c->quiet = c->written;
        c->read_max = LOOP_READ_SIZE;
    }
    ch->read_max = LOOP_READ_SIZE;
    ch->heard = ch->put = 0;
    ch->paused = ch->deaf = ch->waits = false;
    c->requests++;
    c->active++;
    c->awaited++;
    conn_rearm(c);
    return ch;
}

/* Ends the channel's pause, which stopped reading. */
static void channel_unpause(struct channel *ch)
{
    ch->conn->paused -= ch->paused;
    ch->paused = false;
}

static void channel_free(struct channel *ch)
{
    struct conn *c = ch->conn;
    c->active--;
    c->awaited -= channel_is_awaited(ch);
    channel_unpause(ch);
    deadline_clear(&ch->deadline);
    ch->state = CHANNEL_FREE;
    ch->user = NULL;
}

static void channel_reserve(struct channel *ch)
{
    channel_unpause(ch);
    ch->state = CHANNEL_RESERVED;
    ch->user = NULL;
    ch->waits = false;
}

/* True when another request may begin: no bytes wait, nothing has failed, and no byte followed the
 * last reply. */
static bool conn_is_fit(const struct conn *c)
{
    return c->state == CONN_OPEN && !c->spent && !c->broken && !c->excess &&
           buf_len(&c->out) == 0 && fcgi_decoder_idle(&c->decoder);
}

/* True when no request may begin on the connection and those that it has are all reserved ids whose
 * deadline is over. */
static bool conn_is_waste(const struct conn *c)
{
    for (unsigned i = 0; i < c->room && c->spent; i++) {
        const struct channel *ch = &c->channels[i];
        if (ch->state != CHANNEL_FREE && (ch->state != CHANNEL_RESERVED || ch->deadline.at != 0))
            return false;
    }
    return c->spent;
}

/* Gives an unused connection back to the owner, closes it or reports a free id, after an id has
 * become free or the connection spent. */
static void conn_settle(struct conn *c)
{
    if (c->active == 0 && conn_is_fit(c))
        c->released(c);
    else if (c->active == 0 || conn_is_waste(c))
        conn_close(c);
    else if (c->freed != NULL)
        c->freed(c);
}

/* --- ends --- */

/* Frees the channel of a closed connection, whose memory goes with its last holder. False: the
 * connection is not closed. */
static bool channel_outlives(struct channel *ch)
{
    struct conn *c = ch->conn;
    if (c->state != CONN_CLOSED)
        return false;
    conn_call(c);
    channel_free(ch);
    conn_called(c);
    return true;
}

void channel_release(struct channel *ch, bool whole)
{
    struct conn *c = ch->conn;
    if (channel_outlives(ch))
        return;
    channel_free(ch);
    c->spent |= !whole;
    conn_settle(c);
}

/* Sends ABORT_REQUEST; the id is reserved until END_REQUEST comes. */
static void channel_abort(struct channel *ch)
{
    struct conn *c = ch->conn;
    fcgi_empty(&c->out, FCGI_ABORT_REQUEST, ch->id);
    loop_defer(c->loop, &c->flush);
    channel_reserve(ch);
    deadline_set(&ch->deadline, ABORT_PATIENCE);
}

void channel_drop(struct channel *ch)
{
    struct conn *c = ch->conn;
    if (channel_outlives(ch))
        return;
    if (!conn_is_shared(c) || (c->active == 1 && c->state != CONN_OPEN)) {
        channel_free(ch);
        conn_close(c);
    } else if (ch->state == CHANNEL_OVER) {
        channel_free(ch);
        c->spent = true;
        conn_settle(c);
    } else {
        channel_abort(ch);
    }
}

void channel_let_end(struct channel *ch)
{
    struct conn *c = ch->conn;
    channel_reserve(ch);
    conn_rearm(c);
    if (ch->deadline.at == 0)
        deadline_set(&ch->deadline, ABORT_PATIENCE);
}

bool conn_leave(struct conn *c)
{
    struct channel *ch = conn_sole(c);
    if (c->state != CONN_OPEN || ch == NULL || channel_written(ch) == 0 || c->broken)
        return false;
    loop_undefer(&c->flush);
    buf_fini(&c->out);
    c->state = CONN_LEFT;
    channel_reserve(ch); /* the request's deadline stays set */
    shutdown(c->io.fd, SHUT_WR);
    conn_rearm(c);
    return true;
}

/* Fails a request of a shared connection at its deadline. A connection on which no byte has come
 * since the request began takes no other request. */
static void channel_time_out(struct channel *ch)
{
    struct conn *c = ch->conn;
    void *user = ch->user;
    c->spent |= c->read_at < ch->begun_at;
    channel_abort(ch);
    ch->ops->on_fail(user, FAILURE_TIMEOUT, ch->deadline_detail, channel_written(ch));
}

static void channel_missed_cb(struct deadline *d)
{
    struct channel *ch = (struct channel *)((char *)d - offsetof(struct channel, deadline));
    struct conn *c = ch->conn;
    if (ch->state == CHANNEL_RESERVED) {
        c->spent = true;
        if (!conn_is_shared(c) || conn_is_waste(c))
            conn_close(c);
    } else if (ch->state == CHANNEL_HELD && conn_is_shared(c)) {
        channel_time_out(ch);
    } else if (ch->state == CHANNEL_HELD) {
        conn_fail(c, FAILURE_TIMEOUT, ch->deadline_detail);
    }
}

void channel_init(struct channel *ch, struct conn *c, uint16_t id)
{
    ch->conn = c;
    ch->id = id;
    deadline_init(&ch->deadline, c->loop, channel_missed_cb);
}

void channel_deadline(struct channel *ch, double seconds, const char *detail)
{
    ch->deadline_detail = detail;
    if (ch->conn->state != CONN_CLOSED) /* its memory goes without a look at timers */
        deadline_set(&ch->deadline, seconds);
}

/* --- records --- */

/* Notes END_REQUEST of the id. False: no other request of the connection awaits one. */
static bool channel_over(struct channel *ch, const struct fcgi_event *event)
{
    struct conn *c = ch->conn;
    bool held = ch->state == CHANNEL_HELD;
    ch->state = held ? CHANNEL_OVER : CHANNEL_ENDED;
    c->awaited--;
    if (held && !ch->deaf)
        ch->ops->on_record(ch->user, event);
    return c->awaited > 0;
}

bool conn_record(void *ctx, const struct fcgi_event *event)
{
    struct conn *c = ctx;
    if (event->id == 0) {
        c->aside += FCGI_HEADER_SIZE + event->content.n;
        return true;
    }
    struct channel *ch = event->id <= c->room ? &c->channels[event->id - 1] : NULL;
    if (ch == NULL || !channel_is_awaited(ch) || c->written <= ch->begun) {
        c->foreign = true;
        return false;
    }
    ch->heard += FCGI_HEADER_SIZE + event->content.n;
    if (event->type == FCGI_END_REQUEST)
        return channel_over(ch, event);
    if (ch->state == CHANNEL_RESERVED) {
        if (event->type == FCGI_STDERR && event->content.n > 0 && c->stray != NULL)
            c->stray(c, event->content);
    } else if (!ch->deaf && !ch->ops->on_record(ch->user, event)) {
        ch->deaf = true;
    }
    return conn_is_shared(c) || !ch->deaf;
}

/* Frees the ids of requests without a holder that are over. */
static void conn_free_ended(struct conn *c)
{
    for (unsigned i = 0; i < c->room && c->state != CONN_CLOSED; i++) {
        if (c->channels[i].state != CHANNEL_ENDED)
            continue;
        channel_free(&c->channels[i]);
        conn_settle(c);
    }
}

/* Calls on_turn of the channels that had bytes in the read. On a connection that is not shared all
 * bytes but those of management records are the one request's. */
void conn_end_read(struct conn *c, size_t n)
{
    bool ended = false;
    conn_call(c);
    for (unsigned i = 0; i < c->room && c->state != CONN_CLOSED; i++) {
        struct channel *ch = &c->channels[i];
        size_t heard = conn_is_shared(c) ? ch->heard : n > c->aside ? n - c->aside : 0;
        ch->heard = 0;
        ended |= ch->state == CHANNEL_ENDED;
        if (heard > 0 && (ch->state == CHANNEL_HELD || ch->state == CHANNEL_OVER))
            ch->ops->on_turn(ch->user, heard);
    }
    if (ended && c->state != CONN_CLOSED)
        conn_free_ended(c);
    conn_called(c);
}

/* --- calls to the channels --- */

/* Calls on_fail of the channels after the connection has been closed. */
static void conn_tell_failed(struct conn *c, enum failure failure, const char *detail)
{
    conn_call(c);
    for (unsigned i = 0; i < c->room; i++) {
        struct channel *ch = &c->channels[i];
        void *user = ch->user;
        size_t heard = ch->heard;
        ch->heard = 0;
        if (ch->state == CHANNEL_FREE)
            continue;
        /* the reply is whole, and its holder releases the channel */
        if (ch->state == CHANNEL_OVER) {
            if (heard > 0)
                ch->ops->on_turn(user, heard);
            continue;
        }
        bool held = ch->state == CHANNEL_HELD;
        channel_free(ch);
        if (held)
            ch->ops->on_fail(user, failure, detail, channel_written(ch));
    }
    conn_called(c);
}

void conn_fail(struct conn *c, enum failure failure, const char *detail)
{
    conn_shut(c);
    conn_tell_failed(c, failure, detail);
}

void conn_tell_opened(struct conn *c)
{
    conn_call(c);
    for (unsigned i = 0; i < c->room && c->state != CONN_CLOSED; i++)
        if (c->channels[i].state == CHANNEL_HELD)
            c->channels[i].ops->on_open(c->channels[i].user);
    conn_called(c);
}

/* Begins with another channel each time, so that none is always the last. */
void conn_tell_drained(struct conn *c)
{
    unsigned first = c->turn < c->room ? c->turn : 0;
    c->hungry = false;
    c->turn = first + 1;
    for (unsigned i = 0; i < c->room; i++)
        c->channels[i].put = 0;
    conn_call(c);
    for (unsigned i = 0; i < c->room && c->state != CONN_CLOSED; i++) {
        struct channel *ch = &c->channels[(first + i) % c->room];
        if (ch->state != CHANNEL_HELD || !ch->waits)
            continue;
        if (buf_len(&c->out) >= CONN_OUT_SMALL) /* this one is called the next time */
            continue;
        ch->waits = false;
        ch->ops->on_drain(ch->user);
    }
    if (c->state != CONN_CLOSED)
        conn_rearm(c);
    conn_called(c);
}

/* --- writing, reading --- */

struct buf *channel_out(struct channel *ch)
{
    return &ch->conn->out;
}

bool channel_is_drained(const struct channel *ch)
{
    const struct conn *c = ch->conn;
    bool written = conn_is_shared(c) ? c->written >= ch->end : buf_len(&c->out) == 0;
    return written && !c->broken;
}

/* Notes that all bytes in `out` are this request's, or stand before its own. */
static void channel_note_end(struct channel *ch)
{
    ch->end = ch->conn->written + buf_len(&ch->conn->out);
}

bool channel_may_write(struct channel *ch)
{
    struct conn *c = ch->conn;
    bool may = conn_is_shared(c)
                   ? !c->broken && buf_len(&c->out) < CONN_OUT_SMALL && ch->put < CHANNEL_SHARE
                   : channel_is_drained(ch);
    if (may)
        return true;
    channel_note_end(ch);
    ch->waits = true;
    if (!c->hungry && buf_len(&c->out) == 0) {
        c->hungry = true;
        conn_rearm(c);
    }
    return false;
}

bool channel_may_begin(struct channel *ch)
{
    return !conn_is_shared(ch->conn) || channel_may_write(ch);
}

/* Copies the slices to `out` until the end of the loop's turn, so that one write takes the bytes of
 * several requests. False: the buffer is too full. */
static bool channel_gather(struct channel *ch, const struct iovec *slices, int count, size_t size)
{
    struct conn *c = ch->conn;
    if (c->state != CONN_OPEN || c->broken || buf_len(&c->out) + size > CONN_OUT_SMALL)
        return false;
    for (int i = 0; i < count; i++)
        buf_append(&c->out, slices[i].iov_base, slices[i].iov_len);
    loop_defer(c->loop, &c->flush);
    return true;
}

void channel_write(struct channel *ch, const struct iovec *slices, int count)
{
    size_t size = 0;
    for (int i = 0; i < count && conn_is_shared(ch->conn); i++)
        size += slices[i].iov_len;
    ch->put += size;
    if (!conn_is_shared(ch->conn) || !channel_gather(ch, slices, count, size))
        conn_write(ch->conn, slices, count);
    channel_note_end(ch);
    ch->waits |= !channel_is_drained(ch);
}

void channel_write_soon(struct channel *ch)
{
    channel_note_end(ch);
    loop_defer(ch->conn->loop, &ch->conn->flush);
}

bool channel_pause(struct channel *ch, bool paused)
{
    if (conn_is_shared(ch->conn))
        return false;
    ch->conn->paused += paused - ch->paused;
    ch->paused = paused;
    conn_rearm(ch->conn);
    return true;
}

void channel_read_max(struct channel *ch, size_t bytes)
{
    if (!conn_is_shared(ch->conn))
        ch->conn->read_max = bytes < LOOP_READ_SIZE ? bytes : LOOP_READ_SIZE;
}

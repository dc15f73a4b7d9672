/*
 * client - see client.h.
 *
 *     idle --byte--> head --complete--> [body] --> waiting --> replying --written--> idle or
 * closing
 *
 * Input is read into the loop's buffer and used up at once; what can't be used yet (a pipelined
 * request, a body that nobody wants so far) is kept in `in`. Output is gathered as slices until the
 * flush and leaves in one writev; what the socket does not take is kept in `out`.
 *
 * A request may end inside the call that began it, so nothing here recurses: `end` only marks, and
 * process() goes on to the next request.
 */
#include "client.h"

#include "h1.h"
#include "log.h"
#include "proxy.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE     65536 /* of one read from a client */
#define IN_MARK       16384 /* kept input beyond which reading stops */
#define IN_MAX        (2 * LOOP_READ_SIZE)
#define OUT_MAX       (64u << 20) /* never reached: full() stops the backend long before */
#define LINGER_BYTES  65536       /* of an unread body that are read and dropped */
#define LINGER_TIME   2.0
#define SMALL_FILE    32768 /* read and sent with the head in one call */
#define GATHER_SLICES 48
#define TURN_SIZE     (128 * 1024) /* of all small responses of one turn */
#define TURN_RESPONSE 4096 /* what is small: copying it costs less than waking somebody up */

struct client {
    ev_io io;
    struct deadline deadline;
    struct deferred flush; /* waits with a whole small response in clients->turn */
    struct str turn;
    struct clients *clients;
    struct client *prev, *next;
    struct proxy *proxy; /* the request under way, NULL when idle */
    struct request *req;
    struct h1 *h1;
    struct buf in, out;
    struct str listener;
    struct peer peer, local;
    unsigned requests;
    int file; /* what sendfile goes on with, -1 */
    uint64_t file_at, file_left;
    uint32_t lingered;
    bool head_done : 1;
    bool body_done : 1;
    bool want_body : 1;
    bool head_waits : 1; /* respond was called, the head has not left */
    bool chunked : 1;
    bool until_eof : 1;  /* the connection's end is the body's */
    bool ended : 1;      /* the response is whole */
    bool close : 1;      /* after this response */
    bool eof : 1;        /* the client has closed its sending side */
    bool broken : 1;     /* nothing can be written any more */
    bool lingering : 1;  /* the response is out; what comes is dropped */
    bool processing : 1; /* process() is on the stack */
    bool kicked : 1;     /* an event of our own is due: see kick() */
};

/* Slices of the response at hand until they are flushed. Only one client gathers at a time. */
static struct {
    struct client *owner;
    struct iovec slices[GATHER_SLICES];
    int count;
    size_t bytes;
} gathered;

static void process(struct client *c, const char *data, size_t n);
static void send_gathered(struct client *c, bool last, bool more);

/* --- the connection's end --- */

/* The client's part of the turn's buffer is not needed any more. */
static void leave_turn(struct client *c)
{
    struct clients *all = c->clients;
    if (c->turn.n == 0)
        return;
    loop_undefer(all->loop, &c->flush);
    c->turn = STR_NONE;
    if (--all->turn_count == 0)
        all->turn_used = 0;
}

static void client_free(struct client *c)
{
    struct clients *all = c->clients;
    leave_turn(c);
    if (gathered.owner == c)
        gathered.owner = NULL;
    ev_io_stop(all->loop->ev, &c->io);
    deadline_fini(&c->deadline);
    close(c->io.fd);
    if (c->file >= 0)
        close(c->file);
    buf_fini(&c->in);
    buf_fini(&c->out);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        all->list = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    all->count--;
    free(c);
    if (all->count == 0 && all->on_empty != NULL)
        all->on_empty(all->ctx);
}

/* The client has left, or must: whatever is under way is dropped. */
static void client_gone(struct client *c, const char *why)
{
    if (c->proxy != NULL)
        proxy_gone(c->proxy, why);
    c->proxy = NULL;
    client_free(c);
}

/* --- interest --- */

static bool wants_read(const struct client *c)
{
    if (c->eof)
        return false;
    return c->lingering || buf_len(&c->in) < IN_MARK;
}

static void rearm(struct client *c)
{
    int events = (wants_read(c) ? EV_READ : 0) |
                 (!c->broken && (buf_len(&c->out) > 0 || c->file_left > 0) ? EV_WRITE : 0);
    struct ev_loop *ev = c->clients->loop->ev;
    if (!ev_is_active(&c->io) || (c->io.events & (EV_READ | EV_WRITE)) != events) {
        ev_io_stop(ev, &c->io); /* forgets a kick, too */
        if (events != 0) {
            ev_io_set(&c->io, c->io.fd, events);
            ev_io_start(ev, &c->io);
        }
    }
    if (c->kicked)
        ev_feed_event(ev, &c->io, EV_READ);
}

/* Something changed that no byte will announce: look again in the loop's next turn, when nothing of
 * this client is on the stack. */
static void kick(struct client *c)
{
    c->kicked = true;
    rearm(c);
}

/* --- writing --- */

static void write_failed(struct client *c)
{
    c->broken = true;
    c->file_left = 0;
    buf_fini(&c->out);
    kick(c);
}

static bool is_retry(int err)
{
    return err == EAGAIN || err == EINTR;
}

static size_t total_size(const struct iovec *v, int count)
{
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += v[i].iov_len;
    return n;
}

static void sent(struct client *c, size_t n)
{
    if (c->req != NULL)
        c->req->bytes_out += n;
}

/* Sends the slices as far as the socket takes them, behind what waits already; keeps the rest. */
static void send_slices(struct client *c, struct iovec *v, int count, bool more)
{
    size_t done = 0;
    if (c->broken || count == 0)
        return;
    if (buf_len(&c->out) == 0) {
        struct msghdr msg = {.msg_iov = v, .msg_iovlen = (size_t)count};
        ssize_t n = count == 1 && !more ? write(c->io.fd, v->iov_base, v->iov_len)
                                        : sendmsg(c->io.fd, &msg, more ? MSG_MORE : 0);
        if (n < 0 && !is_retry(errno)) {
            write_failed(c);
            return;
        }
        done = n > 0 ? (size_t)n : 0;
        sent(c, done);
    }
    if (done == total_size(v, count))
        return;
    for (int i = 0; i < count; i++) {
        if (done >= v[i].iov_len) {
            done -= v[i].iov_len;
            continue;
        }
        buf_append(&c->out, (char *)v[i].iov_base + done, v[i].iov_len - done);
        done = 0;
    }
    deadline_set(&c->deadline, proxy_limits(c->proxy)->send_timeout);
}

static void write_out(struct client *c)
{
    struct str waiting = buf_peek(&c->out);
    ssize_t n = write(c->io.fd, waiting.p, waiting.n);
    if (n < 0 && !is_retry(errno)) {
        write_failed(c);
        return;
    }
    if (n <= 0)
        return;
    sent(c, (size_t)n);
    buf_consume(&c->out, (size_t)n);
    if (buf_len(&c->out) == 0)
        buf_fini(&c->out); /* a slow client's backlog is not kept for the next one */
    deadline_set(&c->deadline, proxy_limits(c->proxy)->send_timeout);
}

static void write_file(struct client *c)
{
    off_t at = (off_t)c->file_at;
    size_t want = c->file_left < 1u << 20 ? (size_t)c->file_left : 1u << 20;
    ssize_t n = sendfile(c->io.fd, c->file, &at, want);
    if (n < 0 && is_retry(errno))
        return;
    if (n <= 0) { /* n == 0: the file has shrunk since its length was promised */
        c->close = true;
        write_failed(c);
        return;
    }
    c->file_at += (uint64_t)n;
    c->file_left -= (uint64_t)n;
    c->req->body_out += (uint64_t)n;
    sent(c, (size_t)n);
    deadline_set(&c->deadline, proxy_limits(c->proxy)->send_timeout);
}

static bool all_written(const struct client *c)
{
    return buf_len(&c->out) == 0 && c->file_left == 0 && c->turn.n == 0;
}

/* Keeps a whole small response until the end of the turn. Returns false when it has to go now. */
static bool send_with_turn(struct client *c, const struct iovec *v, int count)
{
    struct clients *all = c->clients;
    size_t n = total_size(v, count);
    if (c->broken || n == 0 || n > TURN_RESPONSE || n > TURN_SIZE - all->turn_used ||
        buf_len(&c->out) > 0 || c->turn.n > 0)
        return false;
    char *at = all->turn + all->turn_used;
    c->turn = (struct str){at, n};
    for (int i = 0; i < count; i++) {
        memcpy(at, v[i].iov_base, v[i].iov_len);
        at += v[i].iov_len;
    }
    all->turn_used += n;
    all->turn_count++;
    loop_defer(all->loop, &c->flush);
    return true;
}

static void send_turn(struct client *c)
{
    struct iovec v = {(char *)c->turn.p, c->turn.n};
    send_slices(c, &v, 1, false);
    leave_turn(c);
}

static void flush_cb(struct deferred *d)
{
    struct client *c = (struct client *)((char *)d - offsetof(struct client, flush));
    send_turn(c);
    process(c, NULL, 0);
}

/* --- the response: front_ops --- */

static void want_body(void *front, bool want)
{
    struct client *c = front;
    c->want_body = want;
    if (!want)
        return;
    if (c->req->expect_continue && !c->body_done && buf_len(&c->in) == 0 && !c->head_waits) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        struct iovec v = {(char *)text, sizeof text - 1};
        c->req->expect_continue = false;
        send_slices(c, &v, 1, false);
    }
    deadline_set(&c->deadline, proxy_limits(c->proxy)->body_timeout);
    if (!c->processing) /* some of it may be here already */
        kick(c);
}

static void respond(void *front)
{
    struct client *c = front;
    c->head_waits = true;
}

static void body(void *front, struct str bytes)
{
    struct client *c = front;
    if (gathered.owner == c && gathered.count == GATHER_SLICES)
        send_gathered(c, false, false);
    gathered.owner = c;
    gathered.slices[gathered.count++] = (struct iovec){(char *)bytes.p, bytes.n};
    gathered.bytes += bytes.n;
}

static size_t gathered_bytes(const struct client *c)
{
    return gathered.owner == c ? gathered.bytes : 0;
}

/* How the client will know where the body ends. */
static struct str make_head(struct client *c)
{
    struct request *req = c->req;
    int64_t length = req->response.content_length;
    enum h1_framing framing;
    bool bodiless = req->response.status == 204 || req->response.status == 304;
    if (bodiless)
        framing = H1_NO_BODY;
    else if (length >= 0)
        framing = H1_LENGTH;
    else if (req->method_id == METHOD_HEAD)
        framing = H1_NO_BODY;
    else if (c->ended) { /* all of it is here: its length is known after all */
        framing = H1_LENGTH;
        length = (int64_t)(gathered_bytes(c));
    } else if (req->minor > 0)
        framing = H1_CHUNKED;
    else
        framing = H1_UNTIL_EOF;
    c->chunked = framing == H1_CHUNKED;
    c->until_eof = framing == H1_UNTIL_EOF;
    bool unread = !c->body_done && (req->expect_continue || req->content_length > LINGER_BYTES);
    if (framing == H1_UNTIL_EOF || unread || proxy_wants_close(c->proxy) || !req->keepalive ||
        c->requests >= proxy_limits(c->proxy)->keepalive_requests || c->clients->stopping || c->eof)
        c->close = true;
    c->head_waits = false;
    return h1_head(req, framing, (uint64_t)length, !c->close, loop_date(c->clients->loop));
}

static size_t chunk_line(size_t n, char *out)
{
    char digits[16];
    size_t count = 0, used = 0;
    do
        digits[count++] = "0123456789abcdef"[n & 15];
    while ((n >>= 4) > 0);
    while (count > 0)
        out[used++] = digits[--count];
    out[used++] = '\r';
    out[used++] = '\n';
    return used;
}

/* Sends the head if it waits, what was gathered, and the last chunk once the response is whole. */
static void send_gathered(struct client *c, bool last, bool more)
{
    struct iovec v[GATHER_SLICES + 4];
    char line[24];
    int count = 0;
    size_t bytes = gathered_bytes(c);
    if (c->head_waits) {
        struct str head = make_head(c);
        v[count++] = (struct iovec){(char *)head.p, head.n};
    }
    if (c->chunked && bytes > 0)
        v[count++] = (struct iovec){line, chunk_line(bytes, line)};
    if (bytes > 0) {
        memcpy(v + count, gathered.slices, (size_t)gathered.count * sizeof *v);
        count += gathered.count;
    }
    if (c->chunked && (bytes > 0 || last)) {
        static const char ends[] = "\r\n0\r\n\r\n";
        size_t from = bytes > 0 ? 0 : 2, to = last ? sizeof ends - 1 : 2;
        v[count++] = (struct iovec){(char *)ends + from, to - from};
    }
    gathered.owner = NULL;
    gathered.count = 0;
    gathered.bytes = 0;
    if (!last || more || !send_with_turn(c, v, count))
        send_slices(c, v, count, more);
    if (!c->processing)
        rearm(c);
}

static void flush(void *front)
{
    struct client *c = front;
    send_gathered(c, false, false);
}

static void file(void *front, int fd, uint64_t size)
{
    struct client *c = front;
    char *scratch = c->clients->loop->scratch;
    if (size <=
        SMALL_FILE) { /* head and body in one call; a shrunken file is noticed by its size */
        ssize_t n = pread(fd, scratch, (size_t)size, 0);
        close(fd);
        if (n != (ssize_t)size) {
            c->close = true;
            write_failed(c);
            return;
        }
        body(c, (struct str){scratch, (size_t)n});
        c->req->body_out += (uint64_t)n;
        return;
    }
    c->file = fd;
    c->file_at = 0;
    c->file_left = size;
}

static bool full(void *front)
{
    const struct client *c = front;
    return buf_len(&c->out) > proxy_limits(c->proxy)->response_memory;
}

/* Whoever is outside process() must go on with the next request. */
static void mark_ended(struct client *c)
{
    if (!c->processing)
        process(c, NULL, 0);
}

static void end(void *front)
{
    struct client *c = front;
    c->ended = true;
    send_gathered(c, true, c->file_left > 0);
    if (c->file_left > 0 && buf_len(&c->out) == 0)
        write_file(c);
    mark_ended(c);
}

static bool retract(void *front)
{
    struct client *c = front;
    if (!c->head_waits)
        return false;
    c->head_waits = false;
    if (gathered.owner == c) {
        gathered.owner = NULL;
        gathered.count = 0;
        gathered.bytes = 0;
    }
    return true;
}

/* Without the last chunk, or short of its Content-Length, and with the connection's end. */
static void cut(void *front)
{
    struct client *c = front;
    if (!c->head_waits)
        send_gathered(c, false, false);
    if (c->until_eof) { /* nothing but a reset tells such a client that there should be more */
        struct linger now = {.l_onoff = 1};
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    c->head_waits = false;
    c->ended = true;
    c->close = true;
    mark_ended(c);
}

static const struct front_ops front_ops = {
    .want_body = want_body,
    .respond = respond,
    .body = body,
    .file = file,
    .flush = flush,
    .end = end,
    .retract = retract,
    .cut = cut,
    .full = full,
};

/* --- the request --- */

static void on_body(void *ctx, struct str bytes)
{
    struct client *c = ctx;
    if (!c->ended)
        proxy_body(c->proxy, bytes);
}

static void begin_request(struct client *c)
{
    const struct limits *limits;
    c->proxy = proxy_new(*c->clients->current, &front_ops, c, &c->req);
    limits = proxy_limits(c->proxy);
    c->h1 = h1_new(c->req, limits, on_body, c);
    c->req->client = c->peer;
    c->req->local = c->local;
    c->req->listener = c->listener;
    c->requests++;
    c->head_done = c->body_done = c->want_body = c->ended = false;
    c->head_waits = c->chunked = c->until_eof = false;
    deadline_set(&c->deadline, limits->header_timeout);
}

static void head_complete(struct client *c)
{
    bool has_body = h1_has_body(c->h1);
    c->head_done = true;
    c->body_done = !has_body;
    deadline_clear(&c->deadline); /* from here on the backend's timeouts count */
    proxy_begin(c->proxy, has_body);
}

static void refuse(struct client *c, int status, const char *reason)
{
    c->body_done = true;
    c->head_done = true;
    if (c->ended)
        c->close = true;
    else
        proxy_refuse(c->proxy, status, reason);
}

/* Feeds the parser; returns the bytes used. */
static size_t feed(struct client *c, const char *data, size_t n)
{
    size_t used;
    switch (h1_feed(c->h1, data, n, &used)) {
    case H1_HEAD:
        head_complete(c);
        break;
    case H1_END:
        c->body_done = true;
        if (!c->ended)
            proxy_body_end(c->proxy);
        break;
    case H1_ERROR:
        c->eof = true; /* nothing that follows can be understood */
        refuse(c, h1_status(c->h1), h1_reason(c->h1));
        break;
    case H1_MORE:
        if (c->head_done && used > 0)
            deadline_set(&c->deadline, proxy_limits(c->proxy)->body_timeout);
        break;
    }
    return used;
}

static void start_linger(struct client *c)
{
    c->lingering = true;
    buf_fini(&c->in);
    shutdown(c->io.fd, SHUT_WR);
    deadline_set(&c->deadline, LINGER_TIME);
    c->eof = false;
    rearm(c);
}

/* The response is written: on to the next request, or close. Returns false when c is gone. */
static bool finish_request(struct client *c)
{
    /* Unread input makes the kernel answer with a reset, which may take the response with it. */
    bool unread = !c->body_done || c->eof;
    struct proxy *proxy = c->proxy;
    c->proxy = NULL;
    c->req = NULL;
    c->h1 = NULL;
    if (c->broken)
        proxy_gone(proxy, "the client closed the connection");
    else
        proxy_done(proxy);
    if (c->clients->stopping)
        c->close = true;
    if (!c->close && !c->eof) {
        deadline_set(&c->deadline, (*c->clients->current)->settings->limits.keepalive_timeout);
        return true;
    }
    if (c->broken || !unread) {
        client_free(c);
        return false;
    }
    start_linger(c);
    return false;
}

/* Drops a body that nobody wants, as far as that is worth it. */
static bool may_skip_body(struct client *c)
{
    return c->ended && !c->close && c->lingered <= LINGER_BYTES && !c->req->expect_continue;
}

/* One step forward. Sets *used to the bytes taken. Returns false when nothing more can be done now,
 * or c is gone (*gone). */
static bool step(struct client *c, const char *data, size_t n, size_t *used, bool *gone)
{
    *used = 0;
    if (c->turn.n > 0 && n > 0) /* a pipelined request need not wait for the turn's end */
        send_turn(c);
    if (c->proxy == NULL) {
        if (n == 0 || c->clients->stopping)
            return false;
        begin_request(c);
        return true;
    }
    if (c->ended && all_written(c)) {
        if (c->body_done || c->close || !may_skip_body(c)) {
            c->close |= !c->body_done;
            c->lingered = 0;
            *gone = !finish_request(c);
            return !*gone;
        }
    }
    bool reading = !c->head_done || (!c->body_done && (c->want_body || may_skip_body(c)));
    if (n == 0 || !reading)
        return false;
    *used = feed(c, data, n);
    if (c->ended && !c->body_done)
        c->lingered += (uint32_t)*used;
    return true;
}

static void keep_input(struct client *c, const char *data, size_t n)
{
    if (buf_len(&c->in) > 0) /* the bytes are c->in's own */
        buf_consume(&c->in, buf_len(&c->in) - n);
    else
        buf_append(&c->in, data, n);
    if (buf_len(&c->in) == 0 && c->in.cap > 0)
        buf_fini(&c->in);
}

/* Does all that can be done with what has come: new bytes, or (n = 0) those that were kept. */
static void process(struct client *c, const char *data, size_t n)
{
    bool gone = false;
    size_t used;
    if (buf_len(&c->in) > 0) {
        buf_append(&c->in, data, n);
        data = buf_peek(&c->in).p;
        n = buf_len(&c->in);
    }
    c->processing = true;
    while (step(c, data, n, &used, &gone)) {
        data += used;
        n -= used;
    }
    if (gone)
        return; /* lingering or freed; either way nothing is left to do */
    c->processing = false;
    keep_input(c, data, n);
    rearm(c);
}

/* --- events --- */

static void client_ended_input(struct client *c)
{
    c->eof = true;
    if (c->proxy == NULL || !c->head_done || (!c->body_done && !c->ended)) {
        client_gone(c, "the client closed the connection inside its request");
        return;
    }
    rearm(c); /* it still gets its answer */
}

static void drop_input(struct client *c, ssize_t n)
{
    c->lingered += n > 0 ? (uint32_t)n : 0;
    if (n <= 0 || c->lingered > LINGER_BYTES)
        client_free(c);
}

static void readable(struct client *c)
{
    struct loop *loop = c->clients->loop;
    ssize_t n = read(c->io.fd, loop->in, READ_SIZE);
    if (n < 0 && is_retry(errno))
        return;
    if (c->lingering)
        drop_input(c, n);
    else if (n > 0)
        process(c, loop->in, (size_t)n);
    else if (n == 0)
        client_ended_input(c);
    else
        client_gone(c, "the client reset the connection");
}

static void writable(struct client *c)
{
    if (buf_len(&c->out) > 0)
        write_out(c);
    else if (c->file_left > 0)
        write_file(c);
    if (c->broken)
        return;
    if (all_written(c) && c->ended) {
        deadline_clear(&c->deadline);
        process(c, NULL, 0);
        return;
    }
    if (all_written(c) && c->proxy != NULL) {
        deadline_clear(&c->deadline);
        proxy_room(c->proxy);
    }
    rearm(c);
}

static void io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct client *c = io->data;
    (void)ev;
    if (c->kicked) {
        c->kicked = false;
        if (c->broken)
            client_gone(c, "the client closed the connection");
        else
            process(c, NULL, 0);
        return;
    }
    if (events & EV_WRITE && (buf_len(&c->out) > 0 || c->file_left > 0) && !c->broken)
        writable(c);
    else if (events & EV_READ)
        readable(c);
    else
        rearm(c);
}

static void missed_cb(struct deadline *d)
{
    struct client *c = (struct client *)((char *)d - offsetof(struct client, deadline));
    if (c->proxy == NULL) {
        client_free(c); /* idle for too long, or lingering */
    } else if (!c->head_done) {
        c->eof = true;
        c->processing = true;
        refuse(c, 408, "the head did not come within header_timeout");
        c->processing = false;
        process(c, NULL, 0);
    } else if (!all_written(c)) {
        client_gone(c, "the client took nothing within send_timeout");
    } else if (!c->body_done && !c->ended && c->want_body) {
        c->eof = true;
        c->processing = true;
        refuse(c, 408, "the body did not come within body_timeout");
        c->processing = false;
        process(c, NULL, 0);
    } else if (c->ended) {
        client_gone(c, "the rest of the body did not come");
    }
}

/* --- life --- */

void clients_init(struct clients *clients, struct loop *loop, struct generation **current)
{
    *clients = (struct clients){.loop = loop, .current = current, .turn = malloc(TURN_SIZE)};
    if (clients->turn == NULL)
        abort();
}

void clients_fini(struct clients *clients)
{
    free(clients->turn);
    clients->turn = NULL;
}

void client_new(struct clients *clients, int fd, const struct addr *remote,
                const struct addr *local, struct str listener)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->clients = clients;
    c->listener = listener;
    c->file = -1;
    peer_from(&c->peer, remote);
    peer_from(&c->local, local);
    buf_init(&c->in, IN_MAX);
    buf_init(&c->out, OUT_MAX);
    deadline_init(&c->deadline, clients->loop, missed_cb);
    ev_io_init(&c->io, io_cb, fd, EV_READ);
    c->io.data = c;
    c->flush.run = flush_cb;
    c->next = clients->list;
    if (c->next != NULL)
        c->next->prev = c;
    clients->list = c;
    clients->count++;
    ev_io_start(clients->loop->ev, &c->io);
    deadline_set(&c->deadline, (*clients->current)->settings->limits.keepalive_timeout);
}

void clients_stop(struct clients *clients)
{
    clients->stopping = true;
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        if (c->proxy == NULL && !c->lingering)
            client_free(c);
    }
}

void clients_close(struct clients *clients)
{
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        client_gone(c, "the server was stopped");
    }
}

/*
 * client - see client.h.
 *
 *     idle --byte--> head --complete--> [body] --> waiting --> replying --written--> idle, or close
 *
 * Input is read into the loop's buffer and used up at once; what can't be used yet (a pipelined
 * request, a body that nobody wants so far) is kept in `in`. Output goes through the sender.
 *
 * A request may end inside the call that began it, so nothing here recurses: `end` only marks, and
 * process() goes on to the next request.
 */
#include "client.h"

#include "h1.h"
#include "log.h"
#include "proxy.h"
#include "sender.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE     65536 /* of one read from a client */
#define IN_MARK       16384 /* kept input beyond which reading stops */
#define IN_MAX        (2 * LOOP_READ_SIZE)
#define LINGER_BYTES  65536 /* of an unread body that are read and dropped */
#define LINGER_TIME   2.0
#define FIRST_REQUEST 1.0   /* a connection made just before a stop may still send one */
#define SMALL_FILE    32768 /* read and sent with the head in one call */
#define SMALL_PIECES  20    /* of it: all of them are gathered */
#define REFUSED_MAX   256   /* of connections too many that are told so at a time */
#define REFUSED_SAID  10.0  /* seconds between two lines about them in the log */

struct client {
    ev_io io;
    struct deadline deadline;
    struct sender sender;
    struct clients *clients;
    struct client *prev, *next;
    struct proxy *proxy; /* the request under way, NULL when idle */
    struct request *req;
    struct h1 *h1;
    struct buf in;
    struct str listener;
    struct peer peer, local;
    unsigned requests;
    uint32_t lingered;
    bool head_done : 1;
    bool body_done : 1;
    bool want_body : 1;
    bool head_waits : 1; /* respond was called, the head has not left */
    bool chunked : 1;
    bool until_eof : 1;  /* the connection's end is the body's: if it comes too soon, by a reset */
    bool skipping : 1;   /* the response is out, the rest of the body is read and dropped */
    bool ended : 1;      /* the response is whole, or */
    bool cut : 1;        /* broken off */
    bool close : 1;      /* after this response */
    bool eof : 1;        /* the client has closed its sending side */
    bool lingering : 1;  /* the response is out; what comes is dropped */
    bool processing : 1; /* process() is on the stack */
    bool kicked : 1;     /* an event of our own is due: see kick() */
    bool sending : 1;    /* the deadline is send_timeout's: something waits for the client */
    bool spool_reported : 1;
    bool counted : 1; /* in the census */
    bool refused : 1; /* one too many: it has its 503, and lingers */
};

static void process(struct client *c, const char *data, size_t n);
static void send_gathered(struct client *c, enum sender_when when);

/* --- the connection's end --- */

static void client_free(struct client *c)
{
    struct clients *all = c->clients;
    if (c->until_eof) { /* nothing but a reset tells such a client that there should be more */
        struct linger now = {.l_onoff = 1};
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    ev_io_stop(all->loop->ev, &c->io);
    deadline_fini(&c->deadline);
    sender_fini(&c->sender);
    close(c->io.fd);
    if (c->counted)
        census_leave(all->census, all->worker, &c->peer);
    all->refused -= c->refused;
    buf_fini(&c->in);
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
    if (c->proxy != NULL) {
        c->req->body_out += c->sender.file_sent;
        proxy_gone(c->proxy, why);
    }
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
    int events = (wants_read(c) ? EV_READ : 0) | (sender_waits(&c->sender) ? EV_WRITE : 0);
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

/* The spool is of no use for this reply: what that means is said once for it. */
static void report_spool(struct client *c)
{
    const struct request *req = c->req;
    char id[17];
    request_id_text(req->id, id);
    log_warn("spool_dir %s: %s; the reply is not kept there, so the application waits for the "
             "client; %.*s %.*s, request %s",
             proxy_limits(c->proxy)->spool_dir, c->sender.no_spool, STR_FMT(req->method),
             STR_FMT(req->uri.origin), id);
    c->spool_reported = true;
}

/* What every write is followed by: the count, the clock, and the end of a client that has gone,
 * which waits until nothing of it is on the stack. The clock runs from the last byte that was
 * taken, however much is added to what waits. */
static void note_sent(struct client *c, size_t n)
{
    if (c->req != NULL)
        c->req->bytes_out += n;
    if (c->sender.no_spool != NULL && !c->spool_reported)
        report_spool(c);
    bool waits = sender_waits(&c->sender);
    if (c->sender.broken != NULL)
        kick(c);
    else if (waits && (n > 0 || !c->sending))
        deadline_set(&c->deadline, proxy_limits(c->proxy)->send_timeout);
    c->sending = waits;
}

/* --- the response: front_ops --- */

static void want_body(void *front, bool want)
{
    struct client *c = front;
    c->want_body = want;
    if (!want)
        return;
    if (c->req->expect_continue && !c->body_done && buf_len(&c->in) == 0 && !c->head_waits) {
        static const struct sender_frame go_on = {.head = {"HTTP/1.1 100 Continue\r\n\r\n", 25}};
        c->req->expect_continue = false;
        note_sent(c, sender_send(&c->sender, &go_on, SENDER_NOW));
    }
    deadline_set(&c->deadline, proxy_limits(c->proxy)->body_timeout);
    if (!c->processing) /* some of it may be here already */
        kick(c);
}

static void respond(void *front)
{
    struct client *c = front;
    c->head_waits = true;
    c->spool_reported = false;
    sender_begin(&c->sender, proxy_limits(c->proxy), c->req->response.unbuffered);
}

static void body(void *front, struct str bytes)
{
    struct client *c = front;
    if (sender_gather(&c->sender, bytes))
        return;
    send_gathered(c, SENDER_NOW);
    sender_gather(&c->sender, bytes);
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
        length = (int64_t)(sender_gathered(&c->sender));
    } else if (req->minor > 0)
        framing = H1_CHUNKED;
    else
        framing = H1_UNTIL_EOF;
    c->chunked = framing == H1_CHUNKED;
    c->until_eof = framing == H1_UNTIL_EOF;
    bool unread = !c->body_done && (req->expect_continue || req->content_length > LINGER_BYTES);
    if (framing == H1_UNTIL_EOF || unread || proxy_wants_close(c->proxy) || !req->keepalive ||
        c->requests >= proxy_limits(c->proxy)->keepalive_requests || c->clients->stopping ||
        (c->eof && buf_len(&c->in) == 0))
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
static void send_gathered(struct client *c, enum sender_when when)
{
    static const char ends[] = "\r\n0\r\n\r\n"; /* of a chunk, and of the last one */
    struct sender_frame frame = {.head = STR_NONE};
    char line[24];
    bool bytes = sender_gathered(&c->sender) > 0;
    if (c->head_waits)
        frame.head = make_head(c);
    if (c->chunked && bytes)
        frame.line = (struct str){line, chunk_line(sender_gathered(&c->sender), line)};
    if (c->chunked && bytes)
        frame.tail = (struct str){ends, c->ended ? 7 : 2};
    else if (c->chunked && c->ended)
        frame.tail = (struct str){ends + 2, 5};
    note_sent(c, sender_send(&c->sender, &frame, when));
    if (!c->processing)
        rearm(c);
}

static void flush(void *front)
{
    struct client *c = front;
    send_gathered(c, SENDER_NOW);
}

/* Small ones are read here and leave with the head in one call. */
static void small_file(struct client *c, int fd, const struct file_piece *pieces, unsigned count)
{
    char *at = c->clients->loop->scratch;
    for (unsigned i = 0; i < count; i++) {
        const struct file_piece *piece = &pieces[i];
        if (pread(fd, at, (size_t)piece->size, (off_t)piece->at) != (ssize_t)piece->size) {
            c->sender.broken = "the file has shrunk since its length was promised";
            return;
        }
        if (piece->before.n > 0)
            body(c, piece->before);
        if (piece->size > 0)
            body(c, (struct str){at, (size_t)piece->size});
        c->req->body_out += piece->before.n + piece->size;
        at += piece->size;
    }
}

static void file(void *front, int fd, const struct file_piece *pieces, unsigned count)
{
    struct client *c = front;
    uint64_t size = 0;
    for (unsigned i = 0; i < count; i++)
        size += pieces[i].size;
    if (size > SMALL_FILE || count > SMALL_PIECES) {
        sender_file(&c->sender, fd, pieces, count);
        return;
    }
    small_file(c, fd, pieces, count);
    close(fd);
}

static size_t room(void *front)
{
    const struct client *c = front;
    return sender_room(&c->sender);
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
    bool file = c->sender.piece_count > 0;
    send_gathered(c, file ? SENDER_MORE : SENDER_TURN);
    if (file && backlog_is_empty(&c->sender.out))
        note_sent(c, sender_write(&c->sender));
    mark_ended(c);
}

static bool retract(void *front)
{
    struct client *c = front;
    if (!c->head_waits)
        return false;
    c->head_waits = false;
    sender_forget(&c->sender);
    return true;
}

/* Without the last chunk, or short of its Content-Length, and with the connection's end. */
static void cut(void *front)
{
    struct client *c = front;
    if (!c->head_waits)
        send_gathered(c, SENDER_NOW);
    c->head_waits = false;
    c->ended = true;
    c->close = true;
    c->cut = true;
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
    .room = room,
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
    c->req->control = c->listener.p == c->clients->control;
    c->requests++;
    c->head_done = c->body_done = c->want_body = c->ended = c->cut = false;
    c->head_waits = c->chunked = c->until_eof = c->skipping = false;
    c->lingered = 0;
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
        if (c->head_done && used > 0 && !c->ended)
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
    bool broken = c->sender.broken != NULL;
    /* A reset ends a body that has no other end; otherwise what has been sent must arrive. */
    bool at_once = broken || !unread || (c->cut && (c->until_eof || c->req->bytes_out == 0));
    c->req->body_out += c->sender.file_sent;
    sender_rest(&c->sender);
    c->sending = false;
    c->proxy = NULL;
    c->req = NULL;
    c->h1 = NULL;
    if (broken)
        proxy_gone(proxy, c->sender.broken);
    else
        proxy_done(proxy);
    if (c->clients->stopping)
        c->close = true;
    if (!broken && !c->cut)
        c->until_eof = false;
    if (!c->close) {
        deadline_set(&c->deadline, (*c->clients->current)->settings->limits.keepalive_timeout);
        return true;
    }
    if (at_once) {
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

/* Begins to drop the rest of a body that nobody wants; the client has little time for it in all. */
static void start_skipping(struct client *c)
{
    if (c->skipping)
        return;
    c->skipping = true;
    deadline_set(&c->deadline, LINGER_TIME);
}

/* One step forward. Sets *used to the bytes taken. Returns false when nothing more can be done now,
 * or c is gone (*gone). */
static bool step(struct client *c, const char *data, size_t n, size_t *used, bool *gone)
{
    *used = 0;
    if (c->sender.turn.n > 0 && n > 0) /* a pipelined request need not wait for the turn's end */
        note_sent(c, sender_write(&c->sender));
    if (c->proxy == NULL) {
        if (n == 0)
            return false;
        begin_request(c);
        return true;
    }
    if (c->ended && sender_is_done(&c->sender)) {
        if (c->body_done || c->eof || !may_skip_body(c)) {
            c->close |= !c->body_done;
            *gone = !finish_request(c);
            return !*gone;
        }
        start_skipping(c);
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
    if (c->eof && (c->proxy == NULL || !c->head_done)) { /* nothing can come any more */
        client_gone(c, "the client closed the connection inside its request");
        return;
    }
    rearm(c);
}

/* --- events --- */

/* A client that has sent its requests whole still gets its answers. */
static void client_ended_input(struct client *c)
{
    c->eof = true;
    if (c->proxy == NULL || !c->head_done || (!c->body_done && !c->ended))
        client_gone(c, "the client closed the connection inside its request");
    else if (!c->ended && proxy_only_waits(c->proxy))
        client_gone(c, "the client closed the connection while the request was queued");
    else
        process(c, NULL, 0);
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
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
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

static void on_turn(struct sender *sender)
{
    struct client *c = (struct client *)((char *)sender - offsetof(struct client, sender));
    note_sent(c, sender_write(sender));
    process(c, NULL, 0);
}

static void writable(struct client *c)
{
    note_sent(c, sender_write(&c->sender));
    if (c->sender.broken != NULL)
        return;
    bool done = sender_is_done(&c->sender);
    if (done)
        deadline_clear(&c->deadline);
    if (done && c->ended) {
        process(c, NULL, 0);
        return;
    }
    if (c->proxy != NULL && !c->ended && (done || sender_room(&c->sender) >= LOOP_READ_SIZE))
        proxy_room(c->proxy);
    rearm(c);
}

static void io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct client *c = io->data;
    (void)ev;
    if (c->kicked) {
        c->kicked = false;
        if (c->sender.broken != NULL)
            client_gone(c, c->sender.broken);
        else
            process(c, NULL, 0);
        return;
    }
    if (events & EV_WRITE && sender_waits(&c->sender))
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
    } else if (!sender_is_done(&c->sender)) {
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

/* --- connections too many --- */

/* One line now and then: whoever tries again and again must not fill the log. */
static void report_refused(struct clients *all, const struct client *c, enum census_answer answer)
{
    const struct limits *limits = &(*all->current)->settings->limits;
    char ip[PEER_TEXT_SIZE];
    ev_tstamp now = ev_now(all->loop->ev);
    all->refused_before++;
    if (all->refused_at != 0 && now < all->refused_at + REFUSED_SAID)
        return;
    peer_text(&c->peer, ip);
    if (answer == CENSUS_FULL)
        log_warn("limits.connections: %u are open; client %s: 503 (%u refused since the last such "
                 "line of this worker)",
                 limits->connections, ip, all->refused_before);
    else
        log_warn("limits.per_ip: %u connections of client %s are open: 503 (%u refused since the "
                 "last such line of this worker)",
                 limits->per_ip, ip, all->refused_before);
    all->refused_before = 0;
    all->refused_at = now;
}

/* Says 503 at once, whatever the client asks for, and drops what it sends. */
static void turn_away(struct client *c)
{
    struct clients *all = c->clients;
    char text[H1_TOO_MANY_SIZE];
    size_t n = h1_too_many(text, loop_date(all->loop));
    if (all->refused >= REFUSED_MAX || write(c->io.fd, text, n) != (ssize_t)n) {
        client_free(c);
        return;
    }
    c->refused = true;
    all->refused++;
    start_linger(c);
}

/* False when the connection is one too many. */
static bool enter_census(struct client *c)
{
    struct clients *all = c->clients;
    const struct limits *limits = &(*all->current)->settings->limits;
    if (all->census == NULL || (limits->connections == 0 && limits->per_ip == 0))
        return true;
    enum census_answer answer =
        census_enter(all->census, all->worker, &c->peer, limits->connections, limits->per_ip);
    c->counted = answer == CENSUS_WELCOME;
    if (!c->counted)
        report_refused(all, c, answer);
    return c->counted;
}

/* --- life --- */

void clients_init(struct clients *clients, struct loop *loop, struct generation **current)
{
    *clients = (struct clients){.loop = loop, .current = current};
    sender_turn_init(&clients->turn, loop);
}

void clients_fini(struct clients *clients)
{
    sender_turn_fini(&clients->turn);
}

void client_new(struct clients *clients, int fd, const struct addr *remote,
                const struct addr *local, struct str listener)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->clients = clients;
    c->listener = listener;
    peer_from(&c->peer, remote);
    peer_from(&c->local, local);
    buf_init(&c->in, IN_MAX);
    deadline_init(&c->deadline, clients->loop, missed_cb);
    ev_io_init(&c->io, io_cb, fd, EV_READ);
    c->io.data = c;
    sender_init(&c->sender, fd, &clients->turn, on_turn);
    c->next = clients->list;
    if (c->next != NULL)
        c->next->prev = c;
    clients->list = c;
    clients->count++;
    if (!enter_census(c)) {
        turn_away(c);
        return;
    }
    ev_io_start(clients->loop->ev, &c->io);
    deadline_set(&c->deadline, (*clients->current)->settings->limits.keepalive_timeout);
}

/* An idle connection may have a request in its socket already, or, just accepted, on its way. */
static void stop_idle(struct client *c)
{
    struct clients *all = c->clients;
    unsigned before = all->count;
    bool fresh = c->requests == 0;
    if (fresh)
        deadline_set(&c->deadline, FIRST_REQUEST);
    readable(c);
    if (all->count == before && c->proxy == NULL && !c->lingering && !fresh)
        client_free(c);
}

void clients_stop(struct clients *clients)
{
    clients->stopping = true;
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        if (c->proxy == NULL && !c->lingering)
            stop_idle(c);
    }
}

void clients_close(struct clients *clients)
{
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        client_gone(c, "the server was stopped");
    }
}

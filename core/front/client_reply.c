/*
 * client_reply - see client.h. This file: the response on its way out, front_ops.
 *
 * The head waits for the first bytes of the body, so that both leave in one call, and so that an
 * answer of which nothing has left can be taken back.
 */
#include "front/client_inner.h"

#include "base/log.h"

#define CONTENT_PIECES 20 /* of a file whose content is in memory: all of them are gathered */

static void send_gathered(struct client *c, enum sender_when when);

/* --- writing --- */

/* The spool is of no use for this reply: what that means is said once for it. */
static void report_spool(struct client *c)
{
    const struct request *req = c->req;
    char name[REQUEST_NAME_SIZE];
    static struct log_quota quota = {.most = LOG_MOST};
    log_within(&quota, LOG_WARN,
               "spool_dir %s: %s; the reply is not kept there, so the application waits for the "
               "client; %.*s %.*s, %s",
               exchange_limits(c->exchange)->spool_dir, c->sender.no_spool, STR_FMT(req->method),
               STR_FMT(req->uri.origin), request_name(req, name));
    c->spool_reported = true;
}

/* What every write is followed by: the count, the clock, what the socket is watched for, and the
 * end of a client that has gone. The clock runs from the last byte that was taken, however much is
 * added to what waits. */
void client_note_sent(struct client *c, size_t n)
{
    if (c->req != NULL)
        c->req->bytes_out += n;
    if (c->sender.no_spool != NULL && !c->spool_reported)
        report_spool(c);
    bool waits = sender_waits(&c->sender);
    if (c->sender.broken != NULL)
        client_queue(c);
    else if (waits && (n > 0 || !c->sending))
        deadline_set(&c->deadline, exchange_limits(c->exchange)->send_timeout);
    c->sending = waits;
    if (waits != ((c->io.events & EV_WRITE) != 0))
        client_rearm(c);
}

/* --- the response: front_ops --- */

static struct client *client_of(struct front *front)
{
    return (struct client *)((char *)front - offsetof(struct client, front));
}

static void reply_want_body(struct front *front, bool want)
{
    struct client *c = client_of(front);
    c->want_body = want;
    if (!want)
        return;
    if (h1_expects_continue(c->h1) && !c->body_done && buf_len(&c->in) == 0 && !c->head_waits) {
        static const struct sender_frame go_on = {.head = {"HTTP/1.1 100 Continue\r\n\r\n", 25}};
        h1_continued(c->h1);
        client_note_sent(c, sender_send(&c->sender, &go_on, SENDER_NOW));
    }
    deadline_set(&c->deadline, exchange_limits(c->exchange)->body_timeout);
    if (buf_len(&c->in) > 0) /* some of it is here already */
        client_queue(c);
}

static void reply_respond(struct front *front)
{
    struct client *c = client_of(front);
    c->head_waits = true;
    c->spool_reported = false;
    sender_begin(&c->sender, exchange_limits(c->exchange), c->req->response.unbuffered);
}

static void reply_body(struct front *front, struct str bytes)
{
    struct client *c = client_of(front);
    c->req->body_out += bytes.n;
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
    } else if (req->version > HTTP_1_0)
        framing = H1_CHUNKED;
    else
        framing = H1_UNTIL_EOF;
    c->chunked = framing == H1_CHUNKED;
    c->until_eof = framing == H1_UNTIL_EOF;
    bool unread =
        !c->body_done && (h1_expects_continue(c->h1) || h1_left(c->h1) > CLIENT_SKIP_BYTES);
    if (framing == H1_UNTIL_EOF || unread || exchange_wants_close(c->exchange) ||
        !h1_keepalive(c->h1) || c->requests >= exchange_limits(c->exchange)->keepalive_requests ||
        exchange_limits(c->exchange)->keepalive_timeout <= 0 || c->clients->stopping ||
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
    client_note_sent(c, sender_send(&c->sender, &frame, when));
}

static void reply_flush(struct front *front)
{
    struct client *c = client_of(front);
    send_gathered(c, SENDER_NOW);
}

static bool reply_file(struct front *front, struct file_source *source,
                       const struct file_piece *pieces, unsigned count)
{
    struct client *c = client_of(front);
    if (source->content == NULL || count > CONTENT_PIECES) {
        sender_file(&c->sender, source, pieces, count);
        return true;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct file_piece *piece = &pieces[i];
        if (piece->before.n > 0)
            reply_body(front, piece->before);
        if (piece->size > 0)
            reply_body(front, (struct str){source->content + piece->at, (size_t)piece->size});
    }
    return true;
}

static size_t reply_room(struct front *front)
{
    const struct client *c = client_of(front);
    return sender_room(&c->sender);
}

static void reply_end(struct front *front)
{
    struct client *c = client_of(front);
    c->ended = true;
    bool file = c->sender.piece_count > 0;
    send_gathered(c, file ? SENDER_MORE : SENDER_TURN);
    if (file && backlog_is_empty(&c->sender.out))
        client_note_sent(c, sender_write(&c->sender));
    if (sender_is_done(&c->sender) || buf_len(&c->in) > 0) /* else when it has been written */
        client_queue(c);
}

static bool reply_retract(struct front *front)
{
    struct client *c = client_of(front);
    if (!c->head_waits)
        return false;
    c->head_waits = false;
    c->req->body_out = 0;
    sender_forget(&c->sender);
    return true;
}

/* Without the last chunk, or short of its Content-Length, and with the connection's end. */
static void reply_cut(struct front *front)
{
    struct client *c = client_of(front);
    if (!c->head_waits)
        send_gathered(c, SENDER_NOW);
    c->head_waits = false;
    c->ended = true;
    c->close = true;
    c->cut = true;
    client_queue(c);
}

const struct front_ops client_front_ops = {
    .want_body = reply_want_body,
    .respond = reply_respond,
    .body = reply_body,
    .file = reply_file,
    .flush = reply_flush,
    .end = reply_end,
    .retract = reply_retract,
    .cut = reply_cut,
    .room = reply_room,
};

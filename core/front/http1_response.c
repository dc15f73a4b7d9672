/* http1_response - see http1_response.h. */
#include "front/http1_response.h"

#include "http/h1.h"
#include "http/logline.h"
#include "shm/underway.h"

struct http1_response *http1_response_new(struct client *client, struct request *req,
                                          const struct limits *limits,
                                          const struct front_ops *front,
                                          bool (*closes)(const struct http1_response *r),
                                          void (*on_turn)(struct sender *s))
{
    struct http1_response *r = arena_alloc(&req->arena, sizeof *r);
    *r = (struct http1_response){.front = {front},
                                 .client = client,
                                 .req = req,
                                 .limits = limits,
                                 .closes = closes,
                                 .transport = client_transport(client)};
    sender_init(&r->sender, &r->transport, &client_clients(client)->turn, on_turn);
    return r;
}

void http1_response_fini(struct http1_response *r)
{
    r->req->body_out += r->sender.file_sent;
    sender_fini(&r->sender);
}

/* --- writing --- */

/* Logs, once for a response, that its spool can't be used. */
static void http1_response_report_spool(struct http1_response *r)
{
    static struct log_quota quota = {.most = LOG_MOST};
    logline_write(r->req, &quota, LOG_WARN,
                  "spool_dir %s: %s; the response is not kept there, so the application waits for "
                  "the client",
                  r->limits->spool_dir, r->sender.no_spool);
    r->spool_reported = true;
}

/* Follows every write: counts the bytes, sets the deadline and queues the connection's step.
 * send_timeout runs from the last byte that the socket took, even if more bytes are added to those
 * that wait. */
static void http1_response_note_sent(struct http1_response *r, size_t n)
{
    bool waits = sender_waits(&r->sender);
    r->req->bytes_out += n;
    underway_sent(r->req);
    if (r->sender.no_spool != NULL && !r->spool_reported)
        http1_response_report_spool(r);
    if (waits && (n > 0 || !r->sending))
        deadline_set(&client_active(r->client)->deadline, r->limits->send_timeout);
    if (waits != r->sending || r->sender.broken != NULL)
        client_queue(r->client);
    r->sending = waits;
}

void http1_response_write(struct http1_response *r)
{
    http1_response_note_sent(r, sender_write(&r->sender));
}

void http1_response_continue(struct http1_response *r)
{
    static const struct sender_frame go_on = {.head = {"HTTP/1.1 100 Continue\r\n\r\n", 25}};
    http1_response_note_sent(r, sender_send(&r->sender, &go_on, SENDER_NOW));
}

/* Makes the head. Its framing is how the client finds the end of the body. */
static struct str http1_response_make_head(struct http1_response *r)
{
    struct request *req = r->req;
    int64_t length = req->response.content_length;
    enum h1_framing framing;
    bool bodiless = req->response.status == 204 || req->response.status == 304;
    if (bodiless)
        framing = H1_NO_BODY;
    else if (length >= 0)
        framing = H1_LENGTH;
    else if (req->method_id == METHOD_HEAD)
        framing = H1_NO_BODY;
    else if (r->ended) { /* the whole body has been gathered, so its length is known */
        framing = H1_LENGTH;
        length = (int64_t)(sender_gathered(&r->sender));
    } else if (req->version > HTTP_1_0)
        framing = H1_CHUNKED;
    else
        framing = H1_UNTIL_EOF;
    r->chunked = framing == H1_CHUNKED;
    r->until_eof = framing == H1_UNTIL_EOF;
    r->close |= r->until_eof || r->closes(r);
    r->head_waits = false;
    return h1_head(req, framing, (uint64_t)length, !r->close,
                   loop_date(client_clients(r->client)->loop));
}

static size_t http1_response_chunk_line(size_t n, char *out)
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

/* Sends the head if it waits, the gathered bytes, and the last chunk if the response is complete.
 */
static void http1_response_send(struct http1_response *r, enum sender_when when)
{
    static const char ends[] = "\r\n0\r\n\r\n"; /* the end of a chunk, and the last chunk */
    struct sender_frame frame = {.head = STR_NONE};
    char line[24];
    bool bytes = sender_gathered(&r->sender) > 0;
    if (r->head_waits)
        frame.head = http1_response_make_head(r);
    if (r->chunked && bytes)
        frame.line =
            (struct str){line, http1_response_chunk_line(sender_gathered(&r->sender), line)};
    if (r->chunked && bytes)
        frame.tail = (struct str){ends, r->ended ? 7 : 2};
    else if (r->chunked && r->ended)
        frame.tail = (struct str){ends + 2, 5};
    http1_response_note_sent(r, sender_send(&r->sender, &frame, when));
}

/* --- front_ops --- */

void http1_response_hints(struct front *front, const struct headers *headers)
{
    struct http1_response *r = http1_response_of_front(front);
    struct sender_frame frame = {.head = h1_hints(&r->req->arena, headers)};
    if (frame.head.n > 0)
        http1_response_note_sent(r, sender_send(&r->sender, &frame, SENDER_NOW));
}

void http1_response_respond(struct front *front)
{
    struct http1_response *r = http1_response_of_front(front);
    r->head_waits = true;
    r->spool_reported = false;
    sender_begin(&r->sender, r->limits, r->req->response.unbuffered);
}

void http1_response_body(struct front *front, struct str bytes)
{
    struct http1_response *r = http1_response_of_front(front);
    r->req->body_out += bytes.n;
    if (sender_gather(&r->sender, bytes))
        return;
    http1_response_send(r, SENDER_NOW);
    sender_gather(&r->sender, bytes);
}

void http1_response_flush(struct front *front)
{
    http1_response_send(http1_response_of_front(front), SENDER_NOW);
}

bool http1_response_file(struct front *front, struct file_source *source,
                         const struct file_piece *pieces, unsigned count)
{
    sender_file(&http1_response_of_front(front)->sender, source, pieces, count);
    return true;
}

void http1_response_drop(struct front *front, const char *why)
{
    struct http1_response *r = http1_response_of_front(front);
    r->sender.broken = why;
    client_queue(r->client);
}

size_t http1_response_room(struct front *front)
{
    return sender_room(&http1_response_of_front(front)->sender);
}

void http1_response_end(struct front *front)
{
    struct http1_response *r = http1_response_of_front(front);
    r->ended = true;
    http1_response_send(r, SENDER_TURN);
    if (sender_waits(&r->sender) && backlog_is_empty(&r->sender.out))
        http1_response_write(r);    /* a file whose head could not wait for the turn's end */
    if (sender_is_done(&r->sender)) /* else the last write queues the step */
        client_queue(r->client);
}

bool http1_response_retract(struct front *front)
{
    struct http1_response *r = http1_response_of_front(front);
    if (!r->head_waits)
        return false;
    r->head_waits = false;
    r->req->body_out = 0;
    sender_forget(&r->sender);
    return true;
}

/* Cuts the response: it ends with the connection, without the last chunk or short of its
 * Content-Length. */
void http1_response_cut(struct front *front)
{
    struct http1_response *r = http1_response_of_front(front);
    if (!r->head_waits)
        http1_response_send(r, SENDER_NOW);
    r->head_waits = false;
    r->ended = true;
    r->close = true;
    r->cut = true;
    client_queue(r->client);
}

/*
 * http2_stream - see http2_inner.h. This file has one request of an HTTP/2 connection: its header
 * block, its body, and its response (front_ops).
 *
 * A body that the exchange does not want yet is kept here, within the stream's window. The bytes of
 * a response wait in the stream's backlog until nghttp2 asks for them, which is when the windows of
 * stream and connection allow it.
 */
#include "front/http2_inner.h"

#include "base/lookup.h"
#include "front/admission.h"
#include "http/logline.h"

#include <stdlib.h>

#define OUT_MAX                                                                                    \
    (1ul << 30) /* bytes of a response that a script made; others are held back earlier */

enum { FEW_FIELDS = 24 }; /* of a response's head: so many are made on the stack */

static const struct front_ops http2_front_ops;

static struct http2_stream *http2_stream_of(struct front *front)
{
    return (struct http2_stream *)((char *)front - offsetof(struct http2_stream, front));
}

static void http2_stream_queue(struct http2_stream *s)
{
    loop_step(http2_loop(s->connection), &s->step);
}

static nghttp2_nv http2_stream_nv(struct str name, struct str value)
{
    return (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n, 0};
}

/* The same with a name that lasts, in lower case. */
static nghttp2_nv http2_stream_known_nv(struct str name, struct str value)
{
    return (nghttp2_nv){(uint8_t *)name.p, (uint8_t *)value.p, name.n, value.n,
                        NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

/* --- life --- */

/* The client takes no byte of a response for send_timeout. Where only others of the connection had
 * their turn, this stream waits on. */
static bool http2_stream_is_stuck(const struct http2_stream *s)
{
    struct http2 *h = s->connection;
    int32_t window = nghttp2_session_get_stream_remote_window_size(http2_session(h), s->id);
    return window <= 0 || loop_now(http2_loop(h)) - h->sent_at >= s->limits->send_timeout;
}

static void http2_stream_missed_cb(struct deadline *d)
{
    struct http2_stream *s =
        (struct http2_stream *)((char *)d - offsetof(struct http2_stream, deadline));
    if (s->sending && !http2_stream_is_stuck(s)) {
        deadline_set(&s->deadline, s->limits->send_timeout);
    } else if (s->sending) {
        s->broken = "the client took nothing within send_timeout";
        http2_stream_queue(s);
    } else if (s->want_body && !s->body_done && !s->ended) {
        http2_stream_refuse(s, (struct refusal){408, "the body did not come within body_timeout"});
    }
}

static void http2_stream_step_cb(struct deferred *d);

struct http2_stream *http2_stream_begin(struct http2 *h, int32_t id)
{
    struct client *client = h->client;
    struct clients *all = client_clients(client);
    const struct endpoint *endpoint = client->endpoint;
    struct request *req;
    struct exchange *exchange = exchange_new(*all->current, &req);
    struct http2_stream *s = arena_alloc(&req->arena, sizeof *s);
    *s = (struct http2_stream){.front = {&http2_front_ops},
                               .connection = h,
                               .exchange = exchange,
                               .req = req,
                               .limits = exchange_limits(exchange),
                               .step = {.run = http2_stream_step_cb},
                               .id = id};
    backlog_init(&s->kept, OUT_MAX);
    backlog_init(&s->out, OUT_MAX);
    deadline_init(&s->deadline, all->loop, http2_stream_missed_cb);
    h2_head_init(&s->head, req, s->limits);
    exchange_set_front(exchange, &s->front);
    req->client = client->peer;
    req->local = endpoint->local;
    req->listener = endpoint->listener;
    req->control = endpoint->control;
    if (client_tls(client) != NULL)
        admission_describe_tls(client, req);
    client_count_request(client);
    s->next = h->streams;
    s->at = &h->streams;
    if (s->next != NULL)
        s->next->at = &s->next;
    h->streams = s;
    h->count++;
    h->idle_by = h->pack_by = 0;
    if (client->requests >= s->limits->keepalive_requests)
        http2_leave(h);
    return s;
}

static void http2_stream_leave_ready(struct http2_stream *s)
{
    struct http2 *h = s->connection;
    struct http2_stream **at = &h->ready;
    while (*at != s)
        at = &(*at)->next_ready;
    *at = s->next_ready;
    if (h->ready_end == &s->next_ready)
        h->ready_end = at;
}

static void http2_stream_leave_over(struct http2_stream *s)
{
    struct http2_stream **at = &s->connection->over;
    while (*at != s)
        at = &(*at)->next_over;
    *at = s->next_over;
}

/* Takes the stream from its connection, and frees what it has beside the memory of the request. The
 * caller ends the exchange. */
static struct exchange *http2_stream_end(struct http2_stream *s)
{
    struct http2 *h = s->connection;
    if (s->counted)
        admission_end_request(h->client, s->req);
    if (!s->closed)
        nghttp2_session_set_stream_user_data(http2_session(h), s->id, NULL);
    *s->at = s->next;
    if (s->next != NULL)
        s->next->at = s->at;
    if (s->is_ready)
        http2_stream_leave_ready(s);
    if (s->is_over)
        http2_stream_leave_over(s);
    if (h->heading == s)
        h->heading = NULL;
    if (h->found == s)
        h->found = NULL;
    h->count--;
    loop_undefer(&s->step);
    deadline_fini(&s->deadline);
    backlog_fini(&s->kept);
    backlog_fini(&s->out);
    front_file_end(&s->file);
    return s->exchange;
}

void http2_stream_done(struct http2_stream *s)
{
    const char *broken = s->broken;
    bool whole = s->sent || s->cut;
    struct exchange *exchange = http2_stream_end(s);
    if (broken != NULL)
        exchange_gone(exchange, broken);
    else if (whole)
        exchange_done(exchange);
    else
        exchange_gone(exchange, "the client reset the stream");
}

void http2_stream_drop(struct http2_stream *s, const char *why, bool stopped)
{
    bool whole = s->sent && s->broken == NULL && s->ended;
    struct exchange *exchange = http2_stream_end(s);
    if (whole)
        exchange_done(exchange);
    else if (stopped)
        exchange_stopped(exchange, why);
    else
        exchange_gone(exchange, why);
}

void http2_stream_stop(struct http2_stream *s)
{
    nghttp2_session *session = http2_session(s->connection);
    const nghttp2_nv list[] = {http2_stream_nv(STR(":status"), STR("503")),
                               http2_stream_nv(STR("retry-after"), STR("5")),
                               http2_stream_nv(STR("content-length"), STR("0"))};
    if (s->closed || s->sent)
        return;
    if (!s->submitted && exchange_is_unanswered(s->exchange))
        nghttp2_submit_response(session, s->id, list, 3, NULL);
    else
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
}

/* Its response has changed: the flush sends it. */
static void http2_stream_flush(struct http2_stream *s)
{
    http2_out_touch(s);
    http2_flush(s->connection);
}

/* --- the request --- */

void http2_stream_refuse(struct http2_stream *s, struct refusal refusal)
{
    s->body_done = s->body_told = true;
    deadline_clear(&s->deadline);
    if (!s->ended)
        exchange_refuse(s->exchange, refusal.status, refusal.reason);
}

/* Tells nghttp2 the client's priority for the response. A client that says nothing gets all its
 * responses at the same time. */
static void http2_stream_set_priority(struct http2_stream *s)
{
    const nghttp2_extpri priority = {.urgency = s->head.priority.urgency,
                                     .inc = s->head.priority.incremental};
    nghttp2_session_change_extpri_stream_priority(http2_session(s->connection), s->id, &priority,
                                                  0);
}

void http2_stream_head(struct http2_stream *s, bool last)
{
    struct http2 *h = s->connection;
    const char *reason;
    bool counted = false;
    struct refusal bad = h2_head_end(&s->head, last);
    if (bad.reason == NULL) {
        bad.status = admission_begin_request(h->client, s->req, &counted, &reason);
        if (bad.status != 0)
            bad.reason = reason;
    }
    s->counted = counted;
    if (bad.reason != NULL) {
        http2_stream_refuse(s, bad);
        return;
    }
    bool has_body = s->req->body_length > 0 || s->req->body_length == BODY_UNKNOWN;
    s->body_done = s->body_told = !has_body;
    if (h->head_by != 0) /* the head's end may be younger than this turn's file lookups */
        lookup_begin_turn();
    http2_stream_set_priority(s);
    exchange_begin(s->exchange, has_body);
    if (has_body) /* what comes behind the head in the same read has a receiver then */
        exchange_run(s->exchange);
}

void http2_stream_trailers(struct http2_stream *s, bool last)
{
    if (last)
        http2_stream_body_end(s);
    else if (!s->body_done)
        http2_stream_refuse(s, (struct refusal){400, "trailers that do not end the request"});
}

/* --- its body --- */

static struct backlog_limits http2_stream_kept_limits(const struct http2_stream *s)
{
    return (struct backlog_limits){
        .memory = s->limits->request_memory, .file = s->limits->spool, .dir = s->limits->spool_dir};
}

/* Gives bytes to the exchange, and room for more of them to the client. */
static void http2_stream_give(struct http2_stream *s, struct str bytes)
{
    deadline_set(&s->deadline, s->limits->body_timeout);
    exchange_body(s->exchange, bytes);
    if (!s->closed && !s->remote_done)
        nghttp2_session_consume_stream(http2_session(s->connection), s->id, bytes.n);
}

void http2_stream_body(struct http2_stream *s, struct str bytes)
{
    struct backlog_limits limits = http2_stream_kept_limits(s);
    if (s->body_done || s->ended)
        return;
    s->body_bytes += bytes.n;
    if (s->req->body_length >= 0 && s->body_bytes > (uint64_t)s->req->body_length)
        http2_stream_refuse(s, (struct refusal){400, "more of a body than Content-Length says"});
    else if (s->want_body && backlog_is_empty(&s->kept))
        http2_stream_give(s, bytes);
    else if (backlog_append(&s->kept, &limits, bytes) != NULL)
        http2_stream_refuse(s, (struct refusal){503, "the body could not be kept in spool_dir"});
}

void http2_stream_body_end(struct http2_stream *s)
{
    if (s->body_done)
        return;
    if (s->req->body_length >= 0 && s->body_bytes < (uint64_t)s->req->body_length) {
        http2_stream_refuse(s, (struct refusal){400, "less of a body than Content-Length says"});
        return;
    }
    s->body_done = true;
    if (!s->sending)
        deadline_clear(&s->deadline);
    http2_stream_queue(s);
}

/* Passes the kept body to the exchange, as much as the exchange wants. */
static void http2_stream_give_kept(struct http2_stream *s)
{
    struct loop *loop = http2_loop(s->connection);
    while (s->want_body && !s->ended && !backlog_is_empty(&s->kept)) {
        struct str bytes = backlog_peek(&s->kept, loop->scratch, LOOP_SCRATCH_SIZE);
        if (bytes.n == 0) {
            http2_stream_refuse(
                s,
                (struct refusal){503, "what was kept of the body in spool_dir could not be read"});
            return;
        }
        http2_stream_give(s, bytes);
        backlog_consume(&s->kept, bytes.n);
    }
    if (s->want_body && s->body_done && !s->body_told && backlog_is_empty(&s->kept)) {
        s->body_told = true;
        deadline_clear(&s->deadline);
        if (!s->ended)
            exchange_body_end(s->exchange);
    }
}

static void http2_stream_step_cb(struct deferred *d)
{
    struct http2_stream *s =
        (struct http2_stream *)((char *)d - offsetof(struct http2_stream, step));
    if (s->broken == NULL)
        http2_stream_give_kept(s);
    http2_stream_flush(s);
}

/* --- the response: front_ops --- */

/* A larger window while the body is wanted; it closes by itself while the body is not. */
static void http2_stream_open_window(struct http2_stream *s)
{
    int64_t length = s->req->body_length;
    if (s->closed || s->remote_done || s->window_open || (length >= 0 && length <= HTTP2_WINDOW))
        return;
    s->window_open = true;
    nghttp2_session_set_local_window_size(http2_session(s->connection), NGHTTP2_FLAG_NONE, s->id,
                                          HTTP2_BODY_WINDOW);
    http2_flush(s->connection);
}

static void http2_want_body(struct front *front, bool want)
{
    static const nghttp2_nv go_on = {(uint8_t *)":status", (uint8_t *)"100", 7, 3, 0};
    struct http2_stream *s = http2_stream_of(front);
    s->want_body = want;
    if (!want) {
        if (!s->sending)
            deadline_clear(&s->deadline);
        return;
    }
    if (s->head.expects_continue && !s->body_done && s->body_bytes == 0 && !s->head_waits &&
        !s->submitted) {
        s->head.expects_continue = false;
        nghttp2_submit_headers(http2_session(s->connection), NGHTTP2_FLAG_NONE, s->id, NULL, &go_on,
                               1, NULL);
        http2_flush(s->connection);
    }
    if (!s->body_done) {
        http2_stream_open_window(s);
        if (!s->sending)
            deadline_set(&s->deadline, s->limits->body_timeout);
    }
    if (s->body_done || !backlog_is_empty(&s->kept))
        http2_stream_queue(s);
}

static void http2_hints(struct front *front, const struct headers *headers)
{
    struct http2_stream *s = http2_stream_of(front);
    nghttp2_nv *list = arena_alloc(&s->req->arena, (headers->count + 1) * sizeof *list);
    size_t count = 0;
    list[count++] = http2_stream_nv(STR(":status"), STR("103"));
    for (unsigned i = 0; i < headers->count; i++)
        if (str_ieq(headers->list[i].name, STR("Link")))
            list[count++] = http2_stream_nv(STR("link"), headers->list[i].value);
    if (count == 1 || s->closed)
        return;
    nghttp2_submit_headers(http2_session(s->connection), NGHTTP2_FLAG_NONE, s->id, NULL, list,
                           count, NULL);
    http2_flush(s->connection);
}

static void http2_respond(struct front *front)
{
    struct http2_stream *s = http2_stream_of(front);
    s->head_waits = true;
    s->no_spool = NULL;
}

static struct backlog_limits http2_stream_out_limits(const struct http2_stream *s)
{
    return (struct backlog_limits){
        .memory = s->limits->response_memory,
        .file = s->req->response.unbuffered || s->no_spool != NULL ? 0 : s->limits->spool,
        .dir = s->limits->spool_dir,
    };
}

static void http2_stream_report_spool(const struct http2_stream *s)
{
    static struct log_quota quota = {.most = LOG_MOST};
    logline_write(s->req, &quota, LOG_WARN,
                  "spool_dir %s: %s; the reply is not kept there, so the application waits for the "
                  "client",
                  s->limits->spool_dir, s->no_spool);
}

static void http2_body(struct front *front, struct str bytes)
{
    struct http2_stream *s = http2_stream_of(front);
    struct backlog_limits limits = http2_stream_out_limits(s);
    s->req->body_out += bytes.n;
    const char *err = backlog_append(&s->out, &limits, bytes);
    if (err != NULL) {
        s->no_spool = err;
        http2_stream_report_spool(s);
    }
    if (backlog_overflows(&s->out)) /* a response with lost bytes must not look complete */
        s->broken = "more than a gigabyte of it waited for the client";
}

static bool http2_file(struct front *front, struct file_source *source,
                       const struct file_piece *pieces, unsigned count)
{
    struct http2_stream *s = http2_stream_of(front);
    source->users++;
    s->file = (struct front_file){source, pieces, count, 0};
    return true;
}

static void http2_front_flush(struct front *front)
{
    http2_stream_flush(http2_stream_of(front));
}

static void http2_end(struct front *front)
{
    struct http2_stream *s = http2_stream_of(front);
    s->ended = true;
    http2_stream_flush(s);
}

static bool http2_retract(struct front *front)
{
    struct http2_stream *s = http2_stream_of(front);
    if (!s->head_waits)
        return false;
    s->head_waits = false;
    s->req->body_out = 0;
    backlog_fini(&s->out);
    front_file_end(&s->file);
    s->file = (struct front_file){0};
    return true;
}

/* The response ends behind the bytes that it has, without END_STREAM. */
static void http2_cut(struct front *front)
{
    struct http2_stream *s = http2_stream_of(front);
    http2_retract(front); /* a head that waits is dropped */
    s->ended = s->cut = true;
    http2_stream_flush(s);
}

static void http2_drop(struct front *front, const char *why)
{
    struct http2_stream *s = http2_stream_of(front);
    s->broken = why;
    s->ended = s->cut = true;
    http2_stream_flush(s);
}

static size_t http2_room(struct front *front)
{
    struct http2_stream *s = http2_stream_of(front);
    struct backlog_limits limits = http2_stream_out_limits(s);
    uint64_t room = backlog_room(&s->out, &limits);
    return room < SIZE_MAX ? (size_t)room : SIZE_MAX;
}

static const struct front_ops http2_front_ops = {
    .want_body = http2_want_body,
    .hints = http2_hints,
    .respond = http2_respond,
    .body = http2_body,
    .file = http2_file,
    .flush = http2_front_flush,
    .end = http2_end,
    .retract = http2_retract,
    .cut = http2_cut,
    .drop = http2_drop,
    .room = http2_room,
};

/* --- to nghttp2 --- */

/* Says how many bytes of the body are there; http2_out_data gathers them. */
static ssize_t http2_stream_read_cb(nghttp2_session *session, int32_t id, uint8_t *buf,
                                    size_t length, uint32_t *flags, nghttp2_data_source *source,
                                    void *ctx)
{
    struct http2_stream *s = http2_session_stream(ctx, id);
    (void)session;
    (void)buf;
    (void)source;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    uint64_t waiting = http2_stream_waiting(s);
    if (s->broken != NULL || (waiting == 0 && s->cut)) { /* nghttp2 resets the stream */
        http2_out_over(s);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    if (waiting == 0 && !s->ended) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (waiting <= length && s->ended && !s->cut)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)(waiting < length ? waiting : length);
}

/* The length that the head announces; -1: none. */
static int64_t http2_stream_length(const struct http2_stream *s)
{
    const struct response *res = &s->req->response;
    if (res->status == 204 || res->status == 304)
        return -1;
    if (res->content_length < 0 && s->ended && !s->cut && s->req->method_id != METHOD_HEAD)
        return (int64_t)http2_stream_waiting(s); /* all of it is here */
    return res->content_length;
}

/* Makes the fields of the response's head, and returns their number. Names that are not known
 * become lower case in nghttp2's copy. `digits` has room for a status and a length. */
static size_t http2_stream_fields(struct http2_stream *s, nghttp2_nv *list,
                                  char digits[3 + STR_U64_SIZE])
{
    const struct response *res = &s->req->response;
    int64_t length = http2_stream_length(s);
    bool has_date = false, has_server = false;
    size_t count = 0;
    for (int i = 2, rest = res->status; i >= 0; rest /= 10)
        digits[i--] = (char)('0' + rest % 10);
    list[count++] = http2_stream_known_nv(STR(":status"), (struct str){digits, 3});
    for (unsigned i = 0; i < res->headers.count; i++) {
        const struct header *header = &res->headers.list[i];
        if (header->hop || header->id == HEADER_CONTENT_LENGTH)
            continue;
        has_date |= header->id == HEADER_DATE;
        has_server |= header->id == HEADER_SERVER;
        struct str name = header_name(header->id);
        list[count++] = name.p != NULL ? http2_stream_known_nv(name, header->value)
                                       : http2_stream_nv(header->name, header->value);
    }
    if (!has_date)
        list[count++] = http2_stream_known_nv(STR("date"), loop_date(http2_loop(s->connection)));
    if (!has_server)
        list[count++] = http2_stream_known_nv(STR("server"), STR("moongate"));
    if (length >= 0) {
        size_t n = str_from_u64((uint64_t)length, digits + 3);
        list[count++] = http2_stream_known_nv(STR("content-length"), (struct str){digits + 3, n});
    }
    return count;
}

static void http2_stream_submit_head(struct http2_stream *s)
{
    nghttp2_data_provider body = {.read_callback = http2_stream_read_cb};
    char digits[3 + STR_U64_SIZE];
    nghttp2_nv few[FEW_FIELDS], *list = few;
    size_t most = s->req->response.headers.count + 4;
    if (most > FEW_FIELDS)
        list = arena_alloc(&s->req->arena, most * sizeof *list);
    size_t count = http2_stream_fields(s, list, digits);
    bool bodiless = s->ended && !s->cut && http2_stream_waiting(s) == 0;
    s->head_waits = false;
    s->submitted = true;
    int err = nghttp2_submit_response(http2_session(s->connection), s->id, list, count,
                                      bodiless ? NULL : &body);
    if (err == NGHTTP2_ERR_NOMEM)
        abort();
    if (err != 0)
        s->broken = nghttp2_strerror(err);
}

/* Ends the stream at once: what waits of it is dropped. */
static void http2_stream_reset(struct http2_stream *s)
{
    nghttp2_submit_rst_stream(http2_session(s->connection), NGHTTP2_FLAG_NONE, s->id,
                              NGHTTP2_INTERNAL_ERROR);
    http2_out_over(s);
}

void http2_stream_submit(struct http2_stream *s)
{
    if (s->closed || s->sent || s->is_over)
        return;
    if (s->head_waits && s->broken == NULL)
        http2_stream_submit_head(s);
    if (s->broken != NULL || (s->cut && !s->submitted)) {
        http2_stream_reset(s);
    } else if (s->deferred && (s->ended || http2_stream_waiting(s) > 0)) {
        s->deferred = false;
        nghttp2_session_resume_data(http2_session(s->connection), s->id);
    }
}

void http2_stream_flushed(struct http2_stream *s)
{
    bool waits = s->submitted && !s->sent && http2_stream_waiting(s) > 0;
    if (waits && !s->sending) {
        deadline_set(&s->deadline, s->limits->send_timeout);
    } else if (!waits && s->sending) {
        deadline_clear(&s->deadline);
        if (s->want_body && !s->body_done)
            deadline_set(&s->deadline, s->limits->body_timeout);
    }
    s->sending = waits;
    if (!s->ended && s->submitted &&
        (backlog_is_empty(&s->out) || http2_room(&s->front) >= LOOP_READ_SIZE))
        exchange_room(s->exchange);
}

/*
 * gateway_request - see gateway_inner.h. This file has one request of a web server: its params, its
 * STDIN, and the response (front_ops), whose head waits for the first bytes of the body as in every
 * front.
 *
 * STDIN that the exchange does not want yet is kept here, in memory and then on disk, since the
 * records of other requests lie behind it in the same socket.
 */
#include "front/gateway_inner.h"

#include "base/lookup.h"
#include "fastcgi/cgi_in.h"
#include "http/logline.h"
#include "shm/metrics.h"

#include <stdlib.h>

#define STDIN_MAX (1ul << 30)

static const struct front_ops gateway_front_ops;
static const struct transport_ops stdout_ops;
static void gateway_request_send_gathered(struct gateway_request *r);

/* --- life --- */

static void gateway_request_step_cb(struct deferred *d)
{
    struct gateway_request *r =
        (struct gateway_request *)((char *)d - offsetof(struct gateway_request, step));
    struct gateway *g = r->gateway;
    gateway_request_go(r);
    g->client.endpoint->protocol->on_step(&g->active.step);
}

static void gateway_request_queue(struct gateway_request *r)
{
    loop_step(client_clients(&r->gateway->client)->loop, &r->step);
}

static void gateway_request_missed_cb(struct deadline *d)
{
    struct gateway_request *r =
        (struct gateway_request *)((char *)d - offsetof(struct gateway_request, deadline));
    if (r->ended || (r->begun && (!r->want_body || r->stdin_done)))
        return;
    r->params_done = r->stdin_done = r->stdin_told = true;
    exchange_refuse(r->exchange, 408,
                    r->begun ? "the body did not come within body_timeout"
                             : "the params did not come within header_timeout");
}

void gateway_request_begin(struct gateway *g, uint16_t id, enum fcgi_role role, bool keep)
{
    struct clients *all = client_clients(&g->client);
    struct gateway_request *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->gateway = g;
    r->id = id;
    r->keep = keep;
    r->front.ops = &gateway_front_ops;
    r->transport.ops = &stdout_ops;
    r->step.run = gateway_request_step_cb;
    sender_init(&r->sender, &r->transport, &all->turn, NULL);
    backlog_init(&r->stdin_kept, STDIN_MAX);
    r->exchange = exchange_new(*all->current, &r->req);
    exchange_set_front(r->exchange, &r->front);
    r->req->listener = g->client.endpoint->listener;
    r->req->client = r->req->local = (struct peer){.family = AF_UNIX};
    r->req->came_as = r->req->role = (uint8_t)role;
    r->req->from_trusted = true;             /* only a web server can reach such a listener */
    r->stdin_done = role == FCGI_AUTHORIZER; /* an authorizer has no STDIN */
    deadline_init(&r->deadline, all->loop, gateway_request_missed_cb);
    deadline_set(&r->deadline, exchange_limits(r->exchange)->header_timeout);
    r->next = g->requests;
    g->requests = r;
    g->count++;
}

/* Unlinks and frees the request, after its exchange has been told of the end. */
static void gateway_request_free(struct gateway_request *r)
{
    struct gateway *g = r->gateway;
    struct gateway_request **at = &g->requests;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    g->count--;
    if (g->whole == r)
        g->whole = NULL;
    loop_undefer(&r->step);
    deadline_fini(&r->deadline);
    backlog_fini(&r->stdin_kept);
    free(r);
}

/* Notes in the request what only the front knows, before the exchange ends. */
static void gateway_request_leave(struct gateway_request *r)
{
    struct clients *all = client_clients(&r->gateway->client);
    r->req->body_out += r->sender.file_sent;
    if (r->by_ip)
        census_uncount(all->census, all->worker, &r->req->client);
    r->by_ip = false;
    sender_fini(&r->sender);
}

/* Ends a request whose response has been written, or broken off. */
static void gateway_request_finish(struct gateway_request *r)
{
    struct gateway *g = r->gateway;
    bool alone = g->count == 1;
    const char *broken = r->sender.broken;
    gateway_request_leave(r);
    if (broken != NULL)
        exchange_gone(r->exchange, broken);
    else
        exchange_done(r->exchange);
    if (!r->cut) {
        fcgi_empty(&g->out, FCGI_STDOUT, r->id);
        fcgi_end(&g->out, r->id, 0, FCGI_REQUEST_COMPLETE);
    } else if (!alone) { /* the connection has other requests */
        fcgi_end(&g->out, r->id, 1, FCGI_OVERLOADED);
    }
    gateway_flush(g);
    if (!r->keep || (r->cut && alone) || client_clients(&g->client)->stopping) {
        g->closing = true;
        g->unread |= !r->stdin_over;
    }
    gateway_request_free(r);
}

void gateway_request_drop(struct gateway_request *r, const char *why, bool stopped)
{
    struct gateway *g = r->gateway;
    if (stopped && exchange_is_unanswered(r->exchange)) {
        static const char text[] = "Status: 503 Service Unavailable\r\nRetry-After: 5\r\n"
                                   "Content-Type: text/plain\r\n\r\n503 Service Unavailable\n";
        struct iovec v = {(char *)text, sizeof text - 1};
        gateway_stdout(g, r->id, &v, 1);
        fcgi_empty(&g->out, FCGI_STDOUT, r->id);
        fcgi_end(&g->out, r->id, 0, FCGI_REQUEST_COMPLETE);
    }
    gateway_request_leave(r);
    if (stopped)
        exchange_stopped(r->exchange, why);
    else
        exchange_gone(r->exchange, why);
    gateway_request_free(r);
}

void gateway_request_abort(struct gateway_request *r)
{
    struct gateway *g = r->gateway;
    uint16_t id = r->id;
    bool keep = r->keep;
    g->unread |= !r->stdin_over;
    gateway_request_drop(r, "the web server aborted the request, since its client has left", false);
    fcgi_empty(&g->out, FCGI_STDOUT, id);
    fcgi_end(&g->out, id, 0, FCGI_REQUEST_COMPLETE);
    g->closing |= !keep;
    gateway_flush(g);
}

/* --- params, STDIN --- */

/* Refuses the request; its later records are read and dropped. */
static void gateway_request_refuse(struct gateway_request *r, int status, const char *reason)
{
    r->params_done = r->stdin_done = r->stdin_told = true;
    deadline_clear(&r->deadline);
    if (!r->ended)
        exchange_refuse(r->exchange, status, reason);
    r->gateway->whole = r;
}

const char *gateway_request_params(struct gateway_request *r, struct str bytes)
{
    if (r->begun)
        return "PARAMS behind their end";
    if (r->params_done)
        return NULL;
    if (r->pairs.n + bytes.n > cgi_in_limit(exchange_limits(r->exchange)))
        gateway_request_refuse(r, 431,
                               "the params are larger than limits.header and limits.request_line "
                               "allow");
    else
        r->pairs = arena_append(&r->req->arena, r->pairs, bytes);
    r->req->head_in = r->pairs.n;
    return NULL;
}

/* Counts the request for the client that the web server names. False: limits.per_ip is reached. */
static bool gateway_request_enter_client(struct gateway_request *r)
{
    struct clients *all = client_clients(&r->gateway->client);
    unsigned per_ip = exchange_limits(r->exchange)->per_ip;
    if (all->census == NULL || per_ip == 0)
        return true;
    r->by_ip = census_count(all->census, all->worker, &r->req->client, per_ip);
    if (!r->by_ip)
        metrics_add(&metrics_own->limited[METRICS_LIMIT_PER_IP], 1);
    return r->by_ip;
}

static void gateway_request_start(struct gateway_request *r)
{
    bool has_body = r->req->body_length > 0 || r->req->body_length == BODY_UNKNOWN;
    r->begun = true;
    deadline_clear(&r->deadline);
    lookup_begin_turn(); /* the request may be younger than this turn's file lookups */
    r->stdin_told = !has_body;
    exchange_begin(r->exchange, has_body);
    r->gateway->whole = r;
}

void gateway_request_params_end(struct gateway_request *r)
{
    if (r->params_done)
        return;
    r->params_done = true;
    struct refusal bad = cgi_in_request(r->req, exchange_limits(r->exchange), r->pairs);
    if (bad.reason == NULL && !gateway_request_enter_client(r))
        bad = (struct refusal){
            503, "more requests of this client of a web server than limits.per_ip are under way"};
    if (bad.reason != NULL) {
        gateway_request_refuse(r, bad.status, bad.reason);
        return;
    }
    if (r->req->came_as == FCGI_AUTHORIZER)
        r->req->body_length = BODY_NONE;
    /* A filter's request begins with its body, or without one when its data is complete. */
    int64_t least = r->req->came_as == FCGI_FILTER ? 1 : 0;
    if (r->stdin_done || r->req->body_length >= least)
        gateway_request_start(r); /* else the first STDIN shows whether there is a body */
}

static struct backlog_limits gateway_request_stdin_limits(const struct gateway_request *r)
{
    const struct limits *limits = exchange_limits(r->exchange);
    return (struct backlog_limits){
        .memory = limits->request_memory, .file = limits->spool, .dir = limits->spool_dir};
}

bool gateway_request_is_full(const struct gateway_request *r)
{
    struct backlog_limits limits = gateway_request_stdin_limits(r);
    return !backlog_is_empty(&r->stdin_kept) && backlog_room(&r->stdin_kept, &limits) == 0;
}

static void gateway_request_keep_stdin(struct gateway_request *r, struct str bytes)
{
    struct backlog_limits limits = gateway_request_stdin_limits(r);
    const char *err = backlog_append(&r->stdin_kept, &limits, bytes);
    if (err != NULL)
        gateway_request_refuse(r, 503, "the body could not be kept in spool_dir");
}

void gateway_request_stdin(struct gateway_request *r, struct str bytes)
{
    if (r->stdin_done || r->ended)
        return;
    if (!r->params_done) {
        gateway_request_refuse(r, 400, "STDIN before the end of PARAMS");
        return;
    }
    if (!r->begun) { /* a body without CONTENT_LENGTH */
        r->req->body_length = BODY_UNKNOWN;
        gateway_request_start(r);
    }
    r->stdin_bytes += bytes.n;
    if (r->req->body_length >= 0 && r->stdin_bytes > (uint64_t)r->req->body_length) {
        gateway_request_refuse(r, 400, "more of STDIN than CONTENT_LENGTH says");
        return;
    }
    if (!r->want_body || !backlog_is_empty(&r->stdin_kept)) {
        gateway_request_keep_stdin(r, bytes);
        return;
    }
    deadline_set(&r->deadline, exchange_limits(r->exchange)->body_timeout);
    exchange_body(r->exchange, bytes);
}

/* Ends the request's input: the exchange waits for nothing more. */
static void gateway_request_end_body(struct gateway_request *r)
{
    r->stdin_done = true;
    deadline_clear(&r->deadline);
    if (!r->begun)
        gateway_request_start(r);
    r->gateway->whole = r;
}

/* Prepares for a filter's data, which is kept whole before a server is asked, since DATA comes last
 * and is sent last. */
static void gateway_request_expect_data(struct gateway_request *r)
{
    const struct limits *limits = exchange_limits(r->exchange);
    uint64_t room = limits->request_memory + limits->spool;
    r->in_data = true;
    r->req->data = arena_alloc(&r->req->arena, sizeof *r->req->data);
    r->req->data->modified = -1;
    spool_init(&r->req->data->spool, limits->request_memory,
               limits->body < room ? limits->body : room, limits->spool_dir);
    deadline_set(&r->deadline, limits->body_timeout);
}

void gateway_request_stdin_end(struct gateway_request *r)
{
    bool filter = r->req->came_as == FCGI_FILTER;
    r->stdin_over = !filter;
    if (r->stdin_done)
        return;
    if (r->in_data || !r->params_done ||
        (r->req->body_length >= 0 && r->stdin_bytes < (uint64_t)r->req->body_length)) {
        gateway_request_refuse(r, 400, "the end of STDIN before CONTENT_LENGTH bytes of it");
        return;
    }
    if (filter)
        gateway_request_expect_data(r);
    else
        gateway_request_end_body(r);
}

/* --- a filter's data --- */

void gateway_request_data(struct gateway_request *r, struct str bytes)
{
    if (r->stdin_done || r->ended)
        return;
    if (!r->in_data) {
        gateway_request_refuse(r, 400,
                               "DATA before the end of STDIN, or for another role than a filter's");
        return;
    }
    deadline_set(&r->deadline, exchange_limits(r->exchange)->body_timeout);
    const char *err = spool_write(&r->req->data->spool, bytes);
    if (err == SPOOL_TOO_LARGE)
        gateway_request_refuse(r, 413,
                               "a filter's data larger than limits.body, or than is kept here");
    else if (err != NULL)
        gateway_request_refuse(r, 503, "a filter's data could not be kept in spool_dir");
}

/* Ends a filter's data, whose size must be FCGI_DATA_LENGTH, if that param is there (FastCGI §6.4).
 */
void gateway_request_data_end(struct gateway_request *r)
{
    const struct param *length = params_find(&r->req->arrived, STR("FCGI_DATA_LENGTH"));
    uint64_t size;
    r->stdin_over = true;
    if (r->stdin_done)
        return;
    if (!r->in_data) {
        gateway_request_refuse(r, 400, "the end of DATA before that of STDIN");
        return;
    }
    if (length != NULL && (!str_to_u64(length->value, &size) || size != r->req->data->spool.size)) {
        gateway_request_refuse(r, 400, "not as many bytes of DATA as FCGI_DATA_LENGTH says");
        return;
    }
    gateway_request_end_body(r);
}

/* Passes the kept STDIN to the exchange, as much as the exchange wants. */
static void gateway_request_give_stdin(struct gateway_request *r)
{
    struct loop *loop = client_clients(&r->gateway->client)->loop;
    while (r->want_body && !r->ended && !backlog_is_empty(&r->stdin_kept)) {
        struct str bytes = backlog_peek(&r->stdin_kept, loop->scratch, LOOP_SCRATCH_SIZE);
        if (bytes.n == 0) {
            gateway_request_refuse(r, 503,
                                   "what was kept of the body in spool_dir could not be read");
            return;
        }
        exchange_body(r->exchange, bytes);
        backlog_consume(&r->stdin_kept, bytes.n);
    }
    if (r->want_body && r->stdin_done && !r->stdin_told && backlog_is_empty(&r->stdin_kept)) {
        r->stdin_told = true;
        if (!r->ended)
            exchange_body_end(r->exchange);
    }
}

bool gateway_request_go(struct gateway_request *r)
{
    do
        gateway_request_give_stdin(r);
    while (exchange_run(r->exchange));
    loop_undefer(&r->step); /* the facts that the exchange has noted have been handled */
    if (r->sender.broken != NULL && r->gateway->broken == NULL) {
        r->cut = r->ended = true; /* for example because a file can't be read */
        gateway_request_finish(r);
        return false;
    }
    if (!r->ended || !sender_is_done(&r->sender))
        return true;
    gateway_request_finish(r);
    return false;
}

/* --- the response --- */

/* Called after each write: counts the bytes, and logs once for a response that its spool can't be
 * used. */
static void gateway_request_sent(struct gateway_request *r, size_t n)
{
    r->req->bytes_out += n;
    if (r->sender.no_spool != NULL && !r->spool_reported) {
        static struct log_quota quota = {.most = LOG_MOST};
        r->spool_reported = true;
        logline_write(r->req, &quota, LOG_WARN,
                      "spool_dir %s: %s; the response is not kept there, so the application waits "
                      "for the web server",
                      exchange_limits(r->exchange)->spool_dir, r->sender.no_spool);
    }
    if (r->sender.broken != NULL || sender_waits(&r->sender))
        gateway_request_queue(r); /* the connection's step updates its watcher */
}

void gateway_request_write(struct gateway_request *r)
{
    gateway_request_sent(r, sender_write(&r->sender));
    bool done = sender_is_done(&r->sender);
    if (r->ended && done)
        gateway_request_go(r);
    else if (!r->ended && (done || sender_room(&r->sender) >= LOOP_READ_SIZE))
        exchange_room(r->exchange);
}

static struct gateway_request *gateway_request_of(struct front *front)
{
    return (struct gateway_request *)((char *)front - offsetof(struct gateway_request, front));
}

static void gateway_response_want_body(struct front *front, bool want)
{
    struct gateway_request *r = gateway_request_of(front);
    r->want_body = want;
    if (!want || r->stdin_done)
        deadline_clear(&r->deadline);
    else
        deadline_set(&r->deadline, exchange_limits(r->exchange)->body_timeout);
    if (want && (r->stdin_done || !backlog_is_empty(&r->stdin_kept)))
        gateway_request_queue(r);
}

static void gateway_response_respond(struct front *front)
{
    struct gateway_request *r = gateway_request_of(front);
    r->head_waits = true;
    r->spool_reported = false;
    sender_begin(&r->sender, exchange_limits(r->exchange), r->req->response.unbuffered);
}

static void gateway_response_body(struct front *front, struct str bytes)
{
    struct gateway_request *r = gateway_request_of(front);
    r->req->body_out += bytes.n;
    if (sender_gather(&r->sender, bytes))
        return;
    gateway_request_send_gathered(r);
    sender_gather(&r->sender, bytes);
}

static struct str gateway_request_make_head(struct gateway_request *r)
{
    int64_t length = r->req->response.content_length;
    int status = r->req->response.status;
    if (status == 204 || status == 304)
        length = -1;
    else if (length < 0 && r->ended && !r->cut && r->req->method_id != METHOD_HEAD)
        length = (int64_t)sender_gathered(&r->sender); /* the whole body has been gathered */
    r->head_waits = false;
    return cgi_in_head(r->req, length);
}

static void gateway_request_send_gathered(struct gateway_request *r)
{
    struct sender_frame frame = {.head = STR_NONE};
    if (r->head_waits)
        frame.head = gateway_request_make_head(r);
    gateway_request_sent(r, sender_send(&r->sender, &frame, SENDER_NOW));
}

static bool gateway_response_file(struct front *front, struct file_source *source,
                                  const struct file_piece *pieces, unsigned count)
{
    sender_file(&gateway_request_of(front)->sender, source, pieces, count);
    return true;
}

static void gateway_response_flush(struct front *front)
{
    gateway_request_send_gathered(gateway_request_of(front));
}

static void gateway_response_end(struct front *front)
{
    struct gateway_request *r = gateway_request_of(front);
    bool file = r->sender.piece_count > 0;
    r->ended = true;
    gateway_request_send_gathered(r);
    if (file && backlog_is_empty(&r->sender.out))
        gateway_request_sent(r, sender_write(&r->sender));
    gateway_request_queue(r);
}

static bool gateway_response_retract(struct front *front)
{
    struct gateway_request *r = gateway_request_of(front);
    if (!r->head_waits)
        return false;
    r->head_waits = false;
    r->req->body_out = 0;
    sender_forget(&r->sender);
    return true;
}

static void gateway_response_cut(struct front *front)
{
    struct gateway_request *r = gateway_request_of(front);
    if (!r->head_waits)
        gateway_request_send_gathered(r);
    r->head_waits = false;
    r->ended = r->cut = true;
    gateway_request_queue(r);
}

static void gateway_response_drop(struct front *front, const char *why)
{
    struct gateway_request *r = gateway_request_of(front);
    r->sender.broken = why;
    r->ended = r->cut = true;
    gateway_request_queue(r);
}

static size_t gateway_response_room(struct front *front)
{
    return sender_room(&gateway_request_of(front)->sender);
}

static const struct front_ops gateway_front_ops = {
    .want_body = gateway_response_want_body,
    .respond = gateway_response_respond,
    .body = gateway_response_body,
    .file = gateway_response_file,
    .flush = gateway_response_flush,
    .end = gateway_response_end,
    .retract = gateway_response_retract,
    .cut = gateway_response_cut,
    .drop = gateway_response_drop,
    .room = gateway_response_room,
};

/* --- STDOUT as a transport --- */

static ssize_t gateway_stdout_writev(struct transport *t, struct iovec *slices, int count,
                                     bool more)
{
    struct gateway_request *r =
        (struct gateway_request *)((char *)t - offsetof(struct gateway_request, transport));
    (void)more;
    return gateway_stdout(r->gateway, r->id, slices, count);
}

static const struct transport_ops stdout_ops = {.writev = gateway_stdout_writev};

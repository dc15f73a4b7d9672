/* client - see client.h. */
#include "fastcgi/client.h"

#include "fastcgi/connection.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define BYTES_MAX (1u << 30) /* of a request, and of a reply */
#define PIECE     65536      /* of what is sent, so that the connection keeps no more than that */

/* --- bytes --- */

/* A call on one address. */
struct client_try {
    const struct client_call *call;
    struct loop loop;
    struct channel *channel; /* NULL: it is over */
    struct str rest;         /* of what is sent */
    double end;              /* of the whole call */
    double patience;         /* for this connection to be made */
    const char *problem;
    bool opened;
};

/* What is left, but never nothing: that would be no deadline. */
static double client_try_left(struct client_try *t)
{
    double left = t->end - loop_now(&t->loop);
    return left > 0.001 ? left : 0.001;
}

static void client_try_over(struct client_try *t, const char *problem)
{
    static char text[160]; /* of the problem, which the connection takes along */
    if (problem != NULL)
        snprintf(text, sizeof text, "%s", problem);
    t->problem = problem != NULL ? text : NULL;
    if (t->channel != NULL)
        channel_drop(t->channel);
    t->channel = NULL;
    ev_break(t->loop.ev, EVBREAK_ALL);
}

static void client_try_send(void *user)
{
    struct client_try *t = user;
    t->opened = true;
    if (t->call->take == NULL) {
        client_try_over(t, NULL);
        return;
    }
    while (t->rest.n > 0 && channel_is_drained(t->channel)) {
        struct iovec piece = {(char *)t->rest.p, t->rest.n < PIECE ? t->rest.n : PIECE};
        channel_write(t->channel, &piece, 1);
        t->rest = str_skip(t->rest, piece.iov_len);
    }
    channel_deadline(t->channel, client_try_left(t), "no answer within the time");
}

static void client_try_bytes(void *user, const char *bytes, size_t n)
{
    struct client_try *t = user;
    bool done = false;
    const char *problem = t->call->take(t->call->ctx, (struct str){bytes, n}, &done);
    if (problem != NULL || done)
        client_try_over(t, problem);
    else
        channel_deadline(t->channel, client_try_left(t), "no end of the answer within the time");
}

static void client_try_failed(void *user, enum failure failure, const char *detail,
                              uint64_t written)
{
    struct client_try *t = user;
    bool done = false;
    (void)written;
    t->channel = NULL;
    if (failure == FAILURE_QUEUE)
        detail = "its listen queue is full";
    else if (failure == FAILURE_CONNECT && loop_now(&t->loop) >= t->patience)
        detail = "no connection within the time";
    else if (detail == conn_ended)
        detail = t->call->take(t->call->ctx, STR(""), &done);
    if (detail == NULL && !done)
        detail = "the connection ended before the answer was complete";
    client_try_over(t, detail);
}

static const struct channel_ops try_ops = {
    .on_open = client_try_send,
    .on_bytes = client_try_bytes,
    .on_drain = client_try_send,
    .on_fail = client_try_failed,
};

/* One of so many addresses that are left, each of which has its share of the time. */
static void client_try_run(struct client_try *t, const struct addr *addr, unsigned left)
{
    struct conn_place place = {.list = {*addr}, .count = 1};
    ev_now_update(t->loop.ev);
    const struct conn_target target = {.place = &place,
                                       .connect_timeout = client_try_left(t) / left,
                                       .owned = t->call->owned,
                                       .owner = t->call->owner};
    t->rest = t->call->out;
    t->patience = loop_now(&t->loop) + target.connect_timeout;
    struct conn *c = conn_new(&t->loop, &target);
    if (c == NULL) {
        client_try_over(t, conn_error_text(errno));
        return;
    }
    t->channel = channel_begin(c, &try_ops, t);
    if (channel_is_open(t->channel))
        client_try_send(t);
    if (t->channel != NULL)
        ev_run(t->loop.ev, 0);
}

const char *client_call(const struct client_call *call)
{
    struct addr list[ADDR_MOST];
    unsigned count;
    struct client_try t = {.call = call};
    const char *bad = addr_resolve_all(call->address, list, &count);
    if (bad != NULL)
        return bad;
    struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV);
    if (ev == NULL)
        return "no memory or descriptors to wait with";
    void (*before)(int) = signal(SIGPIPE, SIG_IGN); /* a server may close while it is written to */
    loop_init(&t.loop, ev);
    t.end = loop_now(&t.loop) + call->timeout;
    for (unsigned i = 0; i < count && !t.opened; i++)
        client_try_run(&t, &list[i], count - i);
    loop_fini(&t.loop);
    ev_loop_destroy(ev);
    signal(SIGPIPE, before);
    return t.problem;
}

/* --- FastCGI --- */

/* A stream in records, and its end. */
static void client_request_stream(struct buf *out, enum fcgi_type type, struct str rest)
{
    while (rest.n > 0) {
        size_t n = rest.n < FCGI_RECORD_MAX ? rest.n : FCGI_RECORD_MAX;
        uint8_t header[FCGI_HEADER_SIZE];
        fcgi_header(header, type, 1, n);
        buf_append(out, header, sizeof header);
        buf_append(out, rest.p, n);
        rest = str_skip(rest, n);
    }
    fcgi_empty(out, type, 1);
}

static bool client_request_encode(const struct client_request *x, struct buf *out)
{
    struct fcgi_pairs pairs;
    uint16_t id = x->values ? 0 : 1;
    if (!x->values)
        fcgi_begin(out, 1, x->role, 0);
    fcgi_pairs_init(&pairs, out, x->values ? FCGI_GET_VALUES : FCGI_PARAMS, id);
    for (unsigned i = 0; i < x->params->count; i++)
        fcgi_pairs_add(&pairs, x->params->list[i].name, x->params->list[i].value);
    fcgi_pairs_end(&pairs);
    if (x->values)
        return !pairs.too_large;
    fcgi_empty(out, FCGI_PARAMS, 1);
    client_request_stream(out, FCGI_STDIN, x->body);
    if (x->role == FCGI_FILTER)
        client_request_stream(out, FCGI_DATA, x->data);
    return !pairs.too_large && !out->overflow;
}

static bool client_request_event(void *ctx, const struct fcgi_event *event)
{
    struct client_request *x = ctx;
    if (event->type == FCGI_STDOUT || event->type == FCGI_GET_VALUES_RESULT) {
        buf_append_str(&x->out, event->content);
    } else if (event->type == FCGI_STDERR) {
        buf_append_str(&x->err, event->content);
    } else if (event->type == FCGI_END_REQUEST) {
        x->app_status = event->app_status;
        x->protocol_status = event->protocol_status;
        x->ended = true;
    }
    return !x->ended;
}

static const char *client_request_take(void *ctx, struct str bytes, bool *done)
{
    struct client_request *x = ctx;
    size_t used;
    const char *err = fcgi_feed(&x->decoder, bytes.p, bytes.n, &used, client_request_event, x);
    if (err == NULL && (x->out.overflow || x->err.overflow))
        err = "an answer larger than 1 GB";
    /* GET_VALUES has no end of its own: one record is the reply. */
    *done = x->ended || (x->values && buf_len(&x->out) > 0 && fcgi_decoder_idle(&x->decoder));
    return err;
}

const char *client_request(struct client_request *x)
{
    struct buf out;
    const char *err = "a param is larger than a FastCGI record can hold";
    buf_init(&x->out, BYTES_MAX);
    buf_init(&x->err, BYTES_MAX);
    buf_init(&out, BYTES_MAX);
    fcgi_decoder_init(&x->decoder);
    if (client_request_encode(x, &out)) {
        const struct client_call call = {.address = x->address,
                                         .timeout = x->timeout,
                                         .out = buf_peek(&out),
                                         .take = client_request_take,
                                         .ctx = x};
        err = client_call(&call);
    }
    buf_fini(&out);
    return err;
}

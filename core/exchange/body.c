/*
 * body - see exchange.h and parts.h. This file has the body of a request: its slices as they come
 * from the front, its bounds, a hook that waits for it, and its collection until a server is asked.
 */
#include "exchange/parts.h"

#include "exchange/meter.h"
#include "script/spans.h"
#include "shm/underway.h"

/* --- slices --- */

/* True when slices of the body are passed on to a server at once. */
static bool body_is_streaming(const struct exchange *x)
{
    return x->attempts.request.streamed && stream_active(&x->attempts.stream);
}

/* Bytes that the body may have: by the decision or the limits, and where it is kept here first, by
 * the room in memory and then on disk. */
static uint64_t body_limit_of(const struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    const struct limits *limits = &x->generation->settings->limits;
    uint64_t limit = d->body_limit != UINT64_MAX ? d->body_limit : limits->body;
    uint64_t room = limits->request_memory + limits->spool;
    return d->stream_body || limit < room ? limit : room;
}

static void body_note_error(struct exchange *x, const char *err)
{
    x->facts.body_error = err;
    exchange_note(x);
}

void exchange_body_announced(struct exchange *x, uint64_t at_least)
{
    if ((x->state == EXCHANGE_BODY || body_is_streaming(x)) && at_least > body_limit_of(x))
        body_note_error(x, SPOOL_TOO_LARGE);
}

enum body_state body_ask(struct request *req, struct body_wait *wait)
{
    struct exchange *x = (struct exchange *)((char *)req - offsetof(struct exchange, req));
    const struct limits *limits = &x->generation->settings->limits;
    if (!x->has_body)
        return BODY_HERE;
    if (req->body.size < req->bytes_in)
        return BODY_GONE;
    uint64_t size = req->body_length > 0 ? (uint64_t)req->body_length : req->body.size;
    if (size > limits->request_memory || size > body_limit_of(x))
        return BODY_TOO_LARGE;
    if (x->body_ended)
        return BODY_HERE;
    if (x->state != EXCHANGE_HEAD && x->state != EXCHANGE_DECIDING)
        return BODY_GONE;
    if (x->due.body_late)
        return BODY_LATE;
    if (wait != NULL) {
        spool_init(&req->body, limits->request_memory, body_limit_of(x), limits->spool_dir);
        spool_expect(&req->body, size);
        req->body_wait = wait;
        due_body(x);
        x->front->ops->want_body(x->front, true);
    }
    return BODY_COMES;
}

static void body_note_read(struct exchange *x)
{
    x->facts.body_read = true;
    exchange_note(x);
}

/* Keeps a slice for a hook. Bytes beyond the hook's limit stay with the front, and are sent to a
 * server later. */
static void body_keep_for_hook(struct exchange *x, struct str bytes)
{
    if (spool_take(&x->req.body, &x->generation->loop->inputs, bytes) == NULL &&
        x->req.body.size <= x->generation->settings->limits.request_memory)
        return;
    x->front->ops->want_body(x->front, false);
    body_note_read(x);
}

void exchange_body(struct exchange *x, struct str bytes)
{
    struct request *req = &x->req;
    req->bytes_in += bytes.n;
    if (x->facts.body_error != NULL || x->facts.refused > 0)
        return;
    if (req->body_wait != NULL) {
        body_keep_for_hook(x, bytes);
    } else if (x->state == EXCHANGE_BODY) {
        const char *err = spool_take(&req->body, &x->generation->loop->inputs, bytes);
        if (err != NULL)
            body_note_error(x, err);
    } else if (!body_is_streaming(x)) {
        return; /* the reply came first, or this attempt sends no body: the rest is dropped */
    } else if (req->bytes_in > body_limit_of(x)) {
        body_note_error(x, SPOOL_TOO_LARGE);
    } else if (!stream_body(&x->attempts.stream, bytes)) {
        x->front->ops->want_body(x->front, false);
    }
}

void exchange_body_end(struct exchange *x)
{
    x->body_ended = true;
    due_body_end(x);
    if (x->req.body_wait != NULL)
        body_note_read(x);
    else if (x->state == EXCHANGE_BODY)
        exchange_note(x);
    else if (body_is_streaming(x) && x->facts.body_error == NULL)
        stream_body_end(&x->attempts.stream);
}

/* --- until a server is asked --- */

/* Refuses a request for its body. on_error is asked once: where its decision needs the body as
 * well, it would give the same one again. */
static void body_refuse_for(struct exchange *x, const char *kind, int status, const char *reason)
{
    bool again = x->body_refused;
    x->body_refused = true;
    if (!again)
        meter_refused(x, status);
    attempt_leave(x, reason);
    if (x->state == EXCHANGE_RESPONDING)
        response_cut(x, kind, status, reason);
    else if (again)
        response_refuse(x, status, reason);
    else
        response_fail_and_say(x, kind, status, reason);
}

static void body_refuse_size(struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    uint64_t limit =
        d->body_limit != UINT64_MAX ? d->body_limit : x->generation->settings->limits.body;
    const char *reason = body_limit_of(x) < limit
                             ? "a body larger than limits.request_memory and limits.spool hold"
                             : "a body larger than limits.body";
    body_refuse_for(x, "too_large", 413, reason);
}

/* Refuses a request whose body did not come in time. A decision of on_error can't have the body,
 * either. */
static void body_refuse_late(struct exchange *x)
{
    body_refuse_for(x, "timeout", 408, due_describe_body(x));
}

void body_note_late(struct exchange *x)
{
    if (x->req.body_wait != NULL) {
        x->front->ops->want_body(x->front, false);
        body_note_read(x);
    } else if (x->state == EXCHANGE_BODY || body_is_streaming(x)) {
        body_refuse_late(x);
    }
}

/* True when the body is larger than may be kept, or a part of it is gone; the request has then been
 * answered. */
static bool body_is_lacking(struct exchange *x)
{
    const struct request *req = &x->req;
    uint64_t limit = body_limit_of(x);
    if ((req->body_length >= 0 && (uint64_t)req->body_length > limit) || req->bytes_in > limit) {
        body_refuse_size(x);
        return true;
    }
    if (x->due.body_late && !x->body_ended) {
        body_refuse_late(x);
        return true;
    }
    response_decided_hints(x);
    if (req->body.size >= req->bytes_in)
        return false;
    response_refuse(x, 500, "the body, or a part of it, has been streamed or dropped and is gone");
    return true;
}

void body_refuse_unkept(struct exchange *x, const char *err)
{
    if (err == SPOOL_TOO_LARGE)
        body_refuse_size(x);
    else
        response_refuse(x, 503,
                        arena_printf(&x->req.arena, "the body could not be kept in %s %s: %s",
                                     x->req.decision.request_folder.n > 0 ? "request_file's folder"
                                                                          : "spool_dir",
                                     x->req.body.dir, err)
                            .p);
}

/* Keeps the body, also its part that has come, in a file with a name. False: the file can't be
 * made, and the request has been answered. */
static bool body_put_into_file(struct exchange *x)
{
    struct request *req = &x->req;
    struct str folder = req->decision.request_folder;
    const char *dir = folder.n > 0 ? folder.p : x->generation->settings->limits.spool_dir;
    uint64_t limit = body_limit_of(x);
    if (req->body.path != NULL) /* the file of an earlier attempt */
        return true;
    if (req->bytes_in == 0) {
        spool_fini(&req->body);
        spool_init_named(&req->body, limit, dir);
        return true;
    }
    const char *err = spool_name(&req->body, limit, dir);
    if (err == NULL)
        return true;
    req->body.dir = dir;
    body_refuse_unkept(x, err);
    return false;
}

void body_begin(struct exchange *x)
{
    struct request *req = &x->req;
    const struct limits *limits = &x->generation->settings->limits;
    if (body_is_lacking(x))
        return;
    bool partly = !x->body_ended && req->bytes_in > 0; /* a hook has read a part of the body */
    if (req->decision.request_file && !body_put_into_file(x))
        return;
    if (x->body_ended || partly) /* the kept part is sent from the spool */
        req->decision.stream_body = false;
    if (x->body_ended || req->decision.stream_body) {
        attempt_begin(x);
        return;
    }
    if (partly) {
        req->body.limit = body_limit_of(x);
    } else if (!req->decision.request_file) {
        spool_init(&req->body, limits->request_memory, body_limit_of(x), limits->spool_dir);
        if (req->body_length > 0)
            spool_expect(&req->body, (uint64_t)req->body_length);
    }
    request_step(req, "the body is waited for");
    x->state = EXCHANGE_BODY;
    if (exchange_spans(x) != NULL)
        exchange_spans(x)->body_from = exchange_now(x);
    underway_enter(&x->req, UNDERWAY_BODY);
    due_body(x);
    x->front->ops->want_body(x->front, true);
}

void body_collected(struct exchange *x)
{
    struct spans *spans = exchange_spans(x);
    if (spans != NULL)
        spans_note(spans, "receive body", spans->body_from, exchange_now(x), false);
    attempt_begin(x);
}

/*
 * attempt - see proxy.h. This file: the attempts to have a backend answer, its answer's head,
 * what it writes to STDERR, and its failures.
 *
 * Before the answer's head a failure becomes another attempt, or on_error and an error page; after
 * it the client is cut off, so that a short body is not taken for a whole one.
 */
#include "exchange/proxy_inner.h"

#include "base/log.h"
#include "base/lookup.h"
#include "exchange/accel.h"
#include "exchange/doctor.h"
#include "exchange/report.h"

#define STDERR_MAX   65536
#define STDERR_DELAY 1.0 /* seconds that a message may wait for the rest of the answer */
#define READ_MIN     16384
#define BUSY_PAUSE   0.1 /* seconds before an overloaded backend is asked again */

static void try_backend(struct proxy *px, bool fresh);
static void attempt_failed(struct proxy *px, enum backend_error error, const char *detail);

static struct backend *backend_of(const struct proxy *px)
{
    return px->generation->backends[px->req.decision.backend];
}

static double attempt_now(const struct proxy *px)
{
    return ev_now(px->generation->loop->ev);
}

/* --- attempts, for the log --- */

static struct attempt *begin_attempt(struct proxy *px)
{
    struct request *req = &px->req;
    struct attempt *a = arena_alloc(&req->arena, sizeof *a);
    *a = (struct attempt){.server = STR("")};
    if (req->attempt_end == NULL)
        req->attempt_end = &req->attempt_list;
    *req->attempt_end = a;
    req->attempt_end = &a->next;
    req->attempts++;
    return a;
}

static struct attempt *last_attempt(const struct proxy *px)
{
    struct attempt **end = px->req.attempt_end;
    return end == NULL ? NULL : (struct attempt *)((char *)end - offsetof(struct attempt, next));
}

static double attempt_since(double at, double before)
{
    return at > 0 && at > before ? at - before : 0;
}

/* The backend of the attempt at hand: a script may have decided on another one meanwhile. */
static struct backend *attempt_asked(const struct proxy *px)
{
    return px->stream_request.backend;
}

static void note_server(struct proxy *px)
{
    if (px->stream.server >= 0)
        px->req.server = backend_address(attempt_asked(px), px->stream.server);
}

static void end_attempt(struct proxy *px, const char *error)
{
    struct attempt *a = last_attempt(px);
    const struct stream_times *t = &px->stream.times;
    if (a == NULL || a->over)
        return;
    a->server = px->req.server;
    a->queue = attempt_since(t->granted, t->asked);
    a->connect = attempt_since(t->opened, t->granted);
    a->first_byte = attempt_since(t->first_byte, t->opened);
    a->total = attempt_since(attempt_now(px), t->asked);
    a->over = true;
    a->error = error;
}

/* --- STDERR --- */

struct stderr_line {
    struct proxy *px;
    bool advised;
};

static void log_line(void *ctx, struct str line)
{
    struct stderr_line *to = ctx;
    struct proxy *px = to->px;
    const char *advice = "";
    if (!to->advised && doctor_knows(line)) {
        advice = doctor_script(&px->req, &px->params, px->paths.root, px->paths.docroot,
                               script_rule(px->generation->script, &px->req));
        to->advised = true;
    }
    report_stderr(&px->req, line, advice);
}

static void flush_stderr(struct proxy *px)
{
    struct str text = buf_peek(&px->stderr_text);
    struct stderr_line to = {.px = px};
    if (text.n == 0)
        return;
    struct script_messages messages = {.text = text,
                                       .docroot = px->paths.docroot,
                                       .root = px->paths.root,
                                       .line = log_line,
                                       .ctx = &to};
    if (script_stderr(px->generation->script, &px->req, &px->call, &messages) != SCRIPT_DONE) {
        log_line(&to, text); /* what was written must not be lost with the hook */
        messages.count = 1;
    }
    if (px->stream.server >= 0)
        __atomic_fetch_add(&backend_server(attempt_asked(px), px->stream.server)->messages,
                           messages.count, __ATOMIC_RELAXED);
    buf_fini(&px->stderr_text);
}

static void attempt_on_stderr(void *ctx, struct str bytes)
{
    struct proxy *px = ctx;
    if (buf_len(&px->stderr_text) == 0)
        px->stderr_since = attempt_now(px);
    while (bytes.n > 0) {
        size_t room = STDERR_MAX - buf_len(&px->stderr_text);
        size_t n = bytes.n < room ? bytes.n : room;
        buf_append(&px->stderr_text, bytes.p, n);
        bytes = str_skip(bytes, n);
        if (n == room)
            flush_stderr(px);
    }
}

/* --- the answer's head --- */

static bool is_intercepted(const struct decision *d, int status)
{
    if (!d->intercept || status < 400)
        return false;
    for (unsigned i = 0; i < d->intercepted_count; i++)
        if (d->intercepted[i] == status)
            return true;
    return d->intercepted_count == 0;
}

/* What shall happen in place of this answer. */
static enum proxy_next ask_scripts(struct proxy *px)
{
    struct script *script = px->generation->script;
    struct request *req = &px->req;
    bool replaced = false;
    if (is_intercepted(&req->decision, req->response.status) && script_has(script, HOOK_ERROR)) {
        const struct script_error error = {.kind = "status",
                                           .status = req->response.status,
                                           .message = "the application's status",
                                           .has_body = px->answer_has_body};
        px->error_status = req->response.status;
        if (script_error(script, req, &px->call, &error) == SCRIPT_DONE && px->call.replaced)
            return NEXT_DECISION;
        px->error_status = 0;
    }
    if (script_has(script, HOOK_RESPONSE) &&
        script_response(script, req, &px->call, &replaced) == SCRIPT_DONE && replaced)
        return NEXT_DECISION;
    return NEXT_NOTHING;
}

/* The file that the application names becomes the decision. */
static const char *follow_accel(struct proxy *px)
{
    struct decision decision;
    const char *err = accel_decision(&px->req, proxy_backend_settings(px), &px->paths, &decision);
    if (err != NULL)
        return err;
    px->req.decision = decision;
    px->next = NEXT_FILE;
    return NULL;
}

/* Whether its head alone does not say if the answer that goes to on_error has a body. */
static bool must_see_body(const struct proxy *px)
{
    const struct response *res = &px->req.response;
    return res->content_length < 0 && res->redirect.n == 0 &&
           is_intercepted(&px->req.decision, res->status) &&
           script_has(px->generation->script, HOOK_ERROR);
}

/* Those of the decisions take the place of the application's own. */
static void attempt_add_headers(struct proxy *px)
{
    struct request *req = &px->req;
    headers_merge(&req->arena, &req->response.headers, &px->standing);
    if (req->decision.headers.list != px->standing.list) /* on_error's decision has its own */
        headers_merge(&req->arena, &req->response.headers, &req->decision.headers);
}

static const char *head_complete(struct proxy *px, bool has_body)
{
    struct request *req = &px->req;
    px->undecided = false;
    px->answer_has_body = has_body || req->response.content_length > 0;
    note_server(px);
    if (req->response.redirect.n == 0 && accel_names_route(req, proxy_backend_settings(px)))
        req->response.redirect = req->response.accel_redirect;
    if (px->head.again.n > 0)
        report_backend(LOG_WARN, req, "protocol",
                       arena_printf(&req->arena,
                                    "the header '%.*s' came again: the first one counts",
                                    STR_FMT(px->head.again))
                           .p);
    proxy_add_cookies(px);
    if (req->response.redirect.n == 0)
        attempt_add_headers(px);
    if (px->cookie.n > 0 && req->response.redirect.n == 0)
        headers_add(&req->arena, &req->response.headers, STR("Set-Cookie"), px->cookie);
    if (req->response.redirect.n > 0) {
        px->next = NEXT_REDIRECT;
    } else {
        px->next = ask_scripts(px);
        if (px->next == NEXT_NOTHING && accel_wanted(&req->response)) {
            const char *err = follow_accel(px);
            if (err != NULL)
                return err;
        }
    }
    if (px->next != NEXT_NOTHING)
        px->state = PROXY_SKIPPING;
    else
        proxy_begin_response(px);
    return NULL;
}

/* Body bytes, cut at the length that the head promised. */
static void pass_body(struct proxy *px, struct str bytes)
{
    struct request *req = &px->req;
    if (px->skip_body)
        return;
    if (req->response.content_length >= 0) {
        uint64_t left = (uint64_t)req->response.content_length - req->body_out;
        if (bytes.n > left) {
            if (req->error == NULL)
                report_backend(LOG_WARN, req, "protocol", "a body longer than its Content-Length");
            req->error = "a body longer than its Content-Length";
            bytes.n = (size_t)left;
        }
    }
    proxy_send_body(px, bytes);
}

/* The head is complete, and these bytes follow it. */
static const char *answer_begins(struct proxy *px, struct str bytes)
{
    const char *err = head_complete(px, bytes.n > 0);
    if (err == NULL && px->state == PROXY_REPLYING)
        pass_body(px, bytes);
    return err;
}

static const char *on_stdout(void *ctx, struct str bytes)
{
    struct proxy *px = ctx;
    const char *err = NULL;
    if (px->state == PROXY_REPLYING) {
        pass_body(px, bytes);
        return NULL;
    }
    if (px->state == PROXY_SKIPPING)
        return NULL;
    if (px->undecided)
        return bytes.n > 0 ? answer_begins(px, bytes) : NULL;
    size_t limit = px->generation->settings->limits.response_header;
    if (px->head.text.n == 0)
        px->req.response.unbuffered = px->req.decision.unbuffered;
    switch (cgi_head_feed(&px->head, &px->req, &bytes, limit, &err)) {
    case CGI_MORE:
        return NULL;
    case CGI_TOO_LARGE:
        px->head_too_large = true;
        return err;
    case CGI_ERROR:
        return err;
    case CGI_DONE:
        break;
    }
    px->stream.answered = true;
    px->undecided = bytes.n == 0 && must_see_body(px);
    return px->undecided ? NULL : answer_begins(px, bytes);
}

/* The client has as much as may wait for it: the backend waits, too. Else it is read as far as
 * there is room, so that the limits of the spool are exact; a limit that is smaller than a sensible
 * read is not. */
static void hold_when_full(struct proxy *px)
{
    const struct limits *limits = proxy_limits(px);
    if (px->paused || !stream_active(&px->stream))
        return;
    size_t room = px->ops->room(px->front);
    uint64_t all = limits->response_memory + (px->req.response.unbuffered ? 0 : limits->spool);
    if (room >= READ_MIN || room >= all) {
        stream_read_max(&px->stream, room > READ_MIN ? room : READ_MIN);
        return;
    }
    px->paused = true;
    stream_pause(&px->stream, true);
}

static void attempt_on_turn(void *ctx)
{
    struct proxy *px = ctx;
    if (buf_len(&px->stderr_text) > 0 && attempt_now(px) - px->stderr_since > STDERR_DELAY)
        flush_stderr(px);
    if (px->state == PROXY_SKIPPING) { /* it goes on: we don't wait for its end */
        stream_abort(&px->stream);
        end_attempt(px, NULL);
        flush_stderr(px);
        proxy_go_on(px);
        return;
    }
    if (px->state != PROXY_REPLYING)
        return;
    px->ops->flush(px->front);
    hold_when_full(px);
}

static bool is_short(const struct proxy *px)
{
    const struct request *req = &px->req;
    return req->response.content_length >= 0 && !px->skip_body &&
           req->body_out < (uint64_t)req->response.content_length;
}

static void attempt_on_end(void *ctx, uint32_t app_status, uint8_t protocol_status)
{
    struct proxy *px = ctx;
    px->req.app_status = app_status;
    px->req.protocol_status = protocol_status;
    note_server(px);
    flush_stderr(px);
    if (protocol_status == FCGI_OVERLOADED || protocol_status == FCGI_CANT_MPX_CONN) {
        attempt_failed(px, BACKEND_BUSY,
                       protocol_status == FCGI_OVERLOADED
                           ? "it is overloaded (FCGI_OVERLOADED)"
                           : "it takes no other request on this connection (FCGI_CANT_MPX_CONN)");
        return;
    }
    if (protocol_status != FCGI_REQUEST_COMPLETE) {
        attempt_failed(px, BACKEND_PROTOCOL, "END_REQUEST says that the request was not served");
        return;
    }
    const char *err = px->undecided ? answer_begins(px, STR("")) : NULL;
    if (err != NULL) {
        attempt_failed(px, BACKEND_PROTOCOL, err);
        return;
    }
    if (px->state == PROXY_SKIPPING) {
        end_attempt(px, NULL);
        proxy_go_on(px);
        return;
    }
    if (px->state != PROXY_REPLYING) {
        attempt_failed(px, BACKEND_PROTOCOL,
                       px->head.text.n > 0 ? "it ended inside its head"
                                           : "it ended without a head");
        return;
    }
    if (is_short(px)) {
        const char *reason = "a body shorter than its Content-Length";
        report_backend(LOG_ERROR, &px->req, "protocol", reason);
        end_attempt(px, reason);
        proxy_cut_response(px, "protocol", 502, reason);
        return;
    }
    end_attempt(px, NULL);
    px->req.ended = true;
    proxy_end_response(px);
}

/* --- failures --- */

static bool is_idempotent(enum method method)
{
    return method != METHOD_OTHER;
}

/* Whether a request that this server may have had can be sent again. */
static bool may_repeat(const struct proxy *px)
{
    return proxy_backend_settings(px)->retry != RETRY_NEVER && is_idempotent(px->req.method_id);
}

/* Whether it would be safe to ask again (contract section 12, "Retry"): what was not begun may go
 * to another server; a connection that turned out closed is no loss to whatever sent no byte, or is
 * idempotent and got no byte back; a time-out is one only where the backend says so. */
static bool is_safe_again(const struct proxy *px, enum backend_error error)
{
    if (px->state != PROXY_WAITING || (px->stream_request.streamed && px->stream.body_at > 0))
        return false;
    switch (error) {
    case BACKEND_CONNECT:
        return px->stream.server >= 0 && px->req.decision.server.n == 0;
    case BACKEND_BUSY:
        return px->head.text.n == 0;
    case BACKEND_CLOSED:
        return px->stream.bytes_in == 0 && (px->stream.written == 0 || may_repeat(px));
    case BACKEND_TIMEOUT:
        return px->stream.bytes_in == 0 && may_repeat(px) &&
               proxy_backend_settings(px)->retry == RETRY_TIMEOUT;
    default:
        return false;
    }
}

static void note_tried(struct proxy *px)
{
    if (px->stream.server >= 0)
        px->tried[px->tried_count++ % PROXY_TRIED] = px->stream.server;
}

static unsigned tried_count(const struct proxy *px)
{
    return px->tried_count < PROXY_TRIED ? px->tried_count : PROXY_TRIED;
}

static bool others_are_left(const struct proxy *px)
{
    struct backend_candidates others;
    return px->req.decision.server.n == 0 &&
           backend_choose(backend_of(px), px->tried, tried_count(px), &others) != CHOICE_NONE;
}

static int failure_status(enum backend_error error)
{
    switch (error) {
    case BACKEND_CONNECT:
    case BACKEND_BUSY:
    case BACKEND_QUEUE:
        return 503;
    case BACKEND_TIMEOUT:
        return 504;
    default:
        return 502;
    }
}

/* The failure in words that say how far it had come. */
static const char *describe_failure(struct proxy *px, enum backend_error error, const char *detail)
{
    struct arena *a = &px->req.arena;
    unsigned long long bytes = px->stream.bytes_in;
    if (error == BACKEND_CONNECT && px->stream.server >= 0)
        return doctor_connect(a, backend_addr(attempt_asked(px), px->stream.server), detail);
    if (error == BACKEND_QUEUE)
        return arena_printf(a, "%s: %s", detail, backend_crowd(attempt_asked(px), a)).p;
    if (error == BACKEND_TIMEOUT)
        return arena_printf(a, "%s (read_timeout %g s, send_timeout %g s; %llu bytes had come)",
                            detail, px->stream_request.read_timeout,
                            px->stream_request.send_timeout, bytes)
            .p;
    if (error == BACKEND_CLOSED)
        return arena_printf(a, "%s before END_REQUEST; %llu bytes had come", detail, bytes).p;
    return detail;
}

enum again { AGAIN_NOT, AGAIN_NOW, AGAIN_LATER };

/* An overloaded backend, and nobody else to ask: back to the queue, as far as its patience goes. */
static enum again wait_for_room(struct proxy *px)
{
    if (px->busy_since == 0)
        px->busy_since = attempt_now(px);
    px->tried_count = 0;
    return attempt_now(px) - px->busy_since + BUSY_PAUSE > proxy_backend_settings(px)->queue_timeout
               ? AGAIN_NOT
               : AGAIN_LATER;
}

/* A name's addresses are one attempt for as long as they refuse: not for one that took all of
 * connect_timeout to fail, and not for more than can be remembered. */
static bool is_same_attempt(const struct proxy *px, enum backend_error error)
{
    double took = attempt_since(attempt_now(px), px->stream.times.granted);
    return error == BACKEND_CONNECT && px->tried_count < PROXY_TRIED &&
           took < 0.9 * px->stream_request.connect_timeout &&
           backend_has_other_address(attempt_asked(px), px->stream.server, px->tried,
                                     tried_count(px));
}

/* Whether somebody is asked again, and when. */
static enum again decide_retry(struct proxy *px, enum backend_error error)
{
    bool was_kept = error == BACKEND_CLOSED && px->stream.reused;
    if (!is_safe_again(px, error))
        return AGAIN_NOT;
    if (was_kept)
        px->attempts_left++; /* a kept connection that had been closed was no attempt */
    else
        note_tried(px);
    if (is_same_attempt(px, error))
        px->attempts_left++;
    bool left = others_are_left(px);
    if (error == BACKEND_BUSY && (px->attempts_left == 0 || !left))
        return wait_for_room(px);
    if (px->attempts_left == 0)
        return AGAIN_NOT;
    /* The same server would only refuse again, or lose a second process to the same request. */
    if (!left && error != BACKEND_BUSY && !was_kept)
        return AGAIN_NOT;
    if (!left)
        px->tried_count = 0;
    return AGAIN_NOW;
}

static void attempt_failed(struct proxy *px, enum backend_error error, const char *detail)
{
    const char *kind = px->head_too_large ? "too_large" : backend_error_name(error);
    note_server(px);
    px->head_too_large = px->undecided = false;
    detail = describe_failure(px, error, detail);
    flush_stderr(px);
    end_attempt(px, detail);
    if (px->state == PROXY_SKIPPING) {
        proxy_go_on(px);
        return;
    }
    if (px->state == PROXY_REPLYING) {
        report_backend(LOG_ERROR, &px->req, kind, detail);
        proxy_cut_response(px, kind, failure_status(error), detail);
        return;
    }
    if (px->state != PROXY_WAITING)
        return;
    bool said = px->busy_since > 0 && error == BACKEND_BUSY; /* it has been asked before */
    enum again again = decide_retry(px, error);
    report_backend(again == AGAIN_NOT ? LOG_ERROR
                   : said             ? LOG_DEBUG
                                      : LOG_WARN,
                   &px->req, kind, detail);
    proxy_clear_response(&px->req);
    px->head = (struct cgi_head){0};
    if (again == AGAIN_NOW)
        try_backend(px, true);
    else if (again == AGAIN_LATER)
        deadline_set(&px->again, BUSY_PAUSE);
    else
        proxy_fail(px, kind, failure_status(error), detail);
}

static void attempt_on_fail(void *ctx, enum backend_error error, const char *detail)
{
    attempt_failed(ctx, error, detail);
}

/* --- to the backend --- */

static void on_room(void *ctx)
{
    struct proxy *px = ctx;
    if (px->body_ended)
        stream_body_end(&px->stream);
    else
        px->ops->want_body(px->front, true);
}

static const struct stream_ops stream_ops = {
    .on_stdout = on_stdout,
    .on_stderr = attempt_on_stderr,
    .on_turn = attempt_on_turn,
    .on_room = on_room,
    .on_end = attempt_on_end,
    .on_fail = attempt_on_fail,
};

static double first_positive(double a, double b)
{
    return a > 0 ? a : b;
}

/* One attempt; server -1: any, from the queue. */
static void start_stream(struct proxy *px, int server, bool fresh)
{
    const struct decision *d = &px->req.decision;
    const struct backend_settings *settings = proxy_backend_settings(px);
    if (px->attempts_left > 0)
        px->attempts_left--;
    begin_attempt(px);
    px->stream_request = (struct stream_request){
        .backend = backend_of(px),
        .server = server,
        .avoid = px->tried_count > 0 ? px->tried[(px->tried_count - 1) % PROXY_TRIED] : -1,
        .only = d->server.n > 0,
        .fresh = fresh,
        .once = !may_repeat(px) || (px->has_body && d->stream_body),
        .tenant = d->tenant,
        .role = FCGI_RESPONDER,
        .params = &px->params,
        .body = px->has_body && !d->stream_body ? &px->req.body : NULL,
        .streamed = px->has_body && d->stream_body,
        .connect_timeout = first_positive(d->connect_timeout, settings->connect_timeout),
        .send_timeout = first_positive(d->send_timeout, settings->send_timeout),
        .read_timeout = first_positive(d->read_timeout, settings->read_timeout),
    };
    if (px->stream_request.streamed) /* until there is a connection: on_room asks for it again */
        px->ops->want_body(px->front, false);
    enum backend_error error;
    const char *err = stream_start(&px->stream, px->generation->loop, &px->stream_request,
                                   &stream_ops, px, &error);
    if (err != NULL)
        attempt_failed(px, error, err);
}

/* on_balance and the policy choose among the candidates. -1: they failed, and the request has been
 * answered. */
static int attempt_pick(struct proxy *px, const struct backend_candidates *candidates)
{
    struct script *script = px->generation->script;
    const struct backend *b = backend_of(px);
    px->cookie = STR(""); /* that an attempt before this one wanted to set */
    if (backend_server_count(b) == 1)
        return candidates->list[0];
    static struct script_server list[BACKEND_SERVERS]; /* large, and in use only here */
    unsigned chosen, queued = backend_queued(b);
    for (unsigned i = 0; i < candidates->count; i++) {
        int server = candidates->list[i];
        list[i] = (struct script_server){.slot = backend_server(b, server),
                                         .place = backend_place(b, server),
                                         .address = backend_address(b, server),
                                         .queued = queued};
    }
    if (script_balance(script, &px->req, &px->call, list, candidates->count, &chosen,
                       &px->cookie) == SCRIPT_DONE)
        return candidates->list[chosen];
    proxy_fail(px, "script", 500, "the choice of a server failed");
    return -1;
}

/* The one server that the decision names. */
static void try_named(struct proxy *px, bool fresh)
{
    struct backend *b = backend_of(px);
    int server = backend_find(b, px->req.decision.server);
    unsigned tier = server >= 0 ? ledger_tier_of(backend_server(b, server), 0) : LEDGER_NO_TIER;
    px->stream.server = -1;
    if (tier != LEDGER_NO_TIER || backend_is_held(b))
        start_stream(px, server, fresh);
    else
        attempt_failed(px, BACKEND_CONNECT,
                       server >= 0 ? "the server that the decision names is drained, or its health "
                                     "checks fail"
                                   : "no address of the server that the decision names is known");
}

/* The next attempt: which server, or the queue. */
static void try_backend(struct proxy *px, bool fresh)
{
    struct backend *b = backend_of(px);
    struct backend_candidates candidates;
    if (px->req.decision.server.n > 0) {
        try_named(px, fresh);
        return;
    }
    switch (backend_choose(b, px->tried, tried_count(px), &candidates)) {
    case CHOICE_SOME: {
        int server = attempt_pick(px, &candidates);
        if (server >= 0)
            start_stream(px, server, fresh);
        break;
    }
    case CHOICE_WAIT:
        start_stream(px, -1, fresh);
        break;
    case CHOICE_NONE:
        px->stream = (struct stream){.server = -1};
        attempt_failed(px, BACKEND_CONNECT, backend_lack(b, &px->req.arena));
        break;
    }
}

static void attempt_again_cb(struct deadline *d)
{
    struct proxy *px = (struct proxy *)((char *)d - offsetof(struct proxy, again));
    try_backend(px, true);
}

static int64_t stdin_size(const struct proxy *px)
{
    if (!px->has_body)
        return px->req.body_length == 0 ? 0 : BODY_NONE;
    if (!px->req.decision.stream_body)
        return (int64_t)px->req.body.size;
    return px->req.body_length;
}

/* A symlinked root is sent resolved, so that an atomic deploy and PHP's opcache agree. */
static void resolve_root(struct proxy *px, struct cgi_paths *paths)
{
    bool local = paths->root.n > 0 && str_eq(paths->root, paths->docroot);
    if (!local || !proxy_backend_settings(px)->resolve_root)
        return;
    paths->docroot =
        arena_copy(&px->req.arena, lookup_real_root(paths->root));
}

/* A param that would not fit into a record with its lengths, or is larger than it may be; NULL: all
 * do. */
static const struct param *find_too_large(const struct proxy *px)
{
    size_t limit = px->generation->settings->limits.param_size;
    if (limit > FCGI_PAIR_MAX)
        limit = FCGI_PAIR_MAX;
    const struct param *end = px->params.list + px->params.count;
    for (const struct param *param = px->params.list; param < end; param++)
        if (param->name.n + param->value.n > limit)
            return param;
    return NULL;
}

/* REMOTE_USER is no param of a client's: only a decision or on_params can have set it. */
static void note_user(struct proxy *px)
{
    if (px->req.decision.params.count == 0 && !script_has(px->generation->script, HOOK_PARAMS))
        return;
    const struct param *user = params_find(&px->params, STR("REMOTE_USER"));
    if (user != NULL)
        px->req.user = user->value;
}

/* PHP-FPM answers with these to whoever asks. */
static bool is_own_page(struct proxy *px)
{
    const struct backend_settings *settings = proxy_backend_settings(px);
    const struct str *page =
        cgi_own_page(&px->params, &px->req, settings->own_pages, settings->own_page_count);
    if (page == NULL)
        return false;
    proxy_forbid(px, arena_printf(&px->req.arena,
                                  "%.*s is PHP-FPM's own page, which `health` or `load` of backend "
                                  "'%.*s' names: no client gets it",
                                  STR_FMT(*page), STR_FMT(settings->name))
                         .p);
    return true;
}

void proxy_ask_backend(struct proxy *px)
{
    struct request *req = &px->req;
    px->state = PROXY_WAITING;
    cgi_paths(&px->paths, req, proxy_backend_settings(px));
    resolve_root(px, &px->paths);
    cgi_params(&px->params, req, proxy_backend_settings(px), &px->paths, stdin_size(px));
    if (script_has(px->generation->script, HOOK_PARAMS) &&
        script_params(px->generation->script, req, &px->call, &px->params) != SCRIPT_DONE) {
        proxy_fail(px, "script", 500, "on_params failed");
        return;
    }
    note_user(px);
    if (is_own_page(px))
        return;
    const struct param *large = find_too_large(px);
    if (large != NULL) {
        const char *reason =
            arena_printf(
                &req->arena,
                "the param %.*s is larger than limits.param_size, or than a FastCGI record",
                STR_FMT(large->name))
                .p;
        proxy_fail_and_say(px, "too_large", 431, reason);
        return;
    }
    px->tried_count = 0;
    px->busy_since = 0;
    if (px->again.ev == NULL)
        deadline_init(&px->again, px->generation->loop, attempt_again_cb);
    try_backend(px, false);
}

bool proxy_check_backend(struct proxy *px)
{
    struct request *req = &px->req;
    const struct decision *d = &req->decision;
    const struct backend_settings *settings = proxy_backend_settings(px);
    req->backend = settings->name;
    px->error_status = 0;
    px->attempts_left = d->attempts > 0 ? d->attempts : settings->attempts;
    bool known = d->server.n == 0;
    for (unsigned i = 0; i < settings->server_count && !known; i++)
        known = str_eq(settings->servers[i].address, d->server);
    if (known || backend_find(backend_of(px), d->server) >= 0)
        return true;
    const char *reason = arena_printf(&req->arena, "%s: backend '%.*s' has no server %.*s",
                                      script_rule(px->generation->script, req),
                                      STR_FMT(settings->name), STR_FMT(d->server))
                             .p;
    proxy_fail_and_say(px, "script", 500, reason);
    return false;
}

void proxy_leave_backend(struct proxy *px)
{
    if (px->again.ev != NULL)
        deadline_fini(&px->again);
    if (stream_active(&px->stream)) {
        note_server(px);
        stream_leave(&px->stream);
        end_attempt(px, "the client went away");
    }
    flush_stderr(px);
}

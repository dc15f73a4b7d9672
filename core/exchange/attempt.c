/*
 * attempt - see parts.h. This file has the attempts to get a reply of a backend: the choice of a
 * server, the request to it, another attempt after a failure.
 *
 * A failure before the reply's head leads to another attempt, or to on_error and an error page.
 * After the head the client's connection is cut, so that a short body is not taken for a whole one.
 */
#include "exchange/parts.h"

#include "backend/pick.h"
#include "exchange/account.h"
#include "exchange/doctor.h"
#include "exchange/meter.h"
#include "exchange/params.h"
#include "exchange/report.h"
#include "http/observed.h"
#include "shm/underway.h"

#define BUSY_PAUSE 0.1 /* seconds before an overloaded backend is asked again */

static struct backend *attempt_decided(const struct exchange *x)
{
    return x->generation->backends[x->req.decision.backend];
}

struct backend *attempt_backend(const struct exchange *x)
{
    return x->attempts.request.backend;
}

/* --- for the log --- */

static struct attempt *attempt_note(struct exchange *x)
{
    struct request *req = &x->req;
    struct attempt *a = arena_alloc(&req->arena, sizeof *a);
    *a = (struct attempt){.server = STR(""), .backend = req->backend, .role = x->req.role};
    if (req->traceparent != NULL)
        a->span = traceparent_name_sent(req->traceparent, loop_id(x->generation->loop));
    if (req->attempt_end == NULL)
        req->attempt_end = &req->attempt_list;
    *req->attempt_end = a;
    req->attempt_end = &a->next;
    req->attempts++;
    return a;
}

static struct attempt *attempt_last(const struct exchange *x)
{
    struct attempt **end = x->req.attempt_end;
    return end == NULL ? NULL : (struct attempt *)((char *)end - offsetof(struct attempt, next));
}

static double attempt_since(double at, double before)
{
    return at > 0 && at > before ? at - before : 0;
}

void attempt_note_server(struct exchange *x)
{
    if (x->attempts.stream.server >= 0)
        x->req.server = backend_address(attempt_backend(x), x->attempts.stream.server);
}

static void attempt_close(struct exchange *x, const char *error, bool failed)
{
    struct attempt *a = attempt_last(x);
    const struct stream_times *t = &x->attempts.stream.times;
    double now = exchange_now(x);
    if (a == NULL || a->over)
        return;
    a->server = x->req.server;
    a->asked = t->asked;
    a->granted = t->granted > 0;
    a->queue = attempt_since(t->granted, t->asked);
    a->connect = attempt_since(t->opened, t->granted);
    a->first_byte = attempt_since(t->first_byte, t->opened);
    a->total = attempt_since(now, t->asked);
    a->over = true;
    a->error = error;
    request_step(&x->req, "attempt %u, server %.*s: %s", x->req.attempts, STR_FMT(a->server),
                 error != NULL ? error : "it has replied");
    meter_attempt(x, now, failed);
}

void attempt_end(struct exchange *x, const char *error)
{
    attempt_close(x, error, error != NULL);
}

/* --- failures --- */

/* Whether a request that this server may have had can be sent again. */
static bool attempt_may_repeat(const struct exchange *x)
{
    bool only_asks = x->guard != NULL; /* an authorizer only decides, and changes nothing */
    bool is_idempotent = x->req.method_id != METHOD_OTHER;
    return exchange_settings(x)->retry != RETRY_NEVER && (only_asks || is_idempotent);
}

/* Whether the request may safely be sent again (contract section 12, "Retry"): always where no
 * server has begun it; after a closed connection if no byte of it was written, or if it is
 * idempotent and no byte has come back; after a time-out only where the backend's `retry` allows
 * it. */
static bool attempt_is_safe_again(const struct exchange *x, enum failure failure)
{
    if (x->state != EXCHANGE_ASKING ||
        (x->attempts.request.streamed && x->attempts.stream.body_at > 0))
        return false;
    switch (failure) {
    case FAILURE_CONNECT:
        return x->attempts.stream.server >= 0 && x->req.decision.server.n == 0;
    case FAILURE_BUSY:
        return x->head.text.n == 0;
    case FAILURE_CLOSED:
        return x->attempts.stream.bytes_in == 0 &&
               (x->attempts.stream.written == 0 || attempt_may_repeat(x));
    case FAILURE_TIMEOUT:
        return x->attempts.stream.bytes_in == 0 && attempt_may_repeat(x) &&
               exchange_settings(x)->retry == RETRY_TIMEOUT;
    default:
        return false;
    }
}

static void attempt_note_tried(struct exchange *x)
{
    if (x->attempts.stream.server >= 0)
        x->attempts.tried[x->attempts.tried_count++ % ATTEMPT_TRIED] = x->attempts.stream.server;
}

static unsigned attempt_tried_count(const struct exchange *x)
{
    return x->attempts.tried_count < ATTEMPT_TRIED ? x->attempts.tried_count : ATTEMPT_TRIED;
}

static bool attempt_others_are_left(const struct exchange *x)
{
    struct backend_candidates others;
    return x->req.decision.server.n == 0 &&
           backend_choose(attempt_decided(x), x->attempts.tried, attempt_tried_count(x), &others) !=
               CHOICE_NONE;
}

static int attempt_status(enum failure failure)
{
    switch (failure) {
    case FAILURE_CONNECT:
    case FAILURE_BUSY:
    case FAILURE_QUEUE:
        return 503;
    case FAILURE_TIMEOUT:
        return 504;
    default:
        return 502;
    }
}

static const char *attempt_describe_timeout(struct exchange *x, const char *detail)
{
    const struct stream_request *r = &x->attempts.request;
    struct arena *a = &x->req.arena;
    struct str first = r->first_byte_timeout > 0
                           ? arena_printf(a, "first_byte_timeout %g s, ", r->first_byte_timeout)
                           : STR("");
    return arena_printf(a, "%s (%.*sread_timeout %g s, send_timeout %g s; %llu bytes had come)",
                        detail, STR_FMT(first), r->read_timeout, r->send_timeout,
                        (unsigned long long)x->attempts.stream.bytes_in)
        .p;
}

/* The failure in words, with the phase that the attempt had reached. */
static const char *attempt_describe(struct exchange *x, enum failure failure, const char *detail)
{
    struct arena *a = &x->req.arena;
    unsigned long long bytes = x->attempts.stream.bytes_in;
    if (failure == FAILURE_CONNECT && x->attempts.stream.server >= 0)
        return doctor_connect(a, backend_addr(attempt_backend(x), x->attempts.stream.server),
                              detail);
    if (failure == FAILURE_QUEUE)
        return arena_printf(a, "%s: %s", detail, backend_crowd(attempt_backend(x), a)).p;
    if (failure == FAILURE_TIMEOUT)
        return attempt_describe_timeout(x, detail);
    if (failure == FAILURE_CLOSED)
        return arena_printf(a, "%s before END_REQUEST; %llu bytes had come", detail, bytes).p;
    return arena_printf(a, "%s", detail).p; /* a copy, since the stream is reused */
}

enum again { AGAIN_NOT, AGAIN_NOW, AGAIN_LATER };

/* Waits for an overloaded backend without another server to ask, within queue_timeout. */
static enum again attempt_wait(struct exchange *x)
{
    if (x->attempts.busy_since == 0)
        x->attempts.busy_since = exchange_now(x);
    x->attempts.tried_count = 0;
    return exchange_now(x) - x->attempts.busy_since + BUSY_PAUSE >
                   exchange_settings(x)->queue_timeout
               ? AGAIN_NOT
               : AGAIN_LATER;
}

/* Whether the next address of a name is still the same attempt. It is while addresses refuse; an
 * address that took all of connect_timeout counts as an attempt, and so do those beyond the list of
 * tried servers. */
static bool attempt_is_same(const struct exchange *x, enum failure failure)
{
    double took = attempt_since(exchange_now(x), x->attempts.stream.times.granted);
    return failure == FAILURE_CONNECT && x->attempts.tried_count < ATTEMPT_TRIED &&
           took < 0.9 * x->attempts.request.connect_timeout &&
           backend_has_other_address(attempt_backend(x), x->attempts.stream.server,
                                     x->attempts.tried, attempt_tried_count(x));
}

/* The connection was one that other requests might share. What broke it may have been another
 * request, and FCGI_CANT_MPX_CONN is about the sharing: the same server is asked again, on a
 * connection of the request's own. */
static bool attempt_was_shared(const struct exchange *x, enum failure failure)
{
    const struct stream *s = &x->attempts.stream;
    return s->shared && (failure == FAILURE_CLOSED ||
                         (failure == FAILURE_BUSY && s->protocol_status == FCGI_CANT_MPX_CONN));
}

/* Decides whether and when another attempt is made. */
static enum again attempt_decide(struct exchange *x, enum failure failure)
{
    bool was_kept = failure == FAILURE_CLOSED && x->attempts.stream.reused;
    bool was_shared = attempt_was_shared(x, failure);
    if (!attempt_is_safe_again(x, failure))
        return AGAIN_NOT;
    if (was_kept || (was_shared && failure == FAILURE_BUSY))
        x->attempts.left++; /* a kept connection that had been closed was no attempt */
    else if (!was_shared)
        attempt_note_tried(x);
    if (attempt_is_same(x, failure))
        x->attempts.left++;
    bool left = attempt_others_are_left(x);
    if (failure == FAILURE_BUSY && !was_shared && (x->attempts.left == 0 || !left))
        return attempt_wait(x);
    if (x->attempts.left == 0)
        return AGAIN_NOT;
    /* No other server is left: the same one would refuse again, or lose a second process to the
     * request. */
    if (!left && failure != FAILURE_BUSY && !was_kept && !was_shared)
        return AGAIN_NOT;
    if (!left)
        x->attempts.tried_count = 0;
    return AGAIN_NOW;
}

void attempt_failed(struct exchange *x, enum failure failure, const char *detail)
{
    const char *kind = x->head_too_large ? "too_large" : failure_name(failure);
    attempt_note_server(x);
    x->head_too_large = x->undecided = false;
    detail = attempt_describe(x, failure, detail);
    stderr_flush(x);
    attempt_end(x, detail);
    if (stderr_replaces(x)) {
        report_backend(LOG_ERROR, &x->req, kind, detail);
        return;
    }
    if (x->state == EXCHANGE_RESPONDING) {
        report_backend(LOG_ERROR, &x->req, kind, detail);
        response_cut(x, kind, attempt_status(failure), detail);
        return;
    }
    bool said =
        x->attempts.busy_since > 0 && failure == FAILURE_BUSY; /* it has been asked before */
    enum again again = attempt_decide(x, failure);
    report_backend(again == AGAIN_NOT ? LOG_ERROR
                   : said             ? LOG_DEBUG
                                      : LOG_WARN,
                   &x->req, kind, detail);
    response_clear(&x->req);
    x->head = (struct cgi_head){0};
    if (again != AGAIN_NOT)
        meter_retry(x);
    else if (failure == FAILURE_QUEUE)
        meter_limit(x, METRICS_LIMIT_QUEUE);
    request_step(&x->req, "%s",
                 again == AGAIN_NOT   ? "no other attempt is made"
                 : again == AGAIN_NOW ? "another attempt is made"
                                      : "the backend is asked again in 0.1 s");
    if (again == AGAIN_NOW)
        attempt_next(x, true);
    else if (again == AGAIN_LATER) {
        x->state = EXCHANGE_PAUSING;
        underway_queued(&x->req, x->backend);
        deadline_set(&x->attempts.pause, BUSY_PAUSE);
    } else if (cached_has_stale(x))
        cached_answer_stale(x);
    else
        response_fail(x, kind, attempt_status(failure), detail);
}

/* --- beginning an attempt --- */

static double attempt_first_positive(double a, double b)
{
    return a > 0 ? a : b;
}

/* Begins an attempt; server -1: any server, from the queue. */
static void attempt_start(struct exchange *x, int server, bool fresh)
{
    const struct decision *d = &x->req.decision;
    const struct backend_settings *settings = exchange_settings(x);
    if (x->attempts.left > 0)
        x->attempts.left--;
    attempt_note(x);
    request_step(&x->req, "backend '%.*s' is asked: %.*s", STR_FMT(x->req.backend),
                 STR_FMT(server < 0 ? STR("the first server that is free")
                                    : backend_address(attempt_decided(x), server)));
    const struct limits *limits = &x->generation->settings->limits;
    x->attempts.spool =
        (struct backlog_limits){limits->response_memory, limits->spool, limits->spool_dir};
    x->attempts.request = (struct stream_request){
        .backend = attempt_decided(x),
        .server = server,
        .avoid = x->attempts.tried_count > 0
                     ? x->attempts.tried[(x->attempts.tried_count - 1) % ATTEMPT_TRIED]
                     : -1,
        .only = d->server.n > 0,
        .fresh = fresh,
        .once = !attempt_may_repeat(x) || (attempt_sends_body(x) && d->stream_body),
        .tenant = d->tenant,
        .underway = x->req.underway,
        .spool = &x->attempts.spool,
        .role = x->req.role,
        .params = &x->params,
        .body =
            attempt_sends_body(x) && !d->stream_body && !exchange_has_file(x) ? &x->req.body : NULL,
        .data = x->req.role == FCGI_FILTER && x->req.data != NULL ? &x->req.data->spool : NULL,
        .streamed = attempt_sends_body(x) && d->stream_body,
        .connect_timeout = attempt_first_positive(d->connect_timeout, settings->connect_timeout),
        .send_timeout = attempt_first_positive(d->send_timeout, settings->send_timeout),
        .first_byte_timeout =
            attempt_first_positive(d->first_byte_timeout, settings->first_byte_timeout),
        .read_timeout = attempt_first_positive(d->read_timeout, settings->read_timeout),
    };
    if (x->attempts.request
            .streamed) /* until there is a connection: STREAM_ROOM asks for it again */
        x->front->ops->want_body(x->front, false);
    x->paused = false;
    if (exchange_observed(x) != NULL)
        observed_begin(x->req.observed);
    if (x->guard != NULL)
        x->guard->granted = false; /* of another server's reply */
    stream_start(&x->attempts.stream, x->generation->loop, &x->attempts.request, &x->step);
}

/* on_balance and the policy choose among the candidates. -1: they failed, and the request has been
 * answered. */
static int attempt_pick(struct exchange *x, const struct backend_candidates *candidates)
{
    struct script *script = x->generation->script;
    const struct backend *b = attempt_decided(x);
    x->cookie = STR(""); /* that an attempt before this one wanted to set */
    if (backend_server_count(b) == 1)
        return candidates->list[0];
    static struct script_server list[BACKEND_SERVERS]; /* static, since it is large */
    unsigned chosen, queued = backend_queued(b);
    for (unsigned i = 0; i < candidates->count; i++) {
        int server = candidates->list[i];
        list[i] = (struct script_server){.slot = backend_server(b, server),
                                         .place = backend_place(b, server),
                                         .address = backend_address(b, server),
                                         .queued = queued};
    }
    if (script_balance(script, &x->req, &x->call, list, candidates->count, &chosen, &x->cookie) ==
        SCRIPT_DONE)
        return candidates->list[chosen];
    response_script_failed(x, HOOK_BALANCE, "the choice of a server failed");
    return -1;
}

/* The key of a policy that uses one. */
static struct str attempt_key(const struct exchange *x, char ip[PEER_TEXT_SIZE])
{
    const struct request *req = &x->req;
    switch (backend_settings(attempt_decided(x))->balance) {
    case BALANCE_HASH:
        return req->decision.hash_key.n > 0 ? req->decision.hash_key : req->uri.path;
    case BALANCE_IP_HASH:
        return pick_client((struct str){ip, peer_text(&req->client, ip)});
    default:
        return STR("");
    }
}

/* The choice of a policy that needs no list of all servers. -1: the list is needed, or on_balance
 * must be called. */
static int attempt_pick_one(struct exchange *x)
{
    char ip[PEER_TEXT_SIZE];
    if (attempt_tried_count(x) > 0 || script_has(x->generation->script, HOOK_BALANCE))
        return -1;
    int server = backend_pick(attempt_decided(x), attempt_key(x, ip));
    if (server >= 0)
        x->cookie = STR(""); /* that an attempt before this one wanted to set */
    return server;
}

/* The one server that the decision names. */
static void attempt_named(struct exchange *x, bool fresh)
{
    struct backend *b = attempt_decided(x);
    int server = backend_find(b, x->req.decision.server);
    unsigned tier = server >= 0 ? ledger_tier_of(backend_server(b, server), 0) : LEDGER_NO_TIER;
    x->attempts.stream.server = -1;
    if (tier != LEDGER_NO_TIER || backend_is_held(b))
        attempt_start(x, server, fresh);
    else
        attempt_failed(x, FAILURE_CONNECT,
                       server >= 0 ? "the server that the decision names is drained, or its health "
                                     "checks fail"
                                   : "no address of the server that the decision names is known");
}

void attempt_next(struct exchange *x, bool fresh)
{
    struct backend *b = attempt_decided(x);
    struct backend_candidates candidates;
    x->state = EXCHANGE_ASKING;
    underway_queued(&x->req, x->backend);
    x->said = NULL;
    x->shown = false;
    if (x->req.decision.server.n > 0) {
        attempt_named(x, fresh);
        return;
    }
    int one = attempt_pick_one(x);
    if (one >= 0) {
        attempt_start(x, one, fresh);
        return;
    }
    switch (backend_choose(b, x->attempts.tried, attempt_tried_count(x), &candidates)) {
    case CHOICE_SOME: {
        int server = attempt_pick(x, &candidates);
        if (server >= 0)
            attempt_start(x, server, fresh);
        break;
    }
    case CHOICE_WAIT:
        if (cached_has_stale(x))
            cached_answer_stale(x);
        else
            attempt_start(x, -1, fresh);
        break;
    case CHOICE_NONE:
        x->attempts.stream = (struct stream){.server = -1};
        attempt_failed(x, FAILURE_CONNECT, backend_lack(b, &x->req.arena));
        break;
    }
}

bool attempt_sends_body(const struct exchange *x)
{
    return x->has_body && x->req.role != FCGI_AUTHORIZER;
}

static int64_t attempt_stdin_size(const struct exchange *x)
{
    if (!x->has_body)
        return x->req.body_length == 0 ? 0 : BODY_NONE;
    if (!x->req.decision.stream_body)
        return (int64_t)x->req.body.size;
    return x->req.body_length;
}

/* The reason why the params can't be sent: one does not fit into a record with its lengths, or
 * exceeds its limit, or all together do. NULL: they can be sent. */
static const char *attempt_find_too_large(struct exchange *x)
{
    const struct param *large;
    if (stream_params_fit(&x->params, x->generation->settings->limits.param_size, &large))
        return NULL;
    if (large == NULL)
        return "all params together are larger than 16 MB";
    return arena_printf(&x->req.arena,
                        "the param %.*s is larger than limits.param_size, or than a FastCGI record",
                        STR_FMT(large->name))
        .p;
}

/* REMOTE_USER is no param of a client's: only a decision or on_params can have set it. */
static void attempt_note_user(struct exchange *x)
{
    if (x->req.decision.params.count == 0 && !script_has(x->generation->script, HOOK_PARAMS))
        return;
    const struct param *user = params_find(&x->params, STR("REMOTE_USER"));
    if (user != NULL)
        x->req.user = user->value;
}

/* True for a ping or status page, with which PHP-FPM answers any client. */
static bool attempt_is_own_page(struct exchange *x)
{
    const struct backend_settings *settings = exchange_settings(x);
    const struct str *page =
        cgi_own_page(&x->params, &x->req, settings->own_pages, settings->own_page_count);
    if (page == NULL)
        return false;
    response_forbid(x,
                    arena_printf(&x->req.arena,
                                 "%.*s is PHP-FPM's own page, which `health` or `load` of backend "
                                 "'%.*s' names: no client gets it",
                                 STR_FMT(*page), STR_FMT(settings->name))
                        .p);
    return true;
}

/* on_params. False: it has failed, and the request with it. */
static bool attempt_ask_params(struct exchange *x)
{
    struct script *script = x->generation->script;
    struct params before = x->params;
    if (!script_has(script, HOOK_PARAMS))
        return true;
    bool open = script_policy(script, HOOK_PARAMS) == SCRIPT_OPEN;
    if (open && before.count > 0) { /* the hook changes the list in place */
        before.list = arena_alloc(&x->req.arena, before.count * sizeof *before.list);
        memcpy(before.list, x->params.list, before.count * sizeof *before.list);
        before.room = before.count;
    }
    request_step(&x->req, "on_params is called");
    if (script_params(script, &x->req, &x->call, &x->params) == SCRIPT_DONE)
        return true;
    if (open)
        x->params = before;
    return open;
}

/* Gives the application its own tags back, which `compress` may have weakened for the client. */
static void attempt_restore_tags(struct exchange *x)
{
    struct param *tags = params_find(&x->params, STR("HTTP_IF_NONE_MATCH"));
    if (tags != NULL)
        tags->value = compress_strong_tags(&x->req.arena, tags->value);
}

void attempt_begin(struct exchange *x)
{
    struct request *req = &x->req;
    x->state = EXCHANGE_ASKING;
    params_make(&x->params, &x->paths, req, exchange_settings(x), attempt_stdin_size(x));
    if (x->caching != NULL)
        cached_params(x);
    if (exchange_compress(x)->on)
        attempt_restore_tags(x);
    if (!attempt_ask_params(x)) {
        response_script_failed(x, HOOK_PARAMS, "on_params failed");
        return;
    }
    attempt_note_user(x);
    if (req->trace != NULL)
        account_params(x);
    if (attempt_is_own_page(x))
        return;
    const char *large = attempt_find_too_large(x);
    if (large != NULL) {
        meter_refused(x, 431);
        response_fail_and_say(x, "too_large", 431, large);
        return;
    }
    x->attempts.tried_count = 0;
    x->attempts.busy_since = 0;
    attempt_next(x, false);
}

bool attempt_check(struct exchange *x)
{
    struct request *req = &x->req;
    const struct decision *d = &req->decision;
    const struct backend_settings *settings = exchange_settings(x);
    req->backend = settings->name;
    x->backend = backend_metrics(attempt_decided(x));
    x->error_status = 0;
    x->attempts.left = d->attempts > 0 ? d->attempts : settings->attempts;
    bool known = d->server.n == 0;
    for (unsigned i = 0; i < settings->server_count && !known; i++)
        known = str_eq(settings->servers[i].address, d->server);
    if (known || backend_find(attempt_decided(x), d->server) >= 0)
        return true;
    const char *reason = arena_printf(&req->arena, "%s: backend '%.*s' has no server %.*s",
                                      script_rule(x->generation->script, req),
                                      STR_FMT(settings->name), STR_FMT(d->server))
                             .p;
    response_fail_and_say(x, "script", 500, reason);
    return false;
}

void attempt_leave(struct exchange *x, const char *why)
{
    x->head_too_large = x->undecided = false;
    deadline_clear(&x->attempts.pause);
    bool active = stream_active(&x->attempts.stream);
    if (active)
        attempt_note_server(x);
    stream_leave(&x->attempts.stream); /* also a stream that has failed and has events left */
    if (active)
        attempt_close(x, why, false); /* the application has not failed */
    stderr_flush(x);
}

/*
 * exchange - see exchange.h. This file has the life of an exchange, its facts and its step, the
 * decision.
 */
#include "exchange/parts.h"

#include "base/lookup.h"
#include "exchange/account.h"
#include "exchange/meter.h"
#include "exchange/report.h"
#include "http/file.h"
#include "http/logline.h"
#include "script/spans.h"
#include "shm/metrics.h"
#include "shm/quarantine.h"
#include "shm/trace.h"
#include "shm/underway.h"

static uint64_t begun;

uint64_t exchange_count(void)
{
    return begun;
}

static void exchange_step(struct deferred *d);

/* --- facts --- */

static void exchange_resumed(void *ctx, enum script_result result)
{
    exchange_note_result(ctx, result);
}

static void exchange_pause_cb(struct deadline *d)
{
    struct exchange *x = (struct exchange *)((char *)d - offsetof(struct exchange, attempts.pause));
    x->facts.pause_over = true;
    exchange_note(x);
}

void exchange_begin(struct exchange *x, bool has_body)
{
    x->has_body = has_body;
    x->facts.begun = true;
    exchange_note(x);
}

void exchange_refuse(struct exchange *x, int status, const char *reason)
{
    x->facts.refused = status;
    x->facts.refusal = reason;
    exchange_note(x);
}

void exchange_room(struct exchange *x)
{
    if (!x->paused)
        return;
    x->facts.room = true;
    exchange_note(x);
}

/* --- the decision --- */

/* Opens a filter's file, which is checked like a served file. False: the file can't be used, and
 * the request has been answered. */
static bool exchange_open_data(struct exchange *x)
{
    struct request *req = &x->req;
    const char *reason = NULL;
    if (req->came_as == FCGI_FILTER)
        return true; /* the web server sends it behind the body */
    int status = file_open_data(req, exchange_settings(x), &reason);
    if (status != 200)
        response_refuse(x, status, reason);
    return status == 200;
}

static void exchange_begin_fastcgi(struct exchange *x)
{
    struct request *req = &x->req;
    req->role = req->decision.role > 0 ? req->decision.role : req->came_as;
    if (!attempt_check(x))
        return;
    if (req->role == FCGI_FILTER) {
        if (!exchange_open_data(x))
            return;
        req->decision.stream_body = false; /* the filter's file follows the body */
    }
    if (attempt_sends_body(x)) {
        body_begin(x);
        return;
    }
    response_decided_hints(x);
    attempt_begin(x);
}

static void exchange_carry_out(struct exchange *x)
{
    if (x->caching != NULL) /* of an earlier decision */
        cached_leave(x);
    if (x->coded != NULL)
        coded_leave(x);
    if (!due_begin(x))
        return;
    if (x->req.decision.authorize != NULL && !authorize_begin(x))
        return;
    switch (x->req.decision.kind) {
    case DECISION_NONE:
        response_refuse(x, 404, "on_request returned nil");
        break;
    case DECISION_FASTCGI:
        if (x->req.decision.cache == NULL || !cached_begin(x))
            exchange_begin_fastcgi(x);
        break;
    case DECISION_FILE:
        response_file(x);
        break;
    case DECISION_REPLY:
        response_decision(x);
        break;
    case DECISION_CLOSE:
        x->req.response.status = 444; /* as nginx logs it */
        response_cut(x, "script", 444, NULL);
        break;
    }
}

/* Carries out a decision in place of an application's reply, or of an error. */
static void exchange_replace(struct exchange *x)
{
    lookup_begin_turn(); /* the application may have written files that are looked up now */
    x->head = (struct cgi_head){0};
    x->cookie = STR("");
    x->guard = NULL;
    response_clear(&x->req);
    if (x->req.trace != NULL)
        account_decision(x, "a later decision");
    if (++x->replacements > EXCHANGE_REPLACEMENTS)
        response_refuse(x, 500, "scripts replaced the answer again and again");
    else
        exchange_carry_out(x);
}

static void exchange_decided(struct exchange *x, enum script_result result)
{
    struct script *script = x->generation->script;
    if (result != SCRIPT_DONE && script_policy(script, HOOK_REQUEST) == SCRIPT_DECIDE)
        result = script_fallback(script, HOOK_REQUEST, &x->req, &x->call);
    if (result == SCRIPT_DONE) {
        x->standing = x->req.decision.headers;
        x->always = x->req.decision.always;
        if (x->req.trace != NULL)
            account_decision(x, "on_request");
        x->state = EXCHANGE_READY;
        exchange_note(x);
    } else {
        response_fail(x, "script", 500, "on_request failed");
    }
}

static void exchange_decide(struct exchange *x)
{
    if (quarantine_holds(&x->req)) { /* on_error is not called, either */
        x->req.unscripted = true;
        response_clear(&x->req);
        response_error(x, 500, "the page is in quarantine: its script has cost workers");
        return;
    }
    request_step(&x->req, "on_request is called");
    enum script_result result = script_request(x->generation->script, &x->req, &x->call);
    if (result == SCRIPT_WAITING) {
        request_step(&x->req, "on_request waits");
        x->state = EXCHANGE_DECIDING;
        underway_enter(&x->req, UNDERWAY_HOOK); /* of a request that was redirected */
        return;
    }
    exchange_decided(x, result);
}

/* --- the step --- */

/* Notes the request, so that the master can write its line if the worker is killed. A format that
 * is a function needs the worker. */
static void exchange_note_underway(struct exchange *x)
{
    static const enum underway_log logs[] = {[ACCESS_OFF] = UNDERWAY_NO_LINE,
                                             [ACCESS_COMBINED] = UNDERWAY_COMBINED,
                                             [ACCESS_JSON] = UNDERWAY_JSON,
                                             [ACCESS_FUNCTION] = UNDERWAY_COMBINED,
                                             [ACCESS_FIELDS] = UNDERWAY_FIELDS};
    const struct generation *g = x->generation;
    underway_begin(&x->req, logs[g->settings->access_format], g->number);
}

/* Gives the request its trace context. */
static void exchange_trace(struct exchange *x)
{
    struct loop *loop = x->generation->loop;
    const uint64_t random[] = {loop_id(loop), loop_id(loop), loop_id(loop)};
    const struct tracing_settings *settings = &x->generation->settings->tracing;
    traceparent_take(&x->req, settings, random);
    struct traceparent *t = x->req.traceparent;
    if (!settings->exports || !t->sampled)
        return;
    t->spans = arena_alloc(&x->req.arena, sizeof *t->spans);
    memset(t->spans, 0, sizeof *t->spans);
}

/* Hands the spans of a request that has ended to the exporter. */
static void exchange_give_spans(struct exchange *x)
{
    static char json[SPANS_SIZE];
    unsigned count;
    loop_update_time(x->generation->loop); /* hooks may have run since this turn began */
    size_t n = spans_json(&x->req, exchange_now(x), json, sizeof json, &count);
    script_spans_add(x->generation->script, (struct str){json, n}, count);
}

/* Handles the complete head. */
static void exchange_head(struct exchange *x)
{
    report_dropped(&x->req);
    if (x->generation->settings->tracing.enabled && !x->req.control)
        exchange_trace(x);
    if (x->generation->settings->request_id && !x->req.control)
        request_take_id(&x->req);
    if (trace_is_wanted(exchange_now(x)))
        account_begin(x);
    if (x->req.uri.asterisk) {
        response_asterisk(x);
    } else if (!x->req.control) {
        exchange_note_underway(x);
        exchange_decide(x);
    } else if (script_control(x->generation->script, &x->req, &x->call) == SCRIPT_DONE) {
        exchange_carry_out(x);
    } else {
        response_error(x, 500, "the control page failed");
    }
}

static void exchange_refused(struct exchange *x, int status, const char *reason)
{
    attempt_leave(x, reason);
    if (trace_is_wanted(exchange_now(x)))
        account_begin(x); /* the head may be the fault, and was not handled then */
    request_step(&x->req, "refused: %s", reason);
    meter_refused(x, status);
    response_refused(x, status, reason);
}

/* Handles an operator's order to end the request. The client gets a 503 where it has seen nothing;
 * else the response is cut, and what waits for the client is dropped. */
static void exchange_killed(struct exchange *x)
{
    static const char why[] = "killed by an operator";
    attempt_leave(x, why);
    request_step(&x->req, "%s", why);
    if (exchange_is_unanswered(x) ||
        (x->state == EXCHANGE_RESPONDING && x->front->ops->retract(x->front))) {
        response_clear(&x->req);
        response_error(x, 503, why);
        return;
    }
    x->req.error = why;
    x->state = EXCHANGE_ENDED;
    x->front->ops->drop(x->front, why);
}

/* Handles the end of on_error. */
static void exchange_excused(struct exchange *x, enum script_result result)
{
    struct script *script = x->generation->script;
    enum script_policy policy = script_policy(script, HOOK_ERROR);
    if (result == SCRIPT_FAILED && policy == SCRIPT_OPEN)
        response_unexcused(x, SCRIPT_DONE);
    else if (result == SCRIPT_FAILED && policy == SCRIPT_DECIDE &&
             script_fallback(script, HOOK_ERROR, &x->req, &x->call) == SCRIPT_DONE)
        exchange_replace(x);
    else if (result == SCRIPT_DONE && x->call.replaced)
        exchange_replace(x);
    else
        response_unexcused(x, result);
}

static void exchange_act(struct exchange *x)
{
    struct exchange_facts facts = x->facts;
    x->facts = (struct exchange_facts){0};
    if (facts.killed) {
        exchange_killed(x);
        return;
    }
    if (x->state == EXCHANGE_ENDED)
        return;
    if (facts.refused > 0) {
        exchange_refused(x, facts.refused, facts.refusal);
        return;
    }
    if (facts.body_error != NULL) {
        body_refuse_unkept(x, facts.body_error);
        return;
    }
    if (facts.late && due_step(x))
        return;
    if (facts.body_late)
        body_note_late(x);
    if (facts.flush)
        response_flush_late(x);
    if (facts.body_read && x->req.body_wait != NULL) {
        struct body_wait *wait = x->req.body_wait;
        x->req.body_wait = NULL;
        wait->ended(wait); /* the end of the hook is another fact */
        return;
    }
    if (facts.granted) {
        request_step(&x->req, "the authorizer lets the request on");
        authorize_resume(x);
        exchange_carry_out(x);
        return;
    }
    if (facts.replaced) {
        exchange_replace(x);
        return;
    }
    if (facts.redirected) {
        exchange_decide(x);
        return;
    }
    switch (x->state) {
    case EXCHANGE_HEAD:
        if (facts.begun)
            exchange_head(x);
        break;
    case EXCHANGE_DECIDING:
        if (facts.resumed)
            exchange_decided(x, facts.result);
        break;
    case EXCHANGE_READY:
        exchange_carry_out(x);
        break;
    case EXCHANGE_WAITING:
        if ((facts.filled || facts.pause_over) && !cached_resume(x))
            exchange_begin_fastcgi(x);
        break;
    case EXCHANGE_BODY:
        if (x->body_ended)
            body_collected(x);
        break;
    case EXCHANGE_ASKING:
        relay_step(x, facts.room);
        break;
    case EXCHANGE_RESPONDING:
        if (x->file.source != NULL)
            response_give_file(x);
        else
            relay_step(x, facts.room);
        break;
    case EXCHANGE_PAUSING:
        if (facts.pause_over)
            attempt_next(x, true);
        break;
    case EXCHANGE_FAILING:
        if (facts.resumed)
            exchange_excused(x, facts.result);
        break;
    case EXCHANGE_ENDED:
        break;
    }
}

static void exchange_free(struct exchange *x);

static void exchange_step(struct deferred *d)
{
    struct exchange *x = (struct exchange *)((char *)d - offsetof(struct exchange, step));
    exchange_act(x);
    if (x->background && x->state == EXCHANGE_ENDED)
        exchange_free(x);
}

/* --- in the background --- */

static void exchange_drop_filters(struct exchange *x)
{
    if (x->postpone != NULL)
        postpone_fini(x->postpone);
    if (x->compress != NULL)
        compress_fini(x->compress);
    x->postpone = NULL;
    x->compress = NULL;
}

/* The client has a stale response, and its line is written: the application is asked for a newer
 * one, which nobody gets. */
static void exchange_refresh(struct exchange *x)
{
    struct request *req = &x->req;
    x->background = true;
    nowhere_enter(x);
    exchange_drop_filters(x);
    front_file_end(&x->file);
    if (x->coded != NULL)
        coded_leave(x);
    req->listener = arena_copy(&req->arena, req->listener); /* a reload may close it */
    req->trace = NULL;
    req->observed = NULL;
    if (req->traceparent != NULL)
        req->traceparent->spans = NULL;
    req->error = NULL;
    x->facts = (struct exchange_facts){0};
    x->relayed = 0;
    x->paused = x->close = false;
    x->due.from = exchange_now(x);
    response_clear(req);
    underway_begin(req, UNDERWAY_NO_LINE, x->generation->number);
    metrics_add(&metrics_own->refreshed, 1);
    if (due_begin(x))
        exchange_begin_fastcgi(x);
    exchange_note(x); /* it may have ended already */
}

void exchange_end_background(void)
{
    for (struct exchange *x; (x = nowhere_first()) != NULL;)
        exchange_free(x);
}

bool exchange_run(struct exchange *x)
{
    if (!loop_is_queued(&x->step))
        return false;
    loop_undefer(&x->step);
    exchange_step(&x->step);
    return true;
}

/* --- its beginning and its end --- */

struct exchange *exchange_new(struct generation *generation, struct request **req)
{
    struct loop *loop = generation->loop;
    struct exchange *x = loop_block(loop);
    request_init(&x->req, x->memory, LOOP_BLOCK_SIZE - sizeof *x);
    memset((char *)x + sizeof x->req, 0, sizeof *x - sizeof x->req); /* what follows the request */
    x->generation = generation_hold(generation);
    x->file.source = NULL;
    buf_init(&x->stderr_text, 1u << 20);
    x->req.started = ev_now(loop->ev);
    x->req.began = loop_now(loop);
    begun++;
    x->req.id = loop_id(loop);
    x->step.run = exchange_step;
    deadline_init(&x->attempts.pause, loop, exchange_pause_cb);
    due_init(x);
    x->call.resumed = exchange_resumed;
    x->call.ctx = x;
    x->req.ask_body = body_ask;
    *req = &x->req;
    return x;
}

void exchange_set_front(struct exchange *x, struct front *front)
{
    x->front = front;
}

static void exchange_free(struct exchange *x)
{
    struct generation *generation = x->generation;
    struct loop *loop = generation->loop;
    attempt_leave(x, "the request has ended");
    if (x->background) {
        underway_end(&x->req);
        nowhere_leave(x);
    }
    deadline_fini(&x->attempts.pause);
    due_fini(x);
    loop_undefer(&x->step);
    script_end(generation->script, &x->call);
    front_file_end(&x->file);
    if (x->caching != NULL)
        cached_leave(x);
    if (x->coded != NULL)
        coded_leave(x);
    exchange_drop_filters(x);
    buf_fini(&x->stderr_text);
    request_fini(&x->req);
    loop_block_free(loop, x);
    generation_drop(generation);
}

/* Logs the request. */
static void exchange_tell(struct exchange *x)
{
    x->req.ended_at = ev_now(x->generation->loop->ev);
    x->req.duration = exchange_now(x) - x->req.began;
    if (x->req.backend.n == 0)
        x->req.ended = true;
    if (x->req.trace != NULL)
        account_end(x);
    meter_request(x);
    if (exchange_spans(x) != NULL)
        exchange_give_spans(x);
    report_access(x->generation, &x->req, &x->call);
    underway_end(&x->req);
}

/* The end of a request, unless it has a newer response made for others. */
static void exchange_finish(struct exchange *x, bool may_go_on)
{
    exchange_tell(x);
    if (may_go_on && x->caching != NULL && cached_goes_on(x))
        exchange_refresh(x);
    else
        exchange_free(x);
}

void exchange_done(struct exchange *x)
{
    exchange_finish(x, true);
}

void exchange_stopped(struct exchange *x, const char *why)
{
    bool unanswered = exchange_is_unanswered(x);
    attempt_leave(x, why);
    if (unanswered || x->req.response.status == 0)
        x->req.response.status = 503;
    if (x->state != EXCHANGE_ENDED)
        x->req.error = why;
    exchange_finish(x, false);
}

void exchange_gone(struct exchange *x, const char *why)
{
    attempt_leave(x, "the client went away");
    if (x->state != EXCHANGE_ENDED || x->req.response.status == 0) {
        request_step(&x->req, "%s", why);
        x->req.response.status = 499; /* as nginx logs it */
        x->req.error = why;
    }
    exchange_done(x);
}

bool exchange_kill(uint64_t id)
{
    struct request *req = underway_find(id);
    if (req == NULL)
        return false;
    struct exchange *x = (struct exchange *)((char *)req - offsetof(struct exchange, req));
    logline_write(req, NULL, LOG_WARN, "an operator ends a request");
    x->facts.killed = true;
    exchange_note(x);
    return true;
}

/* --- questions --- */

bool exchange_is_unanswered(const struct exchange *x)
{
    return x->state != EXCHANGE_RESPONDING && x->state != EXCHANGE_ENDED;
}

bool exchange_only_waits(const struct exchange *x)
{
    switch (x->state) {
    case EXCHANGE_DECIDING:
        return x->req.body_wait == NULL;
    case EXCHANGE_READY:
    case EXCHANGE_WAITING:
    case EXCHANGE_PAUSING:
    case EXCHANGE_FAILING:
        return true;
    case EXCHANGE_ASKING:
        return stream_waits(&x->attempts.stream) || !stream_active(&x->attempts.stream);
    default:
        return false;
    }
}

const struct limits *exchange_limits(const struct exchange *x)
{
    return &x->generation->settings->limits;
}

bool exchange_wants_close(const struct exchange *x)
{
    return x->close;
}

/*
 * relay - see parts.h. This file passes an application's reply on: its head and the hooks that see
 * it, its replacement, its body.
 */
#include "exchange/parts.h"

#include "base/lookup.h"
#include "exchange/accel.h"
#include "exchange/report.h"
#include "http/observed.h"

#define READ_MIN      16384
#define MAX_REDIRECTS 10 /* contract section 7 */

/* --- replacing the reply --- */

/* Gives up the rest of the reply. Bytes that have come are read to their end, for STDERR, and so
 * that the connection is kept if the reply was whole. The rest is not waited for. */
static void relay_leave(struct exchange *x)
{
    struct stream *s = &x->attempts.stream;
    enum stream_event event;
    struct str bytes;
    while ((event = stream_next(s, &bytes)) != STREAM_NOTHING && event != STREAM_FAILED &&
           event != STREAM_END)
        if (event == STREAM_STDERR)
            stderr_add(x, bytes);
    if (event == STREAM_END) {
        x->req.app_status = s->app_status;
        x->req.protocol_status = s->protocol_status;
    }
    stream_abort(s);
    attempt_end(x, NULL);
    stderr_flush(x);
}

/* A decision of on_stderr takes the place of this reply. */
static bool relay_is_replaced(struct exchange *x)
{
    if (!stderr_replaces(x))
        return false;
    relay_leave(x);
    return true;
}

/* The same, where on_stderr has to be asked before more of the reply goes on. */
static bool relay_ask_stderr(struct exchange *x)
{
    if (stderr_is_due(x))
        stderr_flush(x);
    return relay_is_replaced(x);
}

/* Keeps the cookies of a reply that is an internal redirect, since a login would be lost without
 * them. The headers have those of earlier replies already. */
static void relay_keep_cookies(struct exchange *x)
{
    const struct headers *said = &x->req.response.headers;
    x->cookies = (struct headers){0};
    for (unsigned i = 0; i < said->count; i++)
        if (str_ieq(said->list[i].name, STR("Set-Cookie")))
            headers_add(&x->req.arena, &x->cookies, STR("Set-Cookie"), said->list[i].value);
}

/* Redirects the request to another path of this server, as a GET without a body. */
static void relay_elsewhere(struct exchange *x)
{
    struct request *req = &x->req;
    struct str target = req->response.redirect;
    struct uri uri;
    relay_leave(x);
    lookup_begin_turn(); /* the application may have written what is looked up now */
    x->head = (struct cgi_head){0};
    x->cookie = STR("");
    request_step(req, "the application redirects the request to %.*s", STR_FMT(target));
    if (++x->redirects > MAX_REDIRECTS) {
        response_fail_and_say(x, "protocol", 500, "an application redirected it again and again");
        return;
    }
    const char *bad = uri_parse(&uri, uri_escape_raw(target, &req->arena), &req->arena);
    if (bad != NULL) {
        response_fail_and_say(
            x, "protocol", 502,
            arena_printf(&req->arena, "Location: '%.*s': %s", STR_FMT(target), bad).p);
        return;
    }
    req->uri = uri;
    req->internal = true;
    if (req->method_id != METHOD_HEAD) {
        req->method = STR("GET");
        req->method_id = METHOD_GET;
    }
    for (unsigned i = 0; i < req->headers.count; i++) {
        struct header *header = &req->headers.list[i];
        if (header->id == HEADER_CONTENT_TYPE || header->id == HEADER_CONTENT_LENGTH)
            header->hop = true; /* a header about the dropped body */
    }
    req->body_length = BODY_NONE;
    x->has_body = false;
    /* the rest of the body is dropped after the response */
    x->front->ops->want_body(x->front, false);
    spool_fini(&req->body);
    script_redirected(x->generation->script, &x->call);
    relay_keep_cookies(x);
    response_clear(req);
    x->facts.redirected = true;
    exchange_note(x);
}

/* --- the head --- */

static bool relay_is_intercepted(const struct decision *d, int status)
{
    if (!d->intercept || status < 400)
        return false;
    for (unsigned i = 0; i < d->intercepted_count; i++)
        if (d->intercepted[i] == status)
            return true;
    return d->intercepted_count == 0;
}

/* True when on_response has failed and script_errors does not pass the reply on. */
static bool relay_is_withheld(const struct exchange *x, enum script_result result)
{
    return result == SCRIPT_FAILED &&
           script_policy(x->generation->script, HOOK_RESPONSE) != SCRIPT_OPEN;
}

/* Sets *replaced when another decision takes the place of this reply. False: a hook has failed, so
 * that the client must not have it. */
static bool relay_ask_scripts(struct exchange *x, bool *replaced)
{
    struct script *script = x->generation->script;
    struct request *req = &x->req;
    *replaced = false;
    if (relay_is_intercepted(&req->decision, req->response.status) &&
        script_has(script, HOOK_ERROR)) {
        const struct script_error error = {.kind = "status",
                                           .status = req->response.status,
                                           .message = "the application's status",
                                           .has_body = x->reply_has_body};
        x->error_status = req->response.status;
        request_step(req, "on_error is called about the reply");
        enum script_result result = script_error(script, req, &x->call, &error);
        *replaced = result == SCRIPT_DONE && x->call.replaced;
        if (result == SCRIPT_FAILED && script_policy(script, HOOK_ERROR) == SCRIPT_DECIDE)
            *replaced = script_fallback(script, HOOK_ERROR, req, &x->call) == SCRIPT_DONE;
        if (*replaced)
            return true;
        x->error_status = 0;
    }
    if (!script_has(script, HOOK_RESPONSE))
        return true;
    request_step(req, "on_response is called");
    enum script_result result = script_response(script, req, &x->call, replaced);
    *replaced = *replaced && result == SCRIPT_DONE;
    return !relay_is_withheld(x, result);
}

/* Makes the file that the application names the decision. */
static const char *relay_follow_accel(struct exchange *x)
{
    struct decision decision;
    const char *err = accel_decision(&x->req, exchange_settings(x), &x->paths, &decision);
    if (err != NULL)
        return err;
    x->req.decision = decision;
    return NULL;
}

/* True when the head of a reply for on_error does not say whether it has a body. */
static bool relay_must_see_body(const struct exchange *x)
{
    const struct response *res = &x->req.response;
    return res->content_length < 0 && res->redirect.n == 0 &&
           relay_is_intercepted(&x->req.decision, res->status) &&
           script_has(x->generation->script, HOOK_ERROR);
}

/* Adds the headers of the decisions, which replace the application's own. */
static void relay_add_headers(struct exchange *x)
{
    struct request *req = &x->req;
    headers_merge(&req->arena, &req->response.headers, &x->standing);
    if (req->decision.headers.list != x->standing.list) /* on_error's decision has its own */
        headers_merge(&req->arena, &req->response.headers, &req->decision.headers);
}

/* Handles a reply that can't be used. False, as below: the stream is over. */
static bool relay_reject(struct exchange *x, const char *err)
{
    stream_abort(&x->attempts.stream);
    attempt_failed(x, FAILURE_PROTOCOL, err);
    return false;
}

/* Responds from the cache where the application says that what is there holds, or has failed. */
static bool relay_is_covered(struct exchange *x)
{
    int status = x->req.response.status;
    bool renewed = cached_is_renewed(x);
    bool failed = status == 500 || (status >= 502 && status <= 504);
    if (!renewed && !(failed && cached_has_stale(x)))
        return false;
    relay_leave(x);
    if (renewed)
        cached_renew(x);
    else
        cached_answer_stale(x);
    return true;
}

/* Handles a complete head. True: the reply is passed on to the client. */
static bool relay_head(struct exchange *x, bool has_body)
{
    struct request *req = &x->req;
    x->undecided = false;
    if (exchange_observed(x) != NULL)
        observed_head(req->observed, &req->arena, &req->response);
    authorize_clean(x);
    x->reply_has_body = has_body || req->response.content_length > 0;
    attempt_note_server(x);
    request_step(req, "the reply begins: status %d, %u headers", req->response.status,
                 req->response.headers.count);
    if (relay_ask_stderr(x))
        return false;
    if (req->response.redirect.n == 0 && accel_names_route(req, exchange_settings(x)))
        req->response.redirect = req->response.accel_redirect;
    if (x->head.again.n > 0)
        report_backend(LOG_WARN, req, "protocol",
                       arena_printf(&req->arena,
                                    "the header '%.*s' came again: the first one counts",
                                    STR_FMT(x->head.again))
                           .p);
    if (req->response.purges)
        cached_purge(x);
    if (x->caching != NULL && relay_is_covered(x))
        return false;
    response_add_cookies(x);
    if (req->response.redirect.n > 0) {
        relay_elsewhere(x);
        return false;
    }
    relay_add_headers(x);
    if (x->cookie.n > 0)
        headers_add(&req->arena, &req->response.headers, STR("Set-Cookie"), x->cookie);
    bool replaced;
    if (!relay_ask_scripts(x, &replaced)) {
        relay_leave(x);
        response_clear(req);
        response_script_failed(x, HOOK_RESPONSE, "on_response failed");
        return false;
    }
    if (!replaced && accel_wanted(&req->response)) {
        const char *err = relay_follow_accel(x);
        if (err != NULL)
            return relay_reject(x, err);
        replaced = true;
    }
    if (!replaced) {
        if (x->caching != NULL)
            fill_head(x);
        response_begin(x);
        return true;
    }
    relay_leave(x);
    x->facts.replaced = true;
    exchange_note(x);
    return false;
}

/* --- the body --- */

/* Passes on bytes of the body, up to the length that the head announced. */
static void relay_body(struct exchange *x, struct str bytes)
{
    struct request *req = &x->req;
    if (exchange_observed(x) != NULL)
        observed_body(req->observed, bytes);
    if (x->skip_body)
        return;
    int64_t length = exchange_length(x);
    if (length >= 0) {
        uint64_t left = (uint64_t)length - x->relayed;
        if (bytes.n > left) {
            if (req->error == NULL)
                report_backend(LOG_WARN, req, "protocol", "a body longer than its Content-Length");
            req->error = "a body longer than its Content-Length";
            bytes.n = (size_t)left;
        }
    }
    if (x->caching != NULL)
        fill_body(x, bytes);
    response_body(x, bytes);
}

/* Handles the complete head, and the bytes after it. */
static bool relay_begin(struct exchange *x, struct str bytes)
{
    if (!relay_head(x, bytes.n > 0))
        return false;
    relay_body(x, bytes);
    return true;
}

/* Drops the body of an authorizer's 200, which is not passed on. */
static bool relay_drop(struct exchange *x, struct str bytes)
{
    const char *err = authorize_drop(x, bytes.n);
    return err == NULL || relay_reject(x, err);
}

/* Handles a slice of STDOUT. False: the stream is over. */
static bool relay_stdout(struct exchange *x, struct str bytes)
{
    const char *err = NULL;
    if (x->state == EXCHANGE_RESPONDING) {
        if (x->guard != NULL && x->relayed + bytes.n > AUTHORIZE_BODY)
            return relay_reject(x, "the answer of an authorizer is larger than 1 MB");
        if (relay_ask_stderr(x))
            return false;
        relay_body(x, bytes);
        return true;
    }
    if (x->guard != NULL && x->guard->granted)
        return relay_drop(x, bytes);
    if (x->undecided)
        return bytes.n == 0 || relay_begin(x, bytes);
    if (x->head.text.n == 0)
        x->req.response.unbuffered = x->req.decision.unbuffered;
    size_t limit = x->generation->settings->limits.response_header;
    enum cgi_result result;
    while ((result = cgi_head_feed(&x->head, &x->req, &bytes, limit, &err)) == CGI_HINTS) {
        if (x->guard == NULL)
            response_hints(x, &x->req.response.headers);
        cgi_head_again(&x->head, &x->req);
    }
    if (result == CGI_MORE)
        return true;
    x->head_too_large = result == CGI_TOO_LARGE;
    if (result != CGI_DONE)
        return relay_reject(x, err);
    x->attempts.stream.answered = true;
    if (x->guard != NULL && x->req.response.status == 200) {
        x->guard->granted = true;
        return relay_drop(x, bytes);
    }
    x->undecided = bytes.n == 0 && relay_must_see_body(x);
    return x->undecided || relay_begin(x, bytes);
}

/* --- events of the stream --- */

/* Stops reading the backend while the client has as many bytes as may wait for it. Otherwise reads
 * at most as many bytes as there is room for, so that the limits of the spool are exact, unless
 * that is less than a sensible read. */
static void relay_hold_when_full(struct exchange *x)
{
    const struct limits *limits = &x->generation->settings->limits;
    if (x->paused || !stream_active(&x->attempts.stream))
        return;
    size_t room = x->front->ops->room(x->front);
    uint64_t all = limits->response_memory + (x->req.response.unbuffered ? 0 : limits->spool);
    if (room >= READ_MIN || room >= all) {
        stream_read_max(&x->attempts.stream, room > READ_MIN ? room : READ_MIN);
        return;
    }
    x->paused = true;
    stream_pause(&x->attempts.stream, true);
}

/* True when the client has all bytes of the reply that the head announced. */
static bool relay_is_all(const struct exchange *x)
{
    int64_t length = exchange_length(x);
    return x->skip_body || (length >= 0 && x->relayed >= (uint64_t)length);
}

static void relay_finish(struct exchange *x)
{
    if (exchange_observed(x) != NULL)
        x->req.observed->whole = !x->skip_body;
    attempt_end(x, NULL);
    if (x->caching != NULL)
        fill_end(x);
    response_end(x);
}

/* Called after all events of one read. */
static void relay_turn(struct exchange *x)
{
    stderr_flush_late(x);
    if (relay_is_replaced(x) || x->state != EXCHANGE_RESPONDING)
        return;
    if (relay_is_all(x) && relay_ask_stderr(x))
        return;
    /* The client does not wait for what the application does after its reply, unless that may read
     * a file of the request's. */
    if (relay_is_all(x) && !exchange_has_file(x) && stream_let_end(&x->attempts.stream)) {
        stderr_flush(x);
        if (!relay_is_replaced(x))
            relay_finish(x);
        return;
    }
    response_flush(x);
    relay_hold_when_full(x);
}

/* Lets more of a streamed body come, since the server takes it. */
static void relay_room(struct exchange *x)
{
    if (x->body_ended)
        stream_body_end(&x->attempts.stream);
    else {
        due_body(x);
        x->front->ops->want_body(x->front, true);
    }
}

static bool relay_is_short(const struct exchange *x)
{
    int64_t length = exchange_length(x);
    return length >= 0 && !x->skip_body && x->relayed < (uint64_t)length;
}

/* Handles an authorizer's grant. */
static void relay_granted(struct exchange *x)
{
    const char *err = authorize_end(x);
    if (err != NULL) {
        attempt_failed(x, FAILURE_PROTOCOL, err);
        return;
    }
    attempt_end(x, NULL);
    x->facts.granted = true;
    exchange_note(x);
}

/* Handles END_REQUEST: the reply is complete. */
static void relay_complete(struct exchange *x)
{
    if (x->guard != NULL && x->guard->granted) {
        relay_granted(x);
        return;
    }
    if (x->undecided && !relay_begin(x, STR("")))
        return;
    if (x->state != EXCHANGE_RESPONDING) {
        attempt_failed(x, FAILURE_PROTOCOL,
                       x->head.text.n > 0 ? "it ended inside its head" : "it ended without a head");
        return;
    }
    if (relay_is_short(x)) {
        const char *reason = "a body shorter than its Content-Length";
        report_backend(LOG_ERROR, &x->req, "protocol", reason);
        attempt_end(x, reason);
        response_cut(x, "protocol", 502, reason);
        return;
    }
    x->req.ended = true;
    relay_finish(x);
}

static void relay_end(struct exchange *x)
{
    const struct stream *s = &x->attempts.stream;
    x->req.app_status = s->app_status;
    x->req.protocol_status = s->protocol_status;
    attempt_note_server(x);
    stderr_flush(x);
    if (relay_is_replaced(x))
        return;
    switch (s->protocol_status) {
    case FCGI_REQUEST_COMPLETE:
        relay_complete(x);
        break;
    case FCGI_OVERLOADED:
        attempt_failed(x, FAILURE_BUSY, "it is overloaded (FCGI_OVERLOADED)");
        break;
    case FCGI_CANT_MPX_CONN:
        attempt_failed(x, FAILURE_BUSY,
                       "it takes no other request on this connection (FCGI_CANT_MPX_CONN)");
        break;
    case FCGI_UNKNOWN_ROLE:
        attempt_failed(x, FAILURE_PROTOCOL,
                       "it does not serve requests of this role (FCGI_UNKNOWN_ROLE)");
        break;
    default:
        attempt_failed(x, FAILURE_PROTOCOL,
                       arena_printf(&x->req.arena, "END_REQUEST with the unknown status %u",
                                    s->protocol_status)
                           .p);
        break;
    }
}

void relay_step(struct exchange *x, bool room)
{
    struct stream *s = &x->attempts.stream;
    struct str bytes;
    if (room && x->paused) {
        x->paused = false;
        stream_pause(s, false);
    }
    for (;;) {
        switch (stream_next(s, &bytes)) {
        case STREAM_STDOUT:
            if (!relay_stdout(x, bytes))
                return;
            break;
        case STREAM_STDERR:
            stderr_add(x, bytes);
            break;
        case STREAM_ROOM:
            relay_room(x);
            break;
        case STREAM_END:
            relay_end(x);
            return;
        case STREAM_FAILED:
            attempt_failed(x, s->failure, s->detail);
            return;
        case STREAM_NOTHING:
            relay_turn(x);
            return;
        }
    }
}

/*
 * proxy - see proxy.h. This file: the decision, answers of our own, the body, the end.
 *
 * Endings are few: an answer, a cut, a client that has left. What happens between the decision and
 * an application's answer is in exchange/attempt.c.
 */
#include "exchange/proxy_inner.h"

#include "base/log.h"
#include "base/lookup.h"
#include "exchange/accel.h"
#include "exchange/report.h"
#include "http/file.h"
#include "shm/quarantine.h"

#include <unistd.h>

#define MAX_REPLACEMENTS 10
#define MAX_REDIRECTS    10 /* contract section 7 */

static void proxy_carry_out(struct proxy *px);
static void ask_on_request(struct proxy *px);
static void proxy_resumed(void *ctx, enum script_result result);

static uint64_t requests;

uint64_t proxy_requests(void)
{
    return requests;
}

struct proxy *proxy_new(struct generation *generation, const struct front_ops *ops, void *front,
                        struct request **req)
{
    struct loop *loop = generation->loop;
    struct proxy *px = loop_block(loop);
    memset(px, 0, sizeof *px);
    px->generation = generation_hold(generation);
    px->ops = ops;
    px->front = front;
    buf_init(&px->stderr_text, 1u << 20);
    request_init(&px->req, px->memory, LOOP_BLOCK_SIZE - sizeof *px);
    px->req.started = ev_now(loop->ev);
    requests++;
    px->req.id = loop_id(loop);
    px->call.resumed = proxy_resumed;
    px->call.ctx = px;
    *req = &px->req;
    return px;
}

const struct limits *proxy_limits(const struct proxy *px)
{
    return &px->generation->settings->limits;
}

bool proxy_only_waits(const struct proxy *px)
{
    if (px->state == PROXY_DECIDING)
        return true;
    return px->state == PROXY_WAITING && (stream_waits(&px->stream) || !stream_active(&px->stream));
}

bool proxy_wants_close(const struct proxy *px)
{
    return px->close;
}

/* --- the response --- */

void proxy_add_cookies(struct proxy *px)
{
    struct request *req = &px->req;
    if (req->response.with_cookies)
        return;
    req->response.with_cookies = true;
    for (unsigned i = 0; i < px->cookies.count; i++)
        headers_add(&req->arena, &req->response.headers, STR("Set-Cookie"),
                    px->cookies.list[i].value);
}

void proxy_begin_response(struct proxy *px)
{
    proxy_add_cookies(px);
    int status = px->req.response.status;
    px->skip_body = px->req.method_id == METHOD_HEAD || status == 204 || status == 304;
    px->state = PROXY_REPLYING;
    px->ops->respond(px->front);
}

void proxy_send_body(struct proxy *px, struct str bytes)
{
    if (px->skip_body || bytes.n == 0)
        return;
    px->req.body_out += bytes.n;
    px->ops->body(px->front, bytes);
}

void proxy_end_response(struct proxy *px)
{
    px->state = PROXY_ENDED;
    px->ops->end(px->front);
}

void proxy_clear_response(struct request *req)
{
    req->response = (struct response){.content_length = -1};
}

/* A small plain page that carries the request's id, which is in the error log as well. */
static void error_page(struct proxy *px, int status)
{
    struct request *req = &px->req;
    struct arena *a = &req->arena;
    char id[17];
    request_id_text(req->id, id);
    const char *text = status_text(status);
    struct str page = arena_printf(
        a, "<!doctype html>\n<title>%d %s</title>\n<h1>%d %s</h1>\n<p>Request %s</p>\n", status,
        text, status, text, id);
    req->response.status = status;
    headers_add(a, &req->response.headers, STR("Content-Type"), STR("text/html; charset=utf-8"));
    if (status == 503)
        headers_add(a, &req->response.headers, STR("Retry-After"), STR("5"));
    req->response.content_length = (int64_t)page.n;
    headers_fill(a, &req->response.headers, &px->standing);
    proxy_begin_response(px);
    proxy_send_body(px, page);
    proxy_end_response(px);
}

/* An error of ours. Statuses that say something about the connection close it. */
static void reply_error(struct proxy *px, int status, const char *reason)
{
    px->req.error = reason;
    if (status >= 500 || status == 400 || status == 408 || status == 413 || status == 431)
        px->close = true;
    error_page(px, status);
}

/* What any client can have for the asking is no line at the default level: a 404 is in the access
 * log. */
static enum log_level level_of(int status)
{
    return status >= 500 ? LOG_ERROR : status == 404 ? LOG_DEBUG : LOG_INFO;
}

static struct log_quota *proxy_quota_of(enum log_level level)
{
    static struct log_quota ours = {.most = LOG_MOST}, theirs = {.most = LOG_MOST};
    return level == LOG_ERROR ? &ours : &theirs;
}

static void proxy_say(const struct proxy *px, int status, const char *reason)
{
    char name[REQUEST_NAME_SIZE];
    enum log_level level = level_of(status);
    log_within(proxy_quota_of(level), level, "%.*s %.*s: %d, %s; %s", STR_FMT(px->req.method),
               STR_FMT(px->req.uri.origin), status, reason, request_name(&px->req, name));
}

/* The page's id must be found in the log. */
static void refuse(struct proxy *px, int status, const char *reason)
{
    proxy_say(px, status, reason);
    reply_error(px, status, reason);
}

/* on_error has spoken. */
static void proxy_take_error(struct proxy *px, enum script_result result)
{
    int status = px->error_status;
    if (result != SCRIPT_DONE) {
        px->error_status = 0;
        reply_error(px, 500, "on_error failed");
    } else if (px->call.replaced) {
        px->next = NEXT_DECISION;
        proxy_go_on(px);
    } else {
        px->error_status = 0;
        proxy_clear_response(&px->req);
        reply_error(px, status, px->req.error);
    }
}

/* True when on_error decides, now or later. */
static bool ask_on_error(struct proxy *px, const char *kind, int status, const char *reason)
{
    struct script *script = px->generation->script;
    const struct script_error error = {
        .kind = kind, .status = status, .message = reason, .may_wait = true};
    if (!script_has(script, HOOK_ERROR) || px->replacements >= MAX_REPLACEMENTS)
        return false;
    proxy_clear_response(&px->req);
    px->error_status = status;
    enum script_result result = script_error(script, &px->req, &px->call, &error);
    if (result == SCRIPT_WAITING) {
        px->asking = ASKING_ERROR;
        px->state = PROXY_DECIDING;
    } else {
        proxy_take_error(px, result);
    }
    return true;
}

void proxy_fail(struct proxy *px, const char *kind, int status, const char *reason)
{
    px->req.error = reason;
    if (ask_on_error(px, kind, status, reason))
        return;
    proxy_clear_response(&px->req);
    reply_error(px, status, reason);
}

void proxy_forbid(struct proxy *px, const char *reason)
{
    proxy_say(px, 403, reason);
    proxy_clear_response(&px->req);
    reply_error(px, 403, reason);
}

void proxy_fail_and_say(struct proxy *px, const char *kind, int status, const char *reason)
{
    proxy_say(px, status, reason);
    proxy_fail(px, kind, status, reason);
}

static void reply_decision(struct proxy *px)
{
    struct request *req = &px->req;
    const struct decision *d = &req->decision;
    proxy_clear_response(req);
    if (d->status >= 400 && d->body.p == NULL &&
        headers_get(&d->headers, STR("Content-Type")) == NULL) {
        req->response.headers = d->headers;
        error_page(px, d->status);
        return;
    }
    req->response.status = d->status;
    req->response.headers = d->headers;
    if (d->body.n > 0 && d->status != 204 && d->status != 304 &&
        headers_find(&d->headers, HEADER_CONTENT_TYPE) == NULL)
        headers_add(&req->arena, &req->response.headers, STR("Content-Type"),
                    STR("text/plain; charset=utf-8"));
    if (d->status != 204 && d->status != 304)
        req->response.content_length = (int64_t)d->body.n;
    headers_fill(&req->arena, &req->response.headers, &px->standing);
    proxy_begin_response(px);
    proxy_send_body(px, d->body);
    proxy_end_response(px);
}

/* A file that is not there, a name that is never served and a method that files don't take are any
 * client's to ask for, as often as it likes. What is left says that something here is wrong: a
 * link, a permission. */
static enum log_level file_level(const struct decision *d, int status)
{
    if (status >= 500)
        return LOG_ERROR;
    return status != 403 || file_refused(d->file.n > 0 ? d->file : d->path, d) != NULL ? LOG_DEBUG
                                                                                       : LOG_INFO;
}

/* A page for an error that can't be sent is the route's own fault, whoever asked. */
static void report_file(const struct proxy *px, int status, const char *reason)
{
    const struct decision *d = &px->req.decision;
    char name[REQUEST_NAME_SIZE];
    enum log_level level = d->error_page ? LOG_ERROR : file_level(d, status);
    struct str path = d->file.n > 0 ? d->file : d->path;
    log_within(proxy_quota_of(level), level, "%s%.*s%.*s: %d, %s; %.*s %.*s, %s",
               d->error_page ? "the page for an error, " : "", STR_FMT(d->root), STR_FMT(path),
               status, reason, STR_FMT(px->req.method), STR_FMT(px->req.uri.origin),
               request_name(&px->req, name));
}

static void reply_file(struct proxy *px)
{
    struct request *req = &px->req;
    struct file file;
    const char *reason = NULL;
    proxy_clear_response(req);
    enum method method = req->method_id;
    /* The status of the error that the file stands for, 0 where it stands for itself. */
    int error = px->error_status > 0 ? px->error_status : req->decision.status;
    if ((px->replacements > 0 || error > 0) && method != METHOD_HEAD)
        req->method_id = METHOD_GET; /* that was asked of the application, not of the file */
    req->decision.error_page = error > 0;
    int status = file_open(req, &file, &reason);
    req->method_id = method;
    if (status >= 400) {
        report_file(px, status, reason);
        reply_error(px, error > 0 ? error : status, reason);
        return;
    }
    req->response.with_cookies = px->next == NEXT_FILE; /* the decision's headers have them */
    if (error > 0 && status == 200)
        req->response.status = error; /* a page for the error, as nginx's error_page */
    headers_fill(&req->arena, &req->response.headers, &px->standing);
    proxy_begin_response(px);
    if (file.fd >= 0 && !px->skip_body)
        px->ops->file(px->front, file.fd, file.pieces, file.piece_count);
    else if (file.fd >= 0)
        close(file.fd);
    proxy_end_response(px);
}

void proxy_cut_response(struct proxy *px, const char *kind, int status, const char *reason)
{
    if (px->state == PROXY_REPLYING && px->ops->retract(px->front)) {
        proxy_clear_response(&px->req);
        px->req.body_out = 0;
        px->state = PROXY_WAITING;
        proxy_fail(px, kind, status, reason);
        return;
    }
    px->req.error = reason;
    px->close = true;
    px->state = PROXY_ENDED;
    px->ops->cut(px->front);
}

/* --- hooks that may wait --- */

static void take_decision(struct proxy *px, enum script_result result)
{
    if (result == SCRIPT_DONE) {
        px->standing = px->req.decision.headers;
        proxy_carry_out(px);
    } else {
        proxy_fail(px, "script", 500, "on_request failed");
    }
}

static void ask_on_request(struct proxy *px)
{
    if (quarantine_holds(&px->req)) { /* on_error is the script's, too */
        px->req.unscripted = true;
        proxy_clear_response(&px->req);
        reply_error(px, 500, "the page is in quarantine: its script has cost workers");
        return;
    }
    enum script_result result = script_request(px->generation->script, &px->req, &px->call);
    if (result == SCRIPT_WAITING) {
        px->asking = ASKING_REQUEST;
        px->state = PROXY_DECIDING;
        return;
    }
    take_decision(px, result);
}

/* What the hook waited for has come, and the hook to its end. */
static void proxy_resumed(void *ctx, enum script_result result)
{
    struct proxy *px = ctx;
    enum proxy_asking asked = px->asking;
    px->asking = ASKING_NOBODY;
    px->state = PROXY_BODY;
    if (asked == ASKING_REQUEST)
        take_decision(px, result);
    else
        proxy_take_error(px, result);
}

/* --- in place of the application's answer --- */

/* A login whose answer is a redirect of this kind would be lost without them. Those that the answer
 * before this one has set are among its headers. */
static void keep_cookies(struct proxy *px)
{
    const struct headers *said = &px->req.response.headers;
    px->cookies = (struct headers){0};
    for (unsigned i = 0; i < said->count; i++)
        if (str_ieq(said->list[i].name, STR("Set-Cookie")))
            headers_add(&px->req.arena, &px->cookies, STR("Set-Cookie"), said->list[i].value);
}

/* The application has sent the request to another path of this server: as a GET, without a body. */
static void go_elsewhere(struct proxy *px)
{
    struct request *req = &px->req;
    struct str target = req->response.redirect;
    struct uri uri;
    if (++px->redirects > MAX_REDIRECTS) {
        proxy_fail_and_say(px, "protocol", 500, "an application redirected it again and again");
        return;
    }
    const char *bad = uri_parse(&uri, uri_escape_raw(target, &req->arena), &req->arena);
    if (bad != NULL) {
        proxy_fail_and_say(
            px, "protocol", 502,
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
            header->hop = true; /* of a body that stays behind */
    }
    req->body_length = BODY_NONE;
    px->has_body = false;
    px->ops->want_body(px->front, false); /* the rest of it is dropped behind the answer */
    spool_fini(&req->body);
    script_redirected(px->generation->script, &px->call);
    keep_cookies(px);
    proxy_clear_response(req);
    ask_on_request(px);
}

void proxy_go_on(struct proxy *px)
{
    enum proxy_next next = px->next;
    lookup_begin_turn(); /* the application may have written what is looked up now */
    px->head = (struct cgi_head){0};
    px->cookie = STR("");
    px->state = PROXY_BODY;
    if (next == NEXT_REDIRECT) {
        px->next = NEXT_NOTHING;
        go_elsewhere(px);
        return;
    }
    proxy_clear_response(&px->req);
    if (next != NEXT_FILE)
        px->next = NEXT_NOTHING;
    if (++px->replacements > MAX_REPLACEMENTS)
        refuse(px, 500, "scripts replaced the answer again and again");
    else
        proxy_carry_out(px);
}

/* --- the decision --- */

/* Bytes that the body may have: by the decision or the limits, and where it is kept here first, by
 * the room in memory and then on disk. */
static uint64_t body_limit(const struct proxy *px)
{
    const struct decision *d = &px->req.decision;
    const struct limits *limits = proxy_limits(px);
    uint64_t limit = d->body_limit != UINT64_MAX ? d->body_limit : limits->body;
    uint64_t room = limits->request_memory + limits->spool;
    return d->stream_body || limit < room ? limit : room;
}

static void refuse_large_body(struct proxy *px)
{
    const struct decision *d = &px->req.decision;
    uint64_t limit = d->body_limit != UINT64_MAX ? d->body_limit : proxy_limits(px)->body;
    const char *reason = body_limit(px) < limit
                             ? "a body larger than limits.request_memory and limits.spool hold"
                             : "a body larger than limits.body";
    proxy_leave_backend(px);
    if (px->state == PROXY_REPLYING)
        proxy_cut_response(px, "too_large", 413, reason);
    else
        proxy_fail_and_say(px, "too_large", 413, reason);
}

static void begin_fastcgi(struct proxy *px)
{
    struct request *req = &px->req;
    const struct decision *d = &req->decision;
    const struct limits *limits = proxy_limits(px);

    if (!proxy_check_backend(px))
        return;
    if (px->has_body && req->body_length >= 0 && (uint64_t)req->body_length > body_limit(px)) {
        refuse_large_body(px);
        return;
    }
    bool partly = !px->body_ended && req->bytes_in > 0;
    if (px->has_body && (partly || req->body.size < req->bytes_in)) {
        refuse(px, 500, "the body, or a part of it, has been streamed or dropped and is gone");
        return;
    }
    if (px->body_ended) /* what has been kept is sent from there */
        req->decision.stream_body = false;
    if (px->has_body && !d->stream_body && !px->body_ended) {
        spool_init(&req->body, limits->request_memory, body_limit(px), limits->spool_dir);
        if (req->body_length > 0)
            spool_expect(&req->body, (uint64_t)req->body_length);
        px->state = PROXY_BODY;
        px->ops->want_body(px->front, true);
        return;
    }
    proxy_ask_backend(px);
}

static void proxy_carry_out(struct proxy *px)
{
    switch (px->req.decision.kind) {
    case DECISION_NONE:
        refuse(px, 404, "on_request returned nil");
        break;
    case DECISION_FASTCGI:
        begin_fastcgi(px);
        break;
    case DECISION_FILE:
        reply_file(px);
        break;
    case DECISION_REPLY:
        reply_decision(px);
        break;
    case DECISION_CLOSE:
        px->req.response.status = 444; /* as nginx logs it */
        proxy_cut_response(px, "script", 444, NULL);
        break;
    }
}

/* If the worker is killed, the master writes its line; a format that is a function is the worker's
 * alone. */
static void note_underway(struct proxy *px)
{
    static const enum underway_log logs[] = {[ACCESS_OFF] = UNDERWAY_NO_LINE,
                                             [ACCESS_COMBINED] = UNDERWAY_COMBINED,
                                             [ACCESS_JSON] = UNDERWAY_JSON,
                                             [ACCESS_FUNCTION] = UNDERWAY_COMBINED};
    const struct generation *g = px->generation;
    underway_begin(&px->req, logs[g->settings->access_format], g->number);
}

void proxy_begin(struct proxy *px, bool has_body)
{
    px->has_body = has_body;
    report_dropped(&px->req);
    px->state = PROXY_BODY;
    if (px->req.uri.asterisk) { /* OPTIONS *: about the server, no script has to say */
        proxy_clear_response(&px->req);
        headers_add(&px->req.arena, &px->req.response.headers, STR("Allow"),
                    STR("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"));
        px->req.response.status = 200;
        px->req.response.content_length = 0;
        proxy_begin_response(px);
        proxy_end_response(px);
        return;
    }
    if (px->req.control) {
        if (script_control(px->generation->script, &px->req, &px->call) == SCRIPT_DONE)
            proxy_carry_out(px);
        else
            reply_error(px, 500, "the control page failed");
        return;
    }
    note_underway(px);
    ask_on_request(px);
}

void proxy_refuse(struct proxy *px, int status, const char *reason)
{
    char name[REQUEST_NAME_SIZE], ip[PEER_TEXT_SIZE];
    peer_text(&px->req.client, ip);
    log_within(proxy_quota_of(LOG_INFO), LOG_INFO, "client %s: %d, %s; %s", ip, status, reason,
               request_name(&px->req, name));
    proxy_leave_backend(px);
    if (px->state == PROXY_REPLYING) {
        proxy_cut_response(px, "too_large", status, reason);
        return;
    }
    proxy_clear_response(&px->req);
    if (status == 405)
        headers_add(&px->req.arena, &px->req.response.headers, STR("Allow"),
                    STR("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"));
    px->close = true;
    reply_error(px, status, reason);
}

/* --- the body --- */

static void body_refused(struct proxy *px, const char *err)
{
    if (err == SPOOL_TOO_LARGE) {
        refuse_large_body(px);
        return;
    }
    refuse(px, 503,
           arena_printf(&px->req.arena, "the body could not be kept in spool_dir %s: %s",
                        proxy_limits(px)->spool_dir, err)
               .p);
}

/* The body goes to a server as it comes. */
static bool is_streaming(const struct proxy *px)
{
    return px->stream_request.streamed && stream_active(&px->stream);
}

void proxy_body_announced(struct proxy *px, uint64_t at_least)
{
    if ((px->state == PROXY_BODY || is_streaming(px)) && at_least > body_limit(px))
        refuse_large_body(px);
}

void proxy_body(struct proxy *px, struct str bytes)
{
    struct request *req = &px->req;
    req->bytes_in += bytes.n;
    if (px->state == PROXY_BODY) {
        const char *err = spool_write(&req->body, bytes);
        if (err != NULL)
            body_refused(px, err);
        return;
    }
    if (!is_streaming(px))
        return; /* the answer came first, or this attempt is without it: the rest is dropped */
    if (req->bytes_in > body_limit(px)) {
        refuse_large_body(px);
        return;
    }
    if (!stream_body(&px->stream, bytes))
        px->ops->want_body(px->front, false);
}

void proxy_body_end(struct proxy *px)
{
    px->body_ended = true;
    if (px->state == PROXY_BODY)
        proxy_ask_backend(px);
    else if (px->stream_request.streamed && stream_active(&px->stream))
        stream_body_end(&px->stream);
}

void proxy_room(struct proxy *px)
{
    if (!px->paused || !stream_active(&px->stream))
        return;
    px->paused = false;
    stream_pause(&px->stream, false);
}

/* --- the log, and the end --- */

static void proxy_forget(struct proxy *px)
{
    struct generation *generation = px->generation;
    struct loop *loop = generation->loop;
    proxy_leave_backend(px);
    script_end(generation->script, &px->call);
    buf_fini(&px->stderr_text);
    request_fini(&px->req);
    loop_block_free(loop, px);
    generation_drop(generation);
}

void proxy_done(struct proxy *px)
{
    px->req.ended_at = ev_now(px->generation->loop->ev);
    if (px->req.backend.n == 0)
        px->req.ended = true;
    report_access(px->generation, &px->req, &px->call);
    underway_end(&px->req);
    proxy_forget(px);
}

bool proxy_is_unanswered(const struct proxy *px)
{
    return px->state != PROXY_REPLYING && px->state != PROXY_ENDED;
}

void proxy_stopped(struct proxy *px, const char *why)
{
    bool unanswered = proxy_is_unanswered(px);
    proxy_leave_backend(px);
    if (unanswered || px->req.response.status == 0)
        px->req.response.status = 503;
    if (px->state != PROXY_ENDED)
        px->req.error = why;
    proxy_done(px);
}

void proxy_gone(struct proxy *px, const char *why)
{
    proxy_leave_backend(px);
    if (px->state != PROXY_ENDED || px->req.response.status == 0) {
        px->req.response.status = 499; /* as nginx logs it */
        px->req.error = why;
    }
    proxy_done(px);
}

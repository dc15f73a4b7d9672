/*
 * response - see parts.h. This file has the responses of the server itself, and how a response
 * begins, ends and breaks off.
 */
#include "exchange/parts.h"

#include "exchange/account.h"
#include "exchange/report.h"
#include "http/error_page.h"
#include "http/file.h"
#include "http/logline.h"
#include "shm/underway.h"

#define REPLY_CODED (1u << 20) /* bytes of a body of a script that may be compressed */
#define ALLOWED     "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"

/* --- head, body, end --- */

void response_clear(struct request *req)
{
    req->response = (struct response){.content_length = -1};
}

void response_add_cookies(struct exchange *x)
{
    struct request *req = &x->req;
    if (req->response.with_cookies)
        return;
    req->response.with_cookies = true;
    for (unsigned i = 0; i < x->cookies.count; i++)
        headers_add(&req->arena, &req->response.headers, STR("Set-Cookie"),
                    x->cookies.list[i].value);
}

/* The number of bytes that the response waits for (`flush`); 0: none. An application with
 * X-Accel-Buffering: no knows that its parts are waited for. */
static size_t response_postponed(const struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    size_t most = x->generation->settings->limits.response_memory;
    if (d->kind != DECISION_FASTCGI || d->flush == FLUSH_AT_ONCE ||
        (x->req.response.unbuffered && !d->unbuffered))
        return 0;
    return d->flush == FLUSH_BY_BYTES && d->flush_bytes < most ? (size_t)d->flush_bytes : most;
}

/* Notes that the filter has waited long enough for more bytes. */
static void response_note_late(struct compress *c, void *ctx)
{
    struct exchange *x = ctx;
    (void)c;
    x->facts.flush = true;
    exchange_note(x);
}

/* Puts `compress` before the front, and behind `postpone`, whose flushes it sees. A body that a
 * script has made whole is coded at once, and a large one would take all of the worker's time. */
static void response_set_compress(struct exchange *x)
{
    const struct compress_settings *settings = exchange_compress(x);
    const struct decision *d = &x->req.decision;
    bool coded = x->coded != NULL && x->coded->entry != NULL; /* it is sent from the cache */
    bool wanted = settings->on && !coded && !x->req.control &&
                  !(d->kind == DECISION_REPLY && d->body.n > REPLY_CODED);
    if (x->compress == NULL && wanted) {
        struct front **before = x->postpone != NULL ? &x->postpone->filter.next : &x->front;
        x->compress = arena_alloc(&x->req.arena, sizeof *x->compress);
        compress_add(x->compress, before, &x->req, x->generation->loop, response_note_late, x);
    }
    if (x->compress == NULL)
        return;
    compress_set(x->compress, wanted ? settings : NULL);
    if (wanted && x->coded != NULL)
        coded_watch(x);
}

static void response_set_flush(struct exchange *x)
{
    size_t most = response_postponed(x);
    if (x->postpone == NULL && most == 0)
        return;
    if (x->postpone == NULL) {
        x->postpone = arena_alloc(&x->req.arena, sizeof *x->postpone);
        postpone_add(x->postpone, &x->front);
    }
    postpone_set(x->postpone, most, x->req.decision.flush == FLUSH_HEAD);
}

/* The id of the request, in place of one that the application has sent. */
static void response_add_id(struct exchange *x)
{
    struct request *req = &x->req;
    char hex[17];
    if (!x->generation->settings->request_id || req->control)
        return;
    headers_remove(&req->response.headers, STR("X-Request-Id"));
    headers_add(&req->arena, &req->response.headers, STR("X-Request-Id"),
                arena_copy(&req->arena, request_shown_id(req, hex)));
}

void response_begin(struct exchange *x)
{
    if (!x->background) { /* nobody gets it */
        if (exchange_compress(x)->on || x->compress != NULL)
            response_set_compress(x);
        response_set_flush(x);
    }
    response_add_cookies(x);
    response_add_id(x);
    if (x->always.count > 0)
        headers_merge(&x->req.arena, &x->req.response.headers, &x->always);
    int status = x->req.response.status;
    x->skip_body = x->req.method_id == METHOD_HEAD || status == 204 || status == 304;
    x->state = EXCHANGE_RESPONDING;
    if (exchange_spans(x) != NULL)
        exchange_spans(x)->send_from = exchange_now(x);
    underway_enter(&x->req, UNDERWAY_STREAMING);
    if (x->req.trace != NULL)
        account_head(x);
    x->shown = false;
    x->front->ops->respond(x->front);
}

void response_body(struct exchange *x, struct str bytes)
{
    if (x->skip_body || bytes.n == 0)
        return;
    x->relayed += bytes.n;
    x->front->ops->body(x->front, bytes);
}

void response_end(struct exchange *x)
{
    x->state = EXCHANGE_ENDED;
    x->front->ops->end(x->front);
}

static void response_note_shown(struct exchange *x)
{
    x->shown = (x->postpone == NULL || x->postpone->head_gone) &&
               (x->compress == NULL || !compress_holds(x->compress));
}

void response_flush(struct exchange *x)
{
    x->front->ops->flush(x->front);
    response_note_shown(x);
}

void response_flush_late(struct exchange *x)
{
    compress_flush(x->compress);
    response_note_shown(x);
}

void response_hints(struct exchange *x, const struct headers *headers)
{
    if (x->front->ops->hints != NULL && x->req.version > HTTP_1_0)
        x->front->ops->hints(x->front, headers);
}

void response_decided_hints(struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    struct headers headers = {0};
    if (d->early_hint_count == 0 || x->replacements + x->redirects > 0)
        return;
    for (unsigned i = 0; i < d->early_hint_count; i++)
        headers_add(&x->req.arena, &headers, STR("Link"), d->early_hints[i]);
    response_hints(x, &headers);
}

/* --- errors --- */

static void response_page(struct exchange *x, int status)
{
    struct str page = error_page_make(&x->req, status);
    headers_fill(&x->req.arena, &x->req.response.headers, &x->standing);
    response_begin(x);
    response_body(x, page);
    response_end(x);
}

void response_error(struct exchange *x, int status, const char *reason)
{
    x->req.error = reason;
    if (reason != NULL)
        request_step(&x->req, "the page for %d: %s", status, reason);
    if (status >= 500 || status == 400 || status == 408 || status == 413 || status == 431)
        x->close = true;
    response_page(x, status);
}

static struct log_quota *response_quota(enum log_level level)
{
    static struct log_quota ours = {.most = LOG_MOST}, theirs = {.most = LOG_MOST};
    return level == LOG_ERROR ? &ours : &theirs;
}

static void response_say(const struct exchange *x, int status, const char *reason)
{
    /* Any client can cause a 404, so it is not logged at the default level. */
    enum log_level level = status >= 500 ? LOG_ERROR : status == 404 ? LOG_DEBUG : LOG_INFO;
    logline_write(&x->req, response_quota(level), level, "answered %d: %s", status, reason);
}

void response_refuse(struct exchange *x, int status, const char *reason)
{
    response_say(x, status, reason);
    response_error(x, status, reason);
}

void response_unexcused(struct exchange *x, enum script_result result)
{
    int status = x->error_status;
    x->error_status = 0;
    if (result != SCRIPT_DONE) {
        response_error(x, 500, "on_error failed");
        return;
    }
    response_clear(&x->req);
    response_error(x, status, x->req.error);
}

/* Calls on_error. True: the step continues with its result. */
static bool response_ask_script(struct exchange *x, const char *kind, int status,
                                const char *reason)
{
    struct script *script = x->generation->script;
    const struct script_error error = {
        .kind = kind, .status = status, .message = reason, .may_wait = true};
    if (!script_has(script, HOOK_ERROR) || x->replacements >= EXCHANGE_REPLACEMENTS ||
        x->background)
        return false;
    response_clear(&x->req);
    x->error_status = status;
    x->state = EXCHANGE_FAILING;
    request_step(&x->req, "on_error is called: %s", reason);
    underway_enter(&x->req, UNDERWAY_HOOK);
    enum script_result result = script_error(script, &x->req, &x->call, &error);
    if (result != SCRIPT_WAITING)
        exchange_note_result(x, result);
    return true;
}

void response_fail(struct exchange *x, const char *kind, int status, const char *reason)
{
    x->req.error = reason;
    if (response_ask_script(x, kind, status, reason))
        return;
    response_clear(&x->req);
    response_error(x, status, reason);
}

void response_script_failed(struct exchange *x, enum script_hook hook, const char *reason)
{
    struct script *script = x->generation->script;
    if (x->guard != NULL || /* the failure of an authorizer never lets a request on */
        script_policy(script, hook) != SCRIPT_DECIDE ||
        script_fallback(script, hook, &x->req, &x->call) != SCRIPT_DONE) {
        response_fail(x, "script", 500, reason);
        return;
    }
    x->facts.replaced = true;
    exchange_note(x);
}

/* Keeps the headers that belong to a refusal (Allow, Content-Range) for the page that takes the
 * place of the standard one. */
static void response_keep_headers(struct exchange *x)
{
    struct headers kept = x->req.response.headers;
    headers_merge(&x->req.arena, &kept, &x->always);
    x->always = kept;
}

/* Responds with the site's page for an error of the server's own, or the standard page. The route's
 * own on_error is not called. */
static void response_own(struct exchange *x, int status, const char *reason)
{
    if (!script_has_pages(x->generation->script)) {
        response_error(x, status, reason);
        return;
    }
    response_keep_headers(x);
    response_fail(x, "refused", status, reason);
}

void response_forbid(struct exchange *x, const char *reason)
{
    response_say(x, 403, reason);
    response_clear(&x->req);
    response_own(x, 403, reason);
}

void response_fail_and_say(struct exchange *x, const char *kind, int status, const char *reason)
{
    response_say(x, status, reason);
    response_fail(x, kind, status, reason);
}

void response_cut(struct exchange *x, const char *kind, int status, const char *reason)
{
    if (x->caching != NULL)
        fill_cut(x);
    if (x->coded != NULL)
        coded_drop(x);
    if (x->state == EXCHANGE_RESPONDING && x->front->ops->retract(x->front)) {
        response_clear(&x->req);
        x->relayed = 0;
        x->state = EXCHANGE_ASKING;
        response_fail(x, kind, status, reason);
        return;
    }
    x->req.error = reason;
    x->close = true;
    x->state = EXCHANGE_ENDED;
    request_step(&x->req, "the response is cut%s%s", reason != NULL ? ": " : "",
                 reason != NULL ? reason : "");
    x->front->ops->cut(x->front);
}

void response_refused(struct exchange *x, int status, const char *reason)
{
    char ip[PEER_TEXT_SIZE];
    peer_text(&x->req.client, ip);
    logline_write(&x->req, response_quota(LOG_INFO), LOG_INFO, "client %s: %d, %s", ip, status,
                  reason);
    if (x->state == EXCHANGE_RESPONDING) {
        response_cut(x, "too_large", status, reason);
        return;
    }
    response_clear(&x->req);
    if (status == 405)
        headers_add(&x->req.arena, &x->req.response.headers, STR("Allow"), STR(ALLOWED));
    x->close = true;
    response_error(x, status, reason);
}

/* --- decisions --- */

void response_decision(struct exchange *x)
{
    struct request *req = &x->req;
    const struct decision *d = &req->decision;
    response_clear(req);
    if (d->status >= 400 && d->body.p == NULL &&
        headers_get(&d->headers, STR("Content-Type")) == NULL) {
        req->response.headers = d->headers;
        response_page(x, d->status);
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
    headers_fill(&req->arena, &req->response.headers, &x->standing);
    response_begin(x);
    response_body(x, d->body);
    response_end(x);
}

/* The level of a line about a file that was not served. Any client can ask for missing files,
 * refused names and wrong methods at will; other errors mean a fault of the site, such as a link or
 * a permission. */
static enum log_level response_file_level(const struct decision *d, int status)
{
    if (status >= 500)
        return LOG_ERROR;
    return status != 403 || file_refused(d->file.n > 0 ? d->file : d->path, d) != NULL ? LOG_DEBUG
                                                                                       : LOG_INFO;
}

/* Logs why a file was not served. An error page that can't be sent is a fault of the route. */
static void response_report_file(const struct exchange *x, int status, const char *reason)
{
    const struct decision *d = &x->req.decision;
    enum log_level level = d->error_page ? LOG_ERROR : response_file_level(d, status);
    struct str path = d->file.n > 0 ? d->file : d->path;
    logline_write(&x->req, response_quota(level), level, "%s%.*s%.*s: %d, %s",
                  d->error_page ? "the page for an error, " : "", STR_FMT(d->root), STR_FMT(path),
                  status, reason);
}

/* Passes the file to the front, after the head. */
static void response_send_file(struct exchange *x, const struct file *file)
{
    const struct front_ops *ops = x->front->ops;
    if (file->source == NULL || x->skip_body) {
        response_end(x);
    } else if (ops->file != NULL &&
               ops->file(x->front, file->source, file->pieces, file->piece_count)) {
        response_end(x);
    } else {
        file->source->users++;
        x->file = (struct front_file){file->source, file->pieces, file->piece_count, 0};
        response_give_file(x);
    }
}

void response_file(struct exchange *x)
{
    struct request *req = &x->req;
    struct file file;
    const char *reason = NULL;
    response_clear(req);
    enum method method = req->method_id;
    /* The status of the error whose page the file is; 0: it is no error page. */
    int error = x->error_status > 0 ? x->error_status : req->decision.status;
    if ((x->replacements > 0 || error > 0) && method != METHOD_HEAD)
        req->method_id = METHOD_GET; /* the method was meant for the application */
    req->decision.error_page = error > 0;
    req->may_be_coded = exchange_compress(x)->on;
    int status = file_open(req, &file, &reason);
    req->method_id = method;
    if (status >= 400) {
        response_report_file(x, status, reason);
        if (error > 0)
            response_error(x, error, reason);
        else
            response_own(x, status, reason);
        return;
    }
    req->response.with_cookies = req->decision.handed_over; /* the decision's headers have them */
    if (error > 0 && status == 200)
        req->response.status = error; /* a page for the error, as nginx's error_page */
    headers_fill(&req->arena, &req->response.headers, &x->standing);
    if (exchange_compress(x)->on && error == 0)
        coded_choose_file(x, &file);
    response_begin(x);
    response_send_file(x, &file);
}

bool response_hold(struct exchange *x, const struct cached_file *own, uint64_t at,
                   struct file *file)
{
    const char *reason = NULL;
    x->req.may_be_coded = exchange_compress(x)->on;
    int status = file_answer_held(&x->req, own, at, file, &reason);
    if (status < 400 || x->req.response.status == status)
        return true;
    response_own(x, status, reason);
    return false;
}

void response_send_held(struct exchange *x, const struct file *file)
{
    response_begin(x);
    response_send_file(x, file);
}

void response_give_file(struct exchange *x)
{
    struct loop *loop = x->generation->loop;
    switch (front_file_give(&x->file, x->front, loop->scratch, LOOP_SCRATCH_SIZE)) {
    case FRONT_FILE_MORE:
        loop_step(loop, &x->step);
        break;
    case FRONT_FILE_FULL:
        x->paused = true;
        break;
    case FRONT_FILE_BAD:
        front_file_end(&x->file);
        response_cut(x, "file", 500, "the file has shrunk since its length was promised");
        break;
    case FRONT_FILE_DONE:
        front_file_end(&x->file);
        response_end(x);
        break;
    }
}

void response_asterisk(struct exchange *x)
{
    struct request *req = &x->req;
    response_clear(req);
    headers_add(&req->arena, &req->response.headers, STR("Allow"), STR(ALLOWED));
    req->response.status = 200;
    req->response.content_length = 0;
    response_begin(x);
    response_end(x);
}

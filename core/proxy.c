/*
 * proxy - see proxy.h.
 *
 * Endings are few. Before the response's head a failure of the backend becomes another attempt or
 * an error page; after it the client is cut off, so that a short body is not taken for a whole one.
 */
#include "proxy.h"

#include "cgi.h"
#include "doctor.h"
#include "file.h"
#include "log.h"
#include "report.h"
#include "stream.h"

#include <unistd.h>

enum proxy_state {
    PROXY_HEAD,     /* the front is still filling the request */
    PROXY_BODY,     /* decided; the body is being collected */
    PROXY_WAITING,  /* the backend has the request, its head has not come */
    PROXY_REPLYING, /* the head is out, the body follows */
    PROXY_ENDED,    /* the front has everything */
};

struct proxy {
    struct request req;
    struct generation *generation;
    const struct front_ops *ops;
    void *front;
    struct script_call call;
    enum proxy_state state;
    bool has_body;
    bool close;     /* the connection must not be used again */
    bool skip_body; /* HEAD, 204, 304: whatever the application sends is dropped */
    bool paused;    /* the backend is not read: the client has enough */
    bool body_ended;
    bool replaced; /* on_response gave another decision */
    struct stream stream;
    struct stream_request stream_request;
    struct params params;
    struct cgi_paths paths;
    struct cgi_head head;
    struct buf stderr_text; /* what STDERR has brought and the log has not had */
    int server;
    unsigned attempts_left;
    unsigned replacements;
    _Alignas(16) char memory[]; /* the arena's first block */
};

_Static_assert(sizeof(struct proxy) < LOOP_BLOCK_SIZE / 3, "leaves too little for the arena");

#define STDERR_MAX 8192

#define MAX_REPLACEMENTS 10

static void start_backend(struct proxy *px, bool fresh);
static void carry_out(struct proxy *px);

struct proxy *proxy_new(struct generation *generation, const struct front_ops *ops, void *front,
                        struct request **req)
{
    struct loop *loop = generation->loop;
    struct proxy *px = loop_block(loop);
    memset(px, 0, sizeof *px);
    px->generation = generation_hold(generation);
    px->ops = ops;
    px->front = front;
    buf_init(&px->stderr_text, STDERR_MAX);
    request_init(&px->req, px->memory, LOOP_BLOCK_SIZE - sizeof *px);
    px->req.started = ev_now(loop->ev);
    px->req.id = loop_id(loop);
    *req = &px->req;
    return px;
}

const struct limits *proxy_limits(const struct proxy *px)
{
    return &px->generation->settings->limits;
}

bool proxy_wants_close(const struct proxy *px)
{
    return px->close;
}

static const struct backend_settings *settings_of(const struct proxy *px)
{
    return &px->generation->settings->backends[px->req.decision.backend];
}

/* --- the response --- */

static void begin_response(struct proxy *px)
{
    int status = px->req.response.status;
    px->skip_body = px->req.method_id == METHOD_HEAD || status == 204 || status == 304;
    px->state = PROXY_REPLYING;
    px->ops->respond(px->front);
}

static void send_body(struct proxy *px, struct str bytes)
{
    if (px->skip_body || bytes.n == 0)
        return;
    px->req.body_out += bytes.n;
    px->ops->body(px->front, bytes);
}

static void end_response(struct proxy *px)
{
    px->state = PROXY_ENDED;
    px->ops->end(px->front);
}

static void clear_response(struct request *req)
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
    begin_response(px);
    send_body(px, page);
    end_response(px);
}

/* An error of ours. Statuses that say something about the connection close it. */
static void reply_error(struct proxy *px, int status, const char *reason)
{
    px->req.error = reason;
    if (status >= 500 || status == 400 || status == 408 || status == 413 || status == 431)
        px->close = true;
    error_page(px, status);
}

/* The same for what the log has not been told yet: the page's id must be found there. */
static void refuse(struct proxy *px, int status, const char *reason)
{
    char id[17];
    request_id_text(px->req.id, id);
    log_write(status >= 500 ? LOG_ERROR : LOG_INFO, "%.*s %.*s: %d, %s; request %s",
              STR_FMT(px->req.method), STR_FMT(px->req.uri.origin), status, reason, id);
    reply_error(px, status, reason);
}

static void reply_decision(struct proxy *px)
{
    struct request *req = &px->req;
    const struct decision *d = &req->decision;
    clear_response(req);
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
    begin_response(px);
    send_body(px, d->body);
    end_response(px);
}

static void reply_file(struct proxy *px)
{
    struct request *req = &px->req;
    struct file file;
    const char *reason = NULL;
    clear_response(req);
    int status = file_open(req, &file, &reason);
    if (status >= 400) {
        char id[17];
        request_id_text(req->id, id);
        log_info("%.*s: %d, %s; request %s", STR_FMT(req->uri.path), status, reason, id);
        reply_error(px, status, reason);
        return;
    }
    begin_response(px);
    if (status == 200 && !px->skip_body)
        px->ops->file(px->front, file.fd, file.size);
    else if (file.fd >= 0)
        close(file.fd);
    end_response(px);
}

/* --- the backend's answer --- */

static void flush_stderr(struct proxy *px)
{
    struct str text = buf_peek(&px->stderr_text);
    if (text.n == 0)
        return;
    const char *advice = "";
    if (doctor_knows(text))
        advice = doctor_script(&px->req, &px->params, px->paths.root, px->paths.docroot,
                               script_rule(px->generation->script, &px->req));
    report_stderr(&px->req, text, advice);
    buf_consume(&px->stderr_text, text.n);
}

static void on_stderr(void *ctx, struct str bytes)
{
    struct proxy *px = ctx;
    while (bytes.n > 0) {
        size_t room = STDERR_MAX - buf_len(&px->stderr_text);
        size_t n = bytes.n < room ? bytes.n : room;
        buf_append(&px->stderr_text, bytes.p, n);
        bytes = str_skip(bytes, n);
        if (n == room)
            flush_stderr(px);
    }
}

/* The head is in: on_response may change it, or replace the whole answer. Then the stream is told
 * to give up, and on_fail carries the new decision out. */
static const char *head_complete(struct proxy *px)
{
    struct script *script = px->generation->script;
    if (script_has(script, HOOK_RESPONSE)) {
        bool replaced;
        if (script_response(script, &px->req, &px->call, &replaced) == SCRIPT_DONE && replaced) {
            px->replaced = true;
            return "replaced by on_response";
        }
    }
    begin_response(px);
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
                report_backend(LOG_WARN, &px->req, "protocol",
                               "a body longer than its Content-Length");
            req->error = "a body longer than its Content-Length";
            bytes.n = (size_t)left;
        }
    }
    send_body(px, bytes);
}

static const char *on_stdout(void *ctx, struct str bytes)
{
    struct proxy *px = ctx;
    const char *err = NULL;
    if (px->state == PROXY_REPLYING) {
        pass_body(px, bytes);
        return NULL;
    }
    size_t limit = px->generation->settings->limits.response_header;
    switch (cgi_head_feed(&px->head, &px->req, &bytes, limit, &err)) {
    case CGI_MORE:
        return NULL;
    case CGI_ERROR:
        return err;
    case CGI_DONE:
        break;
    }
    px->stream.answered = true;
    err = head_complete(px);
    if (err == NULL && px->state == PROXY_REPLYING)
        pass_body(px, bytes);
    return err;
}

/* The client has enough for now: the backend waits. */
static void hold_when_full(struct proxy *px)
{
    if (px->paused || !stream_active(&px->stream) || !px->ops->full(px->front))
        return;
    px->paused = true;
    stream_pause(&px->stream, true);
}

static void on_turn(void *ctx)
{
    struct proxy *px = ctx;
    if (px->state != PROXY_REPLYING)
        return;
    px->ops->flush(px->front);
    hold_when_full(px);
}

/* The answer has broken off. Where its head is still here the client gets an error page, otherwise
 * it must see that the body is not whole. */
static void cut_response(struct proxy *px, int status, const char *reason)
{
    if (px->state == PROXY_REPLYING && px->ops->retract(px->front)) {
        clear_response(&px->req);
        px->req.body_out = 0;
        reply_error(px, status, reason);
        return;
    }
    px->req.error = reason;
    px->close = true;
    px->state = PROXY_ENDED;
    px->ops->cut(px->front);
}

static bool is_short(const struct proxy *px)
{
    const struct request *req = &px->req;
    return !px->skip_body && req->response.content_length >= 0 &&
           req->body_out < (uint64_t)req->response.content_length;
}

static void backend_failed(struct proxy *px, enum backend_error error, const char *detail);

static void on_end(void *ctx, uint32_t app_status, uint8_t protocol_status)
{
    struct proxy *px = ctx;
    px->req.app_status = app_status;
    px->req.protocol_status = protocol_status;
    flush_stderr(px);
    if (protocol_status == FCGI_OVERLOADED || protocol_status == FCGI_CANT_MPX_CONN) {
        backend_failed(px, BACKEND_BUSY,
                       protocol_status == FCGI_OVERLOADED
                           ? "it is overloaded (FCGI_OVERLOADED)"
                           : "it takes no other request on this connection (FCGI_CANT_MPX_CONN)");
        return;
    }
    if (protocol_status != FCGI_REQUEST_COMPLETE) {
        backend_failed(px, BACKEND_PROTOCOL, "END_REQUEST says that the request was not served");
        return;
    }
    if (px->state != PROXY_REPLYING) {
        backend_failed(px, BACKEND_PROTOCOL,
                       px->head.text.n > 0 ? "it ended inside its head"
                                           : "it ended without a head");
        return;
    }
    if (is_short(px)) {
        report_backend(LOG_ERROR, &px->req, "protocol", "a body shorter than its Content-Length");
        cut_response(px, 502, "a body shorter than its Content-Length");
        return;
    }
    px->req.ended = true;
    end_response(px);
}

/* --- failures --- */

static bool is_idempotent(enum method method)
{
    return method != METHOD_OTHER;
}

/* Contract section 12, "Retry": what was not begun may go to another server; on a kept connection
 * that turned out closed, whatever sent no byte, or is idempotent and got no byte back. */
static bool may_retry(const struct proxy *px, enum backend_error error)
{
    if (px->attempts_left == 0 || px->state != PROXY_WAITING)
        return false;
    if (px->req.decision.stream_body && px->stream.body_at > 0)
        return false;
    if (error == BACKEND_CONNECT) /* the same server would only refuse again */
        return px->req.decision.server.n == 0 && px->req.attempts < settings_of(px)->server_count;
    if (error == BACKEND_BUSY)
        return px->head.text.n == 0;
    if (error != BACKEND_CLOSED || px->stream.bytes_in > 0)
        return false;
    return px->stream.written == 0 || is_idempotent(px->req.method_id);
}

static int failure_status(enum backend_error error)
{
    switch (error) {
    case BACKEND_CONNECT:
    case BACKEND_BUSY:
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
    const struct server_settings *server = &settings_of(px)->servers[px->server];
    if (error == BACKEND_CONNECT)
        return doctor_connect(a, &server->addr, detail);
    if (error == BACKEND_TIMEOUT)
        return arena_printf(a, "%s (read_timeout %g s, send_timeout %g s; %llu bytes had come)",
                            detail, px->stream_request.read_timeout,
                            px->stream_request.send_timeout,
                            (unsigned long long)px->stream.bytes_in)
            .p;
    if (error == BACKEND_CLOSED)
        return arena_printf(a, "%s before END_REQUEST; %llu bytes had come", detail,
                            (unsigned long long)px->stream.bytes_in)
            .p;
    return detail;
}

static void take_replacement(struct proxy *px)
{
    px->replaced = false;
    px->head = (struct cgi_head){0};
    clear_response(&px->req);
    if (++px->replacements > MAX_REPLACEMENTS)
        refuse(px, 500, "on_response replaced the answer again and again");
    else
        carry_out(px);
}

static void backend_failed(struct proxy *px, enum backend_error error, const char *detail)
{
    const char *kind = backend_error_name(error);
    flush_stderr(px);
    if (px->replaced) {
        take_replacement(px);
        return;
    }
    detail = describe_failure(px, error, detail);
    if (px->state == PROXY_REPLYING) {
        report_backend(LOG_ERROR, &px->req, kind, detail);
        cut_response(px, failure_status(error), detail);
        return;
    }
    if (px->state != PROXY_WAITING)
        return;
    bool again = may_retry(px, error);
    report_backend(again ? LOG_WARN : LOG_ERROR, &px->req, kind, detail);
    if (again) {
        px->server = backend_pick(px->generation->backends[px->req.decision.backend],
                                  px->req.decision.server, px->server);
        clear_response(&px->req);
        px->head = (struct cgi_head){0};
        start_backend(px, true);
        return;
    }
    clear_response(&px->req);
    reply_error(px, failure_status(error), detail);
}

static void on_fail(void *ctx, enum backend_error error, const char *detail)
{
    backend_failed(ctx, error, detail);
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
    .on_stderr = on_stderr,
    .on_turn = on_turn,
    .on_room = on_room,
    .on_end = on_end,
    .on_fail = on_fail,
};

static double first_positive(double a, double b)
{
    return a > 0 ? a : b;
}

static void start_backend(struct proxy *px, bool fresh)
{
    const struct decision *d = &px->req.decision;
    const struct backend_settings *settings = settings_of(px);
    struct backend *backend = px->generation->backends[d->backend];
    px->attempts_left--;
    px->req.attempts++;
    px->req.server = backend_address(backend, px->server);
    px->stream_request = (struct stream_request){
        .backend = backend,
        .server = px->server,
        .fresh = fresh,
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
    const char *err =
        stream_start(&px->stream, px->generation->loop, &px->stream_request, &stream_ops, px);
    if (err == STREAM_PARAMS_TOO_LARGE)
        refuse(px, 431, err);
    else if (err != NULL)
        backend_failed(px, BACKEND_CONNECT, err);
}

static int64_t stdin_size(const struct proxy *px)
{
    if (!px->has_body)
        return px->req.content_length == 0 ? 0 : -1;
    if (!px->req.decision.stream_body)
        return (int64_t)px->req.body.size;
    return px->req.chunked ? -2 : px->req.content_length;
}

/* A symlinked root is sent resolved, so that an atomic deploy and PHP's opcache agree. */
static void resolve_root(struct proxy *px, struct cgi_paths *paths)
{
    bool local = paths->root.n > 0 && str_eq(paths->root, paths->docroot);
    if (!local || !settings_of(px)->resolve_root)
        return;
    paths->docroot =
        arena_copy(&px->req.arena, file_real_root(paths->root, ev_now(px->generation->loop->ev)));
}

static void refuse_param(struct proxy *px, const struct param *param)
{
    char id[17];
    request_id_text(px->req.id, id);
    log_info("431, the param %.*s is larger than limits.param_size; request %s",
             STR_FMT(param->name), id);
    reply_error(px, 431, "a param larger than limits.param_size");
}

/* The body is here as far as it must be: params, and off. */
static void run_backend(struct proxy *px)
{
    struct request *req = &px->req;
    px->state = PROXY_WAITING;
    cgi_paths(&px->paths, req, settings_of(px));
    resolve_root(px, &px->paths);
    cgi_params(&px->params, req, settings_of(px), &px->paths, stdin_size(px));
    if (script_has(px->generation->script, HOOK_PARAMS) &&
        script_params(px->generation->script, req, &px->call, &px->params) != SCRIPT_DONE) {
        reply_error(px, 500, "on_params failed");
        return;
    }
    for (unsigned i = 0; i < px->params.count; i++) {
        const struct param *param = &px->params.list[i];
        if (param->name.n + param->value.n > px->generation->settings->limits.param_size) {
            refuse_param(px, param);
            return;
        }
    }
    start_backend(px, false);
}

static void begin_fastcgi(struct proxy *px)
{
    struct request *req = &px->req;
    const struct decision *d = &req->decision;
    const struct limits *limits = proxy_limits(px);
    const struct backend_settings *settings = settings_of(px);
    uint64_t body_limit = d->body_limit != UINT64_MAX ? d->body_limit : limits->body;

    req->backend = settings->name;
    px->attempts_left = d->attempts > 0 ? d->attempts : settings->attempts;
    px->server = backend_pick(px->generation->backends[d->backend], d->server, -1);
    if (px->server < 0) {
        char id[17];
        request_id_text(req->id, id);
        log_error("%s: backend '%.*s' has no server %.*s; request %s",
                  script_rule(px->generation->script, req), STR_FMT(settings->name),
                  STR_FMT(d->server), id);
        reply_error(px, 500, "the decision names a server that the backend does not have");
        return;
    }
    if (px->has_body && req->content_length >= 0 && (uint64_t)req->content_length > body_limit) {
        refuse(px, 413, "a body larger than limits.body");
        return;
    }
    if (req->body.size < req->bytes_in) {
        refuse(px, 500, "the body was streamed to the first backend and is gone");
        return;
    }
    if (px->body_ended) /* what has been kept is sent from there */
        req->decision.stream_body = false;
    if (px->has_body && !d->stream_body && !px->body_ended) {
        uint64_t spool_limit = body_limit < limits->spool ? body_limit : limits->spool;
        spool_init(&req->body, limits->request_memory, spool_limit, limits->spool_dir);
        if (req->content_length > 0)
            spool_expect(&req->body, (uint64_t)req->content_length);
        px->state = PROXY_BODY;
        px->ops->want_body(px->front, true);
        return;
    }
    run_backend(px);
}

/* --- the decision --- */

static void carry_out(struct proxy *px)
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
        cut_response(px, 444, NULL);
        break;
    }
}

void proxy_begin(struct proxy *px, bool has_body)
{
    px->has_body = has_body;
    report_dropped(&px->req);
    px->state = PROXY_BODY;
    if (px->req.uri.asterisk) { /* OPTIONS *: about the server, no script has to say */
        clear_response(&px->req);
        headers_add(&px->req.arena, &px->req.response.headers, STR("Allow"),
                    STR("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"));
        px->req.response.status = 200;
        px->req.response.content_length = 0;
        begin_response(px);
        end_response(px);
        return;
    }
    if (script_request(px->generation->script, &px->req, &px->call) != SCRIPT_DONE) {
        reply_error(px, 500, "on_request failed");
        return;
    }
    carry_out(px);
}

void proxy_refuse(struct proxy *px, int status, const char *reason)
{
    char id[17], ip[PEER_TEXT_SIZE];
    peer_text(&px->req.client, ip);
    request_id_text(px->req.id, id);
    log_info("client %s: %d, %s; request %s", ip, status, reason, id);
    stream_abort(&px->stream);
    if (px->state == PROXY_REPLYING) {
        cut_response(px, status, reason);
        return;
    }
    clear_response(&px->req);
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
        refuse(px, 413, "a body larger than limits.body");
        return;
    }
    refuse(px, 503,
           arena_printf(&px->req.arena, "the body could not be kept in spool_dir %s: %s",
                        proxy_limits(px)->spool_dir, err)
               .p);
}

void proxy_body(struct proxy *px, struct str bytes)
{
    struct request *req = &px->req;
    const struct decision *d = &req->decision;
    req->bytes_in += bytes.n;
    if (px->state == PROXY_BODY) {
        const char *err = spool_write(&req->body, bytes);
        if (err != NULL)
            body_refused(px, err);
        return;
    }
    if (!d->stream_body || !stream_active(&px->stream))
        return; /* the answer came first: the rest of the body is dropped */
    uint64_t limit = d->body_limit != UINT64_MAX ? d->body_limit : proxy_limits(px)->body;
    if (req->bytes_in > limit) {
        stream_abort(&px->stream);
        if (px->state == PROXY_REPLYING)
            cut_response(px, 413, "a body larger than limits.body");
        else
            refuse(px, 413, "a body larger than limits.body");
        return;
    }
    if (!stream_body(&px->stream, bytes))
        px->ops->want_body(px->front, false);
}

void proxy_body_end(struct proxy *px)
{
    px->body_ended = true;
    if (px->state == PROXY_BODY)
        run_backend(px);
    else if (px->req.decision.stream_body && stream_active(&px->stream))
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

static void forget(struct proxy *px)
{
    struct generation *generation = px->generation;
    struct loop *loop = generation->loop;
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
    forget(px);
}

void proxy_gone(struct proxy *px, const char *why)
{
    stream_abort(&px->stream);
    flush_stderr(px);
    if (px->state != PROXY_ENDED || px->req.response.status == 0) {
        px->req.response.status = 499; /* as nginx logs it */
        px->req.error = why;
    }
    proxy_done(px);
}

/* subrequest - see subrequest.h. */
#include "exchange/subrequest.h"

#include "backend/stream.h"
#include "fastcgi/cgi.h"
#include "http/observed.h"

#include <stdlib.h>

#define ANSWER_MAX (64u << 20)
#define STDERR_MAX 65536

struct subrequest {
    struct generation *generation;
    struct request req; /* its arena holds the params; its response is the reply's head */
    struct stream stream;
    struct stream_request ask;
    struct params params;
    struct cgi_head head;
    bool head_done;
    struct buf body, messages;
    struct observed *observed; /* in place of `body`; NULL: it is kept */
    struct deferred step;
    struct deadline due; /* the backend's, or the script's */
    bool late;
    const char *error;
    void (*done)(void *ctx, const struct script_reply *reply);
    void *ctx;
};

static double subrequest_since(double at, double before)
{
    return at > 0 && at > before ? at - before : 0;
}

static void subrequest_tell(struct subrequest *r)
{
    const struct stream_times *t = &r->stream.times;
    const struct script_reply reply = {
        .error = r->error,
        .response = &r->req.response,
        .body = buf_peek(&r->body),
        .messages = buf_peek(&r->messages),
        .length = r->observed != NULL ? r->observed->length : 0,
        .crc32 = r->observed != NULL ? r->observed->crc32 : 0,
        .first_byte = subrequest_since(t->first_byte, t->opened),
        .total = subrequest_since(loop_now(r->generation->loop), t->asked),
        .app_status = r->stream.app_status};
    deadline_clear(&r->due);
    r->done(r->ctx, &reply);
}

/* Handles a slice of STDOUT. Returns NULL, or the error. */
static const char *subrequest_read(struct subrequest *r, struct str bytes)
{
    const char *err = NULL;
    if (!r->head_done) {
        size_t limit = r->generation->settings->limits.response_header;
        enum cgi_result result;
        while ((result = cgi_head_feed(&r->head, &r->req, &bytes, limit, &err)) == CGI_HINTS)
            cgi_head_again(&r->head, &r->req); /* drops Early Hints, which are for browsers */
        if (result == CGI_MORE)
            return NULL;
        if (result != CGI_DONE)
            return err;
        r->head_done = r->stream.answered = true;
    }
    if (r->observed != NULL) {
        observed_body(r->observed, bytes);
        return NULL;
    }
    buf_append_str(&r->body, bytes);
    return r->body.overflow ? "the answer is larger than 64 MB" : NULL;
}

static void subrequest_keep_message(struct subrequest *r, struct str bytes)
{
    size_t room = STDERR_MAX - buf_len(&r->messages);
    buf_append(&r->messages, bytes.p, bytes.n < room ? bytes.n : room);
}

static void subrequest_fail(struct subrequest *r, enum failure failure, const char *detail)
{
    r->error = arena_printf(&r->req.arena, "%s: %s", failure_name(failure), detail).p;
    subrequest_tell(r);
}

static void subrequest_end(struct subrequest *r)
{
    if (r->stream.protocol_status != FCGI_REQUEST_COMPLETE)
        r->error = "the application did not serve it (overloaded, or an unknown role)";
    else if (!r->head_done)
        r->error = "the answer had no head";
    subrequest_tell(r);
}

static void subrequest_missed_cb(struct deadline *d)
{
    struct subrequest *r = (struct subrequest *)((char *)d - offsetof(struct subrequest, due));
    r->late = true;
    loop_step(r->generation->loop, &r->step);
}

static void subrequest_step(struct deferred *d)
{
    struct subrequest *r = (struct subrequest *)((char *)d - offsetof(struct subrequest, step));
    const char *err;
    struct str bytes;
    if (r->late) {
        stream_leave(&r->stream);
        subrequest_fail(r, FAILURE_TIMEOUT, "the deadline is over");
        return;
    }
    for (;;) {
        switch (stream_next(&r->stream, &bytes)) {
        case STREAM_STDOUT:
            err = subrequest_read(r, bytes);
            if (err == NULL)
                break;
            stream_abort(&r->stream);
            subrequest_fail(r, FAILURE_PROTOCOL, err);
            return;
        case STREAM_STDERR:
            subrequest_keep_message(r, bytes);
            break;
        case STREAM_END:
            subrequest_end(r);
            return;
        case STREAM_FAILED:
            subrequest_fail(r, r->stream.failure, r->stream.detail);
            return;
        case STREAM_ROOM:
        case STREAM_NOTHING:
            return;
        }
    }
}

/* Copies the script's params, and settings of PHP, the script's or the backend's `ini`, since PHP
 * would keep those of the last request. Returns NULL, or the reason why the params can't be sent.
 */
static const char *subrequest_copy_params(struct subrequest *r, const struct script_subrequest *ask,
                                          const struct backend_settings *backend)
{
    const struct params *from = ask->params;
    for (unsigned i = 0; i < from->count; i++)
        params_set(&r->req.arena, &r->params, arena_copy(&r->req.arena, from->list[i].name),
                   arena_copy(&r->req.arena, from->list[i].value));
    if (ask->ini.n > 0 || backend->ini.n > 0)
        params_set(&r->req.arena, &r->params, STR("PHP_VALUE"),
                   ask->ini.n > 0 ? arena_copy(&r->req.arena, ask->ini) : backend->ini);
    const struct param *large;
    return stream_params_fit(&r->params, FCGI_PAIR_MAX, &large)
               ? NULL
               : "the params are larger than a request may have";
}

/* Begins the request at any server, in the same queue as all requests. */
static void subrequest_start(struct subrequest *r, struct backend *b,
                             const struct script_subrequest *ask)
{
    const struct backend_settings *settings = backend_settings(b);
    r->ask = (struct stream_request){.backend = b,
                                     .server = -1,
                                     .avoid = -1,
                                     .once = true,
                                     .last = ask->last,
                                     .role = FCGI_RESPONDER,
                                     .params = &r->params,
                                     .body = r->req.body.size > 0 ? &r->req.body : NULL,
                                     .connect_timeout = settings->connect_timeout,
                                     .send_timeout = settings->send_timeout,
                                     .first_byte_timeout = settings->first_byte_timeout,
                                     .read_timeout = settings->read_timeout};
    double timeout = ask->timeout;
    bool sooner = timeout > 0 && (settings->deadline <= 0 || timeout < settings->deadline);
    loop_update_time(r->generation->loop);
    deadline_set(&r->due, sooner ? timeout : settings->deadline);
    stream_start(&r->stream, r->generation->loop, &r->ask, &r->step);
}

struct subrequest *subrequest_new(struct generation *g, const struct script_subrequest *ask,
                                  void (*done)(void *ctx, const struct script_reply *reply),
                                  void *ctx, const char **err)
{
    const struct limits *limits = &g->settings->limits;
    struct backend *b = generation_backend(g, ask->backend);
    if (b == NULL) {
        *err = "there is no such backend";
        return NULL;
    }
    struct subrequest *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->generation = g;
    r->done = done;
    r->ctx = ctx;
    r->step.run = subrequest_step;
    deadline_init(&r->due, g->loop, subrequest_missed_cb);
    request_init(&r->req, NULL, 0);
    r->req.response.content_length = -1;
    buf_init(&r->body, ANSWER_MAX);
    buf_init(&r->messages, STDERR_MAX);
    if (ask->digest) {
        r->observed = arena_alloc(&r->req.arena, sizeof *r->observed);
        observed_begin(r->observed);
    }
    spool_init(&r->req.body, limits->request_memory, limits->request_memory + limits->spool,
               limits->spool_dir);
    *err = subrequest_copy_params(r, ask, backend_settings(b));
    if (*err == NULL)
        *err = spool_write(&r->req.body, ask->body);
    if (*err != NULL) {
        subrequest_free(r);
        return NULL;
    }
    subrequest_start(r, b, ask);
    return r;
}

void subrequest_free(struct subrequest *r)
{
    loop_undefer(&r->step);
    deadline_fini(&r->due);
    stream_leave(&r->stream);
    buf_fini(&r->body);
    buf_fini(&r->messages);
    request_fini(&r->req);
    free(r);
}

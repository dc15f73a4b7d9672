/* client - see client.h. */
#include "fastcgi/client.h"

#include "base/dial.h"

#include <stdio.h>

#define ANSWER_MAX (1u << 30)

static char message[300];

static const char *failed(const struct fcgi_exchange *x, const char *what)
{
    snprintf(message, sizeof message, "%.120s: %s", x->address, what);
    return message;
}

static bool encode(const struct fcgi_exchange *x, struct buf *out)
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
    for (struct str rest = x->body; rest.n > 0;) {
        size_t n = rest.n < FCGI_RECORD_MAX ? rest.n : FCGI_RECORD_MAX;
        uint8_t header[FCGI_HEADER_SIZE];
        fcgi_header(header, FCGI_STDIN, 1, n);
        buf_append(out, header, sizeof header);
        buf_append(out, rest.p, n);
        rest = str_skip(rest, n);
    }
    fcgi_empty(out, FCGI_STDIN, 1);
    return !pairs.too_large && !out->overflow;
}

struct reader {
    struct fcgi_exchange *x;
    struct fcgi_decoder decoder;
    bool ended;
};

static bool on_event(void *ctx, const struct fcgi_event *event)
{
    struct reader *r = ctx;
    switch (event->type) {
    case FCGI_STDOUT:
    case FCGI_GET_VALUES_RESULT:
        buf_append_str(&r->x->out, event->content);
        break;
    case FCGI_STDERR:
        buf_append_str(&r->x->err, event->content);
        break;
    case FCGI_END_REQUEST:
        r->x->app_status = event->app_status;
        r->x->protocol_status = event->protocol_status;
        r->ended = true;
        return false;
    default:
        break;
    }
    return true;
}

/* GET_VALUES has no end of its own: one record is the answer. */
static bool is_complete(const struct reader *r)
{
    return r->ended || (r->x->values && buf_len(&r->x->out) > 0 && fcgi_decoder_idle(&r->decoder));
}

static const char *take(void *ctx, struct str bytes, bool *done)
{
    struct reader *r = ctx;
    size_t used;
    const char *err = fcgi_feed(&r->decoder, bytes.p, bytes.n, &used, on_event, r);
    if (err == NULL && (r->x->out.overflow || r->x->err.overflow))
        err = "an answer larger than 1 GB";
    *done = is_complete(r);
    return err;
}

const char *fcgi_exchange(struct fcgi_exchange *x)
{
    struct buf out;
    const char *err = NULL;
    buf_init(&x->out, ANSWER_MAX);
    buf_init(&x->err, ANSWER_MAX);
    buf_init(&out, ANSWER_MAX);
    struct reader reader = {.x = x};
    fcgi_decoder_init(&reader.decoder);
    struct dial call = {
        .address = x->address, .timeout = x->timeout, .out = &out, .take = take, .ctx = &reader};
    err = encode(x, &out) ? dial(&call) : "a param is larger than a FastCGI record can hold";
    buf_fini(&out);
    return err != NULL ? failed(x, err) : NULL;
}

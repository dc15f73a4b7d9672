/* meter - see meter.h. */
#include "exchange/meter.h"

static enum metrics_method meter_method(const struct request *req)
{
    switch (req->method_id) {
    case METHOD_GET:
        return METRICS_GET;
    case METHOD_HEAD:
        return METRICS_HEAD;
    case METHOD_OPTIONS:
        return METRICS_OPTIONS;
    case METHOD_PUT:
        return METRICS_PUT;
    case METHOD_DELETE:
        return METRICS_DELETE;
    default:
        return metrics_method(req->method);
    }
}

static enum metrics_protocol meter_protocol(const struct request *req)
{
    if (req->arrived.count > 0)
        return METRICS_FASTCGI;
    return req->version == HTTP_1_0   ? METRICS_HTTP_1_0
           : req->version == HTTP_1_1 ? METRICS_HTTP_1_1
                                      : METRICS_HTTP_2_0;
}

void meter_request(const struct exchange *x)
{
    const struct request *req = &x->req;
    struct metrics_sheet *sheet = metrics_own;
    unsigned backend = req->backend.n > 0 ? x->backend : METRICS_NO_BACKEND;
    struct metrics_backend *counts = &sheet->backend[backend];
    unsigned status = (unsigned)req->response.status / 100;
    unsigned class = status < METRICS_CLASSES ? status : 0;
    if (req->control)
        return;
    unsigned series = metrics_series(backend, req->decision.tenant);
    metrics_add(&sheet->requests[series][meter_method(req)][class], 1);
    metrics_add(&sheet->protocol[meter_protocol(req)], 1);
    if (req->cached != CACHE_UNUSED)
        metrics_add(&sheet->cached[req->cached], 1);
    if (req->bytes_in > 0)
        metrics_add(&counts->bytes_in, req->bytes_in);
    metrics_add(&counts->bytes_out, req->bytes_out);
    metrics_observe(&counts->phase[METRICS_TOTAL], req->duration);
}

static void meter_phase(struct metrics_backend *counts, enum metrics_phase phase, double from,
                        double to)
{
    if (to > 0)
        metrics_observe(&counts->phase[phase], to - from);
}

/* The application's script. The param lies where that of the request before lay, mostly. */
static struct str meter_script(const struct exchange *x)
{
    static const char name[] = "SCRIPT_FILENAME"; /* of 16 bytes with its end */
    static unsigned place;
    const struct params *params = &x->params;
    if (place < params->count && params->list[place].name.n == sizeof name - 1 &&
        memcmp(params->list[place].name.p, name, sizeof name - 1) == 0)
        return params->list[place].value;
    const struct param *script = params_find(params, STR("SCRIPT_FILENAME"));
    if (script == NULL)
        return STR_NONE;
    place = (unsigned)(script - params->list);
    return script->value;
}

/* The application's script of an attempt that has got a connection, and the time until now. */
static void meter_count_script(const struct exchange *x, double now, bool failed)
{
    double granted = x->attempts.stream.times.granted;
    struct str script = meter_script(x);
    if (granted > 0 && script.n > 0)
        scripts_count(&metrics_own->scripts, script, now - granted,
                      failed || x->req.response.status >= 500);
}

void meter_attempt(const struct exchange *x, double now, bool failed)
{
    const struct stream *s = &x->attempts.stream;
    struct metrics_backend *counts = backend_counts(x->attempts.request.backend);
    meter_phase(counts, METRICS_QUEUE, s->times.asked, s->times.granted);
    if (!s->reused) /* a kept connection was there already */
        meter_phase(counts, METRICS_CONNECT, s->times.granted, s->times.opened);
    meter_phase(counts, METRICS_FIRST_BYTE, s->times.opened, s->times.first_byte);
    meter_count_script(x, now, failed);
}

void meter_retry(const struct exchange *x)
{
    metrics_add(&metrics_own->backend[x->backend].retries, 1);
}

void meter_limit(const struct exchange *x, enum metrics_limit limit)
{
    if (!x->req.control)
        metrics_add(&metrics_own->limited[limit], 1);
}

void meter_refused(const struct exchange *x, int status)
{
    if (status == 408)
        meter_limit(x, METRICS_LIMIT_TIME);
    else if (status == 413)
        meter_limit(x, METRICS_LIMIT_BODY);
    else if (status == 414)
        meter_limit(x, METRICS_LIMIT_REQUEST_LINE);
    else if (status == 431)
        meter_limit(x, METRICS_LIMIT_HEADER);
}

void meter_message(const struct exchange *x, unsigned level, unsigned count)
{
    metrics_add(&metrics_own->backend[x->backend].messages[level], count);
}

void meter_script_messages(const struct exchange *x, unsigned count)
{
    struct str script = meter_script(x);
    if (script.n > 0)
        scripts_count_messages(&metrics_own->scripts, script, count);
}

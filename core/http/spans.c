/* spans - see spans.h. */
#include "http/spans.h"

#include "base/json.h"
#include "http/traceparent.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_MOST 2000 /* bytes of a value */

enum span_kind { SPAN_INTERNAL = 1, SPAN_SERVER = 2, SPAN_CLIENT = 3 }; /* of OTLP */

/* The spans that are being written. */
struct writer {
    const struct request *req;
    struct json json;
    unsigned spans;
    double total; /* seconds of the request: no span begins before it or ends after it */
};

void spans_note(struct spans *s, const char *name, double from, double until, bool continues)
{
    for (unsigned i = s->count; continues && i > 0; i--) {
        if (s->notes[i - 1].name != name)
            continue;
        s->notes[i - 1].until = until;
        return;
    }
    if (s->count < SPANS_NOTES)
        s->notes[s->count++] = (struct span_note){name, from, until};
}

/* --- members --- */

static void spans_text(struct writer *w, const char *name, struct str value)
{
    json_name(&w->json, name);
    json_text(&w->json, value, TEXT_MOST);
}

/* An integer of 64 bits, which is a text in JSON of protobuf. */
static void spans_integer(struct writer *w, const char *name, uint64_t value)
{
    char digits[STR_U64_SIZE];
    spans_text(w, name, (struct str){digits, str_from_u64(value, digits)});
}

static void spans_begin_attribute(struct writer *w, const char *key)
{
    json_open(&w->json, '{');
    spans_text(w, "key", str_of(key));
    json_name(&w->json, "value");
    json_open(&w->json, '{');
}

static void spans_end_attribute(struct writer *w)
{
    json_close(&w->json, '}');
    json_close(&w->json, '}');
}

static void spans_attribute(struct writer *w, const char *key, struct str value)
{
    if (value.n == 0)
        return;
    spans_begin_attribute(w, key);
    spans_text(w, "stringValue", value);
    spans_end_attribute(w);
}

static void spans_attribute_number(struct writer *w, const char *key, uint64_t value)
{
    spans_begin_attribute(w, key);
    spans_integer(w, "intValue", value);
    spans_end_attribute(w);
}

/* --- one span --- */

/* Nanoseconds since 1970 of a time of the loop's clock, within the request. */
static void spans_time(struct writer *w, const char *name, double at)
{
    double since = at - w->req->began;
    since = since < 0 ? 0 : since > w->total ? w->total : since;
    spans_integer(w, name, (uint64_t)(w->req->started * 1e9) + (uint64_t)(since * 1e9));
}

/* Writes a span up to its attributes. */
static void spans_begin(struct writer *w, struct str id, struct str parent, struct str name,
                        enum span_kind kind, double from, double until)
{
    w->spans++;
    json_open(&w->json, '{');
    spans_text(w, "traceId", traceparent_trace_id(w->req->traceparent));
    spans_text(w, "spanId", id);
    if (parent.n > 0)
        spans_text(w, "parentSpanId", parent);
    spans_text(w, "name", name);
    json_name(&w->json, "kind");
    json_number(&w->json, kind);
    spans_time(w, "startTimeUnixNano", from);
    spans_time(w, "endTimeUnixNano", until > from ? until : from);
    json_name(&w->json, "attributes");
    json_open(&w->json, '[');
}

/* error: STR_NONE where nothing has failed. */
static void spans_end(struct writer *w, bool failed, struct str error)
{
    json_close(&w->json, ']');
    json_name(&w->json, "status");
    json_open(&w->json, '{');
    if (failed) {
        json_name(&w->json, "code");
        json_number(&w->json, 2);
    }
    if (failed && error.n > 0)
        spans_text(w, "message", error);
    json_close(&w->json, '}');
    json_close(&w->json, '}');
}

/* The id of a span that no other part of the server knows: random, as the request's id is. */
static struct str spans_own_id(const struct writer *w, char hex[17])
{
    uint64_t z = w->req->id + (w->spans + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    request_id_text(z != 0 ? z : 1, hex);
    return (struct str){hex, 16};
}

/* A part without attributes. */
static void spans_part(struct writer *w, struct str parent, const char *name, double from,
                       double until, const char *error)
{
    char id[17];
    spans_begin(w, spans_own_id(w, id), parent, str_of(name), SPAN_INTERNAL, from, until);
    spans_end(w, error != NULL, error != NULL ? str_of(error) : STR_NONE);
}

/* --- the request --- */

/* Methods that have a name of their own in the conventions. */
static bool spans_knows_method(struct str method)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_eq(method, str_of(known[i])))
            return true;
    return false;
}

/* True for the keys of signatures, whose values the conventions want left out. */
static bool spans_is_secret(struct str key)
{
    return str_eq(key, STR("AWSAccessKeyId")) || str_eq(key, STR("Signature")) ||
           str_eq(key, STR("sig")) || str_eq(key, STR("X-Goog-Signature"));
}

/* The query without the values of signatures. */
static void spans_query(struct writer *w, struct str query)
{
    char text[TEXT_MOST];
    size_t used = 0;
    struct str rest = {query.p, query.n < TEXT_MOST / 2 ? query.n : TEXT_MOST / 2};
    if (rest.n == 0)
        return;
    while (rest.p != NULL) {
        struct str pair = str_cut(&rest, '&'), value = pair;
        struct str key = str_cut(&value, '=');
        struct str shown = spans_is_secret(key) && value.p != NULL ? STR("=REDACTED") : STR("");
        struct str begin = shown.n > 0 ? key : pair;
        if (used + begin.n + shown.n + 1 > sizeof text)
            break;
        memcpy(text + used, begin.p, begin.n);
        memcpy(text + used + begin.n, shown.p, shown.n);
        used += begin.n + shown.n;
        if (rest.p != NULL)
            text[used++] = '&';
    }
    spans_attribute(w, "url.query", (struct str){text, used});
}

static void spans_request_attributes(struct writer *w)
{
    const struct request *req = w->req;
    char ip[PEER_TEXT_SIZE], id[17], version[8], status[8];
    int n = req->version % 10 == 0 && req->version >= 20
                ? snprintf(version, sizeof version, "%d", req->version / 10)
                : snprintf(version, sizeof version, "%d.%d", req->version / 10, req->version % 10);
    bool known = spans_knows_method(req->method);
    spans_attribute(w, "http.request.method", known ? req->method : STR("_OTHER"));
    if (!known)
        spans_attribute(w, "http.request.method_original", req->method);
    spans_attribute(w, "url.scheme", req->https ? STR("https") : STR("http"));
    spans_attribute(w, "url.path", req->uri.path);
    spans_query(w, req->uri.query);
    spans_attribute(w, "server.address", req->host);
    spans_attribute_number(w, "server.port", request_server_port(req));
    spans_attribute(w, "network.protocol.version", (struct str){version, (size_t)n});
    spans_attribute(w, "client.address", (struct str){ip, peer_text(&req->client, ip)});
    spans_attribute(w, "user_agent.original", headers_value(&req->headers, HEADER_USER_AGENT));
    if (req->response.status > 0)
        spans_attribute_number(w, "http.response.status_code", (uint64_t)req->response.status);
    spans_attribute_number(w, "http.request.body.size", req->bytes_in);
    spans_attribute_number(w, "http.response.body.size", req->body_out);
    n = snprintf(status, sizeof status, "%d", req->response.status % 1000);
    if (req->response.status >= 500)
        spans_attribute(w, "error.type", (struct str){status, (size_t)n});
    spans_attribute(w, "moongate.request_id", request_shown_id(req, id));
    spans_attribute(w, "moongate.listener", req->listener);
    spans_attribute(w, "moongate.backend", req->backend);
    spans_attribute(w, "moongate.tenant", req->decision.tenant);
}

static void spans_request(struct writer *w, struct str id)
{
    const struct request *req = w->req;
    const struct traceparent *t = req->traceparent;
    spans_begin(w, id, str_of(t->caller),
                spans_knows_method(req->method) ? req->method : STR("HTTP"), SPAN_SERVER,
                req->began, req->began + w->total);
    spans_request_attributes(w);
    bool failed = req->response.status >= 500;
    spans_end(w, failed, failed && req->error != NULL ? str_of(req->error) : STR_NONE);
}

/* --- an attempt --- */

/* The address of a server: `unix:/path`, `host:port` or `[v6]:port`. */
static void spans_server(struct writer *w, struct str address)
{
    const char *colon = memrchr(address.p, ':', address.n);
    if (address.n > 5 && memcmp(address.p, "unix:", 5) == 0) {
        spans_attribute(w, "server.address", str_skip(address, 5));
        spans_attribute(w, "network.transport", STR("unix"));
        return;
    }
    struct str host =
        colon != NULL ? (struct str){address.p, (size_t)(colon - address.p)} : address;
    if (host.n > 2 && host.p[0] == '[')
        host = (struct str){host.p + 1, host.n - 2};
    spans_attribute(w, "server.address", host);
    if (colon != NULL && colon[1] >= '0' && colon[1] <= '9')
        spans_attribute_number(w, "server.port", strtoul(colon + 1, NULL, 10));
    spans_attribute(w, "network.transport", STR("tcp"));
}

static void spans_attempt(struct writer *w, struct str parent, const struct attempt *a,
                          unsigned before)
{
    static const char *const roles[] = {
        [FCGI_RESPONDER] = "responder", [FCGI_AUTHORIZER] = "authorizer", [FCGI_FILTER] = "filter"};
    char id[17];
    double granted = a->asked + a->queue;
    if (a->queue > 0 || !a->granted)
        spans_part(w, parent, "queue", a->asked, a->granted ? granted : a->asked + a->total,
                   a->granted ? NULL : a->error);
    if (!a->granted)
        return;
    request_id_text(a->span, id);
    struct str own = {id, 16};
    spans_begin(w, own, parent, STR("FastCGI"), SPAN_CLIENT, granted, a->asked + a->total);
    spans_server(w, a->server);
    spans_attribute(w, "moongate.backend", a->backend);
    spans_attribute(w, "moongate.role",
                    a->role >= FCGI_RESPONDER && a->role <= FCGI_FILTER ? str_of(roles[a->role])
                                                                        : STR_NONE);
    if (before > 0)
        spans_attribute_number(w, "http.request.resend_count", before);
    if (a->error != NULL)
        spans_attribute(w, "error.type", STR("_OTHER"));
    spans_end(w, a->error != NULL, a->error != NULL ? str_of(a->error) : STR_NONE);
    if (a->connect > 0)
        spans_part(w, own, "connect", granted, granted + a->connect, NULL);
}

size_t spans_json(const struct request *req, double now, char *out, size_t size, unsigned *count)
{
    struct writer w = {.req = req};
    const struct traceparent *t = req->traceparent;
    const struct spans *s = t->spans;
    struct str id = traceparent_span_id(t->own);
    json_init(&w.json, out, size);
    w.total = now - req->began > req->duration ? now - req->began : req->duration;
    spans_request(&w, id);
    for (unsigned i = 0; i < s->count; i++)
        spans_part(&w, id, s->notes[i].name, s->notes[i].from, s->notes[i].until, NULL);
    unsigned before = 0;
    for (const struct attempt *a = req->attempt_list; a != NULL && before < SPANS_ATTEMPTS;
         a = a->next)
        if (a->over)
            spans_attempt(&w, id, a, before++);
    if (s->send_from > 0)
        spans_part(&w, id, "send", s->send_from, req->began + w.total, NULL);
    *count = w.spans;
    return w.json.full ? 0 : w.json.used;
}

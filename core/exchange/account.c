/* account - see account.h. */
#include "exchange/account.h"

#include "base/json.h"
#include "exchange/parts.h"
#include "http/access.h"
#include "shm/trace.h"

#include <time.h>

#define STEPS_MOST  100         /* steps of a request */
#define ASKED_MOST  4           /* lists of params */
#define STDERR_MOST (16u << 10) /* bytes of STDERR */
#define VALUE_MOST  4096        /* bytes of a param or a header */
#define NAME_MOST   256         /* bytes of its name */
#define RESERVE     (12u << 10) /* bytes of a record for what comes behind its lists */
#define ESCAPED     6           /* bytes of an escape */

struct account_step {
    struct account_step *next;
    double at; /* seconds since the request began */
    struct str text;
};

/* The params of one application. */
struct account_asked {
    struct str backend;
    uint8_t role; /* enum fcgi_role */
    struct params params;
};

struct account {
    struct request_trace trace; /* the first member */
    struct exchange *x;
    struct trace_match match;
    struct account_step *steps, **steps_end;
    struct account_step *messages, **messages_end;
    size_t message_bytes;
    unsigned step_count, left_out;
    const char *rule;    /* of the first decision; NULL: there was none */
    struct str decision; /* in words */
    struct account_asked asked[ASKED_MOST];
    unsigned asked_count;
    struct response head; /* status 0: there is none */
};

static struct account *account_of(const struct exchange *x)
{
    return (struct account *)x->req.trace;
}

/* --- notes --- */

static double account_clock(const struct exchange *x)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double at = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - x->req.began;
    return at > 0 ? at : 0;
}

static void account_append(struct account *a, struct account_step ***end, struct str text)
{
    struct account_step *step = arena_alloc(&a->x->req.arena, sizeof *step);
    *step = (struct account_step){.at = account_clock(a->x),
                                  .text = arena_copy(&a->x->req.arena, text)};
    **end = step;
    *end = &step->next;
}

static void account_note(struct request_trace *trace, struct str text)
{
    struct account *a = (struct account *)trace;
    if (a->step_count++ < STEPS_MOST)
        account_append(a, &a->steps_end, text);
    else
        a->left_out++;
}

void account_begin(struct exchange *x)
{
    struct request *req = &x->req;
    struct trace_match match;
    if (req->trace != NULL || req->control ||
        !trace_find(exchange_now(x), req->host, req->uri.path, req->method, &match))
        return;
    struct account *a = arena_alloc(&req->arena, sizeof *a);
    *a = (struct account){.trace.note = account_note, .x = x, .match = match};
    a->steps_end = &a->steps;
    a->messages_end = &a->messages;
    req->trace = &a->trace;
    request_step(req, "the head is complete: %llu bytes", (unsigned long long)req->head_in);
}

/* The decision in words. */
static struct str account_words(struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    struct arena *a = &x->req.arena;
    struct str path = d->file.n > 0 ? d->file : d->path;
    switch (d->kind) {
    case DECISION_NONE:
        return STR("nothing (nil)");
    case DECISION_FASTCGI:
        return arena_printf(a, "backend '%.*s', root '%.*s', docroot '%.*s', script '%.*s'%s%.*s",
                            STR_FMT(exchange_settings(x)->name), STR_FMT(d->root),
                            STR_FMT(d->docroot), STR_FMT(d->script),
                            d->path_info.n > 0 ? ", path info " : "", STR_FMT(d->path_info));
    case DECISION_FILE:
        return arena_printf(a, "the file %.*s below %.*s", STR_FMT(path), STR_FMT(d->root));
    case DECISION_REPLY:
        return arena_printf(a, "a reply with status %d and %zu bytes", d->status, d->body.n);
    case DECISION_CLOSE:
        return STR("the connection is closed");
    }
    return STR("");
}

/* What a decision has beside its kind. */
static void account_note_more(struct exchange *x)
{
    const struct decision *d = &x->req.decision;
    if (d->tenant.n > 0)
        request_step(&x->req, "the tenant is '%.*s'", STR_FMT(d->tenant));
    if (d->server.n > 0)
        request_step(&x->req, "the decision names the server %.*s", STR_FMT(d->server));
    if (d->authorize != NULL)
        request_step(&x->req, "the authorizer of backend '%.*s' is asked first",
                     STR_FMT(exchange_settings_of(x, d->authorize)->name));
}

void account_decision(struct exchange *x, const char *by)
{
    struct account *a = account_of(x);
    struct str words = account_words(x);
    bool first = a->decision.p == NULL;
    const char *rule = NULL;
    if (first || x->req.rules.count > x->req.rules.from)
        rule = script_rule_explained(x->generation->script, &x->req);
    if (first) {
        a->decision = words;
        a->rule = rule;
    }
    if (rule != NULL)
        request_step(&x->req, "rule: %s", rule);
    request_step(&x->req, "%s decides: %.*s", by, STR_FMT(words));
    account_note_more(x);
}

void account_params(struct exchange *x)
{
    struct account *a = account_of(x);
    struct arena *arena = &x->req.arena;
    if (a->asked_count == ASKED_MOST) {
        a->left_out++;
        return;
    }
    struct account_asked *asked = &a->asked[a->asked_count++];
    *asked = (struct account_asked){
        .backend = exchange_settings(x)->name, .role = x->req.role, .params = x->params};
    asked->params.list = arena_alloc(arena, (x->params.count + 1) * sizeof *x->params.list);
    if (x->params.count > 0)
        memcpy(asked->params.list, x->params.list, x->params.count * sizeof *x->params.list);
    request_step(&x->req, "%u params are made", x->params.count);
}

void account_stderr(struct exchange *x, struct str line)
{
    struct account *a = account_of(x);
    if (a->message_bytes + line.n > STDERR_MOST) {
        a->left_out++;
        return;
    }
    a->message_bytes += line.n;
    account_append(a, &a->messages_end, line);
}

void account_head(struct exchange *x)
{
    struct account *a = account_of(x);
    a->head = x->req.response;
    request_step(&x->req, "the response begins: %d %.*s", x->req.response.status,
                 STR_FMT(x->req.response.phrase.n > 0
                             ? x->req.response.phrase
                             : str_of(status_text(x->req.response.status))));
}

/* --- the record --- */

/* The record that is being written. */
struct account_record {
    struct json json;
    const struct account *account;
    unsigned left_out;
    bool secrets;
};

/* Whether there is room for so many bytes of text, however they are escaped; what is left out is
 * counted. */
static bool account_has_room(struct account_record *r, size_t bytes)
{
    if (json_room(&r->json) > bytes * ESCAPED + 200 + RESERVE)
        return true;
    r->left_out++;
    return false;
}

/* Names whose values a log or a screen must not have. */
static bool account_is_secret(struct str name)
{
    static const char *const words[] = {
        "AUTHORIZATION", "COOKIE",  "PASSWORD", "PASSWD",       "PASSPHRASE", "SECRET",
        "TOKEN",         "API_KEY", "APIKEY",   "APP_KEY",      "CREDENTIAL", "PRIVATE_KEY",
        "ACCESS_KEY",    "AUTH_PW", "SESSION",  "DATABASE_URL", "DSN"};
    char upper[NAME_MOST];
    size_t n = name.n < sizeof upper ? name.n : sizeof upper;
    for (size_t i = 0; i < n; i++) {
        char c = name.p[i];
        upper[i] = (char)(c == '-' ? '_' : c >= 'a' && c <= 'z' ? c & 0xdf : c);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (memmem(upper, n, words[i], strlen(words[i])) != NULL)
            return true;
    return false;
}

static void account_put_pair(struct account_record *r, struct str name, struct str value)
{
    struct json *j = &r->json;
    size_t size = value.n < VALUE_MOST ? value.n : VALUE_MOST;
    if (!account_has_room(r, size + NAME_MOST))
        return;
    json_open(j, '{');
    json_name(j, "name");
    json_text(j, name, NAME_MOST);
    if (!r->secrets && account_is_secret(name)) {
        json_name(j, "hidden");
        json_number(j, (double)value.n);
    } else {
        json_name(j, "value");
        json_text(j, value, VALUE_MOST);
        if (value.n > VALUE_MOST) {
            json_name(j, "size");
            json_number(j, (double)value.n);
        }
    }
    json_close(j, '}');
}

static void account_put_headers(struct account_record *r, const struct headers *headers)
{
    json_name(&r->json, "headers");
    json_open(&r->json, '[');
    for (unsigned i = 0; i < headers->count; i++)
        account_put_pair(r, headers->list[i].name, headers->list[i].value);
    json_close(&r->json, ']');
}

static void account_put_text(struct account_record *r, const char *name, struct str value)
{
    if (value.n == 0 || !account_has_room(r, value.n < VALUE_MOST ? value.n : VALUE_MOST))
        return;
    json_name(&r->json, name);
    json_text(&r->json, value, VALUE_MOST);
}

static void account_put_number(struct account_record *r, const char *name, double value)
{
    json_name(&r->json, name);
    json_number(&r->json, value);
}

static void account_put_steps(struct account_record *r, const char *name,
                              const struct account_step *step)
{
    struct json *j = &r->json;
    json_name(j, name);
    json_open(j, '[');
    for (; step != NULL; step = step->next) {
        if (!account_has_room(r, step->text.n))
            continue;
        json_open(j, '{');
        account_put_number(r, "at", step->at);
        json_name(j, "text");
        json_text(j, step->text, SIZE_MAX);
        json_close(j, '}');
    }
    json_close(j, ']');
}

static struct str account_role(unsigned role)
{
    return role == FCGI_AUTHORIZER ? STR("authorizer")
           : role == FCGI_FILTER   ? STR("filter")
                                   : STR("responder");
}

static void account_put_attempts(struct account_record *r, const struct request *req)
{
    struct json *j = &r->json;
    json_name(j, "attempts");
    json_open(j, '[');
    for (const struct attempt *a = req->attempt_list; a != NULL; a = a->next) {
        struct str error = a->error != NULL ? str_of(a->error) : STR_NONE;
        if (!account_has_room(r, a->server.n + error.n))
            continue;
        json_open(j, '{');
        json_name(j, "server");
        json_text(j, a->server, SIZE_MAX);
        json_name(j, "role");
        json_text(j, account_role(a->role), SIZE_MAX);
        account_put_number(r, "queue", a->queue);
        account_put_number(r, "connect", a->connect);
        account_put_number(r, "first_byte", a->first_byte);
        account_put_number(r, "total", a->total);
        if (a->error != NULL) {
            json_name(j, "error");
            json_text(j, error, SIZE_MAX);
        }
        json_close(j, '}');
    }
    json_close(j, ']');
}

static void account_put_asked(struct account_record *r)
{
    struct json *j = &r->json;
    json_name(j, "asked");
    json_open(j, '[');
    for (unsigned i = 0; i < r->account->asked_count; i++) {
        const struct account_asked *asked = &r->account->asked[i];
        json_open(j, '{');
        json_name(j, "backend");
        json_text(j, asked->backend, NAME_MOST);
        json_name(j, "role");
        json_text(j, account_role(asked->role), SIZE_MAX);
        json_name(j, "params");
        json_open(j, '[');
        for (unsigned k = 0; k < asked->params.count; k++)
            account_put_pair(r, asked->params.list[k].name, asked->params.list[k].value);
        json_close(j, ']');
        json_close(j, '}');
    }
    json_close(j, ']');
}

/* Who asked for what. */
static void account_put_request(struct account_record *r, const struct exchange *x)
{
    const struct request *req = &x->req;
    char id[17], ip[PEER_TEXT_SIZE];
    account_put_text(r, "id", request_shown_id(req, id));
    account_put_number(r, "time", req->started);
    account_put_text(r, "client", (struct str){ip, peer_text(&req->client, ip)});
    account_put_text(r, "listener", req->listener);
    account_put_text(r, "method", req->method);
    account_put_text(r, "scheme", req->https ? STR("https") : STR("http"));
    account_put_text(r, "host", req->host);
    account_put_text(r, "uri", req->uri.origin.n > 0 ? req->uri.origin : req->target);
    account_put_text(r, "user", req->user);
    account_put_text(r, "tenant", req->decision.tenant);
    account_put_number(r, "generation", x->generation->number);
    account_put_number(r, "request_length", (double)(req->head_in + req->bytes_in));
}

/* How it ended. */
static void account_put_end(struct account_record *r, const struct exchange *x)
{
    const struct request *req = &x->req;
    account_put_number(r, "status", req->response.status);
    account_put_number(r, "duration", req->duration);
    account_put_number(r, "bytes_out", (double)req->bytes_out);
    if (req->cached != CACHE_UNUSED)
        account_put_text(r, "cache", str_of(cache_use_words[req->cached]));
    if (req->cache_reason != CACHE_NO_REASON)
        account_put_text(r, "cache_reason", str_of(cache_reason_words[req->cache_reason]));
    if (req->ended && req->backend.n > 0)
        account_put_number(r, "app_status", req->app_status);
    if (req->error != NULL)
        account_put_text(r, "error", str_of(req->error));
}

static void account_put_response(struct account_record *r, const struct response *head)
{
    struct str phrase = head->phrase.n > 0 ? head->phrase : str_of(status_text(head->status));
    if (head->status == 0)
        return;
    json_name(&r->json, "response");
    json_open(&r->json, '{');
    account_put_number(r, "status", head->status);
    account_put_text(r, "phrase", phrase);
    account_put_headers(r, &head->headers);
    json_close(&r->json, '}');
}

/* Writes the record, and returns its size. What must be there comes first; the lists have what room
 * is left, the params the last of it. */
static size_t account_write(const struct account *a, const struct trace_record *record)
{
    struct account_record r = {.account = a, .secrets = record->secrets};
    const struct request *req = &a->x->req;
    json_init(&r.json, record->room, TRACE_RECORD);
    json_open(&r.json, '{');
    account_put_request(&r, a->x);
    if (a->rule != NULL)
        account_put_text(&r, "rule", str_of(a->rule));
    account_put_text(&r, "decision", a->decision);
    account_put_end(&r, a->x);
    account_put_attempts(&r, req);
    account_put_steps(&r, "steps", a->steps);
    account_put_response(&r, &a->head);
    account_put_steps(&r, "stderr", a->messages);
    account_put_headers(&r, &req->headers);
    account_put_asked(&r);
    account_put_number(&r, "left_out", a->left_out + r.left_out);
    json_close(&r.json, '}');
    return r.json.full ? 0 : r.json.used;
}

void account_end(struct exchange *x)
{
    const struct account *a = account_of(x);
    struct trace_record record;
    request_step(&x->req, "the request ends");
    for (unsigned i = 0; i < TRACE_ORDERS; i++)
        if (trace_take(&a->match, i, (unsigned)x->req.response.status, &record))
            trace_put(&record, account_write(a, &record));
}

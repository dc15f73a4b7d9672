/* access - see access.h. */
#include "http/access.h"

#include "base/datagram.h"
#include "base/date.h"
#include "http/traceparent.h"

#include <stdio.h>
#include <time.h>

/* bytes of one field; with all of them escaped a line still fits */
#define FIELD_MAX    7000
#define USER_MAX     256 /* bytes of a user's name */
#define HEADER_MOST  700 /* bytes of a header in JSON; all of them may be escaped */
#define ATTEMPTS_MAX 16  /* attempts that are listed one by one */

/* The line that is being written; `full` is set when a field did not fit. */
struct line {
    char *out;
    size_t size, used;
    bool full;
};

enum access_field {
    FIELD_TEXT, /* of the format itself */
    FIELD_HEADER,
    FIELD_APP_STATUS,
    FIELD_ATTEMPTS,
    FIELD_BACKEND,
    FIELD_BYTES,
    FIELD_BYTES_IN,
    FIELD_BYTES_OUT,
    FIELD_CACHE,
    FIELD_CACHE_REASON,
    FIELD_CLIENT,
    FIELD_CONNECT,
    FIELD_DURATION,
    FIELD_ERROR,
    FIELD_FIRST_BYTE,
    FIELD_GENERATION,
    FIELD_HOST,
    FIELD_ID,
    FIELD_LISTENER,
    FIELD_METHOD,
    FIELD_PORT,
    FIELD_QUEUE,
    FIELD_REFERER,
    FIELD_REQUEST,
    FIELD_REQUEST_LENGTH,
    FIELD_SCHEME,
    FIELD_SERVER,
    FIELD_SPAN_ID,
    FIELD_STATUS,
    FIELD_TENANT,
    FIELD_TIME,
    FIELD_TIME_ISO8601,
    FIELD_TIME_LOCAL,
    FIELD_TRACE_ID,
    FIELD_URI,
    FIELD_USER,
    FIELD_USER_AGENT,
    FIELD_VERSION,
};

/* lua/moongate/route/log_format.lua has the same list. */
static const char *const field_names[] = {
    [FIELD_APP_STATUS] = "app_status",
    [FIELD_ATTEMPTS] = "attempts",
    [FIELD_BACKEND] = "backend",
    [FIELD_BYTES] = "bytes",
    [FIELD_BYTES_IN] = "bytes_in",
    [FIELD_BYTES_OUT] = "bytes_out",
    [FIELD_CACHE] = "cache",
    [FIELD_CACHE_REASON] = "cache_reason",
    [FIELD_CLIENT] = "client",
    [FIELD_CONNECT] = "connect",
    [FIELD_DURATION] = "duration",
    [FIELD_ERROR] = "error",
    [FIELD_FIRST_BYTE] = "first_byte",
    [FIELD_GENERATION] = "generation",
    [FIELD_HOST] = "host",
    [FIELD_ID] = "id",
    [FIELD_LISTENER] = "listener",
    [FIELD_METHOD] = "method",
    [FIELD_PORT] = "port",
    [FIELD_QUEUE] = "queue",
    [FIELD_REFERER] = "referer",
    [FIELD_REQUEST] = "request",
    [FIELD_REQUEST_LENGTH] = "request_length",
    [FIELD_SCHEME] = "scheme",
    [FIELD_SERVER] = "server",
    [FIELD_SPAN_ID] = "span_id",
    [FIELD_STATUS] = "status",
    [FIELD_TENANT] = "tenant",
    [FIELD_TIME] = "time",
    [FIELD_TIME_ISO8601] = "time_iso8601",
    [FIELD_TIME_LOCAL] = "time_local",
    [FIELD_TRACE_ID] = "trace_id",
    [FIELD_URI] = "uri",
    [FIELD_USER] = "user",
    [FIELD_USER_AGENT] = "user_agent",
    [FIELD_VERSION] = "version",
};

struct access_part {
    enum access_field field;
    struct str text; /* of FIELD_TEXT; of FIELD_HEADER the header's name */
    bool quoted;     /* double quotes are around it */
};

static void access_put(struct line *l, struct str s)
{
    if (s.n == 0)
        return;
    if (s.n > l->size - l->used) {
        l->full = true;
        return;
    }
    memcpy(l->out + l->used, s.p, s.n);
    l->used += s.n;
}

static void access_put_number(struct line *l, uint64_t value)
{
    char digits[STR_U64_SIZE];
    access_put(l, (struct str){digits, str_from_u64(value, digits)});
}

/* A number with at most six decimals. */
static void access_put_decimal(struct line *l, double value)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%.6f", value);
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    access_put(l, (struct str){text, (size_t)n});
}

static void access_put_peer(struct line *l, const struct peer *peer)
{
    char text[PEER_TEXT_SIZE];
    size_t n = peer_text(peer, text);
    access_put(l, (struct str){text, n});
}

/* Escapes quotes, backslashes, control bytes and bytes above 0x7e. Bytes, not characters, since
 * text from clients need not be UTF-8. */
static void access_put_some(struct line *l, struct str s, size_t most, const char *format)
{
    size_t start = 0, end = l->used + most;
    if (s.n > most)
        s.n = most;
    if (s.n == 0)
        return;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char escape[8];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        access_put(l, (struct str){s.p + start, i - start});
        access_put(l, (struct str){escape, (size_t)snprintf(escape, sizeof escape, format, c)});
        start = i + 1;
        if (l->used >= end)
            return;
    }
    access_put(l, (struct str){s.p + start, s.n - start});
}

static void access_put_escaped(struct line *l, struct str s, const char *format)
{
    access_put_some(l, s, FIELD_MAX, format);
}

/* Writes a quoted field as nginx does, "-" for an empty one. */
static void access_put_text(struct line *l, struct str s)
{
    access_put_escaped(l, s, "\\x%02X");
}

static void access_put_header(struct line *l, const struct request *req, enum header_id id)
{
    struct str value = headers_value(&req->headers, id);
    if (value.n > 0)
        access_put_text(l, value);
    else
        access_put(l, STR("-"));
}

/* Writes a text without quotes: a blank in it would begin another field. */
static void access_put_word(struct line *l, struct str text, size_t most)
{
    struct str rest = {text.p, text.n < most ? text.n : most};
    size_t end = l->used + most;
    if (rest.n == 0) {
        access_put(l, STR("-"));
        return;
    }
    while (rest.p != NULL && l->used < end) {
        access_put_some(l, str_cut(&rest, ' '), most, "\\x%02X");
        if (rest.p != NULL)
            access_put(l, STR("\\x20"));
    }
}

/* A time as text, formatted once a second. */
struct access_clock {
    char text[40];
    size_t size; /* 0: no text yet */
    time_t made; /* the second that the text is of */
};

/* The clock's text of that time; `put` formats it into `text`, of that size, and returns its
 * length. */
static struct str access_clock_text(struct access_clock *c, double at,
                                    size_t (*put)(char *text, size_t size, const struct tm *tm))
{
    time_t seconds = (time_t)at;
    if (seconds != c->made || c->size == 0) {
        struct tm tm;
        localtime_r(&seconds, &tm);
        c->size = put(c->text, sizeof c->text, &tm);
        c->made = seconds;
    }
    return (struct str){c->text, c->size};
}

static size_t access_put_local(char *text, size_t size, const struct tm *tm)
{
    char rest[24]; /* without the month: %b follows the locale, which a script may change */
    strftime(rest, sizeof rest, "/%Y:%H:%M:%S %z", tm);
    return (size_t)snprintf(text, size, "%02d/%s%s", tm->tm_mday, date_month(tm->tm_mon), rest);
}

static size_t access_put_iso(char *text, size_t size, const struct tm *tm)
{
    size_t n = strftime(text, size - 1, "%Y-%m-%dT%H:%M:%S%z", tm);
    memmove(text + n - 1, text + n - 2, 2); /* +0200 to +02:00 */
    text[n - 2] = ':';
    return n + 1;
}

/* Local time as 10/Oct/2000:13:55:36 -0700. */
static struct str access_local_time(double at)
{
    static struct access_clock clock;
    return access_clock_text(&clock, at, access_put_local);
}

/* The time as 2000-10-10T13:55:36-07:00. */
static struct str access_iso_time(double at)
{
    static struct access_clock clock;
    return access_clock_text(&clock, at, access_put_iso);
}

static void access_put_request(struct line *l, const struct request *req, size_t most)
{
    if (req->target.n == 0)
        return;
    access_put_some(l, req->method, most / 2, "\\x%02X");
    access_put(l, STR(" "));
    access_put_some(l, req->target, most - most / 2, "\\x%02X");
    access_put(l, STR(" "));
    access_put(l, http_version_text(req->version));
}

size_t access_combined(const struct request *req, char *out, size_t size)
{
    struct line l = {.out = out, .size = size};
    access_put_peer(&l, &req->client);
    access_put(&l, STR(" - "));
    access_put_word(&l, req->user, USER_MAX);
    access_put(&l, STR(" ["));
    access_put(&l, access_local_time(req->ended_at));
    access_put(&l, STR("] \""));
    if (req->target.n > 0) {
        access_put_text(&l, req->method);
        access_put(&l, STR(" "));
        access_put_text(&l, req->target);
        access_put(&l, STR(" "));
        access_put(&l, http_version_text(req->version));
    }
    access_put(&l, STR("\" "));
    access_put_number(&l, (uint64_t)req->response.status);
    access_put(&l, STR(" "));
    access_put_number(&l, req->body_out);
    access_put(&l, STR(" \""));
    access_put_header(&l, req, HEADER_REFERER);
    access_put(&l, STR("\" \""));
    access_put_header(&l, req, HEADER_USER_AGENT);
    access_put(&l, STR("\"\n"));
    return l.full ? 0 : l.used;
}

static void access_put_key(struct line *l, const char *key)
{
    access_put(l, l->used > 0 ? STR(",\"") : STR("{\""));
    access_put(l, str_of(key));
    access_put(l, STR("\":"));
}

static void access_put_json(struct line *l, const char *key, struct str value)
{
    access_put_key(l, key);
    access_put(l, STR("\""));
    access_put_escaped(l, value, "\\u%04x");
    access_put(l, STR("\""));
}

static void access_put_json_number(struct line *l, const char *key, double value)
{
    access_put_key(l, key);
    access_put_decimal(l, value);
}

static struct str access_scheme(const struct request *req)
{
    return req->https ? STR("https") : STR("http");
}

static struct str access_version(const struct request *req)
{
    return str_skip(http_version_text(req->version), sizeof "HTTP/" - 1);
}

static void access_put_json_header(struct line *l, const char *key, const struct request *req,
                                   enum header_id id)
{
    struct str value = headers_value(&req->headers, id);
    if (value.n > 0)
        access_put_json(l, key,
                        (struct str){value.p, value.n < HEADER_MOST ? value.n : HEADER_MOST});
}

/* One object for each attempt, with the durations of its phases (contract section 12). */
static void access_put_attempts(struct line *l, const struct request *req)
{
    if (req->attempt_list == NULL)
        return;
    access_put_key(l, "attempts");
    unsigned count = 0;
    for (const struct attempt *a = req->attempt_list; a != NULL && count < ATTEMPTS_MAX;
         a = a->next, count++) {
        struct str error = a->error != NULL ? str_of(a->error) : STR("");
        struct line one = {.used = 0};
        access_put(l, a == req->attempt_list ? STR("[") : STR(","));
        one.out = l->out + l->used;
        one.size = l->size - l->used;
        access_put_json(&one, "server", a->server);
        if (a->role == FCGI_AUTHORIZER || a->role == FCGI_FILTER)
            access_put_json(&one, "role",
                            a->role == FCGI_FILTER ? STR("filter") : STR("authorizer"));
        access_put_json_number(&one, "queue", a->queue);
        access_put_json_number(&one, "connect", a->connect);
        access_put_json_number(&one, "first_byte", a->first_byte);
        access_put_json_number(&one, "total", a->total);
        if (a->error != NULL)
            access_put_json(&one, "error", (struct str){error.p, error.n < 300 ? error.n : 300});
        access_put(&one, STR("}"));
        l->used += one.used;
        l->full |= one.full;
    }
    access_put(l, STR("]"));
}

size_t access_json(const struct request *req, unsigned generation, char *out, size_t size)
{
    struct line l = {.out = out, .size = size};
    char id[17], ip[PEER_TEXT_SIZE];
    access_put_json_number(&l, "time", req->started);
    access_put_json(&l, "id", request_shown_id(req, id));
    if (req->traceparent != NULL)
        access_put_json(&l, "trace_id", traceparent_trace_id(req->traceparent));
    access_put_json(&l, "client", (struct str){ip, peer_text(&req->client, ip)});
    if (req->user.n > 0)
        access_put_json(&l, "user",
                        (struct str){req->user.p, req->user.n < USER_MAX ? req->user.n : USER_MAX});
    access_put_json(&l, "host", req->host);
    access_put_json(&l, "method", req->method);
    access_put_json(&l, "uri", req->uri.origin);
    access_put_json(&l, "scheme", access_scheme(req));
    access_put_json(&l, "version", access_version(req));
    access_put_json_number(&l, "status", req->response.status);
    access_put_json_number(&l, "bytes_in", (double)req->bytes_in);
    access_put_json_number(&l, "bytes_out", (double)req->bytes_out);
    access_put_json_number(&l, "request_length", (double)(req->head_in + req->bytes_in));
    access_put_json_number(&l, "duration", req->duration);
    access_put_json_header(&l, "referer", req, HEADER_REFERER);
    access_put_json_header(&l, "user_agent", req, HEADER_USER_AGENT);
    if (req->listener.n > 0)
        access_put_json(&l, "listener", req->listener);
    if (req->backend.n > 0)
        access_put_json(&l, "backend", req->backend);
    if (req->server.n > 0)
        access_put_json(&l, "server", req->server);
    if (req->decision.tenant.n > 0)
        access_put_json(&l, "tenant", req->decision.tenant);
    if (req->cached != CACHE_UNUSED)
        access_put_json(&l, "cache", str_of(cache_use_words[req->cached]));
    if (req->cache_reason != CACHE_NO_REASON)
        access_put_json(&l, "cache_reason", str_of(cache_reason_words[req->cache_reason]));
    access_put_json_number(&l, "generation", generation);
    if (req->ended && req->backend.n > 0)
        access_put_json_number(&l, "app_status", req->app_status);
    access_put_attempts(&l, req);
    if (req->error != NULL)
        access_put_json(&l, "error", str_of(req->error));
    access_put(&l, STR("}\n"));
    return l.full ? 0 : l.used;
}

/* --- formats of a route --- */

static const struct attempt *access_last_attempt(const struct request *req)
{
    const struct attempt *last = req->attempt_list;
    while (last != NULL && last->next != NULL)
        last = last->next;
    return last;
}

/* A duration of the last attempt; "-" where no server was asked. */
static void access_put_phase(struct line *l, const struct request *req, enum access_field field)
{
    const struct attempt *last = access_last_attempt(req);
    if (last == NULL)
        access_put(l, STR("-"));
    else
        access_put_decimal(l, field == FIELD_QUEUE     ? last->queue
                              : field == FIELD_CONNECT ? last->connect
                                                       : last->first_byte);
}

static struct str access_header_value(const struct request *req, struct str name)
{
    const struct header *h = headers_get(&req->headers, name);
    return h != NULL ? h->value : STR_NONE;
}

static struct str access_trace_id(const struct request *req)
{
    return req->traceparent != NULL ? traceparent_trace_id(req->traceparent) : STR_NONE;
}

static struct str access_span_id(const struct request *req)
{
    return req->traceparent != NULL ? traceparent_span_id(req->traceparent->own) : STR_NONE;
}

static struct str access_word(const char *word)
{
    return word != NULL ? str_of(word) : STR_NONE;
}

/* The fields that are texts; false: it is none of them. */
static bool access_text_of(const struct access_part *part, const struct request *req,
                           struct str *out)
{
    switch (part->field) {
    case FIELD_HEADER:
        *out = access_header_value(req, part->text);
        return true;
    case FIELD_BACKEND:
        *out = req->backend;
        return true;
    case FIELD_CACHE:
        *out = access_word(cache_use_words[req->cached]);
        return true;
    case FIELD_CACHE_REASON:
        *out = access_word(cache_reason_words[req->cache_reason]);
        return true;
    case FIELD_ERROR:
        *out = access_word(req->error);
        return true;
    case FIELD_HOST:
        *out = req->host;
        return true;
    case FIELD_LISTENER:
        *out = req->listener;
        return true;
    case FIELD_METHOD:
        *out = req->method;
        return true;
    case FIELD_REFERER:
        *out = headers_value(&req->headers, HEADER_REFERER);
        return true;
    case FIELD_SCHEME:
        *out = access_scheme(req);
        return true;
    case FIELD_SERVER:
        *out = req->server;
        return true;
    case FIELD_SPAN_ID:
        *out = access_span_id(req);
        return true;
    case FIELD_TRACE_ID:
        *out = access_trace_id(req);
        return true;
    case FIELD_TENANT:
        *out = req->decision.tenant;
        return true;
    case FIELD_URI:
        *out = req->uri.origin;
        return true;
    case FIELD_USER:
        *out = (struct str){req->user.p, req->user.n < USER_MAX ? req->user.n : USER_MAX};
        return true;
    case FIELD_USER_AGENT:
        *out = headers_value(&req->headers, HEADER_USER_AGENT);
        return true;
    case FIELD_VERSION:
        *out = access_version(req);
        return true;
    default:
        return false;
    }
}

/* The others, in whose values no byte is a client's. */
static void access_put_own(struct line *l, const struct request *req, enum access_field field,
                           unsigned generation)
{
    char id[17];
    switch (field) {
    case FIELD_APP_STATUS:
        if (req->ended && req->backend.n > 0)
            access_put_number(l, req->app_status);
        else
            access_put(l, STR("-"));
        break;
    case FIELD_ATTEMPTS:
        access_put_number(l, req->attempts);
        break;
    case FIELD_BYTES:
        access_put_number(l, req->body_out);
        break;
    case FIELD_BYTES_IN:
        access_put_number(l, req->bytes_in);
        break;
    case FIELD_BYTES_OUT:
        access_put_number(l, req->bytes_out);
        break;
    case FIELD_CLIENT:
        access_put_peer(l, &req->client);
        break;
    case FIELD_CONNECT:
    case FIELD_FIRST_BYTE:
    case FIELD_QUEUE:
        access_put_phase(l, req, field);
        break;
    case FIELD_DURATION:
        access_put_decimal(l, req->duration);
        break;
    case FIELD_GENERATION:
        access_put_number(l, generation);
        break;
    case FIELD_ID:
        access_put_word(l, request_shown_id(req, id),
                        REQUEST_ID_MOST); /* in the master from a slot */
        break;
    case FIELD_PORT:
        access_put_number(l, request_server_port(req));
        break;
    case FIELD_REQUEST_LENGTH:
        access_put_number(l, req->head_in + req->bytes_in);
        break;
    case FIELD_STATUS:
        access_put_number(l, (uint64_t)req->response.status);
        break;
    case FIELD_TIME:
        access_put_decimal(l, req->started);
        break;
    case FIELD_TIME_ISO8601:
        access_put(l, access_iso_time(req->ended_at));
        break;
    case FIELD_TIME_LOCAL:
        access_put(l, access_local_time(req->ended_at));
        break;
    default:
        break;
    }
}

size_t access_fields(const struct access_fields *format, const struct request *req,
                     unsigned generation, char *out, size_t size)
{
    struct line l = {.out = out, .size = size};
    for (unsigned i = 0; i < format->count; i++) {
        const struct access_part *part = &format->parts[i];
        struct str text;
        if (part->field == FIELD_TEXT)
            access_put(&l, part->text);
        else if (part->field == FIELD_REQUEST)
            access_put_request(&l, req, format->most);
        else if (!access_text_of(part, req, &text))
            access_put_own(&l, req, part->field, generation);
        else if (text.n > 0 && (part->quoted || format->tabs))
            access_put_some(&l, text, format->most, "\\x%02X");
        else
            access_put_word(&l, text, format->most);
    }
    access_put(&l, STR("\n"));
    return l.full ? 0 : l.used;
}

/* --- the journal --- */

#define JOURNAL_FIELD 2000 /* bytes of one field */

static void access_put_journal_name(struct line *l, enum access_field field)
{
    char name[40];
    const char *text = field == FIELD_ID ? "request_id" : field_names[field];
    int n = snprintf(name, sizeof name, "%cMOONGATE_%s=", DATAGRAM_FIELD, text);
    for (int i = 0; i < n; i++)
        if (name[i] >= 'a' && name[i] <= 'z')
            name[i] = (char)(name[i] - 'a' + 'A');
    access_put(l, (struct str){name, (size_t)n});
}

/* Fields that say in other words what others say are left out. */
static bool access_is_of_journal(enum access_field field)
{
    return field != FIELD_REQUEST && field != FIELD_TIME_ISO8601 && field != FIELD_TIME_LOCAL;
}

size_t access_journal(const struct request *req, unsigned generation, char *out, size_t size)
{
    struct line l = {.out = out, .size = size};
    access_put(&l, (struct str){"\x1fMOONGATE_LOG=access", sizeof "\x1fMOONGATE_LOG=access" - 1});
    for (int i = FIELD_APP_STATUS; i <= FIELD_VERSION && !l.full; i++) {
        const struct access_part part = {.field = (enum access_field)i};
        struct str text = STR_NONE;
        size_t before = l.used;
        access_put_journal_name(&l, part.field);
        size_t from = l.used;
        if (access_text_of(&part, req, &text))
            access_put_some(&l, text, JOURNAL_FIELD, "\\x%02X");
        else
            access_put_own(&l, req, part.field, generation);
        bool empty = l.used == from || (l.used == from + 1 && l.out[from] == '-');
        if (empty || l.full || !access_is_of_journal(part.field))
            l.used = before;
    }
    return l.used;
}

/* Takes the name of a field off the text, behind its dollar. */
static struct str access_take_name(struct str *text)
{
    bool braces = text->n > 0 && text->p[0] == '{';
    if (braces)
        *text = str_skip(*text, 1);
    size_t n = 0;
    while (n < text->n && (text->p[n] == '_' || (text->p[n] >= 'a' && text->p[n] <= 'z') ||
                           (text->p[n] >= '0' && text->p[n] <= '9')))
        n++;
    struct str name = {text->p, n};
    *text = str_skip(*text, n);
    if (braces && text->n > 0 && text->p[0] == '}')
        *text = str_skip(*text, 1);
    else if (braces)
        name.n = 0;
    return name;
}

/* "http_x_real_ip" is the header "x-real-ip". */
static struct str access_header_name(struct arena *arena, struct str name)
{
    struct str header = arena_copy(arena, str_skip(name, 5));
    for (size_t i = 0; i < header.n; i++)
        if (header.p[i] == '_')
            ((char *)header.p)[i] = '-';
    return header;
}

static bool access_find_field(struct arena *arena, struct str name, struct access_part *part)
{
    if (name.n > 5 && memcmp(name.p, "http_", 5) == 0) {
        part->field = FIELD_HEADER;
        part->text = access_header_name(arena, name);
        return true;
    }
    for (size_t i = FIELD_APP_STATUS; i < sizeof field_names / sizeof *field_names; i++) {
        if (!str_eq(str_of(field_names[i]), name))
            continue;
        part->field = (enum access_field)i;
        return true;
    }
    return false;
}

const char *access_compile(struct arena *arena, struct str text, struct access_fields *out)
{
    struct access_part *parts = arena_alloc(arena, ACCESS_PARTS * sizeof *parts);
    unsigned fields = 0;
    bool quoted = false;
    *out = (struct access_fields){.parts = parts};
    if (text.n > ACCESS_FORMAT)
        return "the format is longer than 4096 bytes";
    while (text.n > 0) {
        struct access_part *part = &parts[out->count];
        size_t n = 0;
        if (out->count++ == ACCESS_PARTS)
            return "the format has more than 128 fields and texts";
        *part = (struct access_part){.field = FIELD_TEXT, .quoted = quoted};
        if (text.p[0] == '$' && text.n > 1 && text.p[1] != '$') {
            text = str_skip(text, 1);
            struct str name = access_take_name(&text);
            if (!access_find_field(arena, name, part))
                return arena_printf(arena, "the format has no field '$%.*s'", STR_FMT(name)).p;
            fields++;
            continue;
        }
        do { /* a dollar at the end, and the second of two, are text */
            n += 1;
        } while (n < text.n && text.p[n] != '$');
        if (text.n > 1 && text.p[0] == '$')
            text = str_skip(text, 1);
        part->text = (struct str){text.p, n};
        for (size_t i = 0; i < n; i++) {
            quoted ^= text.p[i] == '"';
            out->tabs |= text.p[i] == '\t';
        }
        text = str_skip(text, n);
    }
    /* A value without blanks may become longer by the bytes of one escape. */
    size_t most = (ACCESS_LINE_SIZE - ACCESS_FORMAT) / (fields + 1) - 64;
    out->most = most < FIELD_MAX ? most : FIELD_MAX;
    return NULL;
}

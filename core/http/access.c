/* access - see access.h. */
#include "http/access.h"

#include "base/date.h"

#include <stdio.h>
#include <time.h>

/* bytes of one field; with all of them escaped a line still fits */
#define FIELD_MAX    7000
#define USER_MAX     256 /* bytes of a user's name */
#define ATTEMPTS_MAX 16  /* attempts that are listed one by one */

/* The line that is being written; `full` is set when a field did not fit. */
struct line {
    char *out;
    size_t size, used;
    bool full;
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

static void access_put_peer(struct line *l, const struct peer *peer)
{
    char text[PEER_TEXT_SIZE];
    size_t n = peer_text(peer, text);
    access_put(l, (struct str){text, n});
}

/* Escapes quotes, backslashes, control bytes and bytes above 0x7e. Bytes, not characters, since
 * text from clients need not be UTF-8. */
static void access_put_escaped(struct line *l, struct str s, const char *format)
{
    size_t start = 0, end = l->used + FIELD_MAX;
    if (s.n > FIELD_MAX)
        s.n = FIELD_MAX;
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

/* Writes the user, the only text without quotes: a blank in it would begin another field. */
static void access_put_user(struct line *l, struct str user)
{
    struct str rest = {user.p, user.n < USER_MAX ? user.n : USER_MAX};
    if (rest.n == 0) {
        access_put(l, STR("-"));
        return;
    }
    while (rest.p != NULL) {
        access_put_text(l, str_cut(&rest, ' '));
        if (rest.p != NULL)
            access_put(l, STR("\\x20"));
    }
}

/* Local time as 10/Oct/2000:13:55:36 -0700, formatted once a second. */
static struct str access_local_time(double at)
{
    static char text[40];
    static time_t made = -1;
    static size_t size;
    time_t seconds = (time_t)at;
    if (seconds != made) {
        struct tm tm;
        localtime_r(&seconds, &tm);
        char rest[24]; /* without the month: %b follows the locale, which a script may change */
        strftime(rest, sizeof rest, "/%Y:%H:%M:%S %z", &tm);
        size = (size_t)snprintf(text, sizeof text, "%02d/%s%s", tm.tm_mday, date_month(tm.tm_mon),
                                rest);
        made = seconds;
    }
    return (struct str){text, size};
}

size_t access_combined(const struct request *req, char *out, size_t size)
{
    struct line l = {.out = out, .size = size};
    access_put_peer(&l, &req->client);
    access_put(&l, STR(" - "));
    access_put_user(&l, req->user);
    access_put(&l, STR(" ["));
    access_put(&l, access_local_time(req->ended_at));
    access_put(&l, STR("] \""));
    if (req->target.n > 0) {
        access_put_text(&l, req->method);
        access_put(&l, STR(" "));
        access_put_text(&l, req->target);
        access_put(&l, req->version > HTTP_1_0 ? STR(" HTTP/1.1") : STR(" HTTP/1.0"));
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
    char text[40];
    int n = snprintf(text, sizeof text, "%.6f", value);
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    access_put_key(l, key);
    access_put(l, (struct str){text, (size_t)n});
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
    request_id_text(req->id, id);
    access_put_json_number(&l, "time", req->started);
    access_put_json(&l, "id", (struct str){id, 16});
    access_put_json(&l, "client", (struct str){ip, peer_text(&req->client, ip)});
    if (req->user.n > 0)
        access_put_json(&l, "user",
                        (struct str){req->user.p, req->user.n < USER_MAX ? req->user.n : USER_MAX});
    access_put_json(&l, "host", req->host);
    access_put_json(&l, "method", req->method);
    access_put_json(&l, "uri", req->uri.origin);
    access_put_json_number(&l, "status", req->response.status);
    access_put_json_number(&l, "bytes_in", (double)req->bytes_in);
    access_put_json_number(&l, "bytes_out", (double)req->bytes_out);
    access_put_json_number(&l, "duration", req->duration);
    if (req->backend.n > 0)
        access_put_json(&l, "backend", req->backend);
    if (req->server.n > 0)
        access_put_json(&l, "server", req->server);
    if (req->decision.tenant.n > 0)
        access_put_json(&l, "tenant", req->decision.tenant);
    access_put_json_number(&l, "generation", generation);
    if (req->ended && req->backend.n > 0)
        access_put_json_number(&l, "app_status", req->app_status);
    access_put_attempts(&l, req);
    if (req->error != NULL)
        access_put_json(&l, "error", str_of(req->error));
    access_put(&l, STR("}\n"));
    return l.full ? 0 : l.used;
}

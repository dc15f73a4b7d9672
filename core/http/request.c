/* request - see request.h. */
#include "http/request.h"

#include <stdarg.h>
#include <stdio.h>

const char *const cache_use_words[CACHE_USES] = {
    [CACHE_HIT] = "hit", [CACHE_MISS] = "miss", [CACHE_STALE] = "stale", [CACHE_BYPASS] = "bypass"};

const char *const cache_reason_words[CACHE_REASONS] = {
    [CACHE_SAYS_BYPASS] = "decision",
    [CACHE_METHOD] = "method",
    [CACHE_BODY] = "body",
    [CACHE_ON_ERROR] = "on_error",
    [CACHE_ROLE] = "role",
    [CACHE_AUTHORIZATION] = "Authorization",
    [CACHE_USER] = "REMOTE_USER",
    [CACHE_COOKIE] = "Cookie",
    [CACHE_LONG_KEY] = "key too long",
    [CACHE_HEAD] = "HEAD",
    [CACHE_STATUS] = "status",
    [CACHE_SET_COOKIE] = "Set-Cookie",
    [CACHE_NO_STORE] = "Cache-Control: no-store",
    [CACHE_PRIVATE] = "Cache-Control: private",
    [CACHE_NO_CACHE] = "Cache-Control: no-cache",
    [CACHE_VARY] = "Vary: *",
    [CACHE_NO_LIFETIME] = "no lifetime",
    [CACHE_OUTDATED] = "lifetime over",
    [CACHE_TOO_LARGE] = "too large",
    [CACHE_OTHER_TAG] = "another ETag",
    [CACHE_BROKEN_OFF] = "broken off",
    [CACHE_NO_ROOM] = "no room",
    [CACHE_NOT_WRITTEN] = "not written",
    [CACHE_PURGED] = "purged meanwhile",
};

void request_init(struct request *r, void *memory, size_t size)
{
    memset(r, 0, sizeof *r);
    arena_init(&r->arena, memory, size);
    r->host_port = -1;
    r->version = HTTP_1_0;
    r->body_length = BODY_NONE;
    r->body.fd = -1;
    r->decision.body_limit = UINT64_MAX;
    r->came_as = r->role = FCGI_RESPONDER;
    r->response.content_length = -1;
}

struct str http_version_text(enum http_version version)
{
    switch (version) {
    case HTTP_1_0:
        return STR("HTTP/1.0");
    case HTTP_1_1:
        return STR("HTTP/1.1");
    case HTTP_2_0:
        return STR("HTTP/2.0");
    case HTTP_3_0:
        break;
    }
    return STR("HTTP/3.0");
}

void request_fini(struct request *r)
{
    if (r->file != NULL)
        file_source_drop(r->file);
    spool_fini(&r->body);
    if (r->data != NULL)
        spool_fini(&r->data->spool);
    arena_fini(&r->arena);
}

/* Sorted by length, so that only names of the same length are compared. */
static const struct known {
    uint8_t id;
    const char *name; /* lower case */
} known_headers[] = {
    {HEADER_TE, "te"},
    {HEADER_DATE, "date"},
    {HEADER_ETAG, "etag"},
    {HEADER_HOST, "host"},
    {HEADER_PROXY, "proxy"},
    {HEADER_RANGE, "range"},
    {HEADER_COOKIE, "cookie"},
    {HEADER_EXPECT, "expect"},
    {HEADER_SERVER, "server"},
    {HEADER_STATUS, "status"},
    {HEADER_REFERER, "referer"},
    {HEADER_TRAILER, "trailer"},
    {HEADER_UPGRADE, "upgrade"},
    {HEADER_IF_MATCH, "if-match"},
    {HEADER_IF_RANGE, "if-range"},
    {HEADER_LOCATION, "location"},
    {HEADER_CONNECTION, "connection"},
    {HEADER_KEEP_ALIVE, "keep-alive"},
    {HEADER_USER_AGENT, "user-agent"},
    {HEADER_CONTENT_TYPE, "content-type"},
    {HEADER_AUTHORIZATION, "authorization"},
    {HEADER_IF_NONE_MATCH, "if-none-match"},
    {HEADER_LAST_MODIFIED, "last-modified"},
    {HEADER_CONTENT_LENGTH, "content-length"},
    {HEADER_IF_MODIFIED_SINCE, "if-modified-since"},
    {HEADER_TRANSFER_ENCODING, "transfer-encoding"},
    {HEADER_IF_UNMODIFIED_SINCE, "if-unmodified-since"},
};

/* Where the names of each length begin in known_headers. */
static const uint8_t first_of_length[] = {0,  0,  0,  1,  1,  4,  6,  10, 13, 16, 16,
                                          19, 19, 20, 23, 24, 24, 24, 26, 26, 27};

enum header_id header_id(struct str name)
{
    size_t lengths = sizeof first_of_length - 1;
    if (name.n >= 6 && str_ieq((struct str){name.p, 6}, STR("proxy-")))
        return HEADER_PROXY;
    if (name.n >= lengths)
        return HEADER_OTHER;
    for (unsigned i = first_of_length[name.n]; i < first_of_length[name.n + 1]; i++)
        if (str_ieq(name, (struct str){known_headers[i].name, name.n}))
            return known_headers[i].id;
    return HEADER_OTHER;
}

struct str header_name(enum header_id id)
{
    static struct str names[HEADER_USER_AGENT + 1]; /* by id, of which that is the last */
    if (names[HEADER_TE].p == NULL)
        for (unsigned i = 0; i < sizeof known_headers / sizeof *known_headers; i++)
            names[known_headers[i].id] = str_of(known_headers[i].name);
    return id != HEADER_PROXY ? names[id] : STR_NONE;
}

bool header_is_hop(enum header_id id)
{
    switch (id) {
    case HEADER_CONNECTION:
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY:
    case HEADER_TE:
    case HEADER_TRAILER:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE:
        return true;
    default:
        return false;
    }
}

/* A list with room for more, in the arena: twice as long each time. */
static void *request_grow(struct arena *a, void *list, unsigned count, unsigned *room, size_t size)
{
    *room = *room > 0 ? *room * 2 : 16;
    void *bigger = arena_alloc(a, *room * size);
    if (count > 0)
        memcpy(bigger, list, count * size);
    return bigger;
}

struct header *headers_add_known(struct arena *a, struct headers *h, enum header_id id,
                                 struct str name, struct str value)
{
    if (h->count == h->room)
        h->list = request_grow(a, h->list, h->count, &h->room, sizeof *h->list);
    struct header *header = &h->list[h->count++];
    *header = (struct header){.name = name, .value = value, .id = (uint8_t)id};
    return header;
}

struct header *headers_add(struct arena *a, struct headers *h, struct str name, struct str value)
{
    return headers_add_known(a, h, header_id(name), name, value);
}

struct header *headers_find(const struct headers *h, enum header_id id)
{
    for (unsigned i = 0; i < h->count; i++)
        if (h->list[i].id == id)
            return &h->list[i];
    return NULL;
}

struct str headers_value(const struct headers *h, enum header_id id)
{
    struct header *header = headers_find(h, id);
    return header != NULL ? header->value : (struct str){"", 0};
}

struct header *headers_get(const struct headers *h, struct str name)
{
    for (unsigned i = 0; i < h->count; i++)
        if (str_ieq(h->list[i].name, name))
            return &h->list[i];
    return NULL;
}

void headers_remove(struct headers *h, struct str name)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < h->count; i++)
        if (!str_ieq(h->list[i].name, name))
            h->list[kept++] = h->list[i];
    h->count = kept;
}

void headers_merge(struct arena *a, struct headers *to, const struct headers *from)
{
    for (unsigned i = 0; i < from->count; i++)
        if (!str_ieq(from->list[i].name, STR("Set-Cookie")) &&
            !str_ieq(from->list[i].name, STR("Vary")))
            headers_remove(to, from->list[i].name);
    for (unsigned i = 0; i < from->count; i++)
        headers_add(a, to, from->list[i].name, from->list[i].value);
}

/* True for headers about the content that they came with, and how long that may be kept (RFC 9110
 * §8, RFC 9111). */
static bool request_is_of_content(struct str name)
{
    static const char *const names[] = {
        "Content-Type",
        "Content-Encoding",
        "Content-Language",
        "Content-Disposition",
        "Content-Location",
        "Content-Range",
        "Content-MD5",
        "Content-Digest",
        "Repr-Digest",
        "Digest",
        "Cache-Control",
        "Expires",
        "Pragma",
        "Age",
        "ETag",
        "Last-Modified",
        "Accept-Ranges",
        "Location",
        "Set-Cookie",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return false;
}

void headers_fill(struct arena *a, struct headers *to, const struct headers *from)
{
    unsigned own = to->count;
    for (unsigned i = 0; i < from->count; i++) {
        const struct header *header = &from->list[i];
        struct headers before = {.list = to->list, .count = own};
        if (headers_get(&before, header->name) == NULL && !request_is_of_content(header->name))
            headers_add(a, to, header->name, header->value);
    }
}

struct str headers_joined(struct arena *a, const struct headers *h, struct str name)
{
    struct header *first = headers_get(h, name);
    size_t size = 0;
    if (first == NULL)
        return STR_NONE;
    if (first->joined.p != NULL)
        return first->joined;
    for (unsigned i = 0; i < h->count; i++)
        if (str_ieq(h->list[i].name, name))
            size += h->list[i].value.n + 2;
    if (size == first->value.n + 2)
        return first->value;
    char *text = arena_bytes(a, size), *at = text;
    for (unsigned i = 0; i < h->count; i++) {
        const struct header *header = &h->list[i];
        if (!str_ieq(header->name, name))
            continue;
        if (header != first) {
            *at++ = header->id == HEADER_COOKIE ? ';' : ',';
            *at++ = ' ';
        }
        if (header->value.n > 0)
            memcpy(at, header->value.p, header->value.n);
        at += header->value.n;
    }
    struct str joined = {text, (size_t)(at - text)};
    if (first->repeated) /* set for a request, whose headers don't change */
        first->joined = joined;
    return joined;
}

bool param_is_setting(struct str name)
{
    return str_eq(name, STR("PHP_VALUE")) || str_eq(name, STR("PHP_ADMIN_VALUE"));
}

struct param *params_find(const struct params *p, struct str name)
{
    if (name.n == 0)
        return NULL;
    char last = name.p[name.n - 1]; /* names differ in the last byte more often than in the first */
    for (struct param *at = p->list, *end = at + p->count; at < end; at++)
        if (at->name.n == name.n && at->name.p[name.n - 1] == last &&
            memcmp(at->name.p, name.p, name.n) == 0)
            return at;
    return NULL;
}

void params_grow(struct arena *a, struct params *p)
{
    p->list = request_grow(a, p->list, p->count, &p->room, sizeof *p->list);
}

void params_set(struct arena *a, struct params *p, struct str name, struct str value)
{
    struct param *param = params_find(p, name);
    if (param != NULL)
        param->value = value;
    else
        params_add(a, p, name, value);
}

void params_remove(struct params *p, struct str name)
{
    struct param *param = params_find(p, name);
    if (param == NULL)
        return;
    size_t behind = (size_t)(p->list + p->count - (param + 1));
    memmove(param, param + 1, behind * sizeof *param);
    p->count--;
}

unsigned request_server_port(const struct request *r)
{
    if (r->local.port > 0)
        return r->local.port;
    if (r->host_port > 0)
        return (unsigned)r->host_port;
    return r->https ? 443 : 80;
}

const char *status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {207, "Multi-Status"},
        {208, "Already Reported"},
        {226, "IM Used"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {305, "Use Proxy"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {418, "I'm a teapot"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {423, "Locked"},
        {424, "Failed Dependency"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {506, "Variant Also Negotiates"},
        {507, "Insufficient Storage"},
        {508, "Loop Detected"},
        {511, "Network Authentication Required"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts && texts[i].status <= status; i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "";
}

#define STEP_MOST 2048 /* bytes of a step's text */

void request_note_step(struct request_trace *trace, const char *fmt, ...)
{
    char text[STEP_MOST];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0)
        trace->note(trace,
                    (struct str){text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1});
}

void request_id_text(uint64_t id, char out[17])
{
    /* Eight digits at a time: a nibble to each byte, the most significant first, then its letter.
     */
    for (int half = 0; half < 2; half++) {
        uint64_t x = __builtin_bswap32((uint32_t)(id >> (32 - 32 * half)));
        x = (x | x << 16) & 0x0000ffff0000ffffu;
        x = (x | x << 8) & 0x00ff00ff00ff00ffu;
        x = (x >> 4 & 0x000f000f000f000fu) | (x & 0x000f000f000f000fu) << 8;
        uint64_t letters = (x + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
        x += 0x3030303030303030u + letters * ('a' - '0' - 10);
        x = htole64(x);
        memcpy(out + (ptrdiff_t)8 * half, &x, sizeof x);
    }
    out[16] = '\0';
}

struct str request_shown_id(const struct request *req, char hex[17])
{
    if (req->given_id.n > 0)
        return req->given_id;
    request_id_text(req->id, hex);
    return (struct str){hex, 16};
}

static bool request_is_id(struct str text)
{
    if (text.n == 0 || text.n > REQUEST_ID_MOST)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool plain = (c >= '0' && c <= '9') || (char_lower(c) >= 'a' && char_lower(c) <= 'z');
        if (!plain && (c == '\0' || strchr("-._:=/+@", c) == NULL))
            return false;
    }
    return true;
}

void request_take_id(struct request *req)
{
    char hex[17];
    const struct header *sent = headers_get(&req->headers, STR("X-Request-Id"));
    if (sent != NULL && !sent->repeated && req->from_trusted && request_is_id(sent->value))
        req->given_id = sent->value;
    struct str id = arena_copy(&req->arena, request_shown_id(req, hex));
    headers_remove(&req->headers, STR("X-Request-Id"));
    headers_add(&req->arena, &req->headers, STR("X-Request-Id"), id);
    if (req->arrived.count > 0)
        params_set(&req->arena, &req->arrived, STR("HTTP_X_REQUEST_ID"), id);
}

/* cgi_in - see cgi_in.h. */
#include "fastcgi/cgi_in.h"

#include "fastcgi/record.h"

#define EXTRA_LINES 4 /* copies of the request line in params of other names */

size_t cgi_in_limit(const struct limits *limits)
{
    return limits->header + EXTRA_LINES * limits->request_line;
}

static struct refusal cgi_in_refuse(int status, const char *reason)
{
    return (struct refusal){status, reason};
}

/* The value of a param; n = 0: it is not there, or empty, which says the same. */
static struct str cgi_in_arrived(const struct request *req, struct str name)
{
    const struct param *param = params_find(&req->arrived, name);
    return param != NULL ? param->value : STR("");
}

/* --- the params --- */

static struct refusal cgi_in_read_pairs(struct request *req, struct str pairs)
{
    struct str name, value;
    while (pairs.n > 0) {
        if (!fcgi_pair_next(&pairs, &name, &value))
            return cgi_in_refuse(400, "a name-value pair that is cut short");
        if (req->arrived.count >= CGI_IN_PARAMS)
            return cgi_in_refuse(431, "more than 1,000 params");
        /* The slices point into the pairs; even an empty one has an address. */
        params_add(&req->arena, &req->arrived, name, value);
    }
    return cgi_in_refuse(0, NULL);
}

/* --- client, listener and scheme --- */

static uint16_t cgi_in_port_of(struct str text)
{
    uint64_t port;
    return str_to_u64(text, &port) && port <= UINT16_MAX ? (uint16_t)port : 0;
}

/* Reads an address that the web server sends. nginx sends "unix:" for a client on a unix socket,
 * which has no address. */
static void cgi_in_read_peer(struct peer *peer, struct str ip, struct str port)
{
    if (!peer_parse(peer, ip))
        *peer = (struct peer){.family = AF_UNIX};
    peer->port = cgi_in_port_of(port);
}

static bool cgi_in_is_https(const struct request *req)
{
    struct str https = cgi_in_arrived(req, STR("HTTPS"));
    if (https.n > 0)
        return !str_ieq(https, STR("off")) && !str_eq(https, STR("0"));
    return str_ieq(cgi_in_arrived(req, STR("REQUEST_SCHEME")), STR("https"));
}

static void cgi_in_read_connection(struct request *req)
{
    cgi_in_read_peer(&req->client, cgi_in_arrived(req, STR("REMOTE_ADDR")),
                     cgi_in_arrived(req, STR("REMOTE_PORT")));
    cgi_in_read_peer(&req->local, cgi_in_arrived(req, STR("SERVER_ADDR")),
                     cgi_in_arrived(req, STR("SERVER_PORT")));
    req->https = cgi_in_is_https(req);
    req->user = cgi_in_arrived(req, STR("REMOTE_USER"));
}

/* --- headers --- */

/* "X_FOO_BAR" -> "X-Foo-Bar" */
static struct str cgi_in_header_name(struct arena *a, struct str name)
{
    char *p = arena_bytes(a, name.n);
    bool first = true;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        p[i] = c == '_' ? '-' : first ? c : char_lower(c);
        first = c == '_';
    }
    return (struct str){p, name.n};
}

static struct refusal cgi_in_add_header(struct request *req, const struct limits *limits,
                                        struct str name, struct str value)
{
    struct header *header;
    return check_header(req, limits, name, value, &header);
}

static struct refusal cgi_in_read_headers(struct request *req, const struct limits *limits)
{
    static const struct str prefix = {"HTTP_", 5};
    struct refusal bad = {0, NULL};
    for (unsigned i = 0; i < req->arrived.count && bad.reason == NULL; i++) {
        struct param param = req->arrived.list[i];
        /* the headers about the body come as CONTENT_TYPE and CONTENT_LENGTH */
        if (param.name.n > prefix.n && str_starts(param.name, prefix) &&
            !str_eq(param.name, STR("HTTP_CONTENT_LENGTH")) &&
            !str_eq(param.name, STR("HTTP_CONTENT_TYPE")))
            bad = cgi_in_add_header(req, limits,
                                    cgi_in_header_name(&req->arena, str_skip(param.name, prefix.n)),
                                    param.value);
    }
    struct str type = cgi_in_arrived(req, STR("CONTENT_TYPE"));
    struct str length = cgi_in_arrived(req, STR("CONTENT_LENGTH"));
    if (str_eq(length, STR("-1"))) /* Caddy's value for an unknown length */
        length = STR("");
    if (bad.reason == NULL && type.n > 0)
        bad = cgi_in_add_header(req, limits, STR("Content-Type"), type);
    if (bad.reason == NULL && length.n > 0)
        bad = cgi_in_add_header(req, limits, STR("Content-Length"), length);
    return bad;
}

/* --- the target --- */

/* Makes the target from SCRIPT_NAME, PATH_INFO and QUERY_STRING, for a web server that sends no
 * REQUEST_URI, which RFC 3875 does not have. */
static struct str cgi_in_make_target(struct request *req)
{
    struct arena *a = &req->arena;
    struct str query = cgi_in_arrived(req, STR("QUERY_STRING"));
    struct str path = arena_append(a, arena_copy(a, cgi_in_arrived(req, STR("SCRIPT_NAME"))),
                                   cgi_in_arrived(req, STR("PATH_INFO")));
    path = uri_escape_path(path, a);
    if (path.n == 0)
        path = STR("/");
    return query.n > 0 ? arena_printf(a, "%.*s?%.*s", STR_FMT(path), STR_FMT(query)) : path;
}

static struct refusal cgi_in_read_target(struct request *req, const struct limits *limits)
{
    struct str uri = cgi_in_arrived(req, STR("REQUEST_URI"));
    enum http_version version = req->version;
    req->target = uri.n > 0 ? uri : cgi_in_make_target(req);
    if (req->target.n > limits->request_line)
        return cgi_in_refuse(414, "REQUEST_URI is longer than limits.request_line");
    req->version = HTTP_1_0; /* so that no Host is required: the web server has checked that */
    struct refusal bad = check_target(req);
    req->version = version;
    if (bad.reason == NULL && req->host.n == 0)
        uri_host(cgi_in_arrived(req, STR("SERVER_NAME")), &req->arena, &req->host, &req->host_port);
    return bad;
}

/* The version that the web server's client speaks, as nginx, Apache, Caddy and others write it. */
static enum http_version cgi_in_version(struct str protocol)
{
    static const struct {
        const char *text;
        enum http_version version;
    } versions[] = {{"HTTP/1.0", HTTP_1_0},
                    {"HTTP/2.0", HTTP_2_0},
                    {"HTTP/2", HTTP_2_0},
                    {"HTTP/3.0", HTTP_3_0},
                    {"HTTP/3", HTTP_3_0}};
    for (unsigned i = 0; i < sizeof versions / sizeof *versions; i++)
        if (str_eq(protocol, str_of(versions[i].text)))
            return versions[i].version;
    return HTTP_1_1;
}

struct refusal cgi_in_request(struct request *req, const struct limits *limits, struct str pairs)
{
    struct refusal bad = cgi_in_read_pairs(req, pairs);
    if (bad.reason != NULL)
        return bad;
    struct str method = cgi_in_arrived(req, STR("REQUEST_METHOD"));
    if (method.n == 0)
        return cgi_in_refuse(400, "no param REQUEST_METHOD");
    cgi_in_read_connection(req);
    req->version = cgi_in_version(cgi_in_arrived(req, STR("SERVER_PROTOCOL")));
    bad = check_method(req, method);
    if (bad.reason == NULL)
        bad = cgi_in_read_headers(req, limits);
    if (bad.reason == NULL)
        bad = cgi_in_read_target(req, limits);
    return bad;
}

/* --- the head of the response --- */

static char *cgi_in_put(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *cgi_in_put_field(char *at, struct str name, struct str value)
{
    at = cgi_in_put(at, name);
    at = cgi_in_put(at, STR(": "));
    at = cgi_in_put(at, value);
    return cgi_in_put(at, STR("\r\n"));
}

/* Makes the head without Date, Server and framing, which the web server adds. */
struct str cgi_in_head(struct request *req, int64_t length)
{
    const struct response *res = &req->response;
    const struct headers *headers = &res->headers;
    struct str phrase = res->phrase.n > 0 ? res->phrase : str_of(status_text(res->status));
    size_t size = 100 + phrase.n;
    for (unsigned i = 0; i < headers->count; i++)
        size += headers->list[i].name.n + headers->list[i].value.n + 4;
    char *start = arena_bytes(&req->arena, size), *at = start;

    at = cgi_in_put(at, STR("Status: "));
    at += str_from_u64((uint64_t)res->status, at);
    *at++ = ' ';
    at = cgi_in_put(at, phrase);
    at = cgi_in_put(at, STR("\r\n"));
    for (unsigned i = 0; i < headers->count; i++) {
        const struct header *header = &headers->list[i];
        if (!header->hop && header->id != HEADER_CONTENT_LENGTH && header->id != HEADER_STATUS)
            at = cgi_in_put_field(at, header->name, header->value);
    }
    if (length >= 0) {
        at = cgi_in_put(at, STR("Content-Length: "));
        at += str_from_u64((uint64_t)length, at);
        at = cgi_in_put(at, STR("\r\n"));
    }
    at = cgi_in_put(at, STR("\r\n"));
    return (struct str){start, (size_t)(at - start)};
}

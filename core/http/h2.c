/* h2 - see h2.h. */
#include "http/h2.h"

#define LINE_EXTRA    4  /* ": " and CRLF of a header's line */
#define REQUEST_EXTRA 12 /* the blanks, the version and CRLF of a request line */

static const struct refusal nothing = {0, NULL};

static struct refusal h2_refuse(int status, const char *reason)
{
    return (struct refusal){status, reason};
}

void h2_head_init(struct h2_head *h, struct request *req, const struct limits *limits)
{
    *h = (struct h2_head){.req = req, .limits = limits, .priority = {3, true}};
    req->version = HTTP_2_0;
}

/* --- priority --- */

struct h2_priority h2_priority_parse(struct str value)
{
    struct h2_priority priority = {3, false};
    struct str rest = value;
    while (rest.p != NULL) {
        struct str member = str_trim(str_cut(&rest, ','));
        if (member.n == 3 && str_starts(member, STR("u=")) && member.p[2] >= '0' &&
            member.p[2] <= '7')
            priority.urgency = (uint8_t)(member.p[2] - '0');
        else if (str_eq(member, STR("i")) || str_eq(member, STR("i=?1")))
            priority.incremental = true;
        else if (str_eq(member, STR("i=?0")))
            priority.incremental = false;
    }
    return priority;
}

/* --- pseudo headers (RFC 9113 section 8.3.1) --- */

static struct refusal h2_method(struct h2_head *h, struct str value)
{
    if (h->method)
        return h2_refuse(400, ":method twice");
    h->method = true;
    return check_method(h->req, arena_copy(&h->req->arena, value));
}

static struct refusal h2_scheme(struct h2_head *h, struct str value)
{
    if (h->scheme)
        return h2_refuse(400, ":scheme twice");
    h->scheme = true;
    if (!str_ieq(value, STR("http")) && !str_ieq(value, STR("https")))
        return h2_refuse(400, ":scheme is neither http nor https");
    return nothing;
}

/* An absolute target, which HTTP/1 allows, would name another host beside :authority. */
static struct refusal h2_path(struct h2_head *h, struct str value)
{
    if (h->path)
        return h2_refuse(400, ":path twice");
    h->path = true;
    if (value.n == 0 || (value.p[0] != '/' && !str_eq(value, STR("*"))))
        return h2_refuse(400, ":path does not begin with a slash");
    if (h->req->method.n + value.n + REQUEST_EXTRA > h->limits->request_line)
        return h2_refuse(414, "the target is longer than limits.request_line");
    h->req->target = arena_copy(&h->req->arena, value);
    return nothing;
}

static struct refusal h2_authority(struct h2_head *h, struct str value)
{
    if (h->authority.p != NULL)
        return h2_refuse(400, ":authority twice");
    h->authority = arena_copy(&h->req->arena, value);
    return nothing;
}

static struct refusal h2_pseudo(struct h2_head *h, struct str name, struct str value)
{
    if (h->regular)
        return h2_refuse(400, "a pseudo header behind other headers");
    if (str_eq(name, STR(":method")))
        return h2_method(h, value);
    if (str_eq(name, STR(":path")))
        return h2_path(h, value);
    if (str_eq(name, STR(":authority")))
        return h2_authority(h, value);
    if (str_eq(name, STR(":scheme")))
        return h2_scheme(h, value);
    return h2_refuse(400, "an unknown pseudo header");
}

/* --- headers --- */

/* What a field of a header block and one of the trailers have in common (RFC 9113 section 8.2.1).
 * Characters are checked by check_header. */
static struct refusal h2_check_form(struct str name, struct str value)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] >= 'A' && name.p[i] <= 'Z')
            return h2_refuse(400, "a header name with an upper-case letter");
    if (value.n > 0 && str_trim(value).n != value.n)
        return h2_refuse(400, "a blank at an end of a header's value");
    return nothing;
}

/* Headers about an HTTP/1 connection (RFC 9113 section 8.2.2). */
static struct refusal h2_check_connection(enum header_id id, struct str name, struct str value)
{
    switch (id) {
    case HEADER_CONNECTION:
    case HEADER_KEEP_ALIVE:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE:
        return h2_refuse(400, "a header about the connection, which HTTP/2 does not have");
    case HEADER_PROXY:
        if (str_ieq(name, STR("Proxy-Connection")))
            return h2_refuse(400, "a header about the connection, which HTTP/2 does not have");
        break;
    case HEADER_TE:
        if (!str_ieq(value, STR("trailers")))
            return h2_refuse(400, "TE is not trailers");
        break;
    default:
        break;
    }
    return nothing;
}

/* Adds a header whose strings live as long as the request. */
static struct refusal h2_add(struct h2_head *h, struct str name, struct str value)
{
    struct header *header;
    struct refusal bad = check_header(h->req, h->limits, name, value, &header);
    if (bad.reason == NULL && header->id == HEADER_EXPECT)
        h->expects_continue = true;
    return bad;
}

/* :authority is Host for everything behind this, and stands in its place. */
static struct refusal h2_begin_regular(struct h2_head *h)
{
    if (h->regular)
        return nothing;
    h->regular = true;
    return h->authority.p != NULL ? h2_add(h, STR("host"), h->authority) : nothing;
}

/* Joins a Cookie header with the earlier ones (RFC 9113 section 8.2.3): clients send a field for
 * each cookie, which must not count as so many headers. */
static struct refusal h2_cookie(struct h2_head *h, struct str value)
{
    struct arena *a = &h->req->arena;
    struct header *header;
    if (h->cookie.p == NULL) {
        h->cookie = arena_copy(a, value);
        return h2_add(h, STR("cookie"), h->cookie);
    }
    if (!str_is_field_value(value))
        return h2_refuse(400, "a control byte in a header");
    h->cookie = arena_append(a, arena_append(a, h->cookie, STR("; ")), value);
    header = headers_find(&h->req->headers, HEADER_COOKIE);
    header->value = h->cookie;
    return nothing;
}

static struct refusal h2_regular(struct h2_head *h, struct str name, struct str value)
{
    struct arena *a = &h->req->arena;
    enum header_id id = header_id(name);
    struct refusal bad = h2_begin_regular(h);
    if (bad.reason == NULL)
        bad = h2_check_form(name, value);
    if (bad.reason == NULL)
        bad = h2_check_connection(id, name, value);
    if (bad.reason != NULL)
        return bad;
    if (id == HEADER_COOKIE)
        return h2_cookie(h, value);
    if (id == HEADER_HOST && h->authority.p != NULL)
        return str_ieq(value, h->authority) ? nothing
                                            : h2_refuse(400, "Host is not what :authority says");
    if (str_eq(name, STR("priority")))
        h->priority = h2_priority_parse(value);
    struct str known = header_name(id); /* lasts, and is in lower case as the name is */
    return h2_add(h, known.p != NULL ? known : arena_copy(a, name), arena_copy(a, value));
}

void h2_head_field(struct h2_head *h, struct str name, struct str value)
{
    if (h->bad.reason != NULL)
        return;
    h->size += name.n + value.n + LINE_EXTRA;
    h->req->head_in = h->size;
    if (h->size > h->limits->header)
        h->bad = h2_refuse(431, "the head is larger than limits.header");
    else if (name.n > 0 && name.p[0] == ':')
        h->bad = h2_pseudo(h, name, value);
    else
        h->bad = h2_regular(h, name, value);
}

struct refusal h2_head_end(struct h2_head *h, bool bodiless)
{
    struct request *req = h->req;
    if (h->bad.reason == NULL)
        h->bad = h2_begin_regular(h);
    if (h->bad.reason != NULL)
        return h->bad;
    if (!h->method || !h->scheme || !h->path)
        return h2_refuse(400, "a request without :method, :scheme or :path");
    if (headers_find(&req->headers, HEADER_HOST) == NULL)
        return h2_refuse(400, "a request without :authority and Host");
    struct refusal bad = check_target(req);
    if (bad.reason != NULL)
        return bad;
    if (bodiless && req->body_length > 0)
        return h2_refuse(400, "a Content-Length without a body");
    if (!bodiless && req->body_length == BODY_NONE)
        req->body_length = BODY_UNKNOWN;
    return nothing;
}

struct refusal h2_trailer_field(struct h2_head *h, struct str name, struct str value)
{
    h->trailer_size += name.n + value.n + LINE_EXTRA;
    if (h->trailer_size > h->limits->header || ++h->trailers > h->limits->headers)
        return h2_refuse(431, "trailers larger than limits.header or limits.headers");
    if (!str_is_token(name))
        return h2_refuse(400, "a trailer name with a character that is not allowed");
    if (!str_is_field_value(value))
        return h2_refuse(400, "a control byte in a trailer");
    return h2_check_form(name, value);
}

/* check - see check.h. */
#include "http/check.h"

static struct refusal check_refuse(int status, const char *reason)
{
    return (struct refusal){status, reason};
}

static const struct refusal nothing = {0, NULL};

/* --- the method --- */

static enum method check_method_of(struct str name)
{
    static const struct {
        const char *name;
        enum method id;
    } known[] = {{"GET", METHOD_GET},
                 {"HEAD", METHOD_HEAD},
                 {"OPTIONS", METHOD_OPTIONS},
                 {"PUT", METHOD_PUT},
                 {"DELETE", METHOD_DELETE}};
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
        if (str_eq(name, str_of(known[i].name)))
            return known[i].id;
    return METHOD_OTHER;
}

struct refusal check_method(struct request *req, struct str method)
{
    req->method = method;
    if (!str_is_token(method))
        return check_refuse(400, "a method with a character that is not allowed");
    if (str_eq(method, STR("CONNECT")))
        return check_refuse(501, "CONNECT");
    if (str_eq(method, STR("TRACE")))
        return check_refuse(405, "TRACE");
    req->method_id = check_method_of(method);
    return nothing;
}

/* --- headers --- */

static struct refusal check_content_length(struct request *req, struct str value, bool again)
{
    uint64_t length;
    if (again)
        return check_refuse(400, "Content-Length twice");
    if (!str_to_u64(value, &length) || length > INT64_MAX)
        return check_refuse(400, "Content-Length is not a number");
    req->body_length = (int64_t)length;
    return nothing;
}

static struct refusal check_host(struct request *req, struct str value, bool again)
{
    if (again)
        return check_refuse(400, "Host twice");
    if (value.n > 0 && !uri_host(value, &req->arena, &req->host, &req->host_port))
        return check_refuse(400, "Host is not a valid host");
    return nothing;
}

enum name_form { NAME_BAD, NAME_DROPPED, NAME_ODD, NAME_PARAM };

/* A bit for each letter, digit and '-', from 0x00 on. */
static const uint32_t param_bits[8] = {0, 0x03ff2000, 0x07fffffe, 0x07fffffe, 0, 0, 0, 0};

/* A name with other characters than letters, digits and '-' could become the same param as another
 * name (contract section 5). Applications get such a header only if limits.header_names has its
 * name. */
static enum name_form check_name_form_of(const struct limits *limits, struct str name)
{
    size_t i = 0;
    while (i < name.n && param_bits[(uint8_t)name.p[i] >> 5] >> (name.p[i] & 31) & 1)
        i++;
    if (i == name.n && i > 0)
        return NAME_PARAM;
    if (!str_is_token(name))
        return NAME_BAD;
    for (unsigned k = 0; k < limits->header_name_count; k++)
        if (str_ieq(name, limits->header_names[k]))
            return NAME_ODD;
    return NAME_DROPPED;
}

/* Checks the value of a header with a special meaning; `again`: a header of that name has come
 * already. */
static struct refusal check_known(struct request *req, const struct header *header, bool again)
{
    struct str value = header->value;
    switch (header->id) {
    case HEADER_CONTENT_LENGTH:
        return check_content_length(req, value, again);
    case HEADER_HOST:
        return check_host(req, value, again);
    case HEADER_CONTENT_TYPE:
    case HEADER_AUTHORIZATION:
        if (again)
            return check_refuse(400, "Content-Type or Authorization twice");
        break;
    case HEADER_EXPECT:
        if (!str_ieq(value, STR("100-continue")))
            return check_refuse(417, "an expectation other than 100-continue");
        break;
    default:
        break;
    }
    return nothing;
}

struct refusal check_header(struct request *req, const struct limits *limits, struct str name,
                            struct str value, struct header **added)
{
    value = str_trim(value);
    /* A header with an id of its own is found by the id, which is faster, and its name is letters
     * and '-'. */
    enum header_id id = header_id(name);
    bool known = id != HEADER_OTHER && id != HEADER_PROXY;
    enum name_form form = known ? NAME_PARAM : check_name_form_of(limits, name);
    if (form == NAME_BAD)
        return check_refuse(400, "a header name with a character that is not allowed");
    if (!str_is_field_value(value))
        return check_refuse(400, "a control byte in a header");
    if (req->headers.count >= limits->headers)
        return check_refuse(431, "more headers than limits.headers");

    struct header *first =
        known ? headers_find(&req->headers, id) : headers_get(&req->headers, name);
    if (first != NULL)
        first->repeated = true;
    struct header *header = headers_add_known(&req->arena, &req->headers, id, name, value);
    struct refusal bad = check_known(req, header, first != NULL);
    if (bad.reason != NULL) {
        req->headers.count--; /* so that hooks don't see an invalid host */
        return bad;
    }
    header->again = first != NULL;
    header->hop = header_is_hop(header->id);
    header->odd = form != NAME_PARAM;
    header->dropped = form == NAME_DROPPED;
    req->dropped += header->dropped;
    *added = header;
    return nothing;
}

/* --- target and host --- */

/* The host of an absolute target replaces Host, for hooks and applications too (RFC 9112 §3.2.2).
 * The scheme of the target does not change the connection's. */
static struct refusal check_authority(struct request *req)
{
    struct header *host = headers_find(&req->headers, HEADER_HOST);
    if (!uri_host(req->uri.authority, &req->arena, &req->host, &req->host_port))
        return check_refuse(400, "the host of the target is not valid");
    if (host == NULL && req->version >= HTTP_1_1)
        return check_refuse(400, "no Host in an HTTP/1.1 request");
    if (host == NULL)
        host = headers_add(&req->arena, &req->headers, STR("Host"), STR(""));
    host->value = req->uri.authority;
    return nothing;
}

struct refusal check_target(struct request *req)
{
    const char *err = uri_parse(&req->uri, req->target, &req->arena);
    if (err != NULL)
        return check_refuse(400, err);
    if (req->uri.asterisk && req->method_id != METHOD_OPTIONS)
        return check_refuse(400, "the target * with a method other than OPTIONS");
    if (req->uri.authority.n > 0)
        return check_authority(req);
    if (req->version >= HTTP_1_1 && headers_find(&req->headers, HEADER_HOST) == NULL)
        return check_refuse(400, "no Host in an HTTP/1.1 request");
    return nothing;
}

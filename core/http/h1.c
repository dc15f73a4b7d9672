/* h1 - see h1.h. */
#include "http/h1.h"

#include "http/check.h"
#include "http/chunked.h"

#include <http_parser.h>

#define CONNECTION_MAX 100 /* names in all Connection headers of a request */

enum h1_state { IN_HEAD, IN_BODY, AT_END, FAILED };

struct h1 {
    http_parser parser;
    struct request *req;
    const struct limits *limits;
    const struct h1_body *body;
    void *ctx;
    enum h1_state state;
    int status;
    const char *reason;
    /* The bytes of the head so far, in the arena. http_parser gets the head whole, so its result
     * can't depend on how the bytes were split, and its slices need no copy. */
    struct str head;
    bool head_ended;
    char last;
    size_t line_size;
    unsigned lines;
    /* While it is parsed. */
    struct str name, value;
    bool in_value;
    bool head_parsed;
    /* The framing of the body. The parser keeps it for itself: struct request may lose its body (a
     * redirect by the application), while the client still sends it. */
    bool has_body, is_chunked;
    bool keepalive, expects_continue;
    uint64_t left; /* bytes that Content-Length still announces */
    struct chunked chunked;
    uint64_t announced; /* bytes that the chunks so far announced */
};

static int h1_fail(struct h1 *h, int status, const char *reason)
{
    if (h->state != FAILED) {
        h->state = FAILED;
        h->status = status;
        h->reason = reason;
    }
    return -1;
}

static int h1_fail_for(struct h1 *h, struct refusal refusal)
{
    return h1_fail(h, refusal.status, refusal.reason);
}

/* --- headers, and the head as a whole --- */

static int h1_parse_transfer_encoding(struct h1 *h, struct header *header)
{
    if (h->is_chunked)
        return h1_fail(h, 400, "Transfer-Encoding twice");
    if (h->parser.http_major == 1 && h->parser.http_minor == 0)
        return h1_fail(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (!str_ieq(header->value, STR("chunked")))
        return h1_fail(h, 501, "a Transfer-Encoding other than chunked");
    h->is_chunked = true;
    return 0;
}

static int h1_parse_header(struct h1 *h, struct str name, struct str value)
{
    struct header *header;
    struct refusal bad = check_header(h->req, h->limits, name, value, &header);
    if (bad.reason != NULL)
        return h1_fail_for(h, bad);
    if (header->id == HEADER_TRANSFER_ENCODING)
        return h1_parse_transfer_encoding(h, header);
    if (header->id == HEADER_EXPECT)
        h->expects_continue = h->req->version >= HTTP_1_1;
    return 0;
}

static void h1_mark_named(struct request *req, struct str name)
{
    for (unsigned i = 0; i < req->headers.count; i++) {
        struct header *header = &req->headers.list[i];
        if (str_ieq(header->name, name) && header->id != HEADER_HOST &&
            header->id != HEADER_CONTENT_LENGTH)
            header->hop = true;
    }
}

/* Headers that Connection names end here as well (RFC 9110 §7.6.1). Empty elements count, since
 * they cost as much. */
static int h1_mark_connection(struct h1 *h)
{
    struct request *req = h->req;
    unsigned count = 0;
    for (unsigned i = 0; i < req->headers.count; i++) {
        struct header *header = &req->headers.list[i];
        if (header->id != HEADER_CONNECTION)
            continue;
        struct str rest = header->value;
        while (rest.p != NULL) {
            struct str name = str_trim(str_cut(&rest, ','));
            if (++count > CONNECTION_MAX)
                return h1_fail(h, 431, "more than 100 names in Connection");
            if (str_ieq(name, STR("close")))
                h->keepalive = false;
            else if (str_ieq(name, STR("keep-alive")) && req->version == HTTP_1_0)
                h->keepalive = true;
            if (name.n > 0)
                h1_mark_named(req, name);
        }
    }
    return 0;
}

/* Checks the head as a whole, after its last header. */
static int h1_check_head(struct h1 *h)
{
    struct request *req = h->req;
    if (h->parser.http_major != 1)
        return h1_fail(h, 505, "an HTTP version other than 1.x");
    struct refusal bad = check_target(req);
    if (bad.reason != NULL)
        return h1_fail_for(h, bad);
    if (h->is_chunked && req->body_length >= 0)
        return h1_fail(h, 400, "Content-Length beside Transfer-Encoding");
    if (h->is_chunked)
        req->body_length = BODY_UNKNOWN;
    return h1_mark_connection(h);
}

/* --- http_parser's callbacks: non-zero stops it --- */

static struct h1 *h1_of(http_parser *p)
{
    return p->data;
}

/* Extends a slice. The parts of a name or value are adjacent, since the parser gets the whole head
 * at once. */
static void h1_extend(struct str *s, const char *at, size_t n)
{
    if (s->p == NULL)
        s->p = at;
    s->n = (size_t)(at - s->p) + n;
}

/* Adds the current header, if its value has come. Called when another part of the head begins. */
static int h1_end_header(struct h1 *h)
{
    struct str name = h->name, value = h->value;
    if (!h->in_value)
        return 0;
    h->in_value = false;
    h->name = h->value = STR_NONE;
    return h1_parse_header(h, name, value);
}

/* Sets the version before the first header, since the checks of headers use it. */
static void h1_note_version(struct h1 *h)
{
    bool first = h->parser.http_major <= 1 && h->parser.http_minor == 0;
    h->req->version = first ? HTTP_1_0 : HTTP_1_1;
    h->keepalive = !first;
}

static int h1_on_header_field(http_parser *p, const char *at, size_t n)
{
    struct h1 *h = h1_of(p);
    h1_note_version(h);
    if (h1_end_header(h) != 0)
        return -1;
    h1_extend(&h->name, at, n);
    return 0;
}

static int h1_on_header_value(http_parser *p, const char *at, size_t n)
{
    struct h1 *h = h1_of(p);
    h->in_value = true;
    h1_extend(&h->value, at, n);
    return 0;
}

static int h1_on_headers_complete(http_parser *p)
{
    struct h1 *h = h1_of(p);
    h1_note_version(h);
    if (h1_end_header(h) != 0 || h1_check_head(h) != 0)
        return -1;
    h->head_parsed = true;
    http_parser_pause(p, 1); /* http_parser does not parse the body */
    return 0;
}

static const http_parser_settings callbacks = {
    .on_header_field = h1_on_header_field,
    .on_header_value = h1_on_header_value,
    .on_headers_complete = h1_on_headers_complete,
};

/* --- feeding --- */

struct h1 *h1_new(struct request *req, const struct limits *limits, const struct h1_body *body,
                  void *ctx)
{
    struct h1 *h = arena_alloc(&req->arena, sizeof *h);
    memset(h, 0, sizeof *h);
    h->req = req;
    h->limits = limits;
    h->body = body;
    h->ctx = ctx;
    return h;
}

/* Checks the line of the head that ends with the LF at line[n - 1]. */
static int h1_check_line(struct h1 *h, const char *line, size_t n)
{
    /* The CR may be the last byte of an earlier read. */
    char before = n >= 2 ? line[n - 2] : h->last;
    if (h->line_size < 2 || before != '\r')
        return h1_fail(h, 400, "a bare LF in the head");
    if (n > 2 && memchr(line, '\r', n - 2) != NULL)
        return h1_fail(h, 400, "a bare CR in the head");
    return 0;
}

/* Checks the bytes of the head before http_parser gets them, for bare CR, bare LF and folded lines,
 * which http_parser lets pass, and for the limits. Returns how many of the n bytes belong to the
 * head. */
static size_t h1_scan_head(struct h1 *h, const char *data, size_t n)
{
    size_t at = 0;
    while (at < n) {
        const char *line = data + at;
        const char *lf = memchr(line, '\n', n - at);
        size_t size = lf != NULL ? (size_t)(lf - line) + 1 : n - at;
        if (h->line_size == 0 && h->lines == 0 && line[0] != '\r' &&
            !str_is_token((struct str){line, 1}))
            return h1_fail(h, 400, "the first byte is none of a request"), 0;
        if (h->line_size == 0 && h->lines > 0 && (line[0] == ' ' || line[0] == '\t'))
            return h1_fail(h, 400, "a folded header line"), 0;
        if (h->last == '\r' && h->line_size > 0 && line[0] != '\n')
            return h1_fail(h, 400, "a bare CR in the head"), 0;
        h->line_size += size;
        if (h->lines == 0 && h->line_size > h->limits->request_line)
            return h1_fail(h, 414, "the request line is longer than limits.request_line"), 0;
        if (h->head.n + at + size > h->limits->header)
            return h1_fail(h, 431, "the head is larger than limits.header"), 0;
        if (lf == NULL) {
            if (size > 1 && memchr(line, '\r', size - 1) != NULL)
                return h1_fail(h, 400, "a bare CR in the head"), 0;
            h->last = data[n - 1];
            return n;
        }
        if (h1_check_line(h, line, size) != 0)
            return 0;
        bool empty = h->line_size == 2;
        at += size;
        h->line_size = 0;
        h->last = '\n';
        if (empty && h->lines > 0) {
            h->head_ended = true;
            return at;
        }
        if (!empty) /* empty lines before the request line are skipped (RFC 9112 §2.2) */
            h->lines++;
    }
    return at;
}

/* True for " HTTP/1.1" and the like (RFC 9112 §2.3); http_parser accepts other letters, too. */
static bool h1_is_version(const char *t)
{
    return memcmp(t, " HTTP/", 6) == 0 && t[6] >= '0' && t[6] <= '9' && t[7] == '.' &&
           t[8] >= '0' && t[8] <= '9';
}

static struct str h1_trim_blanks(struct str s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = str_skip(s, 1);
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

/* Takes method and target off the head, which then begins with the blank before the version. Both
 * may have several blanks behind them (RFC 9112 §3). */
static int h1_take_request_line(struct h1 *h, struct str *head)
{
    static const char reason[] = "a request line that is not METHOD TARGET HTTP/1.1";
    const char *cr = memchr(head->p, '\r', head->n);
    if (cr == NULL || cr - head->p < 9 || !h1_is_version(cr - 9))
        return h1_fail(h, 400, "a request line that does not end in an HTTP version");
    struct str line = {head->p, (size_t)(cr - 9 - head->p)};
    struct str method = str_cut(&line, ' '), target = h1_trim_blanks(line);
    struct refusal bad = check_method(h->req, method);
    if (bad.status == 400) /* a bad request line keeps the status 400 */
        return h1_fail(h, 400, reason);
    if (bad.reason != NULL)
        return h1_fail_for(h, bad);
    if (target.n == 0 || memchr(target.p, ' ', target.n) != NULL)
        return h1_fail(h, 400, reason);
    h->req->target = target;
    *head = str_skip(*head, (size_t)(cr - 9 - head->p));
    return 0;
}

/* Replaces tabs at the end of a line: OWS may be tabs (RFC 9110 §5.6.3), of which http_parser
 * accepts none behind a Content-Length. The bytes are the arena's copy. */
static void h1_blank_tabs(struct str head)
{
    char *at = (char *)head.p, *end = at + head.n;
    while ((at = memchr(at, '\t', (size_t)(end - at))) != NULL) {
        char *stop = at;
        while (stop < end && (*stop == '\t' || *stop == ' '))
            stop++;
        if (stop < end && *stop == '\r')
            memset(at, ' ', (size_t)(stop - at));
        at = stop;
    }
}

/* A parser that waits for the rest of a request line. http_parser knows a list of methods only, and
 * goes through the bytes of a target that uri_parse checks more strictly. So it is told that every
 * request is a GET of "/". It is told once: its state, which is all in the structure, is copied for
 * each request. */
static const http_parser *h1_after_target(void)
{
    static http_parser parser;
    static bool made;
    if (!made) {
        made = true;
        http_parser_set_max_header_size(UINT32_MAX); /* limits.header is checked instead */
        http_parser_init(&parser, HTTP_REQUEST);
        http_parser_execute(&parser, &callbacks, "GET /", 5);
    }
    return &parser;
}

/* Parses the head, which is whole. */
static int h1_parse_head(struct h1 *h)
{
    struct str head = h->head;
    while (head.n > 0 && (head.p[0] == '\r' || head.p[0] == '\n'))
        head = str_skip(head, 1);
    if (h1_take_request_line(h, &head) != 0)
        return -1;
    h1_blank_tabs(head);
    h->parser = *h1_after_target();
    h->parser.data = h;
    http_parser_execute(&h->parser, &callbacks, head.p, head.n);
    if (h->state == FAILED)
        return -1;
    enum http_errno err = HTTP_PARSER_ERRNO(&h->parser);
    if (err != HPE_OK && err != HPE_PAUSED)
        return h1_fail(h, 400, http_errno_description(err));
    /* both parsers must agree on the head's end, or requests could be smuggled */
    if (!h->head_parsed)
        return h1_fail(h, 400, "a head without a clear end");
    return 0;
}

static void h1_begin_body(struct h1 *h)
{
    h->state = IN_BODY;
    h->has_body = h->is_chunked || h->req->body_length > 0;
    h->left = h->req->body_length > 0 ? (uint64_t)h->req->body_length : 0;
    chunked_init(&h->chunked, h->limits->header, h->limits->headers);
}

static enum h1_event h1_feed_head(struct h1 *h, const char *data, size_t n, size_t *used)
{
    *used = h1_scan_head(h, data, n);
    if (h->state == FAILED)
        return H1_ERROR;
    h->head = arena_append(&h->req->arena, h->head, (struct str){data, *used});
    if (!h->head_ended)
        return H1_MORE;
    if (h1_parse_head(h) != 0)
        return H1_ERROR;
    h1_begin_body(h);
    return H1_HEAD;
}

static enum h1_event h1_feed_length(struct h1 *h, const char *data, size_t n, size_t *used)
{
    *used = n < h->left ? n : (size_t)h->left;
    h->left -= *used;
    if (*used > 0)
        h->body->on_bytes(h->ctx, (struct str){data, *used});
    if (h->left > 0)
        return H1_MORE;
    h->state = AT_END;
    return H1_END;
}

/* Joins small slices between the framing of chunks: each slice costs the body's callback a call. */
struct together {
    char bytes[8192];
    size_t n;
};

static void h1_pass(struct h1 *h, struct together *t)
{
    size_t n = t->n;
    t->n = 0;
    if (n > 0)
        h->body->on_bytes(h->ctx, (struct str){t->bytes, n});
}

static void h1_add_slice(struct h1 *h, struct together *t, struct str slice)
{
    if (slice.n > sizeof t->bytes - t->n)
        h1_pass(h, t);
    if (slice.n > sizeof t->bytes / 2) {
        h1_pass(h, t);
        h->body->on_bytes(h->ctx, slice);
        return;
    }
    memcpy(t->bytes + t->n, slice.p, slice.n);
    t->n += slice.n;
}

static enum h1_event h1_feed_chunked(struct h1 *h, const char *data, size_t n, size_t *used)
{
    struct str in = {data, n}, slice;
    struct together together;
    const char *err = NULL;
    enum chunked_result result;
    together.n = 0;
    while ((result = chunked_feed(&h->chunked, &in, &slice, &err)) == CHUNKED_DATA ||
           result == CHUNKED_SIZE) {
        if (result == CHUNKED_DATA) {
            h1_add_slice(h, &together, slice);
        } else {
            h->announced += h->chunked.left;
            h->body->on_chunk(h->ctx, h->announced);
        }
    }
    h1_pass(h, &together);
    *used = n - in.n;
    if (result == CHUNKED_ERROR)
        return h1_fail(h, err == CHUNKED_TRAILERS || err == CHUNKED_EXTRA ? 431 : 400, err),
               H1_ERROR;
    if (result == CHUNKED_MORE)
        return H1_MORE;
    h->state = AT_END;
    return H1_END;
}

enum h1_event h1_feed(struct h1 *h, const char *data, size_t n, size_t *used)
{
    *used = 0;
    switch (h->state) {
    case IN_HEAD:
        return n > 0 ? h1_feed_head(h, data, n, used) : H1_MORE;
    case IN_BODY:
        return h->is_chunked ? h1_feed_chunked(h, data, n, used) : h1_feed_length(h, data, n, used);
    case AT_END:
        return H1_END;
    case FAILED:
        break;
    }
    return H1_ERROR;
}

bool h1_keepalive(const struct h1 *h)
{
    return h->keepalive;
}

bool h1_expects_continue(const struct h1 *h)
{
    return h->expects_continue;
}

void h1_continued(struct h1 *h)
{
    h->expects_continue = false;
}

bool h1_has_body(const struct h1 *h)
{
    return h->has_body;
}

uint64_t h1_left(const struct h1 *h)
{
    return h->left;
}

int h1_status(const struct h1 *h)
{
    return h->status;
}

const char *h1_reason(const struct h1 *h)
{
    return h->reason;
}

/* --- responses --- */

static char *h1_put(char *at, struct str s)
{
    if (s.n == 0)
        return at;
    memcpy(at, s.p, s.n);
    return at + s.n;
}

#define PUT(at, literal) h1_put(at, STR(literal))

static char *h1_put_u64(char *at, uint64_t value)
{
    return at + str_from_u64(value, at);
}

static char *h1_put_status_line(char *at, int status, struct str phrase)
{
    if (status == 200 && phrase.n == 0) /* the usual status line */
        return PUT(at, "HTTP/1.1 200 OK\r\n");
    at = PUT(at, "HTTP/1.1 ");
    at = h1_put_u64(at, (uint64_t)status);
    *at++ = ' ';
    at = h1_put(at, phrase.n > 0 ? phrase : str_of(status_text(status)));
    return PUT(at, "\r\n");
}

static char *h1_put_header(char *at, struct str name, struct str value)
{
    at = h1_put(at, name);
    at = PUT(at, ": ");
    at = h1_put(at, value);
    return PUT(at, "\r\n");
}

static char *h1_put_framing(char *at, const struct request *req, enum h1_framing framing,
                            uint64_t length, bool keepalive)
{
    if (framing == H1_LENGTH) {
        at = PUT(at, "Content-Length: ");
        at = h1_put_u64(at, length);
        at = PUT(at, "\r\n");
    } else if (framing == H1_CHUNKED) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    }
    if (!keepalive)
        at = PUT(at, "Connection: close\r\n");
    else if (req->version == HTTP_1_0)
        at = PUT(at, "Connection: keep-alive\r\n");
    return at;
}

struct str h1_hints(struct arena *a, const struct headers *headers)
{
    struct str line = STR("HTTP/1.1 103 Early Hints\r\n");
    size_t size = line.n + 2, links = 0;
    for (unsigned i = 0; i < headers->count; i++)
        size += headers->list[i].value.n + 8;
    char *start = arena_bytes(a, size), *at = h1_put(start, line);
    for (unsigned i = 0; i < headers->count; i++) {
        if (!str_ieq(headers->list[i].name, STR("Link")))
            continue;
        at = h1_put_header(at, STR("Link"), headers->list[i].value);
        links++;
    }
    at = PUT(at, "\r\n");
    return links > 0 ? (struct str){start, (size_t)(at - start)} : STR_NONE;
}

struct str h1_head(struct request *req, enum h1_framing framing, uint64_t length, bool keepalive,
                   struct str date)
{
    const struct headers *headers = &req->response.headers;
    struct str phrase = req->response.phrase;
    size_t size = 256 + phrase.n + date.n; /* the status line and what is added below */
    for (unsigned i = 0; i < headers->count; i++)
        size += headers->list[i].name.n + headers->list[i].value.n + 4;
    char *start = arena_bytes(&req->arena, size), *at = start;
    bool has_date = false, has_server = false;

    at = h1_put_status_line(at, req->response.status, phrase);
    for (unsigned i = 0; i < headers->count; i++) {
        const struct header *header = &headers->list[i];
        if (header->hop || header->id == HEADER_CONTENT_LENGTH)
            continue; /* the framing headers are added below */
        has_date |= header->id == HEADER_DATE;
        has_server |= header->id == HEADER_SERVER;
        at = h1_put_header(at, header->name, header->value);
    }
    if (!has_date)
        at = h1_put_header(at, STR("Date"), date);
    if (!has_server)
        at = PUT(at, "Server: moongate\r\n");
    at = h1_put_framing(at, req, framing, length, keepalive);
    at = PUT(at, "\r\n");
    return (struct str){start, (size_t)(at - start)};
}

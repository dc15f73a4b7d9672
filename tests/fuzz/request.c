/* Any bytes of a client of HTTP/1: a head and its body. */
#include "fuzz.h"
#include "http/h1.h"

static const struct limits limits = {.request_line = 1000, .header = 2000, .headers = 20};
static char memory[4096];

enum outcome { REQUEST_HEAD_MORE, REQUEST_BODY_MORE, REQUEST_END, REQUEST_ERROR };

struct told {
    enum outcome outcome;
    int status; /* of an error */
    struct digest head, body;
    size_t used;
    uint64_t announced;
};

static void request_bytes(void *ctx, struct str bytes)
{
    struct told *told = ctx;
    must(bytes.n > 0);
    digest_bytes(&told->body, bytes);
}

static void request_chunk(void *ctx, uint64_t at_least)
{
    struct told *told = ctx;
    must(at_least > told->announced);
    told->announced = at_least;
}

static const struct h1_body body = {.on_bytes = request_bytes, .on_chunk = request_chunk};

/* What any other part of the core may rely on. */
static void request_check(const struct request *req)
{
    const struct uri *uri = &req->uri;
    must(req->method.n > 0 && !fuzz_has_byte(req->method, "\r\n\0 \t", 5));
    must(uri->asterisk || (uri->path.n > 0 && uri->path.p[0] == '/'));
    must(!fuzz_has_byte(uri->origin, "\r\n\0 \t", 5) && !fuzz_breaks_line(req->host));
    must(memchr(uri->path.p, '\0', uri->path.n) == NULL);
    for (unsigned i = 0; i < req->headers.count; i++) {
        const struct header *header = &req->headers.list[i];
        must(header->name.n > 0 && !fuzz_has_byte(header->name, "\r\n\0 \t:", 6));
        must(!fuzz_breaks_line(header->value));
    }
    must(req->body_length >= BODY_UNKNOWN);
}

static void request_describe(struct told *told, const struct request *req, const struct h1 *h)
{
    struct digest *d = &told->head;
    digest_text(d, req->method);
    digest_text(d, req->uri.path);
    digest_text(d, req->uri.query);
    digest_text(d, req->uri.origin);
    digest_text(d, req->host);
    digest_number(d, (uint64_t)req->host_port);
    digest_number(d, (uint64_t)req->body_length);
    digest_number(d, req->version);
    digest_number(d, h1_keepalive(h));
    digest_number(d, h1_has_body(h));
    digest_number(d, h1_expects_continue(h));
    for (unsigned i = 0; i < req->headers.count; i++) {
        digest_text(d, req->headers.list[i].name);
        digest_text(d, req->headers.list[i].value);
        digest_number(d, req->headers.list[i].hop);
    }
}

/* One piece, as the front feeds it. False: the message is over. */
static bool request_piece(struct told *told, struct h1 *h, const struct request *req,
                          struct str piece)
{
    for (;;) {
        size_t used = SIZE_MAX;
        enum h1_event event = h1_feed(h, piece.p, piece.n, &used);
        if (event == H1_ERROR) {
            told->outcome = REQUEST_ERROR;
            told->status = h1_status(h);
            must(told->status >= 400 && told->status < 600 && h1_reason(h) != NULL);
            return false;
        }
        must(used <= piece.n);
        told->used += used;
        piece = (struct str){piece.p + used, piece.n - used};
        if (event == H1_MORE) {
            must(piece.n == 0);
            return true;
        }
        if (event == H1_END) {
            must(told->outcome == REQUEST_BODY_MORE);
            told->outcome = REQUEST_END;
            return false;
        }
        must(told->outcome == REQUEST_HEAD_MORE);
        told->outcome = REQUEST_BODY_MORE;
        request_check(req);
        request_describe(told, req, h);
    }
}

static struct told request_feed(struct pieces p)
{
    struct told told = {0};
    struct request req;
    struct str piece;
    request_init(&req, memory, sizeof memory);
    struct h1 *h = h1_new(&req, &limits, &body, &told);
    while (pieces_next(&p, &piece)) {
        bool more = request_piece(&told, h, &req, piece);
        pieces_spoil(&p, piece.n);
        if (!more)
            break;
    }
    if (told.outcome != REQUEST_HEAD_MORE && told.outcome != REQUEST_ERROR)
        request_check(&req); /* the pieces are gone: what is kept of them is a copy */
    pieces_end(&p);
    request_fini(&req);
    return told;
}

/* A line that is too long and bad is refused for what is seen first. */
static bool request_is_limit(int status)
{
    return status == 413 || status == 414 || status == 431;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct told whole = request_feed(pieces_of(data, size, true));
    struct told cut = request_feed(pieces_of(data, size, false));
    must(whole.outcome == cut.outcome);
    must(whole.status == cut.status || request_is_limit(whole.status) ||
         request_is_limit(cut.status));
    if (whole.outcome != REQUEST_ERROR) {
        must(whole.used == cut.used && whole.head.sum == cut.head.sum);
        must(whole.body.sum == cut.body.sum);
    }
    return 0;
}

/* Any answer of an application: its head is read the same however it comes, and what it becomes for
 * a client of HTTP/1 is one head, whatever it says. */
#include "fastcgi/cgi.h"
#include "fuzz.h"
#include "http/h1.h"

static char memory[4096];

struct told {
    enum cgi_result result;
    struct digest digest;
    struct str body; /* how many bytes are the body's */
};

/* Lines that end with CRLF, and an empty one at the end only. */
static void answer_check_head(struct str head)
{
    must(str_ends(head, STR("\r\n\r\n")) && str_starts(head, STR("HTTP/1.1 ")));
    for (size_t i = 0; i < head.n; i++) {
        must(head.p[i] != '\0');
        must(head.p[i] != '\n' || head.p[i - 1] == '\r');
        must(head.p[i] != '\r' || head.p[i + 1] == '\n');
        must(i + 4 >= head.n || memcmp(head.p + i, "\r\n\r\n", 4) != 0);
    }
}

static void answer_describe(struct told *told, struct request *req)
{
    struct response *res = &req->response;
    must(res->status >= 100 && res->status <= 999);
    must(res->content_length >= -1);
    digest_number(&told->digest, (uint64_t)res->status);
    digest_number(&told->digest, (uint64_t)res->content_length);
    digest_text(&told->digest, res->phrase);
    digest_text(&told->digest, res->accel_redirect);
    digest_text(&told->digest, res->sendfile);
    digest_text(&told->digest, res->redirect);
    for (unsigned i = 0; i < res->headers.count; i++) {
        const struct header *header = &res->headers.list[i];
        must(header->name.n > 0 && !fuzz_has_byte(header->name, "\r\n\0 :", 5));
        must(!fuzz_breaks_line(header->value));
        digest_text(&told->digest, header->name);
        digest_text(&told->digest, header->value);
    }
    if (res->status >= 200)
        answer_check_head(h1_head(req, H1_CHUNKED, 0, true, STR("Sun, 06 Nov 1994 08:49:37 GMT")));
}

static struct told answer_feed(struct pieces p)
{
    struct told told = {.result = CGI_MORE};
    struct cgi_head head = {0};
    struct request req;
    struct str piece;
    request_init(&req, memory, sizeof memory);
    req.method = STR("GET");
    req.version = HTTP_1_1;
    while (told.result == CGI_MORE && pieces_next(&p, &piece)) {
        struct str in = piece;
        const char *err = NULL;
        told.result = cgi_head_feed(&head, &req, &in, 2000, &err);
        must(in.n <= piece.n && (told.result != CGI_MORE || in.n == 0));
        must(told.result == CGI_MORE || told.result == CGI_DONE || told.result == CGI_HINTS ||
             err != NULL);
        told.body.n = in.n + p.rest.n;
        pieces_spoil(&p, piece.n);
    }
    if (told.result == CGI_DONE)
        answer_describe(&told, &req);
    pieces_end(&p);
    request_fini(&req);
    return told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct told whole = answer_feed(pieces_of(data, size, true));
    struct told cut = answer_feed(pieces_of(data, size, false));
    bool bad = whole.result == CGI_ERROR || whole.result == CGI_TOO_LARGE;
    must(bad == (cut.result == CGI_ERROR || cut.result == CGI_TOO_LARGE));
    must(bad || (whole.result == cut.result && whole.digest.sum == cut.digest.sum));
    must(whole.result != CGI_DONE || whole.body.n == cut.body.n);
    return 0;
}

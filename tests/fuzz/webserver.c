/* Any bytes of a web server on a FastCGI listener: records, and what the params of a request
 * become.
 */
#include "fastcgi/cgi.h"
#include "fastcgi/cgi_in.h"
#include "fastcgi/record.h"
#include "fuzz.h"

#define PARAMS_MOST 65536

struct received {
    struct digest digest;
    char *params; /* of all requests, one behind the other */
    size_t params_n;
    size_t record; /* content of the record at hand, so far */
    const char *err;
    bool idle;
};

static bool webserver_event(void *ctx, const struct fcgi_event *event)
{
    struct received *got = ctx;
    if (!event->complete) {
        must(event->content.n > 0 && event->type != FCGI_BEGIN_REQUEST);
        got->record += event->content.n;
        digest_bytes(&got->digest, event->content);
        if (event->type == FCGI_PARAMS && got->params_n + event->content.n <= PARAMS_MOST) {
            memcpy(got->params + got->params_n, event->content.p, event->content.n);
            got->params_n += event->content.n;
        }
        return true;
    }
    must(event->type == FCGI_BEGIN_REQUEST ? event->size == 8 : event->size == got->record);
    got->record = 0;
    digest_number(&got->digest, (uint64_t)event->type << 16 | event->id);
    digest_number(&got->digest, (uint64_t)event->role << 8 | event->flags);
    return (event->id & 1) == 0; /* an odd one stops the decoder, which is fed on */
}

static struct received webserver_feed(struct pieces p)
{
    struct received got = {.params = malloc(PARAMS_MOST)};
    struct fcgi_decoder decoder;
    struct str piece;
    if (got.params == NULL)
        abort();
    fcgi_decoder_accept(&decoder);
    while (got.err == NULL && pieces_next(&p, &piece))
        while (piece.n > 0 && got.err == NULL) {
            size_t used = SIZE_MAX;
            got.err = fcgi_feed(&decoder, piece.p, piece.n, &used, webserver_event, &got);
            must(used > 0 && used <= piece.n);
            piece = (struct str){piece.p + used, piece.n - used};
        }
    got.idle = fcgi_decoder_idle(&decoder);
    pieces_end(&p);
    return got;
}

/* What passes on to an application, and the head that a web server gets. */
static void webserver_check_rest(struct request *req)
{
    struct backend_settings backend = {.name = STR("app"), .profile = PROFILE_PHP};
    struct cgi_paths paths;
    struct params params = {0};
    static struct filter_data data = {.spool = {.size = 9, .fd = -1}, .modified = 5};
    req->decision.kind = DECISION_FASTCGI;
    req->decision.script = STR("/x.php");
    cgi_paths(&paths, req, &backend);
    cgi_params(&params, req, &backend, &paths, 7);
    must(params_find(&params, STR("HTTP_PROXY")) == NULL);
    must(str_eq(params_find(&params, STR("CONTENT_LENGTH"))->value, STR("7")));
    req->role = FCGI_AUTHORIZER;
    cgi_params(&params, req, &backend, &paths, 7);
    must(params_find(&params, STR("CONTENT_LENGTH")) == NULL);
    must(params_find(&params, STR("SCRIPT_NAME")) == NULL);
    req->role = FCGI_FILTER;
    req->data = &data;
    cgi_params(&params, req, &backend, &paths, 7);
    must(str_eq(params_find(&params, STR("FCGI_DATA_LENGTH"))->value, STR("9")));
    must(str_eq(params_find(&params, STR("FCGI_DATA_LAST_MOD"))->value, STR("5")));
    req->data = NULL;
    req->response.status = 200;
    struct str head = cgi_in_head(req, 7);
    must(str_starts(head, STR("Status: 200 OK\r\n")) && str_ends(head, STR("\r\n\r\n")));
}

static void webserver_check_request(struct str pairs)
{
    static char memory[4096];
    struct limits limits = {.header = 4096, .request_line = 1024, .headers = 20};
    struct request req;
    request_init(&req, memory, sizeof memory);
    struct refusal bad = cgi_in_request(&req, &limits, pairs);
    must((bad.status == 0) == (bad.reason == NULL));
    if (bad.reason == NULL) {
        must(str_is_token(req.method));
        must(req.uri.asterisk || req.uri.path.p[0] == '/');
        must(req.target.n <= limits.request_line && req.headers.count <= limits.headers);
        must(req.arrived.count <= CGI_IN_PARAMS && req.body_length >= BODY_NONE);
        for (unsigned i = 0; i < req.headers.count; i++)
            must(!fuzz_breaks_line(req.headers.list[i].name) &&
                 !fuzz_breaks_line(req.headers.list[i].value));
        webserver_check_rest(&req);
    }
    request_fini(&req);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct received whole = webserver_feed(pieces_of(data, size, true));
    struct received cut = webserver_feed(pieces_of(data, size, false));
    must((whole.err == NULL) == (cut.err == NULL));
    must(whole.digest.sum == cut.digest.sum || whole.err != NULL);
    must(whole.err != NULL || whole.idle == cut.idle);
    webserver_check_request((struct str){whole.params, whole.params_n});
    free(whole.params);
    free(cut.params);
    return 0;
}

/* error_page - see error_page.h. */
#include "http/error_page.h"

#include <stdio.h>

struct str error_page_make(struct request *req, int status)
{
    struct arena *a = &req->arena;
    struct response *res = &req->response;
    const char *text = status_text(status);
    char hex[17];
    struct str id = request_shown_id(req, hex);
    const char *hint =
        req->unencrypted
            ? "<p>This port is for HTTPS, and the request was plain HTTP: use https://.</p>\n"
            : "";
    struct str page = arena_printf(
        a, "<!doctype html>\n<title>%d %s</title>\n<h1>%d %s</h1>\n%s<p>Request %.*s</p>\n", status,
        text, status, text, hint, STR_FMT(id));
    res->status = status;
    res->content_length = (int64_t)page.n;
    headers_add(a, &res->headers, STR("Content-Type"), STR("text/html; charset=utf-8"));
    if (status == 503)
        headers_add(a, &res->headers, STR("Retry-After"), STR("5"));
    return page;
}

size_t error_page_too_many(char out[ERROR_PAGE_TOO_MANY_SIZE], struct str date)
{
    static const char page[] = "<!doctype html>\n<title>503 Service Unavailable</title>\n<h1>503 "
                               "Service Unavailable</h1>\n";
    return (size_t)snprintf(out, ERROR_PAGE_TOO_MANY_SIZE,
                            "HTTP/1.1 503 Service Unavailable\r\n"
                            "Content-Type: text/html; charset=utf-8\r\nRetry-After: 5\r\n"
                            "Date: %.*s\r\nServer: moongate\r\nContent-Length: %zu\r\n"
                            "Connection: close\r\n\r\n%s",
                            STR_FMT(date), sizeof page - 1, page);
}

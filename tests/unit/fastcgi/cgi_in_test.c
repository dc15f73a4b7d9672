/*
 * cgi_in_test - a web server's params become a request: each rule, what is refused, and the head
 * that it gets. Links cgi_in, record, check, uri and request.
 */
#include "../test.h"
#include "fastcgi/cgi_in.h"
#include "fastcgi/record.h"

static struct request req;
static struct limits limits = {.request_line = 100, .header = 1000, .headers = 5};
static struct buf pairs;
static char memory[4096];

static void begin(void)
{
    request_init(&req, memory, sizeof memory);
    buf_init(&pairs, 100000);
}

static void pair(const char *name, const char *value)
{
    char lengths[2] = {(char)strlen(name), (char)strlen(value)};
    buf_append(&pairs, lengths, 2);
    buf_append(&pairs, name, strlen(name));
    buf_append(&pairs, value, strlen(value));
}

/* The status of what has been said so far. */
static int ask(void)
{
    return cgi_in_request(&req, &limits, buf_peek(&pairs)).status;
}

static void end(void)
{
    request_fini(&req);
    buf_fini(&pairs);
}

static void test_request(void)
{
    char text[PEER_TEXT_SIZE];
    begin();
    pair("REQUEST_METHOD", "POST");
    pair("REQUEST_URI", "/a%20b/../x.php?c=d");
    pair("SCRIPT_NAME", "/other");
    pair("HTTP_HOST", "Shop.TEST.:81");
    pair("HTTP_X_FORWARDED_FOR", "1.2.3.4");
    pair("HTTP_CONTENT_TYPE", "is/not-it");
    pair("CONTENT_TYPE", "text/plain");
    pair("CONTENT_LENGTH", "12");
    pair("REMOTE_ADDR", "::ffff:192.0.2.7");
    pair("REMOTE_PORT", "4711");
    pair("SERVER_ADDR", "2001:db8::1");
    pair("SERVER_PORT", "443");
    pair("HTTPS", "on");
    pair("REMOTE_USER", "ann");
    pair("EMPTY", "");

    test("a request is what the params say");
    check_int(ask(), 0);
    check_str(req.method, "POST");
    check_str(req.target, "/a%20b/../x.php?c=d");
    check_str(req.uri.path, "/x.php");
    check_str(req.uri.query, "c=d");
    check_str(req.host, "shop.test");
    check_int(req.host_port, 81);
    check_int(req.body_length, 12);
    check_int(req.version, HTTP_1_1);
    check(req.https);
    check_str(req.user, "ann");
    peer_text(&req.client, text);
    check_str(str_of(text), "192.0.2.7");
    check_int(req.client.port, 4711);
    peer_text(&req.local, text);
    check_str(str_of(text), "2001:db8::1");
    check_int(req.local.port, 443);
    check_int(req.headers.count, 4);
    check_str(headers_get(&req.headers, STR("x-forwarded-for"))->name, "X-Forwarded-For");
    check_str(headers_value(&req.headers, HEADER_CONTENT_TYPE), "text/plain");
    check_int(req.arrived.count, 15);
    check_str(params_find(&req.arrived, STR("EMPTY"))->value, "");
    end();

    test("a request is made of what CGI itself has");
    begin();
    pair("REQUEST_METHOD", "GET");
    pair("SCRIPT_NAME", "/a b");
    pair("PATH_INFO", "/c?d");
    pair("QUERY_STRING", "e=f");
    pair("SERVER_NAME", "Shop.test");
    pair("SERVER_PROTOCOL", "HTTP/1.0");
    pair("CONTENT_LENGTH", "-1");
    check_int(ask(), 0);
    check_str(req.uri.path, "/a b/c?d");
    check_str(req.uri.query, "e=f");
    check_str(req.host, "shop.test");
    check_int(req.body_length, BODY_NONE);
    check_int(req.version, HTTP_1_0);
    check_int(req.client.family, AF_UNIX);
    check(!req.https);
    end();
}

static void test_version(void)
{
    static const struct {
        const char *text;
        enum http_version is;
    } cases[] = {{"HTTP/1.0", HTTP_1_0}, {"HTTP/1.1", HTTP_1_1}, {"HTTP/2.0", HTTP_2_0},
                 {"HTTP/2", HTTP_2_0},   {"HTTP/3.0", HTTP_3_0}, {"HTTP/3", HTTP_3_0},
                 {"INCLUDED", HTTP_1_1}, {"", HTTP_1_1}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        test(cases[i].text);
        begin();
        pair("REQUEST_METHOD", "GET");
        pair("SCRIPT_NAME", "/");
        pair("SERVER_PROTOCOL", cases[i].text);
        check_int(ask(), 0);
        check_int(req.version, cases[i].is);
        end();
    }
}

static void test_scheme(void)
{
    static const struct {
        const char *https, *scheme;
        bool is;
    } cases[] = {{"on", "http", true}, {"ON", "", true}, {"1", "", true},
                 {"off", "", false},   {"0", "", false}, {"", "https", true},
                 {"", "http", false},  {"", "", false},  {"off", "https", false}};
    test("the scheme is that of HTTPS, else of REQUEST_SCHEME");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        pair("REQUEST_METHOD", "GET");
        pair("REQUEST_URI", "/");
        pair("HTTPS", cases[i].https);
        pair("REQUEST_SCHEME", cases[i].scheme);
        check_int(ask(), 0);
        check_int(req.https, cases[i].is);
        end();
    }
}

static void test_refused(void)
{
    static const struct {
        const char *name, *value;
        int status;
    } cases[] = {{"REQUEST_METHOD", "", 400},      {"REQUEST_METHOD", "G T", 400},
                 {"REQUEST_METHOD", "TRACE", 405}, {"REQUEST_METHOD", "CONNECT", 501},
                 {"REQUEST_URI", "x", 400},        {"REQUEST_URI", "/%0", 400},
                 {"HTTP_HOST", "a b", 400},        {"HTTP_X", "a\nb", 400},
                 {"HTTP_A B", "c", 400},           {"CONTENT_LENGTH", "1x", 400},
                 {"CONTENT_LENGTH", "-2", 400},    {"HTTP_EXPECT", "much", 417}};
    test("what no request may be is refused");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        pair(cases[i].name, cases[i].value); /* of two params the first counts */
        pair("REQUEST_METHOD", "GET");
        pair("REQUEST_URI", "/");
        check_int(ask(), cases[i].status);
        end();
    }

    test("what is too much is refused");
    begin();
    pair("REQUEST_METHOD", "GET");
    for (int i = 0; i < 6; i++)
        pair("HTTP_A", "b");
    check_int(ask(), 431);
    end();
    begin();
    for (int i = 0; i < CGI_IN_PARAMS + 1; i++)
        pair("A", "b");
    check_int(ask(), 431);
    end();

    test("a pair that is cut short is refused, at every byte");
    for (size_t n = 1; n < 8; n++) {
        begin();
        static const char one[] = "\4\2namevl";
        char *copy = test_copy(one, n);
        check_int(cgi_in_request(&req, &limits, (struct str){copy, n}).status, 400);
        end();
        free(copy);
    }
}

static void test_head(void)
{
    test("the head is CGI's");
    begin();
    req.response.status = 404;
    headers_add(&req.arena, &req.response.headers, STR("X-A"), STR("b"));
    headers_add(&req.arena, &req.response.headers, STR("Content-Length"), STR("99"));
    check_str(cgi_in_head(&req, 3), "Status: 404 Not Found\r\nX-A: b\r\nContent-Length: 3\r\n\r\n");
    check_str(cgi_in_head(&req, -1), "Status: 404 Not Found\r\nX-A: b\r\n\r\n");
    req.response.status = 460;
    req.response.phrase = STR("Custom thing");
    check_str(cgi_in_head(&req, 0),
              "Status: 460 Custom thing\r\nX-A: b\r\nContent-Length: 0\r\n\r\n");
    end();
}

int main(void)
{
    test_request();
    test_version();
    test_scheme();
    test_refused();
    test_head();
    return test_report();
}

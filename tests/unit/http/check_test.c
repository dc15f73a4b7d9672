/*
 * check_test - parts of a request as any front hands them over: what passes, what it becomes, and
 * the status of what does not. Links check, uri, request and what those need; no parser.
 */
#include "../test.h"
#include "http/check.h"

static struct limits limits = {.headers = 8};
static struct request req;
static char memory[4096];

static void begin(enum http_version version)
{
    request_fini(&req);
    request_init(&req, memory, sizeof memory);
    req.version = version;
}

/* Adds a header; returns the status that refuses it, 0 where it passes. */
static int add(const char *name, struct str value)
{
    struct header *header = NULL;
    struct refusal bad = check_header(&req, &limits, str_of(name), value, &header);
    check_int(bad.reason != NULL, bad.status != 0);
    check_int(header != NULL, bad.reason == NULL);
    return bad.status;
}

static int target(const char *method, const char *text)
{
    check_int(check_method(&req, str_of(method)).status, 0);
    req.target = str_of(text);
    return check_target(&req).status;
}

static void test_methods(void)
{
    static const struct {
        const char *name;
        int status;
        enum method id;
    } cases[] = {
        {"GET", 0, METHOD_GET},       {"HEAD", 0, METHOD_HEAD},      {"OPTIONS", 0, METHOD_OPTIONS},
        {"PUT", 0, METHOD_PUT},       {"DELETE", 0, METHOD_DELETE},  {"POST", 0, METHOD_OTHER},
        {"get", 0, METHOD_OTHER},     {"M-SEARCH", 0, METHOD_OTHER}, {"CONNECT", 501, METHOD_OTHER},
        {"TRACE", 405, METHOD_OTHER}, {"", 400, METHOD_OTHER},       {"GE(T", 400, METHOD_OTHER},
        {"GET\t", 400, METHOD_OTHER}, {"G\x80", 400, METHOD_OTHER},
    };
    test("methods");
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(HTTP_1_1);
        check_int(check_method(&req, str_of(cases[i].name)).status, cases[i].status);
        check_int(req.method_id, cases[i].id);
        check_str(req.method, cases[i].name);
    }
}

static void test_names_and_values(void)
{
    test("header names and values");
    begin(HTTP_1_1);
    check_int(add("X-One", STR(" \tvalue\t ")), 0);
    check_str(req.headers.list[0].value, "value");
    check_int(add("X-Two", STR("a\tb \xff")), 0);
    check_int(add("", STR("x")), 400);
    check_int(add("X One", STR("x")), 400);
    check_int(add("X:One", STR("x")), 400);
    check_int(add(":method", STR("x")), 400); /* a pseudo-header is no header */
    check_int(add("X-Three", STR("a\0b")), 400);
    check_int(add("X-Three", STR("a\rb")), 400);
    check_int(add("X-Three", STR("a\nb")), 400);
    check_int(add("X-Three", STR("a\x7f")), 400);
    check_int(req.headers.count, 2);

    test("headers beyond the limit");
    begin(HTTP_1_1);
    for (unsigned i = 0; i < limits.headers; i++)
        check_int(add("X-Many", STR("x")), 0);
    check_int(add("X-Many", STR("x")), 431);
    check_int(req.headers.count, limits.headers);
}

static void test_flags(void)
{
    const struct str known[] = {STR("X_Known")};
    const struct header *list;
    test("what headers are marked as");
    begin(HTTP_1_1);
    limits.header_names = known;
    limits.header_name_count = 1;
    check_int(add("X-A", STR("1")), 0);
    check_int(add("x-a", STR("2")), 0);
    check_int(add("Upgrade", STR("h2c")), 0);
    check_int(add("X_A", STR("3")), 0);
    check_int(add("x_known", STR("4")), 0);
    limits.header_names = NULL;
    limits.header_name_count = 0;
    list = req.headers.list;
    check(list[0].repeated && !list[0].again && !list[0].hop && !list[0].dropped);
    check(list[1].again && !list[1].repeated);
    check(list[2].hop && list[2].id == HEADER_UPGRADE);
    check(list[3].dropped && !list[4].dropped);
    check_int(req.dropped, 1);

    test("the first of several is marked where the list has grown meanwhile");
    begin(HTTP_1_1);
    limits.headers = 100;
    check_int(add("X-A", STR("1")), 0);
    for (unsigned i = 0; i < 15; i++)
        check_int(add("X-B", STR("b")), 0);
    check_int(add("X-A", STR("2")), 0);
    check(req.headers.list[0].repeated && req.headers.list[16].again);
    limits.headers = 8;
}

static void test_single(void)
{
    static const char *const once[] = {"Content-Type", "AUTHORIZATION", "Content-Length", "host"};
    test("headers of which there is one");
    for (unsigned i = 0; i < sizeof once / sizeof *once; i++) {
        begin(HTTP_1_1);
        check_int(add(once[i], STR("5")), 0);
        check_int(add(once[i], STR("5")), 400);
        check_int(req.headers.count, 1);
    }

    test("Content-Length");
    begin(HTTP_1_1);
    check_int(req.body_length, BODY_NONE);
    check_int(add("Content-Length", STR("0")), 0);
    check_int(req.body_length, 0);
    begin(HTTP_1_1);
    check_int(add("content-length", STR(" 9223372036854775807 ")), 0);
    check_int(req.body_length, INT64_MAX);
    begin(HTTP_1_1);
    check_int(add("Content-Length", STR("9223372036854775808")), 400);
    check_int(add("Content-Length", STR("+5")), 400);
    check_int(add("Content-Length", STR("5, 5")), 400);
    check_int(add("Content-Length", STR("")), 400);
    check_int(req.body_length, BODY_NONE);

    test("Expect");
    check_int(add("Expect", STR("100-Continue")), 0);
    check_int(add("Expect", STR("200-ok")), 417);
}

static void test_hosts(void)
{
    test("Host");
    begin(HTTP_1_1);
    check_int(add("Host", STR("WWW.Shop.example.:8080")), 0);
    check_str(req.host, "www.shop.example");
    check_int(req.host_port, 8080);
    begin(HTTP_1_1);
    check_int(add("Host", STR("")), 0);
    check_int(req.host.n, 0);
    begin(HTTP_1_1);
    check_int(add("Host", STR("a/b")), 400);
    check_int(add("Host", STR("a:99999")), 400);
    check_int(add("Host", STR("[::1")), 400);
}

static void test_targets(void)
{
    test("targets");
    begin(HTTP_1_1);
    check_int(target("GET", "/"), 400); /* without Host */
    begin(HTTP_1_0);
    check_int(target("GET", "/"), 0);
    begin(HTTP_1_1);
    check_int(add("Host", STR("a")), 0);
    check_int(target("GET", "/x%20y/../z?q"), 0);
    check_str(req.uri.path, "/z");
    check_str(req.uri.query, "q");
    check_int(target("GET", "/%00"), 400);
    check_int(target("GET", "x"), 400);
    check_int(target("GET", ""), 400);
    check_int(target("GET", "*"), 400);
    check_int(target("OPTIONS", "*"), 0);
    check(req.uri.asterisk);

    test("the host of an absolute target takes the place of Host");
    check_int(target("GET", "http://Other.example:81/x"), 0);
    check_str(req.host, "other.example");
    check_int(req.host_port, 81);
    check_int(req.headers.count, 1);
    check_str(req.headers.list[0].value, "Other.example:81");
    check_int(target("GET", "http://a_b c/x"), 400);
    begin(HTTP_1_1);
    check_int(target("GET", "http://a/x"), 400); /* HTTP/1.1 asks for both */
    begin(HTTP_1_0);
    check_int(target("GET", "http://a/x"), 0);
    check_str(headers_value(&req.headers, HEADER_HOST), "a");
}

int main(void)
{
    request_init(&req, memory, sizeof memory);
    test_methods();
    test_names_and_values();
    test_flags();
    test_single();
    test_hosts();
    test_targets();
    request_fini(&req);
    return test_report();
}

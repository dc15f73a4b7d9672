/*
 * h2_test - header blocks of HTTP/2 as fields: what passes, what it becomes, and the status of what
 * does not. Links h2, check, uri, request and what those need; no nghttp2.
 */
#include "../test.h"
#include "http/h2.h"

static struct limits limits = {.headers = 8, .header = 500, .request_line = 100};
static struct request req;
static struct h2_head head;
static char memory[4096];

static void begin(void)
{
    request_fini(&req);
    request_init(&req, memory, sizeof memory);
    h2_head_init(&head, &req, &limits);
}

static void field(const char *name, const char *value)
{
    h2_head_field(&head, str_of(name), str_of(value));
}

/* A request with these fields behind its pseudo headers: names and values, and a NULL. */
static int status(bool bodiless, const char *const *fields)
{
    begin();
    field(":method", "POST");
    field(":scheme", "http");
    field(":authority", "a.example:81");
    field(":path", "/x?y");
    for (; *fields != NULL; fields += 2)
        field(fields[0], fields[1]);
    return h2_head_end(&head, bodiless).status;
}

#define FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define NO_FIELDS   ((const char *const[]){NULL})

static void test_whole(void)
{
    test("a whole head");
    check_int(status(true, FIELDS("accept", "*/*")), 0);
    check_int(req.version, HTTP_2_0);
    check_str(req.method, "POST");
    check_str(req.host, "a.example");
    check_int(req.host_port, 81);
    check_str(req.uri.path, "/x");
    check_str(req.headers.list[0].name, "host");
    check_int(req.headers.count, 2);
    check_int((int)req.body_length, BODY_NONE);
    check_int(status(false, NO_FIELDS), 0);
    check_int((int)req.body_length, BODY_UNKNOWN);
    check_int(status(false, FIELDS("content-length", "7")), 0);
    check_int((int)req.body_length, 7);
    check_int(status(true, FIELDS("content-length", "0")), 0);
    check_int(status(true, FIELDS("content-length", "1")), 400);
}

static void test_cookies(void)
{
    test("cookies are one header");
    check_int(status(true, FIELDS("cookie", "a=1", "x", "y", "cookie", "b=2", "cookie", "")), 0);
    check_int(req.headers.count, 3);
    check_str(headers_value(&req.headers, HEADER_COOKIE), "a=1; b=2; ");
    check_int(status(true, FIELDS("cookie", "a", "cookie", "\x01")), 400);
}

static void test_names(void)
{
    test("Host beside :authority says the same, and stands once");
    check_int(status(true, FIELDS("accept", "x", "host", "A.example:81", "y", "z")), 0);
    check_str(headers_value(&req.headers, HEADER_HOST), "a.example:81");
    check_int(req.headers.count, 3);
    check_int(status(true, FIELDS("host", "b.example:81")), 400);
    check_int(status(true, FIELDS("host", "a.example")), 400);

    test("no name has an upper-case letter, and a known one is kept as it came");
    check_int(status(true, FIELDS("user-agent", "x", "status", "1")), 0);
    check_str(req.headers.list[1].name, "user-agent");
    check_str(req.headers.list[2].name, "status");
    check_int(status(true, FIELDS("User-Agent", "x")), 400);
    check_int(status(true, FIELDS("cookiE", "x")), 400);
    check_int(status(true, FIELDS("Host", "a.example:81")), 400);

    test("a name has token characters, behind \"proxy-\" too");
    check_int(status(true, FIELDS("proxy-x", "y")), 0);
    check_int(status(true, FIELDS("proxy-x@", "y")), 400);
    check_int(status(true, FIELDS("proxy-connection", "y")), 400);
    check_int(status(true, FIELDS("hos\xf4", "y")), 400);
}

static void test_bounds(void)
{
    char large[600] = {0}, line[101] = {0};
    memset(large, 'x', 450);
    memset(line, '/', 100);
    test("bounds");
    check_int(status(true, FIELDS("x", large)), 431);
    large[300] = '\0';
    check_int(status(true, FIELDS("x", large)), 0);
    check_int(status(true, FIELDS("1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "")),
              0);
    check_int(status(true, FIELDS("1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "",
                                  "8", "")),
              431);
    begin();
    field(":method", "GET");
    field(":path", line);
    check_int(head.bad.status, 414);
    begin();
    line[85] = '\0'; /* with the method and the version just as long as allowed */
    field(":method", "GET");
    field(":path", line);
    check_int(head.bad.status, 0);
}

static void test_trailers(void)
{
    char text[300];
    struct str long_value = {text, sizeof text};
    test("trailers");
    memset(text, 'x', sizeof text);
    check_int(status(false, NO_FIELDS), 0);
    check_int(h2_trailer_field(&head, STR("x-a"), STR("b")).status, 0);
    check_int(h2_trailer_field(&head, STR(":path"), STR("/")).status, 400);
    check_int(h2_trailer_field(&head, STR("X"), STR("/")).status, 400);
    check_int(h2_trailer_field(&head, STR("x"), STR("a\r")).status, 400);
    check_int(h2_trailer_field(&head, STR("x"), (struct str){"\t", 1}).status, 400);
    check_int(h2_trailer_field(&head, STR("x"), long_value).status, 0);
    check_int(h2_trailer_field(&head, STR("x"), long_value).status, 431);
}

static void check_priority(const char *text, int urgency, bool incremental)
{
    struct h2_priority p = h2_priority_parse(str_of(text));
    check_int(p.urgency, urgency);
    check_int(p.incremental, incremental);
}

static void test_priority(void)
{
    test("Priority");
    check_priority("", 3, false);
    check_priority("u=0", 0, false);
    check_priority("u=7, i", 7, true);
    check_priority("i,u=1", 1, true);
    check_priority("i=?0", 3, false);
    check_priority("i=?1", 3, true);
    check_priority("u=8, x=\"u=1\", u=-1, u=", 3, false);
    check_int(status(true, NO_FIELDS), 0);
    check_int(head.priority.incremental, true);
    check_int(status(true, FIELDS("priority", "u=5")), 0);
    check_int(head.priority.urgency, 5);
    check_int(head.priority.incremental, false);
}

int main(void)
{
    test_whole();
    test_cookies();
    test_names();
    test_bounds();
    test_trailers();
    test_priority();
    request_fini(&req);
    return test_report();
}

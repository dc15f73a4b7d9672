/*
 * access_test - lines of the access log: their form, and that nobody can forge one. Links access,
 * request and what that needs.
 */
#include "../test.h"
#include "http/access.h"

#include <time.h>

static struct request req;
static char memory[4096], line[16384];

static void begin(void)
{
    request_init(&req, memory, sizeof memory);
    req.method = STR("GET");
    req.target = STR("/a?b=c");
    req.version = HTTP_1_1;
    req.uri.origin = STR("/a?b=c");
    req.host = STR("example.com");
    req.client = (struct peer){.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 4000};
    req.started = 971186135.25;
    req.ended_at = 971186136.75;
    req.duration = 1.5;
    req.id = 0x0123456789abcdefULL;
    req.response.status = 200;
    req.https = false;
    req.listener = STR_NONE;
    req.head_in = 100;
    req.bytes_in = 12;
    req.bytes_out = 345;
    req.body_out = 300;
}

static struct str combined(void)
{
    return (struct str){line, access_combined(&req, line, sizeof line)};
}

static struct str json(void)
{
    return (struct str){line, access_json(&req, 3, line, sizeof line)};
}

static void test_combined(void)
{
    begin();
    test("combined: the line");
    check_str(combined(), "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 "
                          "300 \"-\" \"-\"\n");

    test("combined: Referer and User-Agent, HTTP/1.0, IPv6, no body");
    headers_add(&req.arena, &req.headers, STR("referer"), STR("http://example.com/"));
    headers_add(&req.arena, &req.headers, STR("USER-AGENT"), STR("Mozilla/5.0 (X; Y)"));
    req.version = HTTP_1_0;
    req.client = (struct peer){.family = AF_INET6, .ip = {[15] = 1}};
    req.body_out = 0;
    req.response.status = 499;
    check_str(combined(), "::1 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.0\" 499 0 "
                          "\"http://example.com/\" \"Mozilla/5.0 (X; Y)\"\n");

    test("combined: an empty header is a dash, a unix peer has no address");
    request_fini(&req);
    begin();
    headers_add(&req.arena, &req.headers, STR("User-Agent"), STR(""));
    req.client = (struct peer){.family = AF_UNIX};
    check_str(combined(), "unix: - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 300 "
                          "\"-\" \"-\"\n");

    test("combined: the user, whose name can't begin another field, and is not without end");
    req.user = STR("ann");
    check_str(combined(),
              "unix: - ann [10/Oct/2000:13:55:36 +0000] \"GET /a?b=c HTTP/1.1\" 200 300 "
              "\"-\" \"-\"\n");
    req.user = STR(" a b\"]\n ");
    check_str(combined(), "unix: - \\x20a\\x20b\\x22]\\x0A\\x20 [10/Oct/2000:13:55:36 +0000] "
                          "\"GET /a?b=c HTTP/1.1\" 200 300 \"-\" \"-\"\n");
    static char name[5000];
    memset(name, 'x', sizeof name);
    req.user = (struct str){name, sizeof name};
    struct str long_one = combined();
    check(memmem(long_one.p, long_one.n, "x [10/Oct", 9) == long_one.p + 8 + 256 - 1);
    req.user = STR("");

    test("combined: the time moves on");
    req.ended_at += 1;
    check(memmem(line, sizeof line, ":13:55:36 ", 10) != NULL);
    check(memmem(combined().p, combined().n, ":13:55:37 ", 10) != NULL);

    test("combined: a request whose first line never came");
    request_fini(&req);
    begin();
    req.method = req.target = req.uri.origin = req.host = STR_NONE;
    req.response.status = 400;
    check_str(combined(), "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"\" 400 300 \"-\" \"-\"\n");

    test("combined: a target whose method was not made out");
    req.target = STR("/x");
    check_str(combined(), "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \" /x HTTP/1.1\" 400 300 "
                          "\"-\" \"-\"\n");
    request_fini(&req);
}

/* Every byte in every place that a client fills: one line, its quotes where they belong. */
static void test_forging(void)
{
    test("combined: no byte of a client can end a field or a line");
    for (int i = 0; i < 256; i++) {
        char text[] = {'a', (char)i, 'b', (char)i};
        char want[512], escaped[32];
        bool plain = i >= 0x20 && i < 0x7f && i != '"' && i != '\\';
        if (plain)
            snprintf(escaped, sizeof escaped, "a%cb%c", i, i);
        else
            snprintf(escaped, sizeof escaped, "a\\x%02Xb\\x%02X", i, i);
        begin();
        req.method = req.target = (struct str){text, 4};
        headers_add(&req.arena, &req.headers, STR("Referer"), (struct str){text, 4});
        headers_add(&req.arena, &req.headers, STR("User-Agent"), (struct str){text, 4});
        snprintf(want, sizeof want,
                 "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"%s %s HTTP/1.1\" 200 300 \"%s\" "
                 "\"%s\"\n",
                 escaped, escaped, escaped, escaped);
        bool ok = check_str(combined(), want);
        request_fini(&req);
        if (!ok)
            return;
    }

    test("combined: a forged line stays inside its field");
    begin();
    headers_add(&req.arena, &req.headers, STR("User-Agent"),
                STR("x\" 200 1\n10.0.0.1 - - [now] \"GET /admin"));
    struct str s = combined();
    check(s.n > 0 && memchr(s.p, '\n', s.n) == s.p + s.n - 1);
    check(memmem(s.p, s.n, "x\\x22 200 1\\x0A10.0.0.1 - - [now] \\x22GET /admin\"\n", 48) != NULL);
    request_fini(&req);
}

/* A reader of one JSON object of strings and numbers, so strict that it knows nothing else. */
static const char *skip_string(const char *p)
{
    if (*p++ != '"')
        return NULL;
    while (*p != '"') {
        unsigned char c = (unsigned char)*p;
        if (c < 0x20 || c >= 0x7f)
            return NULL;
        if (c == '\\') {
            if (p[1] != 'u' || strspn(p + 2, "0123456789abcdef") < 4)
                return NULL;
            p += 5;
        }
        p++;
    }
    return p + 1;
}

static bool is_json_line(const char *p)
{
    char *end;
    char before = '{';
    do {
        if (*p++ != before || (p = skip_string(p)) == NULL || *p++ != ':')
            return false;
        if (*p == '"') {
            p = skip_string(p);
        } else {
            strtod(p, &end);
            size_t n = strspn(p, "-0123456789.");
            p = end > p && end == p + n ? end : NULL;
        }
        before = ',';
    } while (p != NULL && *p == ',');
    return p != NULL && strcmp(p, "}\n") == 0;
}

static void test_json(void)
{
    begin();
    test("json: a request that no backend saw");
    check_str(json(), "{\"time\":971186135.25,\"id\":\"0123456789abcdef\",\"client\":\"192.0.2.7\","
                      "\"host\":\"example.com\",\"method\":\"GET\",\"uri\":\"/a?b=c\","
                      "\"scheme\":\"http\",\"version\":\"1.1\",\"status\":200,"
                      "\"bytes_in\":12,\"bytes_out\":345,\"request_length\":112,"
                      "\"duration\":1.5,\"generation\":3}\n");

    test("json: a request to a backend");
    req.https = true;
    req.version = HTTP_1_0;
    req.listener = STR("front");
    req.head_in = 0;
    headers_add(&req.arena, &req.headers, STR("Referer"), STR("http://a.example/\"\n"));
    headers_add(&req.arena, &req.headers, STR("User-Agent"), STR("x\x1b"));
    req.backend = STR("php");
    req.server = STR("unix:/run/php.sock");
    req.decision.tenant = STR("acme");
    req.cached = CACHE_STALE;
    req.attempts = 2;
    struct attempt second = {.server = STR("unix:/run/php.sock"), .queue = 0.5, .connect = 0.25};
    struct attempt first = {.next = &second, .server = STR("[::1]:9000"), .error = "refused"};
    second.first_byte = 0.125;
    second.total = 1;
    req.attempt_list = &first;
    req.app_status = 4294967295u;
    req.ended = true;
    req.bytes_in = 20000000000u;
    req.bytes_out = 0;
    req.ended_at = req.started;
    req.duration = 0;
    check_str(json(), "{\"time\":971186135.25,\"id\":\"0123456789abcdef\",\"client\":\"192.0.2.7\","
                      "\"host\":\"example.com\",\"method\":\"GET\",\"uri\":\"/a?b=c\","
                      "\"scheme\":\"https\",\"version\":\"1.0\",\"status\":200,"
                      "\"bytes_in\":20000000000,\"bytes_out\":0,"
                      "\"request_length\":20000000000,\"duration\":0,"
                      "\"referer\":\"http://a.example/\\u0022\\u000a\","
                      "\"user_agent\":\"x\\u001b\",\"listener\":\"front\","
                      "\"backend\":\"php\",\"server\":\"unix:/run/php.sock\",\"tenant\":\"acme\","
                      "\"cache\":\"stale\","
                      "\"generation\":3,\"app_status\":4294967295,\"attempts\":["
                      "{\"server\":\"[::1]:9000\",\"queue\":0,\"connect\":0,\"first_byte\":0,"
                      "\"total\":0,\"error\":\"refused\"},"
                      "{\"server\":\"unix:/run/php.sock\",\"queue\":0.5,\"connect\":0.25,"
                      "\"first_byte\":0.125,\"total\":1}]}\n");

    test("json: no app_status without END_REQUEST; the error in words");
    req.ended = false;
    req.error = "it said \"no\"\n";
    struct str s = json();
    check(s.n > 0 && memmem(s.p, s.n, "app_status", 10) == NULL);
    check(memmem(s.p, s.n, ",\"error\":\"it said \\u0022no\\u0022\\u000a\"}\n", 41) != NULL);
    request_fini(&req);

    test("json: a request whose first line never came");
    begin();
    req.method = req.target = req.uri.origin = req.host = STR_NONE;
    check_str(json(), "{\"time\":971186135.25,\"id\":\"0123456789abcdef\",\"client\":\"192.0.2.7\","
                      "\"host\":\"\",\"method\":\"\",\"uri\":\"\",\"scheme\":\"http\","
                      "\"version\":\"1.1\",\"status\":200,\"bytes_in\":12,\"bytes_out\":345,"
                      "\"request_length\":112,\"duration\":1.5,\"generation\":3}\n");
    request_fini(&req);

    test("json: no byte breaks the line");
    for (int i = 0; i < 256; i++) {
        char text[] = {'a', (char)i, 'b', (char)i}, want[64];
        bool plain = i >= 0x20 && i < 0x7f && i != '"' && i != '\\';
        begin();
        req.method = req.host = req.uri.origin = req.server = (struct str){text, 4};
        req.backend = req.decision.tenant = (struct str){text, 4};
        if (plain)
            snprintf(want, sizeof want, "\"uri\":\"a%cb%c\",", i, i);
        else
            snprintf(want, sizeof want, "\"uri\":\"a\\u%04xb\\u%04x\",", i, i);
        s = json();
        line[s.n] = '\0';
        bool ok = check(s.n > 0) && check(strlen(line) == s.n) && check(is_json_line(line)) &&
                  check(strstr(line, want) != NULL);
        if (!ok)
            test_print("line", s);
        request_fini(&req);
        if (!ok)
            return;
    }
}

static struct access_fields format;

static const char *compile(const char *text)
{
    static struct arena arena;
    static char memory[8192];
    arena_fini(&arena);
    arena_init(&arena, memory, sizeof memory);
    return access_compile(&arena, str_of(text), &format);
}

static struct str fields(const char *text)
{
    const char *err = compile(text);
    if (err != NULL)
        return str_of(err);
    return (struct str){line, access_fields(&format, &req, 3, line, sizeof line)};
}

static void test_fields(void)
{
    test("fields: one and its text; braces; a dollar");
    begin();
    check_str(fields("a $client b"), "a 192.0.2.7 b\n");
    check_str(fields("${client}1$status$status"), "192.0.2.71200200\n");
    check_str(fields("$$client $$ $$$status $"), "$client $ $200 $\n");

    test("fields: what is wrong");
    check_str(str_of(compile("$clint")), "the format has no field '$clint'");
    check_str(str_of(compile("$http_")), "the format has no field '$http_'");
    check_str(str_of(compile("${client")), "the format has no field '$'");
    check_str(str_of(compile("a $ b")), "the format has no field '$'");

    test("fields: what a request does not have");
    req.method = req.target = req.uri.origin = req.host = STR_NONE;
    check_str(fields("$host $user $uri \"$request\" \"$referer\" $user_agent $http_x_a $tenant "
                     "$backend $server $error $app_status $queue $connect $first_byte $listener "
                     "$cache"),
              "- - - \"\" \"-\" - - - - - - - - - - - -\n");
    request_fini(&req);

    test("fields: all of them");
    begin();
    struct attempt second = {.server = STR("b:2"), .queue = 0.5, .connect = 0.25};
    struct attempt first = {.next = &second, .server = STR("a:1"), .error = "refused"};
    second.first_byte = 0.125;
    req.attempt_list = &first;
    req.attempts = 2;
    req.ended = true;
    req.app_status = 7;
    req.backend = STR("php");
    req.server = STR("b:2");
    req.decision.tenant = STR("acme");
    req.listener = STR("front");
    req.user = STR("ann b");
    req.error = "it said no";
    req.host_port = -1;
    req.local.port = 8080;
    headers_add(&req.arena, &req.headers, STR("X-A-B"), STR("one two"));
    headers_add(&req.arena, &req.headers, STR("Referer"), STR("r\""));
    headers_add(&req.arena, &req.headers, STR("User-Agent"), STR("u a"));
    check_str(fields("$app_status $attempts $backend $bytes $bytes_in $bytes_out $client $connect "
                     "$duration"),
              "7 2 php 300 12 345 192.0.2.7 0.25 1.5\n");
    check_str(fields("$error $first_byte $generation $host $id $listener $method $port $queue"),
              "it\\x20said\\x20no 0.125 3 example.com 0123456789abcdef front GET 8080 0.5\n");
    check_str(fields("$referer $request $request_length $scheme $server $status $tenant $time"),
              "r\\x22 GET /a?b=c HTTP/1.1 112 http b:2 200 acme 971186135.25\n");
    check_str(fields("$time_iso8601 $time_local $uri $user $user_agent $version $http_x_a_b"),
              "2000-10-10T13:55:36+00:00 10/Oct/2000:13:55:36 +0000 /a?b=c ann\\x20b u\\x20a 1.1 "
              "one\\x20two\n");
    req.cached = CACHE_BYPASS;
    check_str(fields("$cache \"$cache\""), "bypass \"bypass\"\n");
    check_str(fields("\"$user\" \"$http_x_a_b\""), "\"ann b\" \"one two\"\n");
    check_str(fields("$user\t$user_agent"), "ann b\tu a\n");
    request_fini(&req);

    test("fields: no byte of a client can end a field or a line");
    for (int i = 0; i < 256; i++) {
        char text[] = {'a', (char)i, 'b'}, want[200], word[16], quoted[16];
        bool plain = i > 0x20 && i < 0x7f && i != '"' && i != '\\';
        snprintf(word, sizeof word, plain ? "a%cb" : "a\\x%02Xb", i);
        snprintf(quoted, sizeof quoted, plain || i == ' ' ? "a%cb" : "a\\x%02Xb", i);
        begin();
        req.method = req.target = req.uri.origin = req.user = (struct str){text, 3};
        headers_add(&req.arena, &req.headers, STR("X-A"), (struct str){text, 3});
        snprintf(want, sizeof want, "%s %s %s \"%s %s HTTP/1.1\" \"%s\" \"%s\"\n", word, word, word,
                 quoted, quoted, quoted, quoted);
        bool ok =
            check_str(fields("$user $uri $http_x_a \"$request\" \"$http_x_a\" \"$uri\""), want);
        snprintf(want, sizeof want, "%s\t%s\n", quoted, quoted);
        ok = check_str(fields("$user\t$http_x_a"), want) && ok;
        request_fini(&req);
        if (!ok)
            return;
    }

    test("fields: a line with the longest values fits");
    static char huge[60000], many[2000];
    memset(huge, '\n', sizeof huge);
    begin();
    req.uri.origin = (struct str){huge, sizeof huge};
    for (unsigned i = 0; i < 60; i++)
        strcat(many, i % 2 == 0 ? "$uri " : "\"$uri\" ");
    static char room[ACCESS_LINE_SIZE];
    check(compile(many) == NULL);
    check(access_fields(&format, &req, 3, room, sizeof room) > 20000);
    request_fini(&req);

    test("fields: a format that is too large is refused");
    static char large[ACCESS_FORMAT + 2];
    memset(large, 'x', sizeof large - 1);
    check_str(str_of(compile(large)), "the format is longer than 4096 bytes");
    large[ACCESS_FORMAT] = '\0';
    check(compile(large) == NULL);
    large[0] = '\0';
    for (unsigned i = 0; i < ACCESS_PARTS; i++)
        strcat(large, "$id");
    check(compile(large) == NULL);
    strcat(large, " ");
    check_str(str_of(compile(large)), "the format has more than 128 fields and texts");
}

static void test_size(void)
{
    char small[1024];
    begin();
    headers_add(&req.arena, &req.headers, STR("User-Agent"), STR("a\"\"\"\"b"));
    req.backend = STR("php\n");
    test("a line that does not fit is 0 bytes, and nothing is written beyond the end");
    size_t sizes[2] = {combined().n, json().n};
    for (int kind = 0; kind < 2; kind++) {
        for (size_t size = 0; size <= sizes[kind] + 1; size++) {
            memset(small, '#', sizeof small);
            size_t n =
                kind == 0 ? access_combined(&req, small, size) : access_json(&req, 3, small, size);
            if (!check_int((int64_t)n, size < sizes[kind] ? 0 : (int64_t)sizes[kind]) ||
                !check(small[size] == '#'))
                return;
        }
    }
    request_fini(&req);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    test_combined();
    test_forging();
    test_json();
    test_fields();
    test_size();
    return test_report();
}

/*
 * spans_test - the spans of a request as OTLP JSON: which there are, their parents and times, and
 * that no text of a client leaves its quotes. Links spans, traceparent, request and what that
 * needs.
 */
#include "../test.h"
#include "http/spans.h"
#include "http/traceparent.h"

static struct request req;
static char memory[16384], out[SPANS_SIZE];
static struct spans notes;
static struct traceparent context;
static struct attempt first, second;
static unsigned count;

static void begin(void)
{
    request_init(&req, memory, sizeof memory);
    notes = (struct spans){.count = 0};
    context = (struct traceparent){.own = "00-4bf92f3577b34da6a3ce929d0e0e4736-1111222233334444-01",
                                   .caller = "00f067aa0ba902b7",
                                   .sampled = true,
                                   .spans = &notes};
    req.traceparent = &context;
    req.method = STR("GET");
    req.uri.path = STR("/a");
    req.uri.query = STR("b=c");
    req.version = HTTP_1_1;
    req.host = STR("example.com");
    req.client = (struct peer){.family = AF_INET, .ip = {192, 0, 2, 7}, .port = 4000};
    req.local = (struct peer){.family = AF_INET, .ip = {192, 0, 2, 1}, .port = 8080};
    req.started = 1700000000;
    req.began = 100;
    req.duration = 1;
    req.response.status = 200;
    req.id = 7;
}

static struct str json(double now)
{
    return (struct str){out, spans_json(&req, now, out, sizeof out, &count)};
}

static bool has(struct str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static unsigned occurrences(struct str text, const char *part)
{
    unsigned n = 0;
    for (const char *at = text.p;
         (at = memmem(at, (size_t)(text.p + text.n - at), part, strlen(part))) != NULL; at++)
        n++;
    return n;
}

static void test_request(void)
{
    begin();
    test("spans: the request's, whose parent is the caller's");
    struct str text = json(101);
    check_int(count, 1);
    check(has(text,
              "{\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spanId\":\"1111222233334444\","
              "\"parentSpanId\":\"00f067aa0ba902b7\",\"name\":\"GET\",\"kind\":2,"
              "\"startTimeUnixNano\":\"1700000000000000000\","
              "\"endTimeUnixNano\":\"1700000001000000000\",\"attributes\":["));
    check(has(text, "{\"key\":\"url.path\",\"value\":{\"stringValue\":\"/a\"}}"));
    check(has(text, "{\"key\":\"url.query\",\"value\":{\"stringValue\":\"b=c\"}}"));
    check(has(text, "{\"key\":\"http.response.status_code\",\"value\":{\"intValue\":\"200\"}}"));
    check(has(text, "{\"key\":\"server.port\",\"value\":{\"intValue\":\"8080\"}}"));
    check(has(text, "\"network.protocol.version\",\"value\":{\"stringValue\":\"1.1\"}}"));
    check(has(text, "\"status\":{}}"));

    test("spans: without a caller there is no parent");
    context.caller[0] = '\0';
    check(!has(json(101), "parentSpanId"));

    test("spans: 5xx is an error, an unknown method has no name");
    req.response.status = 502;
    req.error = "it \"broke\"";
    req.method = STR("BREW");
    text = json(101);
    check(has(text, "\"status\":{\"code\":2,\"message\":\"it \\u0022broke\\u0022\"}}"));
    check(has(text, "\"error.type\",\"value\":{\"stringValue\":\"502\"}}"));
    check(has(text, "\"name\":\"HTTP\""));
    check(has(text, "\"http.request.method\",\"value\":{\"stringValue\":\"_OTHER\"}}"));
    check(has(text, "\"http.request.method_original\",\"value\":{\"stringValue\":\"BREW\"}}"));
}

static void test_text(void)
{
    begin();
    test("spans: a text stays in its quotes, and is UTF-8");
    req.uri.path = STR("/\"\\\n\x01\xff\xc3\xbc\xc2\x9b\x7f");
    check(has(
        json(101),
        "\"stringValue\":\"/\\u0022\\u005c\\u000a\\u0001\\u00ff\xc3\xbc\\u00c2\\u009b\\u007f\"}}"));

    test("spans: signatures are left out of the query");
    req.uri.query = STR("a=1&sig=s3cr3t&Signature=x&sig&AWSAccessKeyId=&b=2");
    check(
        has(json(101), "\"a=1&sig=REDACTED&Signature=REDACTED&sig&AWSAccessKeyId=REDACTED&b=2\""));

    test("spans: long texts are cut, and too many leave none");
    static char path[100000];
    memset(path, 'x', sizeof path);
    req.uri.path = (struct str){path, sizeof path};
    req.uri.query = (struct str){path, sizeof path};
    check(json(101).n > 2000);
    check(json(101).n < 8000);
    for (size_t size = 0; size < 300; size++)
        check_int(spans_json(&req, 101, out, size, &count), 0);
}

static void test_parts(void)
{
    begin();
    test("spans: hooks, of which one goes on after a wait");
    spans_note(&notes, "on_request", 100.1, 100.2, false);
    spans_note(&notes, "on_params", 100.3, 100.4, false);
    spans_note(&notes, "on_request", 100.5, 100.75, true);
    struct str text = json(101);
    check_int(count, 3);
    check(has(text, "\"parentSpanId\":\"1111222233334444\",\"name\":\"on_request\",\"kind\":1,"
                    "\"startTimeUnixNano\":\"1700000000099999"));
    check(has(text, "\"endTimeUnixNano\":\"1700000000750000000\""));

    test("spans: none lasts longer than the request");
    notes.notes[0].until = 500;
    notes.notes[1].from = -5;
    text = json(102);
    check(has(text, "\"endTimeUnixNano\":\"1700000002000000000\""));
    check(!has(text, "17000004"));
    check(!has(text, "\"1699"));

    test("spans: there is a bound");
    for (int i = 0; i < 100; i++)
        spans_note(&notes, "on_error", 100, 100, false);
    check(json(101).n > 0);
    check_int(count, 1 + SPANS_NOTES);
}

static void test_attempts(void)
{
    begin();
    second = (struct attempt){.server = STR("[::1]:9000"),
                              .backend = STR("app"),
                              .role = FCGI_RESPONDER,
                              .asked = 100.5,
                              .queue = 0.1,
                              .connect = 0.1,
                              .total = 0.4,
                              .span = 0xabcd,
                              .granted = true,
                              .over = true};
    first = (struct attempt){.next = &second,
                             .server = STR("unix:/run/php.sock"),
                             .backend = STR("app"),
                             .role = FCGI_RESPONDER,
                             .asked = 100.25,
                             .total = 0.25,
                             .span = 0xabcc,
                             .error = "refused",
                             .granted = true,
                             .over = true};
    req.attempt_list = &first;
    notes.send_from = 100.875;
    test("spans: each attempt, its wait and its connection");
    struct str text = json(101);
    check_int(count, 6);
    check_int(occurrences(text, "\"parentSpanId\":\"1111222233334444\""), 4);
    check(has(text,
              "\"spanId\":\"000000000000abcc\",\"parentSpanId\":\"1111222233334444\",\"name\":"
              "\"FastCGI\",\"kind\":3"));
    check(has(text, "\"status\":{\"code\":2,\"message\":\"refused\"}"));
    check(has(text, "\"server.address\",\"value\":{\"stringValue\":\"/run/php.sock\"}}"));
    check(has(text, "\"network.transport\",\"value\":{\"stringValue\":\"unix\"}}"));
    check(has(text, "\"server.address\",\"value\":{\"stringValue\":\"::1\"}}"));
    check(has(text, "\"server.port\",\"value\":{\"intValue\":\"9000\"}}"));
    check(has(text, "\"http.request.resend_count\",\"value\":{\"intValue\":\"1\"}}"));
    check(has(text, "\"parentSpanId\":\"000000000000abcd\",\"name\":\"connect\""));
    check_int(occurrences(text, "\"name\":\"queue\""), 1);
    check_int(occurrences(text, "\"name\":\"send\""), 1);

    test("spans: an attempt that got no server has waited");
    second.granted = false;
    second.queue = second.connect = 0;
    second.error = "queue full";
    text = json(101);
    check_int(count, 4);
    check(has(text, "\"name\":\"queue\",\"kind\":1,\"startTimeUnixNano\":\"1700000000500000000\","
                    "\"endTimeUnixNano\":\"1700000000900000"));

    test("spans: an attempt that is not over is left out");
    second.over = false;
    json(101);
    check_int(count, 3);
}

int main(void)
{
    test_request();
    test_text();
    test_parts();
    test_attempts();
    return test_report();
}

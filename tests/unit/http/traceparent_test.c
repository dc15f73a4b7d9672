/*
 * traceparent_test - trace contexts: which headers are continued, what is begun otherwise, and what
 * goes on to applications. Links traceparent, request and what that needs.
 */
#include "../test.h"
#include "http/traceparent.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static struct request req;
static char memory[4096];
static const uint64_t words[] = {0x0123456789abcdef, 0xfedcba9876543210, 0x1111222233334444};
static struct tracing_settings settings;

static const struct traceparent *take(const char *value)
{
    request_init(&req, memory, sizeof memory);
    req.from_trusted = true;
    if (value != NULL)
        headers_add(&req.arena, &req.headers, STR("Traceparent"), str_of(value));
    headers_add(&req.arena, &req.headers, STR("TraceState"), STR("vendor=1"));
    traceparent_take(&req, &settings, words);
    return req.traceparent;
}

static struct str sent(void)
{
    return headers_joined(&req.arena, &req.headers, STR("traceparent"));
}

static bool is_begun(const struct traceparent *t)
{
    return str_eq(traceparent_trace_id(t), STR("0123456789abcdeffedcba9876543210")) &&
           t->caller[0] == '\0' && headers_get(&req.headers, STR("tracestate")) == NULL;
}

static void test_continued(void)
{
    settings = (struct tracing_settings){.enabled = true, .believe = BELIEVE_TRUSTED, .sample = 1};
    test("traceparent: the trace goes on, with a span of its own");
    const struct traceparent *t = take("00-" TRACE "-" SPAN "-01");
    check_str(sent(), "00-" TRACE "-1111222233334444-01");
    check_str(str_of(t->caller), SPAN);
    check(t->sampled);
    check_str(headers_joined(&req.arena, &req.headers, STR("tracestate")), "vendor=1");

    test("traceparent: the caller's decision about sampling stands");
    settings.sample = 1;
    check(!take("00-" TRACE "-" SPAN "-00")->sampled);
    check_str(sent(), "00-" TRACE "-1111222233334444-00");
    settings.sample = 0;
    check(take("00-" TRACE "-" SPAN "-01")->sampled);
    check(!take(NULL)->sampled);

    test("traceparent: flags that version 00 does not have are left out");
    take("00-" TRACE "-" SPAN "-ff");
    check_str(sent(), "00-" TRACE "-1111222233334444-03");

    test("traceparent: a later version may have more");
    take("cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like");
    check_str(sent(), "00-" TRACE "-1111222233334444-01");
    take("01-" TRACE "-" SPAN "-01");
    check_str(sent(), "00-" TRACE "-1111222233334444-01");
}

static void test_begun(void)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-011",
        "00-" TRACE "-" SPAN "-0g",
        "00-" TRACE "-" SPAN "_01",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "ff-" TRACE "-" SPAN "-01",
        "0G-" TRACE "-" SPAN "-01",
        "01-" TRACE "-" SPAN "-01x",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
    };
    settings = (struct tracing_settings){.enabled = true, .believe = BELIEVE_TRUSTED, .sample = 1};
    test("traceparent: what is not valid begins a trace, and drops tracestate");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check(is_begun(take(bad[i])));
        check_str(sent(), "00-0123456789abcdeffedcba9876543210-1111222233334444-01");
    }
    check(is_begun(take(NULL)));

    test("traceparent: each cut of a valid one");
    for (size_t n = 0; n < TRACEPARENT_SIZE; n++) {
        char cut[TRACEPARENT_SIZE + 1] = "00-" TRACE "-" SPAN "-01";
        cut[n] = '\0';
        check(is_begun(take(cut)));
    }

    test("traceparent: of two nobody knows which");
    request_init(&req, memory, sizeof memory);
    req.from_trusted = true;
    for (int i = 0; i < 2; i++)
        headers_add(&req.arena, &req.headers, STR("traceparent"), STR("00-" TRACE "-" SPAN "-01"));
    req.headers.list[0].repeated = req.headers.list[1].again = true; /* as the parser says */
    traceparent_take(&req, &settings, words);
    check(is_begun(req.traceparent));
    check_str(sent(), "00-0123456789abcdeffedcba9876543210-1111222233334444-01");
}

static void test_believed(void)
{
    static const struct {
        enum believe believe;
        bool trusted, continued;
    } cases[] = {
        {BELIEVE_TRUSTED, true, true}, {BELIEVE_TRUSTED, false, false},
        {BELIEVE_ALL, false, true},    {BELIEVE_ALL, true, true},
        {BELIEVE_NONE, true, false},   {BELIEVE_NONE, false, false},
    };
    test("traceparent: whose is continued");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        settings =
            (struct tracing_settings){.enabled = true, .believe = cases[i].believe, .sample = 1};
        request_init(&req, memory, sizeof memory);
        req.from_trusted = cases[i].trusted;
        headers_add(&req.arena, &req.headers, STR("traceparent"), STR("00-" TRACE "-" SPAN "-01"));
        traceparent_take(&req, &settings, words);
        check(is_begun(req.traceparent) != cases[i].continued);
    }
}

static void test_sampled(void)
{
    static const struct {
        double sample;
        uint64_t word;
        bool sampled;
    } cases[] = {
        {0, 0, false},
        {1, UINT64_MAX, true},
        {0.5, 0x7fffffffffffff, true},
        {0.5, 0x80000000000000, false},
        {0.5, 0xff7fffffffffffff, true},
    };
    test("traceparent: the share of traces that are recorded is by the id");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint64_t random[] = {1, cases[i].word, 2};
        settings = (struct tracing_settings){
            .enabled = true, .believe = BELIEVE_NONE, .sample = cases[i].sample};
        request_init(&req, memory, sizeof memory);
        traceparent_take(&req, &settings, random);
        check(req.traceparent->sampled == cases[i].sampled);
        check_str(str_skip(sent(), TRACEPARENT_SIZE - 2), cases[i].sampled ? "01" : "00");
    }

    test("traceparent: no id is all zeros");
    request_init(&req, memory, sizeof memory);
    traceparent_take(&req, &settings, (const uint64_t[]){0, 0, 0});
    check_str(sent(), "00-00000000000000010000000000000001-0000000000000001-01");
}

static void test_of_web_server(void)
{
    settings = (struct tracing_settings){.enabled = true, .believe = BELIEVE_TRUSTED, .sample = 1};
    test("traceparent: the params of a web server in front");
    request_init(&req, memory, sizeof memory);
    params_set(&req.arena, &req.arrived, STR("HTTP_TRACESTATE"), STR("vendor=1"));
    params_set(&req.arena, &req.arrived, STR("HTTP_TRACEPARENT"), STR("rubbish"));
    traceparent_take(&req, &settings, words);
    check(params_find(&req.arrived, STR("HTTP_TRACESTATE")) == NULL);
    check_str(params_find(&req.arrived, STR("HTTP_TRACEPARENT"))->value,
              "00-0123456789abcdeffedcba9876543210-1111222233334444-01");

    test("traceparent: an attempt is the parent of what its application does");
    traceparent_name_sent(req.traceparent, 0xabcd);
    check_str(sent(), "00-0123456789abcdeffedcba9876543210-000000000000abcd-01");
    check_str(params_find(&req.arrived, STR("HTTP_TRACEPARENT"))->value,
              "00-0123456789abcdeffedcba9876543210-000000000000abcd-01");
    check_str(traceparent_span_id(req.traceparent->own), "1111222233334444");
}

int main(void)
{
    test_continued();
    test_begun();
    test_believed();
    test_sampled();
    test_of_web_server();
    return test_report();
}

/*
 * caching_test - which responses are kept, and for how long: the rules of the script, RFC 9111, RFC
 * 5861. Links caching and what it needs.
 */
#include "../test.h"
#include "http/caching.h"

#include <stdarg.h>

#define END ((const char *)NULL) /* of a list of headers */
#define NOW 1700000000           /* Tue, 14 Nov 2023 22:13:20 GMT */

static char memory[65536];
static struct arena arena;
static const struct caching_rules none = {.ttl = -1, .stale = -1};

/* A response with these headers: names and values by turns, END at last. */
static struct response response_of(int status, ...)
{
    struct response res = {.status = status};
    va_list list;
    const char *name;
    arena_init(&arena, memory, sizeof memory);
    va_start(list, status);
    while ((name = va_arg(list, const char *)) != NULL)
        headers_add(&arena, &res.headers, str_of(name), str_of(va_arg(list, const char *)));
    va_end(list);
    return res;
}

static struct caching_verdict judge(const struct caching_rules *rules, struct response res)
{
    struct caching_verdict verdict;
    caching_judge(rules, &res, NOW, &verdict);
    return verdict;
}

#define KEPT(rules, seconds, ...)                                                                  \
    do {                                                                                           \
        struct caching_verdict v = judge(rules, response_of(__VA_ARGS__, END));                    \
        check(v.reason == CACHE_NO_REASON);                                                        \
        check_int((int)v.fresh, seconds);                                                          \
    } while (0)
#define NOT_KEPT(rules, ...)                                                                       \
    check(judge(rules, response_of(__VA_ARGS__, END)).reason != CACHE_NO_REASON)

static void test_headers(void)
{
    test("lifetimes by headers");
    KEPT(&none, 60, 200, "Cache-Control", "max-age=60");
    KEPT(&none, 60, 200, "Cache-Control", "public, MAX-AGE=\"60\"");
    KEPT(&none, 10, 200, "Cache-Control", "max-age=60, s-maxage=10");
    KEPT(&none, 50, 200, "Cache-Control", "max-age=60", "Age", "10");
    KEPT(&none, 60, 200, "Cache-Control", "foo=\"a, no-store\", max-age=60");
    KEPT(&none, 60, 200, "Cache-Control", "foo", "Cache-Control", "max-age=60");
    KEPT(&none, 40, 200, "Expires", "Tue, 14 Nov 2023 22:14:00 GMT");
    KEPT(&none, 60, 200, "Expires", "Tue, 14 Nov 2023 22:14:00 GMT", "Date",
         "Tue, 14 Nov 2023 22:13:00 GMT");
    KEPT(&none, 5, 200, "Expires", "Tue, 14 Nov 2023 22:14:00 GMT", "Cache-Control", "max-age=5");
    KEPT(&none, 100, 200, "Last-Modified", "Tue, 14 Nov 2023 21:56:40 GMT");
    KEPT(&none, 86400, 200, "Last-Modified", "Tue, 14 Nov 2000 21:56:40 GMT");
    KEPT(&none, 9, 404, "Cache-Control", "max-age=9");
    KEPT(&none, 9, 302, "Cache-Control", "max-age=9");
    test("a lifetime of a billion years is bounded");
    check(
        judge(&none, response_of(200, "Cache-Control", "max-age=99999999999999999999", END)).fresh <
        2200000000.0);
}

static void test_obstacles(void)
{
    test("what is not kept");
    NOT_KEPT(&none, 200, "Content-Type", "text/html");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=0");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=x");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=-1");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60", "Age", "60");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60, no-store");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60, private");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60, private=\"X-A, X-B\"");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60", "Cache-Control", "No-Cache");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60", "Set-Cookie", "a=b");
    NOT_KEPT(&none, 200, "Cache-Control", "max-age=60", "Vary", "Accept, *");
    NOT_KEPT(&none, 200, "Expires", "0");
    NOT_KEPT(&none, 200, "Expires", "Tue, 14 Nov 2023 22:13:00 GMT");
    NOT_KEPT(&none, 206, "Cache-Control", "max-age=60");
    NOT_KEPT(&none, 304, "Cache-Control", "max-age=60");
    NOT_KEPT(&none, 500, "Cache-Control", "max-age=60");
    NOT_KEPT(&none, 401, "Cache-Control", "max-age=60");
    NOT_KEPT(&none, 302, "Last-Modified", "Tue, 14 Nov 2023 21:56:40 GMT");
}

static void test_rules(void)
{
    const struct caching_rules ttl = {.ttl = 30, .stale = -1}, all = {.ttl = 30,
                                                                      .stale = 5,
                                                                      .ignores_cookies = true,
                                                                      .ignores_control = true};
    test("the script's ttl goes before the headers, but not before what forbids");
    KEPT(&ttl, 30, 200, "Content-Type", "text/html");
    KEPT(&ttl, 30, 200, "Cache-Control", "max-age=0");
    KEPT(&ttl, 30, 200, "Expires", "0");
    KEPT(&ttl, 30, 301, "Location", "/x");
    NOT_KEPT(&ttl, 404, "Content-Type", "text/html");
    NOT_KEPT(&ttl, 200, "Cache-Control", "private");
    NOT_KEPT(&ttl, 200, "Set-Cookie", "a=b");
    NOT_KEPT(&ttl, 500, "Content-Type", "text/html");
    KEPT(&ttl, 8, 404, "Cache-Control", "max-age=8");
    test("a script may ignore what forbids");
    KEPT(&all, 30, 200, "Cache-Control", "private, no-store", "Set-Cookie", "a=b");
    NOT_KEPT(&all, 200, "Vary", "*");
}

static double stale_of(const struct caching_rules *rules, const char *control)
{
    return judge(rules, response_of(200, "Cache-Control", control, END)).stale;
}

static void test_stale(void)
{
    const struct caching_rules five = {.ttl = -1, .stale = 5};
    test("how long a stale response serves");
    check_int((int)stale_of(&none, "max-age=1"), 0);
    check_int((int)stale_of(&none, "max-age=1, stale-while-revalidate=7"), 7);
    check_int((int)stale_of(&none, "max-age=1, stale-while-revalidate=7, stale-if-error=9"), 9);
    check_int((int)stale_of(&none, "max-age=1, stale-if-error=9, must-revalidate"), 0);
    check_int((int)stale_of(&five, "max-age=1, stale-if-error=9"), 5);
}

static double at_once_of(const struct caching_rules *rules, const char *control)
{
    return judge(rules, response_of(200, "Cache-Control", control, END)).at_once;
}

static void test_background(void)
{
    const struct caching_rules always = {.ttl = -1, .stale = 9, .background = CACHING_ALWAYS};
    const struct caching_rules never = {.ttl = -1, .stale = 9, .background = CACHING_NEVER};
    const struct caching_rules five = {.ttl = -1, .stale = 5};
    test("how long a stale response is sent at once");
    check_int((int)at_once_of(&none, "max-age=1"), 0);
    check_int((int)at_once_of(&none, "max-age=1, stale-if-error=9"), 0);
    check_int((int)at_once_of(&none, "max-age=1, stale-while-revalidate=7, stale-if-error=9"), 7);
    check_int((int)at_once_of(&none, "max-age=1, stale-while-revalidate=7, must-revalidate"), 0);
    check_int((int)at_once_of(&five, "max-age=1, stale-while-revalidate=7"), 5);
    check_int((int)at_once_of(&five, "max-age=1"), 0);
    check_int((int)at_once_of(&always, "max-age=1"), 9);
    check_int((int)at_once_of(&never, "max-age=1, stale-while-revalidate=7"), 0);
}

static void test_names(void)
{
    struct str list = STR(" Accept ,, Cookie,"), name;
    test("the names of Vary");
    name = caching_next_name(&list);
    check(str_eq(name, STR("Accept")));
    name = caching_next_name(&list);
    check(str_eq(name, STR("Cookie")));
    check_int((int)caching_next_name(&list).n, 0);
    check_int((int)caching_next_name(&list).n, 0);
}

int main(void)
{
    test_headers();
    test_obstacles();
    test_rules();
    test_stale();
    test_background();
    test_names();
    return test_report();
}

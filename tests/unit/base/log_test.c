/*
 * log_test - what a line of the error log says of its request, and which level holds. Links log,
 * writer and str.
 */
#include "../test.h"
#include "base/log.h"

#include <unistd.h>

static char out[LOG_ABOUT_SIZE];

static struct str text_of(struct log_about about)
{
    size_t n = log_about_text(&about, out);
    check_int((int64_t)strlen(out), (int64_t)n);
    return (struct str){out, n};
}

static void expect(struct log_about about, const char *want)
{
    check_str(text_of(about), want);
}

static struct str many(char c, size_t n)
{
    static char bytes[256][5000];
    memset(bytes[(unsigned char)c], c, n);
    return (struct str){bytes[(unsigned char)c], n};
}

static void test_about(void)
{
    test("a request has all of its parts");
    expect((struct log_about){.method = STR("GET"),
                              .uri = STR("/a,b;c?d=%20"),
                              .id = STR("0123456789abcdef"),
                              .host = STR("shop.example"),
                              .tenant = STR("Shop & Söhne")},
           "GET /a,b;c?d=%20, request 0123456789abcdef, host shop.example, tenant Shop & Söhne");
    test("what is not known is left out");
    expect((struct log_about){.id = STR("1f")}, "request 1f");
    expect((struct log_about){.id = STR("1f"), .tenant = STR("a")}, "request 1f, tenant a");
    test("no part can look like another one, or end the line");
    expect((struct log_about){.method = STR("G\nT"),
                              .uri = STR("/ \x01\xff\n"),
                              .id = STR("a,b"),
                              .host = STR("a;\"b\\"),
                              .tenant = STR("x, host y\r\n")},
           "G\\x0aT /\\x20\\x01\\xff\\x0a, request a\\x2cb, host a\\x3b\\x22b\\x5c, tenant "
           "x\\x2c host y\\x0d\\x0a");
    test("long parts are cut, and the others are whole");
    const char *words[] = {"GET /", ", request 1f, host ", ", tenant blue"};
    for (int hostile = 0; hostile < 2; hostile++) {
        struct str got = text_of((struct log_about){.method = STR("GET"),
                                                    .uri = many('/', 5000),
                                                    .id = STR("1f"),
                                                    .host = many(hostile ? '\n' : '/', 5000),
                                                    .tenant = STR("blue")});
        check(got.n < LOG_ABOUT_SIZE);
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            check(strstr(out, words[i]) != NULL);
    }
    test("a character is not cut in its middle");
    static char long_one[] = "............................................................"
                             "................................................................"
                             "...............................\xf0\x9f\x8c\x99\xf0\x9f\x8c\x99";
    struct str got = text_of((struct log_about){.tenant = str_of(long_one)});
    for (size_t i = 0, n; i < got.n; i += n) {
        n = str_shown(got.p + i, got.n - i);
        if (!check(n > 0))
            break;
    }
}

static void test_level(void)
{
    log_order order = 0;
    enum log_level level;
    double left;
    log_setup(STDERR_FILENO, "stderr", LOG_WARN, -1, "");
    log_heed(&order);
    test("without an order the level is the given one");
    check_int(log_threshold(), LOG_WARN);
    check(!log_ordered(&level, &left));
    test("an order holds in its place");
    order = log_order_of(LOG_DEBUG, 0);
    check_int(log_threshold(), LOG_DEBUG);
    check_int(log_level_set(), LOG_WARN);
    check(log_ordered(&level, &left) && level == LOG_DEBUG && left == 0);
    order = log_order_of(LOG_ERROR, 3600);
    check_int(log_threshold(), LOG_ERROR);
    check(log_ordered(&level, &left) && left > 3000 && left <= 3600);
    test("an order ends with its time");
    order = log_order_of(LOG_DEBUG, 0.001);
    for (int i = 0; i < 10000 && log_ordered(&level, &left); i++)
        usleep(1000);
    check(!log_ordered(&level, &left));
    check_int(log_threshold(), LOG_WARN);
    test("what is no order is none");
    order = 0xff;
    check_int(log_threshold(), LOG_WARN);
    order = 1ull << 40;
    check_int(log_threshold(), LOG_WARN);
    log_heed(NULL);
    check_int(log_threshold(), LOG_WARN);
}

int main(void)
{
    test_about();
    test_level();
    return test_report();
}

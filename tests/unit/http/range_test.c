/* range_test - the Range header: its grammar, what lies outside, merging. Links range and str. */
#include "../test.h"
#include "http/range.h"

/* The answer as text: "whole", "none", or "0-4,7-9". */
static const char *parse(const char *header, uint64_t size)
{
    static char text[RANGE_MAX * 44 + 1];
    struct range out[RANGE_MAX];
    unsigned count = 0;
    size_t n = strlen(header), used = 0;
    char *copy = test_copy(header, n);
    enum range_answer answer = range_parse((struct str){copy, n}, size, out, &count);
    free(copy);
    if (answer != RANGE_SOME)
        return answer == RANGE_NONE ? "none" : "whole";
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%" PRIu64 "-%" PRIu64,
                                 i > 0 ? "," : "", out[i].first, out[i].last);
    return text;
}

static void expect(const char *header, uint64_t size, const char *want)
{
    char name[128];
    snprintf(name, sizeof name, "\"%.80s\" of %" PRIu64, header, size);
    test(name);
    check_str(str_of(parse(header, size)), want);
    test_close();
}

static void test_one(void)
{
    expect("bytes=0-0", 10, "0-0");
    expect("bytes=0-9", 10, "0-9");
    expect("bytes=2-5", 10, "2-5");
    expect("bytes=9-", 10, "9-9");
    expect("bytes=3-", 10, "3-9");
    expect("bytes=3-10", 10, "3-9");
    expect("bytes=3-99999999999999999999999999", 10, "3-9");
    expect("bytes=-1", 10, "9-9");
    expect("bytes=-10", 10, "0-9");
    expect("bytes=-11", 10, "0-9");
    expect("bytes=-99999999999999999999999999", 10, "0-9");
    expect("Bytes = 1-2", 10, "1-2");
    expect("bytes=\t 1-2 \t", 10, "1-2");
    expect("bytes=18446744073709551614-", UINT64_MAX, "18446744073709551614-18446744073709551614");
    expect("bytes=-1", UINT64_MAX, "18446744073709551614-18446744073709551614");
}

static void test_outside(void)
{
    expect("bytes=10-", 10, "none");
    expect("bytes=10-20", 10, "none");
    expect("bytes=99999999999999999999999999-", 10, "none");
    expect("bytes=-0", 10, "none");
    expect("bytes=0-", 0, "none");
    expect("bytes=0-0", 0, "none");
    expect("bytes=-5", 0, "none");
    expect("bytes=10-,-0", 10, "none");
    expect("bytes=10-,2-3,-0", 10, "2-3");
}

static void test_ignored(void)
{
    static const char *const bad[] = {
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=, ,",
        "bytes=-",
        "bytes=--1",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=1 - 2",
        "lines=1-2",
        "byte=1-2",
        "bytes1-2",
        "bytes=0-1,x",
        "bytes=0-1,5-4",
        "bytes=0-1;",
        "=0-1",
        "bytes=bytes=0-1",
        "bytes=0-1, bytes=2-3",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect(bad[i], 10, "whole");
}

static void test_merging(void)
{
    expect("bytes=0-1,4-5", 10, "0-1,4-5");
    expect("bytes=4-5,0-1", 10, "0-1,4-5");
    expect("bytes=0-1,2-3", 10, "0-3");
    expect("bytes=2-3,0-1", 10, "0-3");
    expect("bytes=0-5,3-8", 10, "0-8");
    expect("bytes=0-8,3-4", 10, "0-8");
    expect("bytes=0-,0-,0-", 10, "0-9");
    expect("bytes=0-0,-1", 10, "0-0,9-9");
    expect("bytes=-1,8-8", 10, "8-9");
    expect("bytes=5-6,0-1,3-3,2-2", 10, "0-3,5-6");
    expect("bytes= , 0-1 ,, 4-5 ,", 10, "0-1,4-5");
    expect("bytes=0-18446744073709551615,5-6", UINT64_MAX, "0-18446744073709551614");
}

static void append(char *text, size_t size, unsigned count, unsigned step)
{
    size_t used = (size_t)snprintf(text, size, "bytes=");
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%u-%u", i > 0 ? "," : "", i * step,
                                 i * step);
}

static void test_many(void)
{
    char text[8192];
    struct range out[RANGE_MAX];
    unsigned count = 0;
    test("16 apart from each other are taken, 17 are not");
    append(text, sizeof text, RANGE_MAX, 2);
    check(range_parse(str_of(text), 1000, out, &count) == RANGE_SOME);
    check_int(count, RANGE_MAX);
    check_int((int64_t)out[15].first, 30);
    append(text, sizeof text, RANGE_MAX + 1, 2);
    check_str(str_of(parse(text, 1000)), "whole");

    test("many that touch are one");
    append(text, sizeof text, RANGE_SPECS, 1);
    check_str(str_of(parse(text, 1000)), "0-255");

    test("there is an end to reading them");
    append(text, sizeof text, RANGE_SPECS + 1, 1);
    check_str(str_of(parse(text, 1000)), "whole");
}

int main(void)
{
    test_one();
    test_outside();
    test_ignored();
    test_merging();
    test_many();
    return test_report();
}

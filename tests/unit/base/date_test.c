/* date_test - HTTP-dates: three formats in, one out. Links date and str. */
#include "../test.h"
#include "base/date.h"

#define NOW 1700000000 /* 2023-11-14 22:13:20 */

static time_t parse(const char *text)
{
    size_t n = strlen(text);
    char *copy = test_copy(text, n);
    time_t at = date_parse((struct str){copy, n}, NOW);
    free(copy);
    return at;
}

static void test_format(void)
{
    static const struct {
        time_t at;
        const char *text;
    } table[] = {
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {951825599, "Tue, 29 Feb 2000 11:59:59 GMT"},
        {4070908800, "Thu, 01 Jan 2099 00:00:00 GMT"},
        {-1000000000, "Sun, 24 Apr 1938 22:13:20 GMT"},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {INT64_MIN, "Mon, 01 Jan 0001 00:00:00 GMT"},
    };
    char out[DATE_LENGTH + 1];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        test(table[i].text);
        date_format(table[i].at, out);
        check_str(str_of(out), table[i].text);
    }
    test("each day of 400 years, there and back");
    bool same = true;
    for (time_t at = -3000000000; at < 9700000000; at += 86399) {
        date_format(at, out);
        same = same && date_parse(str_of(out), NOW) == at;
    }
    check(same);
}

static void test_formats(void)
{
    static const char *const same[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun Nov 06 08:49:37 1994",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        test(same[i]);
        check_int(parse(same[i]), 784111777);
    }
    test("a year of two digits is up to 50 years ahead");
    check_int(parse("Thursday, 01-Jan-70 00:00:00 GMT"), 3155760000); /* 2070 */
    check_int(parse("Tuesday, 01-Jan-73 00:00:00 GMT"), 3250454400);  /* 2073 */
    check_int(parse("Tuesday, 01-Jan-74 00:00:00 GMT"), 126230400);   /* 1974 */
    check_int(parse("Friday, 31-Dec-99 23:59:59 GMT"), 946684799);
    check_int(parse("Saturday, 01-Jan-00 00:00:00 GMT"), 946684800);
    test("a leap second");
    check_int(parse("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800);
}

static void test_bad(void)
{
    static const char *const bad[] = {
        "",
        "yesterday",
        "1700000000",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Now 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Tue, 29 Feb 2023 08:49:37 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sun,06 Nov 1994 08:49:37 GMT",
        ", 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 EST",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 94",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Sun Nov  6 08:49:37",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test(bad[i][0] != '\0' ? bad[i] : "no date at all");
        check_int(parse(bad[i]), DATE_NONE);
    }
    test("each beginning of a date is none");
    const char *whole = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (size_t n = 0; n < strlen(whole); n++) {
        char *copy = test_copy(whole, n);
        check(date_parse((struct str){copy, n}, NOW) == DATE_NONE);
        free(copy);
    }
}

int main(void)
{
    test_format();
    test_formats();
    test_bad();
    return test_report();
}

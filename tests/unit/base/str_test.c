/* str_test - slices: comparing, cutting, numbers, tokens. Links str alone. */
#include "../test.h"

static void test_compare(void)
{
    test("str_eq");
    check(str_eq(STR("abc"), STR("abc")));
    check(!str_eq(STR("abc"), STR("abC")));
    check(!str_eq(STR("abc"), STR("ab")));
    check(str_eq((struct str){"a\0b", 3}, (struct str){"a\0b", 3}));
    check(!str_eq((struct str){"a\0b", 3}, (struct str){"a\0c", 3}));

    test("an absent slice equals an empty one and starts nothing else");
    check(str_eq(STR_NONE, STR("")));
    check(str_eq(STR(""), STR_NONE));
    check(str_eq(STR_NONE, STR_NONE));
    check(!str_eq(STR_NONE, STR("a")));
    check(str_starts(STR_NONE, STR("")));
    check(str_starts(STR("a"), STR_NONE));
    check(!str_starts(STR_NONE, STR("a")));
    check(str_ends(STR_NONE, STR("")));
    check(str_ends(STR("a"), STR_NONE));
    check(!str_ends(STR_NONE, STR("a")));
    check(str_ieq(STR_NONE, STR("")));

    test("str_ieq ignores the case of ASCII letters and nothing else");
    check(str_ieq(STR("Content-Length"), STR("cONTENT-lENGTH")));
    check(!str_ieq(STR("a"), STR("ab")));
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char x = (char)a, y = (char)b;
            bool letters = ((a | 0x20) >= 'a' && (a | 0x20) <= 'z') && (a | 0x20) == (b | 0x20);
            if (!check_int(str_ieq((struct str){&x, 1}, (struct str){&y, 1}), a == b || letters))
                return;
        }
    }

    test("str_ieq looks at each byte of a text of any length");
    for (size_t n = 1; n <= 20; n++) {
        char x[20], y[20];
        for (size_t i = 0; i < n; i++) {
            memset(x, 'k', n);
            memset(y, 'K', n);
            bool same = str_ieq((struct str){x, n}, (struct str){y, n});
            y[i] = 'k' ^ 0x40;
            if (!check(same) || !check(!str_ieq((struct str){x, n}, (struct str){y, n})))
                return;
        }
    }

    test("str_starts and str_ends");
    check(str_starts(STR("/srv/app"), STR("/srv")));
    check(!str_starts(STR("/sr"), STR("/srv")));
    check(str_ends(STR("index.php"), STR(".php")));
    check(!str_ends(STR("php"), STR(".php")));
    check(str_starts(STR("abc"), STR("abc")) && str_ends(STR("abc"), STR("abc")));
}

static void test_trim(void)
{
    test("str_trim takes spaces and tabs, and nothing else");
    check_str(str_trim(STR(" \t a b \t ")), "a b");
    check_str(str_trim(STR(" \t ")), "");
    check_str(str_trim(STR("")), "");
    check_str(str_trim(STR("\ra\n")), "\ra\n");
    check_str(str_trim(STR("\va\f")), "\va\f");
    check_int((int64_t)str_trim(STR_NONE).n, 0);
}

static void test_cut(void)
{
    struct str rest = STR("a,,b");
    test("str_cut goes through a list and then says that it is over");
    check_str(str_cut(&rest, ','), "a");
    check_str(str_cut(&rest, ','), "");
    check(rest.p != NULL);
    check_str(str_cut(&rest, ','), "b");
    check(rest.p == NULL);

    test("str_cut: a separator at the end leaves an empty last part");
    rest = STR("a,");
    check_str(str_cut(&rest, ','), "a");
    check(rest.p != NULL);
    check_str(str_cut(&rest, ','), "");
    check(rest.p == NULL);

    test("str_cut: an empty text has one empty part");
    rest = STR("");
    check_str(str_cut(&rest, ','), "");
    check(rest.p == NULL);
    check_int((int64_t)str_cut(&rest, ',').n, 0);
}

static void test_numbers(void)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } table[] = {
        {"0", true, 0},
        {"000", true, 0},
        {"42", true, 42},
        {"00000000000000000000000000000042", true, 42},
        {"18446744073709551614", true, UINT64_MAX - 1},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"18446744073709551620", false, 0},
        {"28446744073709551615", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"+1", false, 0},
        {"-1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x10", false, 0},
        {"1e3", false, 0},
        {"1,1", false, 0},
        {"/", false, 0},
        {":", false, 0},
        {"\xb2", false, 0},
    };
    test("str_to_u64: digits only, no overflow, untouched on failure");
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t value = 7;
        if (!check_int(str_to_u64(str_of(table[i].text), &value), table[i].ok))
            test_print("number", str_of(table[i].text));
        check(value == (table[i].ok ? table[i].value : 7));
    }
    uint64_t value;
    test("str_to_u64: a NUL is no end");
    check(!str_to_u64((struct str){"1\0", 2}, &value));
    check(!str_to_u64(STR_NONE, &value));
}

static void test_bytes(void)
{
    static const char others[] = "!#$%&'*+-.^_`|~"; /* RFC 9110 §5.6.2 */
    test("str_is_token: every byte");
    for (int i = 0; i < 256; i++) {
        char c = (char)i, pair[2] = {'a', c};
        bool token = (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z') ||
                     (i != 0 && strchr(others, i) != NULL);
        if (!check_int(str_is_token((struct str){&c, 1}), token) ||
            !check_int(str_is_token((struct str){pair, 2}), token))
            fprintf(stderr, "    byte: %d\n", i);
    }
    check(!str_is_token(STR("")));

    test("str_is_field_value: every byte");
    for (int i = 0; i < 256; i++) {
        char text[3] = {'a', (char)i, 'b'};
        if (!check_int(str_is_field_value((struct str){text, 3}),
                       (i >= 0x20 && i != 0x7f) || i == '\t'))
            fprintf(stderr, "    byte: %d\n", i);
    }
    check(str_is_field_value(STR("")));
}

static void test_shown(void)
{
    static const struct {
        const char *text;
        size_t shown;
    } cases[] = {
        {"", 0},
        {"a", 1},
        {" ", 1},
        {"~", 1},
        {"\t", 0},
        {"\x1b[31m", 0},
        {"\x7f", 0},
        {"\x9b", 0},             /* C1 of ISO 8859-1 */
        {"\xc2\x9b", 0},         /* the same in UTF-8 */
        {"\xc2\x80", 0},         /* the first of C1, and the last */
        {"\xc2\x9f", 0},         /* behind it a space */
        {"\xc2\xa0", 2},         /* that is printable */
        {"\xc3\xa9", 2},         /* é */
        {"\xe2\x82\xac", 3},     /* € */
        {"\xf0\x9f\x98\x80", 4}, /* U+1F600 */
        {"\xf4\x8f\xbf\xbf", 4}, /* the last character */
        {"\xf4\x90\x80\x80", 0}, /* beyond */
        {"\xed\xa0\x80", 0},     /* a surrogate */
        {"\xc0\x9b", 0},         /* ESC in too many bytes */
        {"\xe0\x82\x9b", 0},     /* C1 in too many bytes */
        {"\xe2\x82", 0},         /* cut off */
        {"\xe2\x28\xa1", 0},     /* broken */
        {"\xff", 0},
    };
    test("str_shown");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!check_int((long)str_shown(cases[i].text, strlen(cases[i].text)), (long)cases[i].shown))
            fprintf(stderr, "    case: %zu\n", i);
}

int main(void)
{
    test_compare();
    test_trim();
    test_cut();
    test_numbers();
    test_bytes();
    test_shown();
    return test_report();
}

/* uri_test - targets and hosts, as they come and as they must not. Links uri, arena and str. */
#include "../test.h"
#include "http/uri.h"

static char memory[4096];
static struct arena arena;

static void test_paths(void)
{
    static const struct {
        const char *target, *path; /* NULL: a bad request */
    } table[] = {
        {"/", "/"},
        {"/a", "/a"},
        {"/a/b.php/c", "/a/b.php/c"},
        {"/a/", "/a/"},
        {"/a%20b", "/a b"},
        {"/%41%42", "/AB"},
        {"/%7e%7E", "/~~"},
        {"/%e2%82%ac", "/\xe2\x82\xac"},
        {"/%0a%0D", "/\n\r"},
        {"/a+b", "/a+b"},
        {"/%2541", "/%41"}, /* decoded once */
        {"/%252e%252e/", "/%2e%2e/"},
        {"/a?b", "/a"},
        {"/?", "/"},
        /* slashes */
        {"//", "/"},
        {"///a////b//", "/a/b/"},
        {"/a%2fb", "/a/b"},
        {"/a%2F%2f/b", "/a/b"},
        {"/a%2f", "/a/"},
        /* dot segments */
        {"/.", "/"},
        {"/./", "/"},
        {"/a/.", "/a/"},
        {"/a/./b", "/a/b"},
        {"/a/..", "/"},
        {"/a/../", "/"},
        {"/a/../b", "/b"},
        {"/a/b/..", "/a/"},
        {"/a/b/../..", "/"},
        {"/a/b/../../c", "/c"},
        {"/a/b/../../c/..", "/"},
        {"/a//../b", "/b"},
        {"/a/%2e%2E/b", "/b"},
        {"/a/.%2e/b", "/b"},
        {"/a/%2e/b", "/a/b"},
        {"/a%2f..%2fb", "/b"},
        {"/a%2f%2e%2e", "/"},
        {"/...", "/..."},
        {"/.../", "/.../"},
        {"/a..", "/a.."},
        {"/..a", "/..a"},
        {"/.a/..b/", "/.a/..b/"},
        {"/.well-known/x", "/.well-known/x"},
        {"/a;b/..;c", "/a;b/..;c"},
        {"/a\\..\\b", "/a\\..\\b"},
        {"/a%5c..%5cb", "/a\\..\\b"},
        /* climbing */
        {"/..", NULL},
        {"/../", NULL},
        {"/../a", NULL},
        {"//../a", NULL},
        {"/./../a", NULL},
        {"/a/../..", NULL},
        {"/a/../../a/b", NULL},
        {"/a/b/../../../c", NULL},
        {"/%2e%2e/etc/passwd", NULL},
        {"/%2e%2e%2fetc", NULL},
        {"/..%2fetc", NULL},
        {"/a/..%2f..%2fetc", NULL},
        {"/%2f..", NULL},
        /* escapes that are none */
        {"/%", NULL},
        {"/%4", NULL},
        {"/%4/", NULL},
        {"/%g0", NULL},
        {"/%0g", NULL},
        {"/%%41", NULL},
        {"/% 41", NULL},
        {"/%-1", NULL},
        {"/a%", NULL},
        {"/%00", NULL},
        {"/a%00.php", NULL},
        {"/a/..%00", NULL},
        /* bytes that must not be there */
        {"", NULL},
        {" ", NULL},
        {"/a b", NULL},
        {"/a\tb", NULL},
        {"/a\nb", NULL},
        {"/a\rb", NULL},
        {"/a\x01", NULL},
        {"/a\x1f", NULL},
        {"/a\x7f", NULL},
        {"/a\x80", NULL},
        {"/\xc3\xa4", NULL},
        {"/a?b\xff", NULL},
        {"/a?b c", NULL},
        {"/a#b", NULL},
        {"/a?b#c", NULL},
        {"#", NULL},
        /* other forms */
        {"a", NULL},
        {"a/b", NULL},
        {"?a", NULL},
        {"*a", NULL},
        {"**", NULL},
        {"*?", NULL},
        {"./a", NULL},
        {"example.com:443", NULL},
        {"ftp://h/a", NULL},
        {"file:///etc/passwd", NULL},
        {"javascript:x", NULL},
        {"http:", NULL},
        {"http:/", NULL},
        {"http:/h/a", NULL},
        {"http://", NULL},
        {"http:///a", NULL},
        {"http://?a", NULL},
        {"https://", NULL},
        {"http://h/../a", NULL},
        {"http://h/a#b", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct uri u;
        size_t n = strlen(table[i].target);
        char *target = test_copy(table[i].target, n);
        arena_init(&arena, memory, sizeof memory);
        test(table[i].target);
        const char *err = uri_parse(&u, (struct str){target, n}, &arena);
        if (table[i].path == NULL) {
            check(err != NULL && err[0] != '\0');
            check(u.path.p == NULL); /* hooks of a refused request see no path that climbs */
        } else if (check(err == NULL)) {
            check_str(u.path, table[i].path);
            check_str(u.origin, table[i].target);
            check_str(u.authority, "");
            check(!u.asterisk && !u.https);
        }
        arena_fini(&arena);
        free(target);
    }
}

static void test_parts(void)
{
    struct uri u;
    arena_init(&arena, memory, sizeof memory);
    test("path and query are kept as they were sent");
    check(uri_parse(&u, STR("/a%2fb/../c?x=%00&y=/../?z"), &arena) == NULL);
    check_str(u.raw_path, "/a%2fb/../c");
    check_str(u.path, "/a/c");
    check_str(u.query, "x=%00&y=/../?z");
    check_str(u.origin, "/a%2fb/../c?x=%00&y=/../?z");
    check(u.has_query);

    test("an empty query is not the same as none");
    check(uri_parse(&u, STR("/a?"), &arena) == NULL);
    check(u.has_query);
    check_str(u.query, "");
    check(uri_parse(&u, STR("/a"), &arena) == NULL);
    check(!u.has_query);

    test("an escape in the query is nobody's business here");
    check(uri_parse(&u, STR("/a?%zz%"), &arena) == NULL);
    check_str(u.query, "%zz%");

    test("a NUL byte in a target");
    check(uri_parse(&u, (struct str){"/a\0b", 4}, &arena) != NULL);

    test("the asterisk");
    check(uri_parse(&u, STR("*"), &arena) == NULL);
    check(u.asterisk);
    check_str(u.path, "*");

    test("a path of all escapes, and one of all dots, at some length");
    char *path = malloc(30001);
    path[0] = '/';
    for (size_t i = 0; i < 9999; i++)
        memcpy(path + 1 + i * 3, "%2f", 3);
    check(uri_parse(&u, (struct str){path, 1 + 9999 * 3}, &arena) == NULL);
    check_str(u.path, "/");
    for (size_t i = 0; i < 10000; i++)
        memcpy(path + i * 3, i < 5000 ? "/xx" : "/..", 3);
    check(uri_parse(&u, (struct str){path, 30000}, &arena) == NULL);
    check_str(u.path, "/");
    memcpy(path, "/..", 3);
    check(uri_parse(&u, (struct str){path, 30000}, &arena) != NULL);
    free(path);
    arena_fini(&arena);
}

static void test_absolute(void)
{
    static const struct {
        const char *target, *authority, *origin, *path;
        bool https;
    } table[] = {
        {"http://h/a?b", "h", "/a?b", "/a", false},
        {"HTTP://H/", "H", "/", "/", false},
        {"https://h:443/a//b", "h:443", "/a//b", "/a/b", true},
        {"hTTpS://h", "h", "/", "/", true},
        {"http://h", "h", "/", "/", false},
        {"http://h?x=1", "h", "/?x=1", "/", false},
        {"http://h?", "h", "/?", "/", false},
        {"http://[::1]:80/x", "[::1]:80", "/x", "/x", false},
        {"http://u:p@h/x", "u:p@h", "/x", "/x", false},
        {"http://h//x/../y", "h", "//x/../y", "/y", false},
        {"http://h?a/b", "h", "/?a/b", "/", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct uri u;
        arena_init(&arena, memory, sizeof memory);
        test(table[i].target);
        if (check(uri_parse(&u, str_of(table[i].target), &arena) == NULL)) {
            check_str(u.authority, table[i].authority);
            check_str(u.origin, table[i].origin);
            check_str(u.path, table[i].path);
            check_int(u.https, table[i].https);
            check(!u.asterisk);
        }
        arena_fini(&arena);
    }
}

/* Nothing that the path could be may leave the root or keep a dot segment. */
static void test_random_paths(void)
{
    static const char *const parts[] = {"/",   "/",   ".",   "..", "a",  "%2e",
                                        "%2f", "%2F", "%2E", "b.", "/.."};
    uint32_t seed = 12345;
    test("a decoded path is absolute, without dot segments and double slashes");
    for (int round = 0; round < 50000; round++) {
        char text[64] = "/";
        int count = 1 + round % 9;
        for (int i = 0; i < count; i++) {
            seed = seed * 1664525 + 1013904223;
            strcat(text, parts[(seed >> 16) % (sizeof parts / sizeof *parts)]);
        }
        struct uri u;
        arena_init(&arena, memory, sizeof memory);
        bool ok = true;
        if (uri_parse(&u, str_of(text), &arena) == NULL) {
            char path[70];
            snprintf(path, sizeof path, "%.*s/", STR_FMT(u.path));
            ok = check(path[0] == '/') && check(strstr(path, "/../") == NULL) &&
                 check(strstr(path, "/./") == NULL);
            path[u.path.n] = '\0';
            ok = ok && check(strstr(path, "//") == NULL);
        }
        arena_fini(&arena);
        if (!ok) {
            test_print("target", str_of(text));
            return;
        }
    }
}

/* One byte of each value, at the beginning, inside and at the end. */
static void test_every_byte(void)
{
    test("every byte in a path, in a query and in a host");
    for (int c = 0; c < 256; c++) {
        bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'Z';
        bool name = digit || upper || (c >= 'a' && c <= 'z') || c == '-' || c == '_';
        bool shown = c > 0x20 && c < 0x7f && c != '#';
        char path[] = {'/', (char)c, 'b'}, query[] = {'/', '?', (char)c}, host[] = {'a', 'b', 'c'};
        struct uri u;
        arena_init(&arena, memory, sizeof memory);
        bool ok = uri_parse(&u, (struct str){path, 3}, &arena) == NULL;
        check_int(ok, shown && c != '%');
        if (ok && c != '/' && c != '?')
            check(str_eq(u.path, (struct str){path, 3}));
        ok = uri_parse(&u, (struct str){query, 3}, &arena) == NULL;
        check_int(ok, shown);
        if (ok)
            check(str_eq(u.path, STR("/")) && str_eq(u.query, (struct str){query + 2, 1}));
        for (size_t at = 0; at < 3; at++) {
            char in[3], out[3];
            struct str found = STR_NONE;
            int port;
            memcpy(in, host, 3);
            in[at] = (char)c;
            memcpy(out, in, 3);
            if (upper)
                out[at] = (char)(c | 0x20);
            ok = uri_host((struct str){in, 3}, &arena, &found, &port);
            bool lasts = (c == '.' && at > 0) || (c == ':' && at == 2);
            if (!check_int(ok, name || lasts))
                test_print("host", (struct str){in, 3});
            if (ok)
                check(str_eq(found, (struct str){out, at == 2 && lasts ? 2 : 3}));
        }
        arena_fini(&arena);
    }
}

static void test_unescape(void)
{
    char out[64];
    size_t n;
    test("uri_unescape decodes %XX and nothing else, in place too");
    check(uri_unescape(STR("a%20b+c%2Fd%00e"), out, &n));
    check(n == 9 && memcmp(out, "a b+c/d\0e", 9) == 0);
    strcpy(out, "%41%42x");
    check(uri_unescape(str_of(out), out, &n));
    check_str(((struct str){out, n}), "ABx");
    check(uri_unescape(STR(""), out, &n) && n == 0);
    static const char *const bad[] = {"%", "%1", "%1g", "%g1", "a%", "%%", "% 1", "%+1", "%41%4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *copy = test_copy(bad[i], strlen(bad[i]));
        if (!check(!uri_unescape((struct str){copy, strlen(bad[i])}, out, &n)))
            test_print("text", str_of(bad[i]));
        free(copy);
    }
    test("uri_unescape: every pair of bytes behind a %");
    for (int i = 0; i < 65536; i++) {
        char text[3] = {'%', (char)(i >> 8), (char)i}, *end, digits[3] = {text[1], text[2], 0};
        static const char hex[] = "0123456789abcdefABCDEF";
        bool ok = digits[0] != 0 && digits[1] != 0 && strchr(hex, digits[0]) != NULL &&
                  strchr(hex, digits[1]) != NULL;
        if (!check_int(uri_unescape((struct str){text, 3}, out, &n), ok))
            return;
        if (ok && !(check_int((int64_t)n, 1) &&
                    check_int((unsigned char)out[0], strtol(digits, &end, 16))))
            return;
    }
}

static void test_raw(void)
{
    static const char *const table[][2] = {
        {"/a/b.txt?x=1", "/a/b.txt?x=1"},
        {"/a b", "/a%20b"},
        {"/gr\xc3\xb6\xc3\x9f"
         "e",
         "/gr%C3%B6%C3%9Fe"},
        {"/\xff\x7f\x01", "/%FF%7F%01"},
        {"/50%", "/50%25"},
        {"/50%2", "/50%252"},
        {"/50%2g%20", "/50%252g%20"},
        {"/%%41", "/%25%41"},
        {"/c#", "/c%23"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t n = strlen(table[i][0]);
        char *in = test_copy(table[i][0], n);
        arena_init(&arena, memory, sizeof memory);
        test(table[i][0]);
        check_str(uri_escape_raw((struct str){in, n}, &arena), table[i][1]);
        arena_fini(&arena);
        free(in);
    }
}

static void test_hosts(void)
{
    static const struct {
        const char *value, *host; /* NULL: not valid */
        int port;
    } table[] = {
        {"example.com", "example.com", -1},
        {"EXAMPLE.Com", "example.com", -1},
        {"example.com.", "example.com", -1},
        {"example.com.:80", "example.com", 80},
        {"a", "a", -1},
        {"a.", "a", -1},
        {"a:80", "a", 80},
        {"a:0", "a", 0},
        {"a:65535", "a", 65535},
        {"a:00080", "a", 80},
        {"a:", "a", -1},
        {"xn--bcher-kva.example", "xn--bcher-kva.example", -1},
        {"my_host-1.local", "my_host-1.local", -1},
        {"127.0.0.1:8080", "127.0.0.1", 8080},
        {"[::1]", "[::1]", -1},
        {"[::1]:443", "[::1]", 443},
        {"[2001:DB8::A]:1", "[2001:db8::a]", 1},
        {"[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", -1},
        {"", NULL, 0},
        {".", NULL, 0},
        {"..", NULL, 0},
        {".a", NULL, 0},
        {"a..b", NULL, 0},
        {"a..", NULL, 0},
        {"../../etc", NULL, 0},
        {"a/b", NULL, 0},
        {"a\\b", NULL, 0},
        {"a b", NULL, 0},
        {" a", NULL, 0},
        {"a\tb", NULL, 0},
        {"a,b", NULL, 0},
        {"u@a", NULL, 0},
        {"u:p@a", NULL, 0},
        {"a?", NULL, 0},
        {"a#", NULL, 0},
        {"a%41", NULL, 0},
        {"a*", NULL, 0},
        {"a'", NULL, 0},
        {"a\"", NULL, 0},
        {"a<b>", NULL, 0},
        {"a;b", NULL, 0},
        {"a\x80", NULL, 0},
        {"b\xc3\xbc"
         "cher.example",
         NULL, 0},
        {":80", NULL, 0},
        {":", NULL, 0},
        {"a:65536", NULL, 0},
        {"a:99999999999999999999", NULL, 0},
        {"a:-1", NULL, 0},
        {"a:+80", NULL, 0},
        {"a: 80", NULL, 0},
        {"a:80 ", NULL, 0},
        {"a:8o", NULL, 0},
        {"a:80:80", NULL, 0},
        {"a::", NULL, 0},
        {"::1", NULL, 0},
        {"[", NULL, 0},
        {"]", NULL, 0},
        {"[]", NULL, 0},
        {"[:]", NULL, 0},
        {"[::1", NULL, 0},
        {"[::1]a", NULL, 0},
        {"[::1].", NULL, 0},
        {"[::1]80", NULL, 0},
        {"[::g]", NULL, 0},
        {"[::1%25eth0]", NULL, 0},
        {"[::1]:x", NULL, 0},
        {"[a/b]", NULL, 0},
        {"[[::1]]", NULL, 0},
        {"[...]", NULL, 0},
        {"[abc]", NULL, 0},
        {"[1.2.3.4]", NULL, 0},
        {"[:::::::::]", NULL, 0},
        {"[12345::1]", NULL, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct str host = STR_NONE;
        int port = 7;
        size_t n = strlen(table[i].value);
        char *value = test_copy(table[i].value, n);
        arena_init(&arena, memory, sizeof memory);
        test(table[i].value[0] != '\0' ? table[i].value : "an empty host");
        bool ok = uri_host((struct str){value, n}, &arena, &host, &port);
        check_int(ok, table[i].host != NULL);
        if (ok && table[i].host != NULL) {
            check_str(host, table[i].host);
            check_int(port, table[i].port);
        }
        arena_fini(&arena);
        free(value);
    }

    test("a NUL byte in a host");
    struct str host;
    int port;
    arena_init(&arena, memory, sizeof memory);
    check(!uri_host((struct str){"a\0b", 3}, &arena, &host, &port));

    test("a host of 255 bytes is the longest");
    char text[400];
    memset(text, 'a', sizeof text);
    for (size_t i = 50; i < sizeof text; i += 50)
        text[i] = '.';
    check(uri_host((struct str){text, 255}, &arena, &host, &port));
    check(!uri_host((struct str){text, 256}, &arena, &host, &port));
    check(!uri_host((struct str){text, 399}, &arena, &host, &port));
    arena_fini(&arena);
}

int main(void)
{
    test_paths();
    test_parts();
    test_absolute();
    test_random_paths();
    test_every_byte();
    test_unescape();
    test_raw();
    test_hosts();
    return test_report();
}

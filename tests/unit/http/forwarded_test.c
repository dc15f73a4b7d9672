/*
 * forwarded_test - the hops that proxies name, read from the end: whatever stands before the last
 * element must not change how that is read. Links forwarded, addr and str.
 */
#include "../test.h"
#include "http/forwarded.h"

static char out[4000];

/* "IP PORT|proto|host" of each hop, from the last to the first; "-" for what is not there. */
static const char *hops(const char *text)
{
    size_t n = strlen(text), used = 0;
    char *copy = test_copy(text, n), ip[PEER_TEXT_SIZE];
    struct str list = {copy, n};
    struct forwarded_hop hop;
    out[0] = '\0';
    while (forwarded_last_hop(&list, &hop)) {
        strcpy(ip, "-");
        if (hop.peer.family != 0)
            peer_text(&hop.peer, ip);
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%s %u|%.*s|%.*s",
                                 used > 0 ? "  " : "", hop.malformed ? "!" : ip, hop.peer.port,
                                 STR_FMT(hop.proto), STR_FMT(hop.host));
    }
    free(copy);
    return out;
}

static void reads(const char *text, const char *want)
{
    check_str(str_of(hops(text)), want);
}

static const char *node(const char *text)
{
    struct peer peer;
    char ip[PEER_TEXT_SIZE], *copy = test_copy(text, strlen(text));
    bool is_node = forwarded_node((struct str){copy, strlen(text)}, &peer);
    free(copy);
    check(is_node == (peer.family != 0));
    if (!is_node)
        return "-";
    peer_text(&peer, ip);
    snprintf(out, sizeof out, "%s %u", ip, peer.port);
    return out;
}

static void test_nodes(void)
{
    static const char *const good[][2] = {
        {"192.0.2.7", "192.0.2.7 0"},
        {"192.0.2.7:4711", "192.0.2.7 4711"},
        {"2001:db8::7", "2001:db8::7 0"},
        {"[2001:db8::7]", "2001:db8::7 0"},
        {"[2001:db8::7]:4711", "2001:db8::7 4711"},
        {"::ffff:192.0.2.7", "192.0.2.7 0"},
        {"[::ffff:192.0.2.7]:1", "192.0.2.7 1"},
        {"::1", "::1 0"},
        {"2001:db8::7:4711", "2001:db8::7:4711 0"}, /* without brackets no port */
        {"unix:", "unix: 0"},
    };
    static const char *const bad[] = {
        "",
        "unknown",
        "_hidden",
        "a.test",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.7:",
        "192.0.2.7:x",
        "192.0.2.7:65536",
        "192.0.2.7:123456",
        "[192.0.2.7]",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[::1]:x",
        "[]",
        "[",
        "::1%lo",
        "[fe80::1%lo]",
        "192.0.2.7 ",
        "1.2.3.4, 5",
        "unix:/x",
        ":80",
        "192.0.2.7:_p",
        "\"192.0.2.7\"",
        "0x7f.0.0.1",
        "017.0.0.1",
    };
    test("addresses, with ports and brackets");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check_str(str_of(node(good[i][0])), good[i][1]);
    test("what is no address");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!check_str(str_of(node(bad[i])), "-"))
            fprintf(stderr, "    %s\n", bad[i]);
}

static void test_list(void)
{
    struct str list = STR("a, b ,,c,"), element;
    test("a list from its end; empty elements are skipped");
    check(forwarded_last(&list, &element));
    check_str(element, "c");
    check(forwarded_last(&list, &element));
    check_str(element, "b");
    check(forwarded_last(&list, &element));
    check_str(element, "a");
    check(!forwarded_last(&list, &element));
    list = STR(" , ,");
    check(!forwarded_last(&list, &element));
    list = STR("");
    check(!forwarded_last(&list, &element));
}

static void test_elements(void)
{
    test("Forwarded: the examples of RFC 7239");
    reads("for=\"_gazonk\"", "- 0||");
    reads("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17 4711||");
    reads("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60 0|http|");
    reads("for=192.0.2.43, for=198.51.100.17", "198.51.100.17 0||  192.0.2.43 0||");
    reads("for=192.0.2.43, for=\"[2001:db8:cafe::17]\", for=unknown",
          "- 0||  2001:db8:cafe::17 0||  192.0.2.43 0||");
    reads("for=_hidden, for=_SEVKISEK", "- 0||  - 0||");

    test("Forwarded: all params, in any order and case, with blanks and quotes");
    reads("Proto=HTTPS;HOST=\"a.test:8443\";for=1.2.3.4", "1.2.3.4 0|HTTPS|a.test:8443");
    reads("for=1.2.3.4 ; proto=https ; host=a.test", "1.2.3.4 0|https|a.test");
    reads("for=\"1.2.3.4:5\";", "1.2.3.4 5||");
    reads("secret=\"a,b;c=d\";for=1.2.3.4", "1.2.3.4 0||");
    reads("x=\"\\\"\";for=1.2.3.4", "1.2.3.4 0||");
    reads("x=\"\\\\\";for=1.2.3.4", "1.2.3.4 0||");
    reads("proto=https", "- 0|https|");
    reads("", "");
    reads(" , ", "");

    test("Forwarded: what is none, and nothing of it counts");
    static const char *const bad[] = {
        "for",
        "1.2.3.4",
        "for=1.2.3.4;for=1.2.3.5",
        "=1.2.3.4",
        "for=\"1.2.3.4",
        "for=1.2.3.4;proto",
        "for=\"1.2.3.4\"x",
        "proto=a;proto=b",
        "host=a;host=b",
        "f r=1.2.3.4",
        "proto=https;for=\"1.2.3.4",
        "for=1.2.3.4;x=\\\"",
        "for=1.2.3.4;x=a\"b\"",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!check_str(str_of(hops(bad[i])), "! 0||"))
            fprintf(stderr, "    %s\n", bad[i]);
}

/* What a client has sent and the proxy has put its own element behind. */
static void test_prefixes(void)
{
    static const char *const own[] = {
        "for=192.0.2.7;proto=https;host=a.test",
        "host=\"a.test\";for=\"[2001:db8::7]:80\";proto=http",
        "by=\"_x,y\";for=192.0.2.7",
    };
    static const char hostile[] = "for=1.1.1.1;proto=https,\"\\\\\",\\\",;=\"for=\"\"\\";
    test("Forwarded: nothing before the last element changes it");
    for (size_t o = 0; o < sizeof own / sizeof *own; o++) {
        char want[200], text[400];
        snprintf(want, sizeof want, "%s", hops(own[o]));
        for (size_t from = 0; from < sizeof hostile - 1; from++)
            for (size_t to = from; to < sizeof hostile; to++) {
                snprintf(text, sizeof text, "%.*s, %s", (int)(to - from), hostile + from, own[o]);
                const char *got = hops(text);
                if (!check(strncmp(got, want, strlen(want)) == 0)) {
                    fprintf(stderr, "    %s\n    %s\n", text, got);
                    return;
                }
            }
    }
    test("Forwarded: every piece of it is read without a byte too many");
    for (size_t from = 0; from < sizeof hostile - 1; from++)
        for (size_t to = from; to < sizeof hostile; to++) {
            char text[100];
            snprintf(text, sizeof text, "%.*s", (int)(to - from), hostile + from);
            check(hops(text) != NULL);
        }
}

/* Steps are counted by time only where they would be a million times as many. */
static void test_bound(void)
{
    enum { SIZE = 1 << 20 };
    char *text = malloc(SIZE + 1);
    struct str list;
    struct forwarded_hop hop;
    test("Forwarded: a megabyte of escaped quotes is looked at once");
    for (size_t i = 0; i < SIZE; i += 2)
        memcpy(text + i, "\\\"", 2);
    list = (struct str){text, SIZE};
    check(forwarded_last_hop(&list, &hop) && hop.malformed);
    check(!forwarded_last_hop(&list, &hop));
    free(text);
}

int main(void)
{
    test_nodes();
    test_list();
    test_elements();
    test_prefixes();
    test_bound();
    return test_report();
}

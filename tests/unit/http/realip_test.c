/*
 * realip_test - the client behind trusted proxies, by every rule of contract section 14. Links
 * realip, forwarded, netset, request and what those need.
 */
#include "../test.h"
#include "http/realip.h"

#include <stdarg.h>

static struct arena arena;
static struct netset trusted;
static struct request req;
static char memory[4096], out[1000];

static void trust(const char *networks)
{
    struct str list[8], rest = str_of(networks);
    unsigned count = 0;
    while (rest.p != NULL && count < 8)
        list[count++] = str_cut(&rest, ' ');
    if (netset_make(&trusted, list, count, &arena) != NULL)
        abort();
}

/* "CLIENT PORT scheme host:host_port local_port" for a peer and its headers, "Name: value" each, up
 * to NULL; or the reason why it is a bad request. */
static const char *ask(const char *peer, ...)
{
    va_list headers;
    char ip[PEER_TEXT_SIZE];
    request_fini(&req);
    request_init(&req, memory, sizeof memory);
    req.client = (struct peer){.family = AF_UNIX};
    req.local = (struct peer){.family = AF_INET, .ip = {10, 0, 0, 1}, .port = 8080};
    if (strcmp(peer, "unix:") != 0 && !peer_parse(&req.client, str_of(peer)))
        abort();
    req.client.port = 1000;
    va_start(headers, peer);
    for (const char *line; (line = va_arg(headers, const char *)) != NULL;) {
        struct str value = str_of(line), name = str_cut(&value, ':');
        value = str_trim(value);
        headers_add(&req.arena, &req.headers, name, value);
        if (str_ieq(name, STR("Host")))
            check(uri_host(value, &req.arena, &req.host, &req.host_port));
    }
    va_end(headers);
    const char *bad = realip_apply(&req, &trusted);
    if (bad != NULL)
        return bad;
    peer_text(&req.client, ip);
    snprintf(out, sizeof out, "%s %u %s %.*s:%d %u", ip, req.client.port,
             req.https ? "https" : "http", STR_FMT(req.host), req.host_port, req.local.port);
    return out;
}

#define END             ((const char *)NULL)
#define says(want, ...) check_str(str_of(ask(__VA_ARGS__, END)), want)

static void test_walk(void)
{
    trust("10.0.0.0/8 2001:db8:1::/48");
    test("without anything said the peer is the client");
    says("10.0.0.1 1000 http :-1 8080", "10.0.0.1", "X-Other: 1.2.3.4");

    test("the last address that is not trusted is the client");
    says("192.0.2.7 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 192.0.2.7");
    says("192.0.2.7 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 1.1.1.1, 192.0.2.7");
    says("192.0.2.7 0 http :-1 8080", "10.0.0.1",
         "X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.3,10.0.0.2");
    says("192.0.2.7 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 1.1.1.1",
         "x-forwarded-for: 192.0.2.7", "X-FORWARDED-FOR: 10.0.0.2");

    test("where all are trusted, the first is it");
    says("10.0.0.3 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2");

    test("ports, brackets, both families, mapped addresses");
    says("192.0.2.7 4711 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 192.0.2.7:4711");
    says("2001:db8::7 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 2001:db8::7");
    says("2001:db8::7 80 http :-1 8080", "2001:db8:1::1",
         "X-Forwarded-For: 1.1.1.1, [2001:db8::7]:80, [2001:db8:1::2]:99, ::ffff:10.1.1.1");
    says("192.0.2.7 0 http :-1 8080", "::ffff:10.0.0.1", "X-Forwarded-For: ::ffff:192.0.2.7");

    test("a garbage hop ends the walk at the last good one");
    says("10.0.0.1 1000 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 192.0.2.7, unknown");
    says("10.0.0.2 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 192.0.2.7, x, 10.0.0.2");
    says("192.0.2.7 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: x y z, 192.0.2.7");
    says("10.0.0.2 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 192.0.2.7",
         "X-Forwarded-For: nobody", "X-Forwarded-For: 10.0.0.2");

    test("a unix socket is trusted by its name");
    says("unix: 1000 http :-1 8080", "unix:", "X-Forwarded-For: 192.0.2.7");
    trust("unix: 10.0.0.1");
    says("192.0.2.7 0 http :-1 8080", "unix:", "X-Forwarded-For: 192.0.2.7, 10.0.0.1");
    says("192.0.2.7 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 192.0.2.7, unix:");
}

static void test_distrust(void)
{
    trust("10.0.0.1");
    test("from a peer that is not trusted nothing is believed");
    says("10.0.0.2 1000 http a.test:-1 8080", "10.0.0.2", "Host: a.test",
         "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test",
         "X-Forwarded-Port: 443", "Forwarded: for=1.2.3.4;proto=https;host=evil.test",
         "X-Real-IP: 1.2.3.4", "X-Forwarded-Prefix: /x", "X-Forwarded: 1", "Accept: */*");
    test("and applications do not get it");
    for (unsigned i = 0; i < req.headers.count; i++) {
        struct str name = req.headers.list[i].name;
        bool passes = str_eq(name, STR("Host")) || str_eq(name, STR("Accept")) ||
                      str_eq(name, STR("X-Forwarded"));
        check_int(req.headers.list[i].hop, !passes);
    }
    check_str(headers_value(&req.headers, HEADER_HOST), "a.test");

    test("bad hosts and contradictions of peers that are not trusted are ignored");
    says("10.0.0.2 1000 http :-1 8080", "10.0.0.2", "X-Forwarded-Host: /../",
         "X-Forwarded-For: 1.1.1.1", "Forwarded: for=2.2.2.2");

    test("a trusted proxy's headers go on to the application");
    says("1.1.1.1 0 http :-1 8080", "10.0.0.1", "X-Forwarded-For: 1.1.1.1");
    check(!req.headers.list[0].hop);
}

static void test_where(void)
{
    trust("10.0.0.0/8");
    test("the scheme, and the port that it implies");
    says("10.0.0.1 1000 https a.test:-1 443", "10.0.0.1", "Host: a.test",
         "X-Forwarded-Proto: https");
    says("10.0.0.1 1000 http a.test:-1 80", "10.0.0.1", "Host: a.test", "X-Forwarded-Proto: HTTP");
    says("10.0.0.1 1000 https a.test:8443 8443", "10.0.0.1", "Host: a.test:8443",
         "X-Forwarded-Proto: wss");
    says("10.0.0.1 1000 http a.test:-1 8080", "10.0.0.1", "Host: a.test",
         "X-Forwarded-Proto: gopher");
    says("10.0.0.1 1000 http a.test:-1 8080", "10.0.0.1", "Host: a.test", "X-Forwarded-Proto: ");

    test("of several values the last one");
    says("10.0.0.1 1000 http a.test:-1 80", "10.0.0.1", "Host: a.test",
         "X-Forwarded-Proto: https, http");
    says("10.0.0.1 1000 https a.test:-1 443", "10.0.0.1", "Host: a.test", "X-Forwarded-Proto: http",
         "X-Forwarded-Proto: https,");
    says("10.0.0.1 1000 http a.test:-1 80", "10.0.0.1", "Host: x.test",
         "X-Forwarded-Host: evil.test, a.test");

    test("the host replaces Host, with its port");
    says("10.0.0.1 1000 http shop.test:-1 80", "10.0.0.1", "Host: internal",
         "X-Forwarded-Host: Shop.test");
    check_str(headers_value(&req.headers, HEADER_HOST), "Shop.test");
    says("10.0.0.1 1000 https shop.test:8443 8443", "10.0.0.1", "Host: internal:8080",
         "X-Forwarded-Host: shop.test:8443", "X-Forwarded-Proto: https");
    says("10.0.0.1 1000 http shop.test:-1 80", "10.0.0.1", "X-Forwarded-Host: shop.test");
    check_str(headers_value(&req.headers, HEADER_HOST), "shop.test");
    says("10.0.0.1 1000 http internal:-1 8080", "10.0.0.1", "Host: internal", "X-Forwarded-Host: ");

    test("the port wins over the host's");
    says("10.0.0.1 1000 https a.test:444 444", "10.0.0.1", "Host: a.test:8443",
         "X-Forwarded-Proto: https", "X-Forwarded-Port: 444");
    says("10.0.0.1 1000 http a.test:81 81", "10.0.0.1", "Host: a.test", "X-Forwarded-Port: 80, 81");
    static const char *const bad[] = {"X-Forwarded-Port: 0", "X-Forwarded-Port: 65536",
                                      "X-Forwarded-Port: x", "X-Forwarded-Port: -1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        says("10.0.0.1 1000 https a.test:-1 443", "10.0.0.1", "Host: a.test",
             "X-Forwarded-Proto: https", bad[i]);

    test("a host that is none is a bad request");
    static const char *const none[] = {"X-Forwarded-Host: a/../b", "X-Forwarded-Host: a b",
                                       "X-Forwarded-Host: a..b",   "X-Forwarded-Host: a:x",
                                       "Forwarded: host=\"a/b\"",  "Forwarded: host=\"a\\\"b\""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        check(strstr(ask("10.0.0.1", "Host: a.test", none[i], END), "no valid host") != NULL);
}

static void test_forwarded(void)
{
    trust("10.0.0.0/8");
    test("Forwarded says it all in one");
    says("192.0.2.7 4711 https shop.test:8443 8443", "10.0.0.1", "Host: internal",
         "Forwarded: for=\"192.0.2.7:4711\";proto=https;host=\"shop.test:8443\"");
    says("2001:db8::7 0 https :-1 443", "10.0.0.1",
         "Forwarded: for=1.1.1.1;proto=http, for=\"[2001:db8::7]\";proto=https");

    test("the outermost trusted hop's scheme and host count");
    says("192.0.2.7 0 https shop.test:-1 443", "10.0.0.1", "Host: internal",
         "Forwarded: for=6.6.6.6;host=evil.test;proto=http, "
         "for=192.0.2.7;proto=https;host=shop.test, "
         "for=10.0.0.2;proto=http;host=inner.test");
    says("192.0.2.7 0 https shop.test:-1 443", "10.0.0.1", "Host: internal",
         "Forwarded: for=192.0.2.7;proto=https;host=shop.test", "Forwarded: for=10.0.0.2");

    test("what is unknown or hidden ends the walk; what its proxy says besides counts");
    says("10.0.0.1 1000 https a.test:-1 443", "10.0.0.1", "Host: a.test",
         "Forwarded: for=1.1.1.1;proto=http, for=unknown;proto=https");
    says("10.0.0.1 1000 http a.test:-1 8080", "10.0.0.1", "Host: a.test",
         "Forwarded: for=1.1.1.1;proto=https, for=\"broken");

    test("beside X-Forwarded-* it may say the same, or what that doesn't");
    says("192.0.2.7 99 https a.test:-1 443", "10.0.0.1", "Host: a.test",
         "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https",
         "Forwarded: for=\"192.0.2.7:99\";proto=https");
    says("192.0.2.7 0 https a.test:-1 443", "10.0.0.1", "Host: a.test",
         "X-Forwarded-For: 192.0.2.7", "Forwarded: proto=https");
    says("192.0.2.7 0 https a.test:-1 443", "10.0.0.1", "Host: a.test", "X-Forwarded-Proto: https",
         "Forwarded: for=192.0.2.7");
    says("192.0.2.7 0 http a.test:-1 8080", "10.0.0.1", "Host: a.test",
         "X-Forwarded-For: 192.0.2.7", "Forwarded: for=_hidden");

    test("what they contradict each other in is a bad request");
    static const char *const pairs[][2] = {
        {"X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.8"},
        {"X-Forwarded-For: 192.0.2.7, 10.0.0.2", "Forwarded: for=10.0.0.3"},
        {"X-Forwarded-Proto: https", "Forwarded: proto=http"},
        {"X-Forwarded-Host: a.test", "Forwarded: host=b.test"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        check(strstr(ask("10.0.0.1", pairs[i][0], pairs[i][1], END), "contradict") != NULL);
        check(strstr(ask("10.0.0.1", pairs[i][1], pairs[i][0], END), "contradict") != NULL);
    }
}

/* A head full of hops, all of them trusted, and all of them alike. */
static void test_bound(void)
{
    static char line[16384] = "X-Forwarded-For: ";
    test("thousands of trusted hops");
    trust("::/0");
    for (size_t at = strlen(line); at + 5 < sizeof line; at += 4)
        memcpy(line + at, "::1,", 5);
    says("::1 0 http :-1 8080", "::1", line);
}

int main(void)
{
    arena_init(&arena, NULL, 0);
    request_init(&req, memory, sizeof memory);
    test_walk();
    test_distrust();
    test_where();
    test_forwarded();
    test_bound();
    request_fini(&req);
    arena_fini(&arena);
    return test_report();
}

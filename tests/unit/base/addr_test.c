/* addr_test - ADDR as the contract writes it, and addresses as text. Links addr and str. */
#include "../test.h"
#include "base/addr.h"

#include <arpa/inet.h>

static void test_resolve(void)
{
    static const struct {
        const char *text;
        const char *as; /* NULL: refused */
    } table[] = {
        {"127.0.0.1:9000", "127.0.0.1:9000"},
        {"0.0.0.0:0", "0.0.0.0:0"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {":8080", "0.0.0.0:8080"},
        {"*:8080", "0.0.0.0:8080"},
        {"[::1]:9000", "[::1]:9000"},
        {"[::]:80", "[::]:80"},
        {"[2001:DB8:0:0:0:0:0:1]:80", "[2001:db8::1]:80"},
        {"[::ffff:10.1.2.3]:80", "10.1.2.3:80"},
        {"unix:/run/php.sock", "unix:/run/php.sock"},
        {"unix:/run/with:colon and blank", "unix:/run/with:colon and blank"},
        {"", NULL},
        {"9000", NULL},
        {"127.0.0.1", NULL},
        {"127.0.0.1:", NULL},
        {"127.0.0.1:65536", NULL},
        {"127.0.0.1:99999999999999999999", NULL},
        {"127.0.0.1:-1", NULL},
        {"127.0.0.1:+1", NULL},
        {"127.0.0.1: 1", NULL},
        {"127.0.0.1:80 ", NULL},
        {"127.0.0.1:0x50", NULL},
        {"127.0.0.1:http", NULL},
        {"::1:9000", NULL},
        {"::1", NULL},
        {"[::1]", NULL},
        {"[::1]9000", NULL},
        {"[]:80", NULL},
        {"[*]:80", NULL},
        {"[127.0.0.1]:80", NULL},
        {"[fe80::1%lo]:80", NULL},
        {"[::1%lo]:80", NULL},
        {"[::ffff:10.0.0.01]:80", NULL},
        {"unix:", NULL},
        {"unix:run/php.sock", NULL},
        {"unix:@abstract", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct addr a;
        char text[ADDR_TEXT_SIZE];
        test(table[i].text);
        const char *err = addr_resolve(table[i].text, &a);
        if (table[i].as == NULL)
            check(err != NULL && err[0] != '\0');
        else if (check(err == NULL))
            check_str(str_of(addr_text(&a, text)), table[i].as);
    }
}

static void test_sockaddr(void)
{
    struct addr a;
    test("the sockaddr of an IPv4 address");
    check(addr_resolve("10.1.2.3:8080", &a) == NULL);
    check_int(a.len, sizeof(struct sockaddr_in));
    check_int(a.in.sin_family, AF_INET);
    check_int(ntohs(a.in.sin_port), 8080);
    check_int((int64_t)ntohl(a.in.sin_addr.s_addr), 0x0a010203);

    test("the sockaddr of an IPv6 address");
    check(addr_resolve("[::1]:443", &a) == NULL);
    check_int(a.len, sizeof(struct sockaddr_in6));
    check_int(a.in6.sin6_family, AF_INET6);
    check_int(ntohs(a.in6.sin6_port), 443);
    check(IN6_IS_ADDR_LOOPBACK(&a.in6.sin6_addr));

    test("a host name is looked up");
    if (check(addr_resolve("localhost:80", &a) == NULL))
        check(a.sa.sa_family == AF_INET ? ntohs(a.in.sin_port) == 80
                                        : ntohs(a.in6.sin6_port) == 80);
}

static void test_all(void)
{
    struct addr list[ADDR_MOST], one;
    unsigned count = 0, found = 0;
    char text[ADDR_TEXT_SIZE];
    test("all addresses of a name, each once");
    check(addr_resolve_all("localhost:80", list, &count) == NULL);
    for (unsigned i = 0; i < count; i++)
        found += strcmp(addr_text(&list[i], text), "127.0.0.1:80") == 0;
    check_int(found, 1);
    check(count <= 2); /* [::1]:80 is the other one */

    test("an address that is no name is the only one");
    check(addr_resolve_all("[::1]:443", list, &count) == NULL);
    check_int(count, 1);
    check(addr_resolve("[::1]:443", &one) == NULL);
    check_int(addr_compare(&list[0], &one), 0);
    check(addr_resolve_all("unix:/run/x.sock", list, &count) == NULL);
    check_int(count, 1);
    check_str(str_of(addr_text(&list[0], text)), "unix:/run/x.sock");

    test("a name that is none: a label has at most 63 bytes"); /* nobody is asked for it */
    char name[80];
    memset(name, 'x', 64);
    strcpy(name + 64, ".test:80");
    check(addr_resolve_all(name, list, &count) != NULL);
}

static void test_names(void)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: no name */
        unsigned port;
    } table[] = {
        {"localhost:80", "localhost", 80},
        {"db.internal:9000", "db.internal", 9000},
        {"php_8-2.test.:65535", "php_8-2.test.", 65535},
        {"1.2.3:80", "1.2.3", 80},
        {"1.2.3.4.example:0", "1.2.3.4.example", 0},
        {"127.0.0.1:80", NULL, 0},
        {":80", NULL, 0},
        {"*:80", NULL, 0},
        {"[::1]:80", NULL, 0},
        {"[localhost]:80", NULL, 0},
        {"::1:80", NULL, 0},
        {"unix:/run/x:80", NULL, 0},
        {"localhost", NULL, 0},
        {"localhost:", NULL, 0},
        {"localhost:http", NULL, 0},
        {"localhost:65536", NULL, 0},
        {"a b:80", NULL, 0},
        {"a/b:80", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct str host = STR("untouched");
        uint16_t port = 1;
        test(table[i].text);
        check(addr_is_name(table[i].text, &host, &port) == (table[i].host != NULL));
        check_str(host, table[i].host != NULL ? table[i].host : "untouched");
        check_int(port, table[i].host != NULL ? table[i].port : 1);
        check(addr_is_name(table[i].text, NULL, NULL) == (table[i].host != NULL));
    }
    test("a name of 255 bytes is the longest");
    char text[300];
    memset(text, 'a', sizeof text);
    memcpy(text + 255, ":80", 4);
    check(addr_is_name(text, NULL, NULL));
    memcpy(text + 255, "a:80", 5);
    check(!addr_is_name(text, NULL, NULL));
}

static void test_from(void)
{
    static const char *const texts[] = {"127.0.0.1:80", "[2001:db8::1]:80", "unix:/run/php.sock"};
    struct addr a, b;
    char text[ADDR_TEXT_SIZE];
    test("an address is taken over as it is");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check(addr_resolve(texts[i], &a) == NULL);
        check(addr_from(&b, &a.sa, a.len));
        check_int(b.len, a.len);
        check_str(str_of(addr_text(&b, text)), texts[i]);
        check_int(addr_compare(&a, &b), 0);
    }
    test("what is none of ours is not");
    check(addr_resolve("127.0.0.1:80", &a) == NULL);
    check(!addr_from(&b, &a.sa, a.len - 1));
    check(!addr_from(&b, &a.sa, a.len + 1));
    check(!addr_from(&b, &a.sa, 0));
    a.sa.sa_family = AF_INET6;
    check(!addr_from(&b, &a.sa, sizeof a.in));
    a.sa.sa_family = AF_NETLINK;
    check(!addr_from(&b, &a.sa, sizeof a.in));
    check_int(b.len, 0);

    test("a port is set where there is one");
    check(addr_resolve("127.0.0.1:80", &a) == NULL);
    addr_set_port(&a, 9000);
    check_str(str_of(addr_text(&a, text)), "127.0.0.1:9000");
    check(addr_resolve("[::1]:80", &a) == NULL);
    addr_set_port(&a, 65535);
    check_str(str_of(addr_text(&a, text)), "[::1]:65535");
    check(addr_resolve("unix:/run/php.sock", &a) == NULL);
    addr_set_port(&a, 1);
    check_str(str_of(addr_text(&a, text)), "unix:/run/php.sock");
}

static void test_compare(void)
{
    static const char *const sorted[] = {
        "unix:/a",     "unix:/aa",       "unix:/b",     "9.0.0.0:1", "10.0.0.1:1",
        "10.0.0.1:80", "10.0.0.1:9000",  "200.0.0.0:1", "[::1]:1",   "[::1]:2",
        "[1::]:1",     "[2001:db8::]:1", "[ff00::]:1",
    };
    size_t count = sizeof sorted / sizeof *sorted;
    test("addresses have an order");
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < count; j++) {
            struct addr a, b;
            check(addr_resolve(sorted[i], &a) == NULL && addr_resolve(sorted[j], &b) == NULL);
            int order = addr_compare(&a, &b);
            if (!check((order > 0) - (order < 0) == (i > j) - (i < j)))
                fprintf(stderr, "    %s and %s\n", sorted[i], sorted[j]);
        }
}

/* A path of n bytes behind "unix:". */
static const char *resolve_path(size_t n, struct addr *a, char *text)
{
    memcpy(text, "unix:/", 6);
    memset(text + 6, 'p', n - 1);
    text[5 + n] = '\0';
    return addr_resolve(text, a);
}

static void test_unix(void)
{
    char path[512], text[ADDR_TEXT_SIZE];
    struct addr a;
    test("a unix path of 107 bytes is the longest");
    check(resolve_path(107, &a, path) == NULL);
    check_int(a.un.sun_family, AF_UNIX);
    check_int(a.len, (int64_t)(offsetof(struct sockaddr_un, sun_path) + 108));
    check_str(str_of(addr_text(&a, text)), path);
    check(resolve_path(108, &a, path) != NULL);
    check(resolve_path(400, &a, path) != NULL);
    check(resolve_path(1, &a, path) == NULL);
}

static void test_long(void)
{
    char text[1024];
    struct addr a;
    test("a host name that is too long is refused, whatever its length");
    for (size_t n = 250; n < 1000; n++) {
        memset(text, 'a', n);
        memcpy(text + n, ":80", 4);
        if (n > 255 && !check(addr_resolve(text, &a) != NULL))
            return;
    }
    text[0] = '[';
    memset(text + 1, ':', 300);
    memcpy(text + 301, "]:80", 5);
    check(addr_resolve(text, &a) != NULL);
}

static struct str peer(const char *text, char out[PEER_TEXT_SIZE], struct peer *p)
{
    struct addr a;
    check(addr_resolve(text, &a) == NULL);
    peer_from(p, &a);
    return (struct str){out, peer_text(p, out)};
}

static void test_peer(void)
{
    char out[PEER_TEXT_SIZE];
    struct peer p;
    test("peers as text, without the port");
    check_str(peer("10.0.200.99:1234", out, &p), "10.0.200.99");
    check_int(p.port, 1234);
    check_int(p.family, AF_INET);
    check_str(peer("255.255.255.255:1", out, &p), "255.255.255.255");
    check_str(peer("0.0.0.0:1", out, &p), "0.0.0.0");
    check_str(peer("[2001:db8::42]:65535", out, &p), "2001:db8::42");
    check_int(p.port, 65535);
    check_str(peer("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1", out, &p),
              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");

    test("an IPv4 address that came over IPv6 is IPv4");
    check_str(peer("[::ffff:192.168.0.1]:80", out, &p), "192.168.0.1");
    check_int(p.family, AF_INET);

    test("a unix peer has no address and no port");
    check_str(peer("unix:/run/x", out, &p), "unix:");
    check_int(p.port, 0);

    test("every IPv4 byte is written as inet_ntop writes it");
    for (int i = 0; i < 256; i++) {
        char want[INET_ADDRSTRLEN];
        struct peer q = {.family = AF_INET, .ip = {(uint8_t)i, 0, (uint8_t)(255 - i), 9}};
        inet_ntop(AF_INET, q.ip, want, sizeof want);
        size_t n = peer_text(&q, out);
        if (!check_str(((struct str){out, n}), want))
            break;
    }
    test("a peer takes 20 bytes");
    check_int(sizeof(struct peer), 20);
}

int main(void)
{
    test_resolve();
    test_sockaddr();
    test_all();
    test_names();
    test_from();
    test_compare();
    test_unix();
    test_long();
    test_peer();
    return test_report();
}

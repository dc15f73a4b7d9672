/*
 * proxyproto_test - headers of both versions, each at every split, and everything that is none.
 * Links proxyproto, addr and str.
 */
#include "../test.h"
#include "front/proxyproto.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
/* A literal with its zero bytes. */
#define BYTES(literal) ((struct str){literal, sizeof(literal) - 1})
#define REST           "GET / HTTP/1.1\r\n\r\n"

static struct proxyproto got;

static const char *peer(const struct peer *p)
{
    static char text[2][80];
    static unsigned turn;
    char ip[PEER_TEXT_SIZE], *out = text[turn++ % 2];
    peer_text(p, ip);
    snprintf(out, sizeof text[0], "%s %u", ip, p->port);
    return out;
}

/* The header, whole only with its last byte, with and without something behind it. */
static bool is_header(struct str header)
{
    struct str rest = STR(REST);
    for (size_t n = 0; n < header.n; n++) {
        char *copy = test_copy(header.p, n);
        enum proxyproto_result result = proxyproto_read((struct str){copy, n}, &got);
        free(copy);
        if (!check_int(result, PROXYPROTO_MORE))
            return false;
    }
    char *both = malloc(header.n + rest.n);
    memcpy(both, header.p, header.n);
    memcpy(both + header.n, rest.p, rest.n);
    for (size_t n = header.n; n <= header.n + rest.n; n++) {
        char *copy = test_copy(both, n);
        enum proxyproto_result result = proxyproto_read((struct str){copy, n}, &got);
        free(copy);
        if (!check_int(result, PROXYPROTO_DONE) || !check_int((int64_t)got.size, (int64_t)header.n))
            break;
    }
    free(both);
    return true;
}

static void announces(struct str header, const char *client, const char *local)
{
    if (!is_header(header) || !check(got.announced))
        return;
    check(!got.unknown);
    check_str(str_of(peer(&got.client)), client);
    check_str(str_of(peer(&got.local)), local);
}

static void speaks_for_itself(struct str header)
{
    is_header(header);
    check(!got.announced && !got.unknown);
}

static void speaks_for_a_stranger(struct str header)
{
    is_header(header);
    check(!got.announced && got.unknown);
}

/* Refused, and for each split either that or MORE. */
static void is_none(struct str bytes)
{
    bool refused = false;
    for (size_t n = 0; n <= bytes.n; n++) {
        char *copy = test_copy(bytes.p, n);
        enum proxyproto_result result = proxyproto_read((struct str){copy, n}, &got);
        free(copy);
        if (!check(result != PROXYPROTO_DONE))
            return;
        refused = result == PROXYPROTO_ERROR;
    }
    check(refused);
    check(!refused || got.err != NULL);
}

static void test_v1(void)
{
    test("version 1: addresses and ports");
    announces(BYTES("PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"), "192.0.2.7 56324",
              "10.0.0.1 443");
    announces(BYTES("PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n"), "2001:db8::7 56324",
              "2001:db8::1 443");
    announces(BYTES("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"), "255.255.255.255 65535",
              "0.0.0.0 0");
    announces(BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n"),
              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535",
              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535");
    announces(BYTES("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 1 2\r\n"), "192.0.2.7 1",
              "10.0.0.1 2");

    test("version 1: UNKNOWN, with anything behind it, up to 107 bytes");
    speaks_for_a_stranger(BYTES("PROXY UNKNOWN\r\n"));
    speaks_for_a_stranger(BYTES("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"));
    speaks_for_a_stranger(
        BYTES("PROXY UNKNOWN "
              "0123456789012345678901234567890123456789012345678901234567890123456789"
              "012345678901234567890\r\n")); /* 14 + 91 + 2 */

    test("version 1: what is none");
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 \r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 9\r\n",
        "PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324 65536\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 056 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 443\nGET / HTTP/1.1\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 443\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 443\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP6 2001:db8::7%lo ::1 1 443\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "proxy TCP4 192.0.2.7 10.0.0.1 56324 443\r\n",
        " PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n",
        "PROXY UNKNOWN "
        "0123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        is_none(str_of(bad[i]));
}

static void test_v2(void)
{
    test("version 2: addresses and ports");
    announces(BYTES(SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb"),
              "192.0.2.7 56324", "10.0.0.1 443");
    announces(BYTES(SIGNATURE "\x21\x21\0\x24"
                              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
                              "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xdc\x04\x01\xbb"),
              "2001:db8::7 56324", "2001:db8::1 443");
    announces(BYTES(SIGNATURE "\x21\x21\0\x24"
                              "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x07"
                              "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01\0\x01\0\x02"),
              "192.0.2.7 1", "10.0.0.1 2");

    test("version 2: a client of HTTP/3 came by datagrams");
    announces(BYTES(SIGNATURE "\x21\x12\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb"),
              "192.0.2.7 56324", "10.0.0.1 443");

    test("version 2: TLVs are skipped");
    announces(BYTES(SIGNATURE "\x21\x11\0\x16\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb"
                              "\x04\0\x03\r\n\r\x01\0\x01h"),
              "192.0.2.7 56324", "10.0.0.1 443");

    test("version 2: LOCAL and UNSPEC, whatever follows");
    speaks_for_itself(BYTES(SIGNATURE "\x20\0\0\0"));
    speaks_for_itself(BYTES(SIGNATURE "\x20\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb"));
    speaks_for_a_stranger(BYTES(SIGNATURE "\x21\0\0\0"));
    speaks_for_a_stranger(BYTES(SIGNATURE "\x21\0\0\x03xyz"));

    test("version 2: unix sockets");
    static char local[16 + 216] = SIGNATURE "\x21\x31\0\xd8";
    announces((struct str){local, sizeof local}, "unix: 0", "unix: 0");

    test("version 2: the longest header, and one byte more");
    static char longest[PROXYPROTO_MAX + 1] = SIGNATURE "\x20\0\x0f\xf0";
    check(proxyproto_read((struct str){longest, PROXYPROTO_MAX - 1}, &got) == PROXYPROTO_MORE);
    check(proxyproto_read((struct str){longest, PROXYPROTO_MAX}, &got) == PROXYPROTO_DONE);
    check_int((int64_t)got.size, PROXYPROTO_MAX);
    longest[15]++;
    check(proxyproto_read((struct str){longest, 16}, &got) == PROXYPROTO_ERROR);

    test("version 2: what is none");
    static const char commands[] = "\x22\x2f\x01\x31\x11\x00"; /* bytes of version and command */
    for (size_t i = 0; i < sizeof commands - 1; i++) {
        char header[] = SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb";
        header[12] = commands[i];
        is_none((struct str){header, sizeof header - 1});
    }
    static const char families[] = "\x10\x13\x20\x30\x41\x01\xf1";
    for (size_t i = 0; i < sizeof families - 1; i++) {
        char header[] = SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb";
        header[13] = families[i];
        is_none((struct str){header, sizeof header - 1});
    }
    is_none(BYTES(SIGNATURE "\x21\x11\0\x0b\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01"));
    is_none(BYTES(SIGNATURE "\x21\x21\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb"));
    is_none(BYTES(SIGNATURE "\x21\x31\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\xdc\x04\x01\xbb"));
    is_none(BYTES("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\0"));
    is_none(BYTES("\r\n\r\nGET / HTTP/1.1\r\n\r\n"));
}

int main(void)
{
    test_v1();
    test_v2();
    return test_report();
}

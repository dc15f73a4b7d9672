/*
 * netset_test - networks of both families against a plain comparison of bits. Links netset, addr,
 * arena and str.
 */
#include "../test.h"
#include "base/netset.h"

static struct arena arena;
static struct netset set;

static const struct str *make(const char *const *texts, unsigned count)
{
    struct str list[32];
    static struct str bad;
    for (unsigned i = 0; i < count; i++)
        list[i] = str_of(texts[i]);
    const struct str *wrong = netset_make(&set, list, count, &arena);
    if (wrong == NULL)
        return NULL;
    bad = *wrong;
    return &bad;
}

static bool has(const char *ip)
{
    struct peer peer = {.family = AF_UNIX};
    if (strcmp(ip, "unix:") != 0 && !peer_parse(&peer, str_of(ip)))
        abort();
    peer.port = 1234; /* of no interest */
    return netset_has(&set, &peer);
}

static void test_members(void)
{
    test("an empty set has nobody");
    check(make(NULL, 0) == NULL);
    check_int(set.count, 0);
    check(!has("10.0.0.1") && !has("::1") && !has("unix:"));

    test("the first and the last address of a network, and its neighbours");
    static const char *const some[] = {"192.0.2.64/26", "10.0.0.1", "2001:db8::/33", "::1"};
    check(make(some, 4) == NULL);
    check(has("192.0.2.64") && has("192.0.2.127") && has("192.0.2.100"));
    check(!has("192.0.2.63") && !has("192.0.2.128"));
    check(has("10.0.0.1") && !has("10.0.0.0") && !has("10.0.0.2"));
    check(has("2001:db8::") && has("2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"));
    check(!has("2001:db8:8000::") && !has("2001:db7:ffff::"));
    check(has("::1") && !has("::") && !has("::2"));
    check(!has("unix:"));

    test("bits behind the prefix do not count");
    static const char *const loose[] = {"10.1.2.3/8"};
    check(make(loose, 1) == NULL);
    check(has("10.255.0.1") && !has("11.0.0.0"));

    test("everything of a family is nothing of the others");
    static const char *const all4[] = {"0.0.0.0/0"}, *const all6[] = {"::/0"},
                             *const local[] = {"unix:"};
    check(make(all4, 1) == NULL);
    check(has("0.0.0.0") && has("255.255.255.255") && !has("::1") && !has("unix:"));
    check(make(all6, 1) == NULL);
    check(has("::") && has("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") && !has("1.2.3.4"));
    check(make(local, 1) == NULL);
    check(has("unix:") && !has("0.0.0.0") && !has("::"));

    test("an IPv4 address in IPv6's form is that IPv4 address, also as a network");
    static const char *const mapped[] = {"::ffff:10.0.0.0/104", "::ffff:192.0.2.1"};
    check(make(mapped, 2) == NULL);
    check(has("10.9.9.9") && has("::ffff:10.9.9.9") && has("192.0.2.1") && !has("11.0.0.0"));

    test("networks in one another, twice, and in any order");
    static const char *const nested[] = {"10.0.0.0/24", "10.0.0.0/8", "10.0.0.0/8",
                                         "10.200.0.1",  "9.0.0.0/8",  "10.0.0.0/16"};
    check(make(nested, 6) == NULL);
    check_int(set.count, 2);
    check(has("10.0.0.5") && has("10.255.255.255") && has("9.1.1.1") && !has("8.255.255.255"));
}

static void test_refused(void)
{
    test("what is no network");
    static const char *const bad[] = {
        "",           "10.0.0.0/33", "::/129",      "10.0.0/8", "a.test",           "10.0.0.0/",
        "10.0.0.0/x", "unix:/x",     "10.0.0.1:80", "[::1]",    "::ffff:0.0.0.0/90"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *texts[] = {"10.0.0.1", bad[i]};
        const struct str *wrong = make(texts, 2);
        if (check(wrong != NULL))
            check_str(*wrong, bad[i]);
    }
}

/* Against a comparison bit by bit. */
static void test_random(void)
{
    static struct str list[300];
    static char texts[300][40];
    static struct {
        uint32_t ip;
        unsigned bits;
    } plain[300];
    uint32_t state = 12345;
    test("300 networks say the same as a comparison of bits");
    for (unsigned i = 0; i < 300; i++) {
        state = state * 1664525 + 1013904223;
        plain[i].ip = state & 0x0f0fffff; /* close together, so that many lie in one another */
        plain[i].bits = 4 + (state >> 7) % 29;
        snprintf(texts[i], sizeof texts[i], "%u.%u.%u.%u/%u", plain[i].ip >> 24,
                 plain[i].ip >> 16 & 255, plain[i].ip >> 8 & 255, plain[i].ip & 255, plain[i].bits);
        list[i] = str_of(texts[i]);
    }
    check(netset_make(&set, list, 300, &arena) == NULL);
    for (unsigned i = 0; i < 20000; i++) {
        state = state * 1664525 + 1013904223;
        uint32_t ip = state & 0x0f0fffff;
        struct peer peer = {
            .family = AF_INET,
            .ip = {(uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8), (uint8_t)ip}};
        bool want = false;
        for (unsigned j = 0; j < 300 && !want; j++)
            want = (ip ^ plain[j].ip) >> (32 - plain[j].bits) == 0;
        if (!check(netset_has(&set, &peer) == want))
            break;
    }
}

int main(void)
{
    arena_init(&arena, NULL, 0);
    test_members();
    test_refused();
    test_random();
    arena_fini(&arena);
    return test_report();
}

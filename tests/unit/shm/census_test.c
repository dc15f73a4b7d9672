/*
 * census_test - the limits to the connection, over several workers, and what is left of one that
 * died. Links census, addr and str.
 */
#include "../test.h"
#include "shm/census.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3 };

static struct peer peer_of(const char *ip)
{
    struct peer p = {.family = strchr(ip, ':') != NULL ? AF_INET6 : AF_INET};
    inet_pton(p.family, ip, p.ip);
    return p;
}

static struct peer nth_peer(uint32_t i)
{
    struct peer p = {.family = AF_INET};
    memcpy(p.ip, &i, 4);
    return p;
}

static void test_total(void)
{
    struct census *c = census_new(WORKERS);
    struct peer a = peer_of("192.0.2.1"), unix_peer = {.family = AF_UNIX};
    test("limits.connections counts all workers and all peers");
    check_int(census_total(c), 0);
    for (unsigned i = 0; i < 5; i++)
        check(census_enter(c, i % WORKERS, i % 2 ? &a : &unix_peer, 5, 0) == CENSUS_WELCOME);
    for (unsigned i = 0; i < WORKERS; i++)
        check(census_enter(c, i, &a, 5, 0) == CENSUS_FULL);
    check_int(census_total(c), 5);
    check_int(census_of(c, &a), 2);

    test("who leaves makes room");
    census_leave(c, 1, &a);
    check_int(census_of(c, &a), 1);
    check(census_enter(c, 0, &unix_peer, 5, 0) == CENSUS_WELCOME);
    check(census_enter(c, 0, &unix_peer, 5, 0) == CENSUS_FULL);

    test("without a limit everybody is welcome");
    for (int i = 0; i < 100; i++)
        check(census_enter(c, 2, &a, 0, 0) == CENSUS_WELCOME);
    check_int(census_total(c), 105);
    census_free(c);
}

/* A trusted proxy's connection is counted without an address, its requests under their clients'. */
static void test_requests(void)
{
    struct census *c = census_new(WORKERS);
    struct peer a = peer_of("192.0.2.1"), b = peer_of("192.0.2.2"), nobody = {.family = AF_UNSPEC};
    test("requests of many clients on one connection count under each client");
    for (unsigned i = 0; i < 2 * WORKERS; i++)
        check(census_enter(c, i % WORKERS, &nobody, 0, 1) == CENSUS_WELCOME);
    check(census_count(c, 0, &a, 2));
    check(census_count(c, 1, &a, 2));
    check(!census_count(c, 2, &a, 2));
    check(!census_count(c, 0, &a, 2));
    check(census_count(c, 0, &b, 2));
    check_int(census_of(c, &a), 2);
    check_int(census_of(c, &b), 1);
    check_int(census_total(c), 2 * WORKERS);

    test("and as connections of the same client do");
    check(census_enter(c, 0, &a, 0, 2) == CENSUS_PER_IP);
    census_uncount(c, 1, &a);
    check(census_enter(c, 0, &a, 0, 2) == CENSUS_WELCOME);
    check(!census_count(c, 1, &a, 2));
    census_leave(c, 0, &a);
    check(census_count(c, 1, &a, 2));

    test("no limit, and nobody, are always welcome");
    for (int i = 0; i < 10; i++)
        check(census_count(c, 2, &b, 0) && census_count(c, 2, &nobody, 1));
    check_int(census_of(c, &b), 11);
    census_free(c);
}

static void test_addresses(void)
{
    struct census *c = census_new(WORKERS);
    struct peer a = peer_of("192.0.2.1"), b = peer_of("192.0.2.2"), unix_peer = {.family = AF_UNIX};
    test("limits.per_ip counts an address over all workers, and others apart");
    for (unsigned i = 0; i < 4; i++)
        check(census_enter(c, i % WORKERS, &a, 0, 4) == CENSUS_WELCOME);
    for (unsigned i = 0; i < WORKERS; i++)
        check(census_enter(c, i, &a, 0, 4) == CENSUS_PER_IP);
    check_int(census_of(c, &a), 4);
    check_int(census_of(c, &b), 0);
    check(census_enter(c, 0, &b, 0, 4) == CENSUS_WELCOME);

    test("another port is the same address, a unix socket has none");
    a.port = 4711;
    check(census_enter(c, 0, &a, 0, 4) == CENSUS_PER_IP);
    for (int i = 0; i < 10; i++)
        check(census_enter(c, 0, &unix_peer, 0, 4) == CENSUS_WELCOME);

    test("the whole count may go and come again");
    for (unsigned i = 0; i < 4; i++)
        census_leave(c, i % WORKERS, &a);
    check_int(census_of(c, &a), 0);
    check(census_enter(c, 2, &a, 0, 1) == CENSUS_WELCOME);
    check(census_enter(c, 1, &a, 0, 1) == CENSUS_PER_IP);
    census_free(c);

    test("of IPv6 a /64 is one");
    c = census_new(WORKERS);
    a = peer_of("2001:db8:1:2::1");
    b = peer_of("2001:db8:1:2:ffff::2");
    struct peer other = peer_of("2001:db8:1:3::1");
    check(census_enter(c, 0, &a, 0, 2) == CENSUS_WELCOME);
    check(census_enter(c, 1, &b, 0, 2) == CENSUS_WELCOME);
    check(census_enter(c, 0, &b, 0, 2) == CENSUS_PER_IP);
    check(census_enter(c, 0, &other, 0, 2) == CENSUS_WELCOME);
    census_free(c);
}

static void test_many(void)
{
    struct census *c = census_new(1);
    struct peer p;
    unsigned missed = 0, again = 0, left = 0;
    test("thousands of addresses are counted apart");
    for (uint32_t i = 1; i <= 10000; i++) {
        p = nth_peer(i);
        missed += census_enter(c, 0, &p, 0, 1) != CENSUS_WELCOME;
    }
    for (uint32_t i = 1; i <= 10000; i++) {
        p = nth_peer(i);
        again += census_enter(c, 0, &p, 0, 1) == CENSUS_PER_IP;
    }
    check_int(missed, 0);
    check_int(again, 10000);
    check_int(census_total(c), 10000);
    for (uint32_t i = 1; i <= 10000; i++) {
        p = nth_peer(i);
        census_leave(c, 0, &p);
        left += census_of(c, &p);
    }
    check_int(left, 0);
    check_int(census_total(c), 0);

    test("more than there are slots for are let in, part of the total, and do no harm");
    for (uint32_t i = 1; i <= CENSUS_SLOTS + 10000; i++) {
        p = nth_peer(i);
        missed += census_enter(c, 0, &p, 0, 1) != CENSUS_WELCOME;
    }
    check_int(missed, 0);
    check_int(census_total(c), CENSUS_SLOTS + 10000);
    for (uint32_t i = 1; i <= CENSUS_SLOTS + 10000; i++) {
        p = nth_peer(i);
        census_leave(c, 0, &p);
    }
    check_int(census_total(c), 0);
    for (uint32_t i = 1; i <= CENSUS_SLOTS + 10000; i++) {
        p = nth_peer(i);
        left += census_of(c, &p);
    }
    check_int(left, 0);
    census_free(c);
}

static void test_gone(void)
{
    struct census *c = census_new(2);
    struct peer a = peer_of("192.0.2.1"), b = peer_of("192.0.2.2");
    test("a worker that was killed gives back what it had, and only that");
    int ready[2];
    check(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            census_enter(c, 1, &a, 0, 0);
        census_enter(c, 1, &b, 0, 0);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    char byte;
    check(read(ready[0], &byte, 1) == 1);
    check(census_enter(c, 0, &a, 5, 4) == CENSUS_WELCOME);
    check(census_enter(c, 0, &a, 0, 4) == CENSUS_PER_IP);
    check(census_enter(c, 0, &b, 5, 0) == CENSUS_FULL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    check_int(census_total(c), 5);
    census_worker_gone(c, 1);
    check_int(census_total(c), 1);
    check_int(census_of(c, &a), 1);
    check_int(census_of(c, &b), 0);
    census_worker_gone(c, 1);
    check_int(census_total(c), 1);
    check(census_enter(c, 1, &a, 2, 2) == CENSUS_WELCOME);
    close(ready[0]);
    close(ready[1]);
    census_free(c);
}

/* Enters and leaves as fast as it can. */
static void crowd(struct census *c, unsigned worker, unsigned limit)
{
    struct peer p = peer_of("192.0.2.9");
    for (int i = 0; i < 20000; i++)
        if (census_enter(c, worker, &p, limit, limit) == CENSUS_WELCOME)
            census_leave(c, worker, &p);
    _exit(0);
}

static void test_crowd(void)
{
    struct census *c = census_new(WORKERS);
    struct peer p = peer_of("192.0.2.9");
    test("workers that come and go at once leave nothing behind");
    pid_t pids[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++)
        if ((pids[i] = fork()) == 0)
            crowd(c, i, 2);
    for (unsigned i = 0; i < WORKERS; i++) {
        int status = -1;
        waitpid(pids[i], &status, 0);
        check_int(status, 0);
    }
    check_int(census_total(c), 0);
    check_int(census_of(c, &p), 0);

    test("of those that come at once never more are let in than the limit says");
    int results[2];
    unsigned welcome = 0;
    char byte;
    check(pipe(results) == 0);
    for (unsigned i = 0; i < WORKERS; i++)
        if ((pids[i] = fork()) == 0) {
            for (int j = 0; j < 1000; j++)
                if (census_enter(c, i, &p, 0, 500) == CENSUS_WELCOME &&
                    write(results[1], "x", 1) != 1)
                    _exit(1);
            _exit(0);
        }
    close(results[1]);
    while (read(results[0], &byte, 1) == 1)
        welcome++;
    for (unsigned i = 0; i < WORKERS; i++)
        waitpid(pids[i], NULL, 0);
    check(welcome <= 500 && welcome > 400);
    check_int(census_of(c, &p), welcome);
    close(results[0]);
    census_free(c);
}

int main(void)
{
    test_total();
    test_requests();
    test_addresses();
    test_many();
    test_gone();
    test_crowd();
    return test_report();
}

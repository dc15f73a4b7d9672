/*
 * tail_test - lines come in order and whole, and those that were overwritten are counted. Links
 * tail and str.
 */
#include "../test.h"
#include "shm/tail.h"

#include <stdio.h>
#include <string.h>

static char out[2 * TAIL_LINE];

static void add(unsigned i, size_t size)
{
    static char line[TAIL_LINE + 2];
    memset(line, 'x', sizeof line);
    int n = snprintf(line, sizeof line, "line %u ", i);
    line[n] = 'x';
    tail_add((struct str){line, size});
}

static void test_silence(void)
{
    test("lines are wanted for some seconds after somebody has asked");
    struct tail_position at = tail_end();
    uint64_t lost;
    check(!tail_is_read(100));
    check(tail_read(&at, 100, out, sizeof out, &lost) == 0 && lost == 0);
    check(tail_is_read(100) && tail_is_read(100 + TAIL_TIME - 1) && !tail_is_read(100 + TAIL_TIME));
}

static void test_order(void)
{
    test("lines are read once, in order, as far as there is room");
    struct tail_position at = tail_end();
    uint64_t lost;
    tail_add(STR("one\n"));
    tail_add(STR("two"));
    size_t n = tail_read(&at, 1, out, 5, &lost); /* one line fits */
    check(n == 4 && memcmp(out, "one\n", 4) == 0 && lost == 0);
    n = tail_read(&at, 1, out, sizeof out, &lost);
    check(n == 4 && memcmp(out, "two\n", 4) == 0 && lost == 0);
    check(tail_read(&at, 1, out, sizeof out, &lost) == 0 && lost == 0);
    add(1, TAIL_LINE + 1); /* too long */
    tail_add(STR("three"));
    n = tail_read(&at, 1, out, sizeof out, &lost);
    check(n == 6 && memcmp(out, "three\n", 6) == 0 && lost == 0);
}

/* The ring is filled several times, by lines of all lengths, with a reader that keeps up. */
static void test_around(void)
{
    test("lines are whole where the ring ends");
    struct tail_position at = tail_end();
    uint64_t lost, wrong = 0;
    for (unsigned i = 0; i < 5000; i++) {
        char head[32];
        size_t size = 16 + i * 7 % 6000;
        add(i, size);
        size_t n = tail_read(&at, 1, out, sizeof out, &lost);
        int length = snprintf(head, sizeof head, "line %u ", i);
        wrong += n != size + 1 || lost != 0 || memcmp(out, head, (size_t)length) != 0 ||
                 out[n - 1] != '\n' || out[n - 2] != 'x';
    }
    check(wrong == 0);
}

static void test_late(void)
{
    test("who reads too late is told what is lost");
    struct tail_position at = tail_end();
    uint64_t lost;
    unsigned count = TAIL_SIZE / 1000 * 2;
    for (unsigned i = 0; i < count; i++)
        add(i, 1000);
    check(tail_read(&at, 1, out, sizeof out, &lost) == 0 && lost == count);
    tail_add(STR("next"));
    check(tail_read(&at, 1, out, sizeof out, &lost) == 5 && lost == 0);
}

/* Positions that no answer had. */
static void test_nonsense(void)
{
    test("a position that never was leads nowhere");
    struct tail_position list[] = {{UINT64_MAX, 0}, {7, 7}, {tail_end().at + 16, 0}};
    uint64_t lost;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        check(tail_read(&list[i], 1, out, sizeof out, &lost) == 0);
        check(list[i].at == tail_end().at);
    }
    struct tail_position inside = {tail_end().at - 16, 0}; /* inside a record, most likely */
    tail_read(&inside, 1, out, sizeof out, &lost);
    check(inside.at <= tail_end().at);
}

int main(void)
{
    if (tail_new() == NULL)
        return 1;
    test_silence();
    test_order();
    test_around();
    test_late();
    test_nonsense();
    return test_report();
}

/*
 * history_test - which loads are remembered, and whose files are kept. Links history and what it
 * needs.
 */
#include "../test.h"
#include "process/history.h"

#include <sys/mman.h>
#include <unistd.h>

static struct history h;

static void begin(const char *name)
{
    history_close(&h);
    struct board *board = h.board;
    memset(board, 0, sizeof *board);
    h = (struct history){.board = board};
    test(name);
}

static void serve(unsigned generation, off_t size)
{
    const struct history_of of = {"HUP", "0123456789ab", generation};
    int fd = memfd_create("history-test", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, size) != 0)
        abort();
    history_serves(&h, &of, generation, fd);
    close(fd);
}

static void fail(void)
{
    history_failed(&h, &(struct history_of){"reload", "", 5}, "route.lua:1: no");
}

static void test_outcomes(void)
{
    begin("one serves, and the one before did until then");
    serve(1, 10);
    fail();
    serve(2, 10);
    const struct board_load *loads = h.board->loads;
    check_int(h.board->load_count, 3);
    check_int(loads[0].outcome, LOAD_OVER);
    check_int((int)loads[0].until, 2);
    check_int(loads[1].outcome, LOAD_FAILED);
    check_int(loads[1].number, 0);
    check_str(str_of(loads[1].error), "route.lua:1: no");
    check_int(loads[2].outcome, LOAD_SERVES);
    check_str(str_of(loads[2].reason), "HUP");
    check(loads[0].kept && !loads[1].kept && loads[2].kept);
    check(history_find(&h, 1) != NULL);
    check(history_find(&h, 0) == NULL);
    check(history_find(&h, 3) == NULL);
}

static void test_places(void)
{
    begin("many that fail do not push out what has served");
    serve(1, 10);
    serve(2, 10);
    for (int i = 0; i < 5 * BOARD_LOADS; i++)
        fail();
    check_int(h.board->load_count, BOARD_LOADS);
    check(history_find(&h, 1) != NULL);
    check_int(history_find(&h, 2)->shown.outcome, LOAD_SERVES);
    begin("the oldest that served goes first");
    for (unsigned i = 1; i <= BOARD_LOADS + 3; i++)
        serve(i, 10);
    check_int(h.board->load_count, BOARD_LOADS);
    check(history_find(&h, 3) == NULL);
    check(history_find(&h, 4) != NULL);
}

static void test_bytes(void)
{
    begin("the files of all are bounded: what serves is kept whatever its size");
    serve(1, HISTORY_BYTES / 2);
    serve(2, HISTORY_BYTES / 2);
    check(history_find(&h, 1) != NULL);
    serve(3, HISTORY_BYTES / 2);
    check(history_find(&h, 1) == NULL);
    check(history_find(&h, 2) != NULL);
    serve(4, 2 * HISTORY_BYTES);
    check(history_find(&h, 2) == NULL);
    check(history_find(&h, 3) == NULL);
    check(history_find(&h, 4) != NULL);
    check_int(h.board->load_count, 4); /* they are still listed */
    check(!h.board->loads[0].kept);
}

int main(void)
{
    h.board = calloc(1, sizeof *h.board);
    if (h.board == NULL)
        abort();
    test_outcomes();
    test_places();
    test_bytes();
    history_close(&h);
    free(h.board);
    return test_report();
}

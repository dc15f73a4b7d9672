/* board - see board.h. */
#include "shm/board.h"

#include <sys/mman.h>

struct board *board_new(void)
{
    struct board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return b != MAP_FAILED ? b : NULL;
}

void board_free(struct board *b)
{
    if (b != NULL)
        munmap(b, sizeof *b);
}

/* The places are used again by later generations: a count of one that two workers begin to use at
 * the same moment may miss one of both. */
void board_count_renewal(struct board *b, unsigned generation)
{
    struct board_renewals *r = &b->renewals[generation % BOARD_LOADS];
    if (r->number != generation) {
        r->count = 0;
        r->number = generation;
    }
    __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
}

unsigned board_renewals(const struct board *b, unsigned generation)
{
    const struct board_renewals *r = &b->renewals[generation % BOARD_LOADS];
    return r->number == generation ? r->count : 0;
}

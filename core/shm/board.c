/* board - see board.h. */
#include "shm/board.h"

#include "shm/mapping.h"

struct board *board_new(void)
{
    return mapping_new(sizeof(struct board));
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

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

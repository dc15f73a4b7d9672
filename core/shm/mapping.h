/*
 * mapping - memory that the master makes and all processes forked from it share.
 *
 * Pages are zero, and take no memory before they are written.
 */
#ifndef MG_SHM_MAPPING_H
#define MG_SHM_MAPPING_H

#include <stddef.h>
#include <sys/mman.h>

/* Makes shared memory of `size` bytes, freed by munmap. Returns NULL on failure, see errno. */
static inline void *mapping_new(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

#endif

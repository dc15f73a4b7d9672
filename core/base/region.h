/*
 * region - the memory of one object of a library that takes its allocator from its user, packed
 * while nothing uses the object.
 *
 *     session of nghttp2 --alloc, free--> region: REGION_SIZE bytes of addresses
 *                                            |
 *                        region_pack:   what is not zero -> one piece of malloc
 *                                       the pages        -> the kernel
 *                        region_unpack: the same bytes at the same addresses
 *
 * The session of an idle connection is 25 KB, most of them zeros: tables with room for streams that
 * there are none of. Packed it has a tenth of that. Pointers into a region stay valid, but must not
 * be followed while it is packed.
 *
 * An allocation has the size of a class, and each class has a list of those that are free. What
 * does not fit into the region comes from malloc, and stays in memory while the region is packed.
 * Callers bound what their library keeps. Where there is no memory, the process ends.
 */
#ifndef MG_BASE_REGION_H
#define MG_BASE_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REGION_SIZE = 48 * 1024 };

/* Part of its owner. All members are private. */
struct region {
    char *base;
    char *packed;         /* NULL: it is not packed */
    uint32_t packed_size; /* bytes of `packed` */
};

void region_init(struct region *r);
/* Frees the region, packed or not. What malloc has given must have been freed before. */
void region_fini(struct region *r);

/* `size` bytes aligned for any type, not cleared. Never NULL. */
void *region_alloc(struct region *r, size_t size);
/* The same, cleared, for an array. */
void *region_alloc_array(struct region *r, size_t count, size_t size);
/* As realloc(3); p may be NULL, and size must not be 0. */
void *region_resize(struct region *r, void *p, size_t size);
/* p is of this region, or NULL. */
void region_free(struct region *r, void *p);

/* Only region_unpack and region_fini may follow. */
void region_pack(struct region *r);
void region_unpack(struct region *r);
static inline bool region_is_packed(const struct region *r)
{
    return r->packed != NULL;
}

#endif

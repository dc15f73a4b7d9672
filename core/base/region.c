/*
 * region - see region.h.
 *
 *     base: struct region_head | PIECE_HEAD, bytes | PIECE_HEAD, bytes | ... top ... clean 0 0 0 0
 *
 * The head of a piece is its class; the bytes behind it are aligned, and are the piece to its user.
 * Those of a free piece begin with the place of the next free one.
 */
#include "base/region.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    ALIGN = 16,
    PIECE_HEAD = 8,
    FINE_MOST = 1024,       /* pieces up to this size, with their heads, have sizes of n * ALIGN, */
    LARGE_MOST = 32 * 1024, /* others up to this one sizes of n * FINE_MOST */
    FINE_CLASSES = FINE_MOST / ALIGN,
    CLASSES = FINE_CLASSES + LARGE_MOST / FINE_MOST - 1,
    NO_CLASS = CLASSES,
    SLAB = 64,  /* regions of one mmap */
    DIRTY = 32, /* regions without a user that keep their pages for the next one */
};

struct region_head {
    uint32_t top;           /* where the next piece begins */
    uint32_t clean;         /* from here on all bytes are zero */
    uint16_t free[CLASSES]; /* the first free piece of each class, in ALIGNs from base; 0: none */
};

/* Bytes before the first piece, so that its user's bytes are aligned. */
#define FIRST ((sizeof(struct region_head) + PIECE_HEAD + ALIGN - 1) / ALIGN * ALIGN - PIECE_HEAD)

/* Regions without a user. */
static struct {
    char **list;
    unsigned count;
    unsigned dirty; /* of them have pages */
    unsigned all;   /* regions with and without users; the list has room for them */
} region_spare;

static void *region_or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static struct region_head *region_head(const struct region *r)
{
    return (struct region_head *)r->base;
}

/* --- regions --- */

static void region_map(void)
{
    size_t size = (size_t)SLAB * REGION_SIZE;
    char *slab = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab == MAP_FAILED)
        abort();
    madvise(slab, size, MADV_NOHUGEPAGE); /* one of 2 MB would be resident for its first byte */
    region_spare.all += SLAB;
    region_spare.list =
        region_or_abort(realloc(region_spare.list, region_spare.all * sizeof *region_spare.list));
    for (unsigned i = SLAB; i-- > 0;)
        region_spare.list[region_spare.count++] = slab + (size_t)i * REGION_SIZE;
}

void region_init(struct region *r)
{
    if (region_spare.count == 0)
        region_map();
    *r = (struct region){.base = region_spare.list[--region_spare.count]};
    struct region_head *head = region_head(r);
    uint32_t clean = head->clean > FIRST ? head->clean : FIRST;
    region_spare.dirty -= head->top > 0;
    *head = (struct region_head){.top = FIRST, .clean = clean};
}

void region_fini(struct region *r)
{
    if (r->base == NULL)
        return;
    if (r->packed == NULL && region_spare.dirty < DIRTY)
        region_spare.dirty++;
    else if (r->packed == NULL && madvise(r->base, REGION_SIZE, MADV_DONTNEED) != 0)
        abort();
    free(r->packed);
    region_spare.list[region_spare.count++] = r->base;
    *r = (struct region){0};
}

/* --- pieces --- */

static unsigned region_class(size_t size)
{
    if (size > LARGE_MOST - PIECE_HEAD)
        return NO_CLASS;
    unsigned all = (unsigned)size + PIECE_HEAD;
    return all <= FINE_MOST ? (all - 1) / ALIGN : FINE_CLASSES + (all - 1) / FINE_MOST - 1;
}

/* Bytes of a piece, with its head. */
static uint32_t region_class_size(unsigned class)
{
    return class < FINE_CLASSES ? (class + 1) * ALIGN : (class - FINE_CLASSES + 2) * FINE_MOST;
}

static uint32_t *region_class_of(void *p)
{
    return (uint32_t *)((char *)p - PIECE_HEAD);
}

static uint16_t *region_next_of(void *p)
{
    return p;
}

static bool region_has(const struct region *r, const void *p)
{
    return (uintptr_t)p - (uintptr_t)r->base < REGION_SIZE;
}

/* A new piece, or NULL where there is no room. *zero: all of it is zero. */
static void *region_cut(struct region *r, unsigned class, bool *zero)
{
    struct region_head *head = region_head(r);
    uint32_t size = region_class_size(class);
    if (size > REGION_SIZE - head->top)
        return NULL;
    char *p = r->base + head->top + PIECE_HEAD;
    *zero = head->top + PIECE_HEAD >= head->clean;
    head->top += size;
    if (head->top > head->clean)
        head->clean = head->top;
    *region_class_of(p) = class;
    return p;
}

static void *region_take(struct region *r, size_t size, bool *zero)
{
    struct region_head *head = region_head(r);
    unsigned class = region_class(size);
    void *p = NULL;
    *zero = false;
    if (class != NO_CLASS && head->free[class] != 0) {
        p = r->base + (size_t)head->free[class] * ALIGN;
        head->free[class] = *region_next_of(p);
    } else if (class != NO_CLASS) {
        p = region_cut(r, class, zero);
    }
    return p != NULL ? p : region_or_abort(malloc(size));
}

void *region_alloc(struct region *r, size_t size)
{
    bool zero;
    return region_take(r, size, &zero);
}

void *region_alloc_array(struct region *r, size_t count, size_t size)
{
    bool zero;
    if (size > 0 && count > SIZE_MAX / size)
        abort();
    void *p = region_take(r, count * size, &zero);
    return zero ? p : memset(p, 0, count * size);
}

void region_free(struct region *r, void *p)
{
    struct region_head *head = region_head(r);
    if (p == NULL || !region_has(r, p)) {
        free(p);
        return;
    }
    unsigned class = *region_class_of(p);
    *region_next_of(p) = head->free[class];
    head->free[class] = (uint16_t)(((char *)p - r->base) / ALIGN);
}

void *region_resize(struct region *r, void *p, size_t size)
{
    if (p == NULL)
        return region_alloc(r, size);
    if (!region_has(r, p))
        return region_or_abort(realloc(p, size));
    unsigned class = *region_class_of(p);
    if (region_class(size) == class)
        return p;
    size_t old = region_class_size(class) - PIECE_HEAD;
    void *new = region_alloc(r, size);
    memcpy(new, p, old < size ? old : size);
    region_free(r, p);
    return new;
}

/* --- packing --- */

/* The packed form is a row of parts: a word with the number of zero words (the upper half) and of
 * others, then the others. */

static void region_clear_free(struct region *r)
{
    struct region_head *head = region_head(r);
    memset(r->base + head->top, 0, head->clean - head->top);
    head->clean = head->top;
    for (unsigned class = 0; class < CLASSES; class ++)
        for (uint16_t at = head->free[class]; at != 0;) {
            char *p = r->base + (size_t)at * ALIGN;
            at = *region_next_of(p);
            memset(p + sizeof at, 0, region_class_size(class) - PIECE_HEAD - sizeof at);
        }
}

void region_pack(struct region *r)
{
    static uint32_t out[REGION_SIZE / sizeof(uint32_t) + 2];
    region_clear_free(r);
    const uint32_t *in = (const uint32_t *)r->base;
    uint32_t size = region_head(r)->top / sizeof *in, used = 0;
    for (uint32_t at = 0; at < size;) {
        uint32_t zeros = at;
        while (at < size && in[at] == 0)
            at++;
        zeros = at - zeros;
        uint32_t from = at;
        /* a single zero is no longer than the word that another part begins with */
        while (at < size && (in[at] != 0 || (at + 1 < size && in[at + 1] != 0)))
            at++;
        out[used++] = zeros << 16 | (at - from);
        memcpy(out + used, in + from, (at - from) * sizeof *in);
        used += at - from;
    }
    r->packed_size = used * (uint32_t)sizeof *out;
    r->packed = region_or_abort(malloc(r->packed_size));
    memcpy(r->packed, out, r->packed_size);
    if (madvise(r->base, REGION_SIZE, MADV_DONTNEED) != 0)
        abort();
}

void region_unpack(struct region *r)
{
    const char *at = r->packed, *end = r->packed + r->packed_size;
    char *out = r->base;
    while (at < end) {
        uint32_t part;
        memcpy(&part, at, sizeof part);
        at += sizeof part;
        out += (part >> 16) * sizeof part;
        size_t n = (part & UINT16_MAX) * sizeof part;
        memcpy(out, at, n);
        at += n;
        out += n;
    }
    free(r->packed);
    r->packed = NULL;
    r->packed_size = 0;
}

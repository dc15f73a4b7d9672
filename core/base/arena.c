/* arena - see arena.h. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_SIZE 8192
#define ALIGN      (sizeof(void *) * 2)

struct arena_block {
    struct arena_block *next;
    _Alignas(ALIGN) char bytes[];
};

void arena_init(struct arena *a, void *first, size_t size)
{
    a->at = first;
    a->end = a->at + size;
    a->blocks = NULL;
}

void arena_fini(struct arena *a)
{
    while (a->blocks != NULL) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->at = a->end = NULL;
}

static void arena_grow(struct arena *a, size_t n)
{
    size_t size = n > BLOCK_SIZE ? n : BLOCK_SIZE;
    struct arena_block *block = malloc(sizeof *block + size);
    if (block == NULL)
        abort();
    block->next = a->blocks;
    a->blocks = block;
    a->at = block->bytes;
    a->end = a->at + size;
}

char *arena_bytes(struct arena *a, size_t n)
{
    if ((size_t)(a->end - a->at) < n)
        arena_grow(a, n);
    char *p = a->at;
    a->at += n;
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    size_t pad = (ALIGN - (uintptr_t)a->at % ALIGN) % ALIGN;
    if ((size_t)(a->end - a->at) < n + pad) {
        arena_grow(a, n);
        pad = 0;
    }
    char *p = a->at + pad;
    a->at = p + n;
    return p;
}

struct str arena_copy(struct arena *a, struct str s)
{
    char *p = arena_bytes(a, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

struct str arena_append(struct arena *a, struct str s, struct str more)
{
    if (s.n == 0)
        return arena_copy(a, more);
    if (more.n == 0)
        return s;
    char *end = (char *)s.p + s.n;
    if (end + 1 == a->at && (size_t)(a->end - a->at) >= more.n) {
        memcpy(end, more.p, more.n);
        end[more.n] = '\0';
        a->at += more.n;
        return (struct str){s.p, s.n + more.n};
    }
    /* Room for as much again, so that a string that comes byte by byte costs O(n), not O(n²). */
    size_t n = s.n + more.n;
    char *p = arena_bytes(a, n * 2 + 1);
    memcpy(p, s.p, s.n);
    memcpy(p + s.n, more.p, more.n);
    p[n] = '\0';
    a->at = p + n + 1;
    return (struct str){p, n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;
    size_t room = (size_t)(a->end - a->at);
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(a->at, room, fmt, args); /* into what is left of the block, if it fits */
    va_end(args);
    if (n < 0)
        abort();
    char *p = arena_bytes(a, (size_t)n + 1);
    if ((size_t)n >= room)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (struct str){p, (size_t)n};
}

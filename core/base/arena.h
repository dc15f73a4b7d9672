/*
 * arena - memory that lives as long as one request and is dropped whole.
 *
 * The first block is given by the owner (it is part of the request's own allocation), so a small
 * request asks malloc for nothing. Pointers stay valid until arena_reset or arena_fini. Callers
 * bound what they put into an arena (limits of heads, params and decisions). A failed malloc ends
 * the process.
 */
#ifndef MG_BASE_ARENA_H
#define MG_BASE_ARENA_H

#include "base/str.h"

struct arena_block;

struct arena {
    char *at;                   /* the next free byte */
    char *end;                  /* the end of the current block */
    struct arena_block *blocks; /* blocks from malloc, newest first */
};

/* `first` of `size` bytes stays the caller's and must outlive the arena. */
void arena_init(struct arena *a, void *first, size_t size);
/* Frees every block but the first. The arena may be initialised again. */
void arena_fini(struct arena *a);

/* `n` bytes aligned for any type, not cleared. Never NULL. */
void *arena_alloc(struct arena *a, size_t n);
/* `n` bytes for text, not aligned. Never NULL. */
char *arena_bytes(struct arena *a, size_t n);
/* A copy of s in the arena, followed by a NUL that is not counted. */
struct str arena_copy(struct arena *a, struct str s);
/* `s`, which must have come from this arena, with `more` behind it. It copies only where s is not
 * the arena's newest string or its block is full, so a header that comes in pieces is joined
 * cheaply. */
struct str arena_append(struct arena *a, struct str s, struct str more);
/* Formatted text with a NUL behind it. */
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif

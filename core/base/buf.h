/*
 * buf - a growing run of bytes: written at the tail, read from the head, always contiguous.
 *
 * An empty buf owns no memory, so a connection at rest costs nothing for it. Growth is bounded by
 * `max`: an append beyond it sets `overflow` and drops the bytes, so that an encoder checks for it
 * once, at the end.
 */
#ifndef MG_BASE_BUF_H
#define MG_BASE_BUF_H

#include "base/str.h"

struct buf {
    char *data;
    size_t cap;
    size_t head; /* the first byte not yet read */
    size_t tail; /* the first byte not yet written */
    size_t max;
    bool overflow;
};

/* Makes an empty buf of at most `max` bytes, without memory. */
void buf_init(struct buf *b, size_t max);
/* Gives the memory back; the buf stays usable. */
void buf_fini(struct buf *b);

static inline size_t buf_len(const struct buf *b)
{
    return b->tail - b->head;
}

/* The unread bytes. Valid until the next append. */
static inline struct str buf_peek(const struct buf *b)
{
    return (struct str){b->data + b->head, b->tail - b->head};
}

/* Makes room for n more bytes at the tail; NULL and `overflow`: no room. buf_commit adds the bytes
 * that were written there. */
char *buf_grow(struct buf *b, size_t n);
static inline char *buf_reserve(struct buf *b, size_t n)
{
    return b->cap - b->tail >= n ? b->data + b->tail : buf_grow(b, n);
}
static inline void buf_commit(struct buf *b, size_t n)
{
    b->tail += n;
}

void buf_append(struct buf *b, const void *bytes, size_t n);
static inline void buf_append_str(struct buf *b, struct str s)
{
    buf_append(b, s.p, s.n);
}
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Takes the last byte of the tail back. There must be one. */
static inline char buf_take_last(struct buf *b)
{
    return b->data[--b->tail];
}

/* Removes n bytes from the head. */
void buf_consume(struct buf *b, size_t n);

#endif

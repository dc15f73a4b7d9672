/* buf - see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_SIZE 512

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

char *buf_grow(struct buf *b, size_t n)
{
    size_t len = buf_len(b);
    if (n > b->max || len > b->max - n) {
        b->overflow = true;
        return NULL;
    }
    if (b->head > 0) { /* moves the unread bytes over the read ones */
        memmove(b->data, b->data + b->head, len);
        b->head = 0;
        b->tail = len;
    }
    if (b->cap - b->tail < n) {
        size_t cap = b->cap > 0 ? b->cap : FIRST_SIZE;
        while (cap < len + n)
            cap *= 2;
        if (cap > b->max) /* so that spare capacity never allows more than max */
            cap = b->max;
        char *data = realloc(b->data, cap);
        if (data == NULL)
            abort();
        b->data = data;
        b->cap = cap;
    }
    return b->data + b->tail;
}

void buf_append(struct buf *b, const void *bytes, size_t n)
{
    char *room = n > 0 ? buf_reserve(b, n) : NULL;
    if (room == NULL)
        return;
    memcpy(room, bytes, n);
    b->tail += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *room = n >= 0 ? buf_reserve(b, (size_t)n + 1) : NULL;
    if (room != NULL) {
        vsnprintf(room, (size_t)n + 1, fmt, again);
        b->tail += (size_t)n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t n)
{
    b->head += n;
    if (b->head == b->tail)
        b->head = b->tail = 0;
}

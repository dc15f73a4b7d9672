/*
 * input - the buffers that reads from clients fill: one at a time, and another one where what has
 * come must outlive its turn of the loop.
 *
 * Several small reads stand one behind the other in the buffer at hand, until they are handled
 * together (inputs_hold).
 *
 * A read goes into the buffer at hand, and what it brought is used up in the same turn. A large
 * body that came whole with its head would have to be copied, so its buffer is kept in place of
 * that copy, and the next read goes into another one. There are INPUTS_MAX of them at most: where
 * as many bodies are under way as that, the further ones are copied.
 */
#ifndef MG_BASE_INPUT_H
#define MG_BASE_INPUT_H

#include "base/str.h"

#include <sys/types.h>

enum {
    INPUT_SIZE = 64 * 1024, /* of one read from a client */
    INPUT_HELD = 32 * 1024, /* bytes of small reads that wait before it */
    INPUTS_MAX = 64,        /* 6 MB, of which the system gives those pages that were written to */
    INPUT_KEEP_MIN = 4096,  /* bytes that are worth a buffer; fewer are copied sooner */
};

/* n rounded up to lines of the processor's cache. */
#define INPUT_LINES(n) (((n) + 63) & ~(size_t)63)

struct input;

/* The buffers of a worker, part of its loop. */
struct inputs {
    struct input *now;   /* the buffer that the next read fills */
    struct input *spare; /* a list of those that nothing is in */
    unsigned count;      /* of all */
    size_t held;         /* bytes at the beginning of `now` that wait to be handled */
};

void inputs_init(struct inputs *all);
/* Frees the buffers; all kept ones must have been given back. */
void inputs_fini(struct inputs *all);

/* INPUT_SIZE bytes, to be read into. Valid until the next input_keep or inputs_hold. */
char *inputs_room(const struct inputs *all);
/* A read has brought n bytes, which stand at the beginning of that room; n < 0: none. */
void inputs_filled(struct inputs *all, ssize_t n);

/* The n bytes that the last read has brought stay where they are until inputs_release. False: there
 * is no room for so many. */
bool inputs_hold(struct inputs *all, size_t n);
/* All that was held has been handled. */
void inputs_release(struct inputs *all);

/* Keeps the buffer that holds these bytes: they stay where they are until input_give_back. NULL:
 * they are not the end of the last read's bytes (a reader behind them would find another
 * request's), or too few, other reads are held in the buffer, or all buffers are in use. */
struct input *input_keep(struct inputs *all, struct str bytes);
/* The bytes that were kept are not used any more. */
void input_give_back(struct inputs *all, struct input *input);

#endif

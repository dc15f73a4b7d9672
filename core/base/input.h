/*
 * input - the buffers that reads from clients fill: one at a time, and another one where what has
 * come must outlive its event.
 *
 * A read goes into the buffer at hand, and what it brought is used up before the next one. A large
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
    INPUTS_MAX = 64,        /* 4 MB, of which the system gives those pages that were written to */
    INPUT_KEEP_MIN = 4096,  /* bytes that are worth a buffer; fewer are copied sooner */
};

struct input;

/* The buffers of a worker, part of its loop. */
struct inputs {
    struct input *now;   /* the buffer that the next read fills */
    struct input *spare; /* a list of those that nothing is in */
    unsigned count;      /* of all */
};

void inputs_init(struct inputs *all);
/* Frees the buffers; all kept ones must have been given back. */
void inputs_fini(struct inputs *all);

/* INPUT_SIZE bytes, to be read into. Valid until the next input_keep. */
char *inputs_room(const struct inputs *all);
/* A read has brought n bytes, which stand at the beginning of that room; n < 0: none. */
void inputs_filled(struct inputs *all, ssize_t n);

/* Keeps the buffer that holds these bytes: they stay where they are until input_give_back. NULL:
 * they are not the end of the last read's bytes (a reader behind them would find another
 * request's), or too few, or all buffers are in use. */
struct input *input_keep(struct inputs *all, struct str bytes);
/* The bytes that were kept are not used any more. */
void input_give_back(struct inputs *all, struct input *input);

#endif

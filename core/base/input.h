/*
 * input - the buffers that reads from clients fill, and whose bytes stay where they are for as long
 * as somebody needs them.
 *
 * The next read goes into the buffer at hand, behind the reads that wait there to be handled
 * together with others (inputs_hold). What a read has brought is used up in its turn of the loop,
 * or kept (input_keep): so a body that came whole with its head is not copied.
 *
 *     | waits | waits, a part is kept | room of the next read |        the buffer at hand
 *     | kept  |  nothing needs this   | kept |                         one that is full
 *
 * A buffer has a reference for being at hand, one while reads wait in it, and one for each part
 * that is kept. Without a reference it is filled anew. There are INPUTS_MAX of them: where all are
 * in use, nothing is kept and no read waits, so bodies are copied.
 */
#ifndef MG_BASE_INPUT_H
#define MG_BASE_INPUT_H

#include "base/str.h"

#include <sys/types.h>

enum {
    INPUT_SIZE = 64 * 1024, /* of one read from a client */
    INPUT_HELD = 64 * 1024, /* bytes of reads that wait before it */
    INPUTS_MAX = 64,        /* 8 MB, of which the system gives those pages that were written to */
    INPUT_KEEP_MIN = 4096,  /* bytes that are worth a buffer; fewer are copied sooner */
};

/* n rounded up to lines of the processor's cache. */
#define INPUT_LINES(n) (((n) + 63) & ~(size_t)63)

struct input;

/* The buffers of a worker, part of its loop. */
struct inputs {
    struct input *buffers;
    unsigned count;      /* of them that have been used */
    struct input *now;   /* the buffer that the next read fills */
    struct input *spare; /* a list of those that nothing is in */
    struct input *held;  /* a list of those in which reads wait */
};

void inputs_init(struct inputs *all);
/* Frees the buffers; all kept ones must have been given back. */
void inputs_fini(struct inputs *all);

/* INPUT_SIZE bytes, to be read into. Valid until the next input_keep or inputs_hold. */
char *inputs_room(const struct inputs *all);
/* A read has brought n bytes, which stand at the beginning of that room; n < 0: none. */
void inputs_filled(struct inputs *all, ssize_t n);

/* What the last read has brought stays where it is until inputs_release. False: there is no room
 * for it. */
bool inputs_hold(struct inputs *all);
/* All that was held has been handled. */
void inputs_release(struct inputs *all);

/* Keeps these bytes of a read of this turn, or of what is kept already: they stay where they are
 * until input_give_back of the result. NULL: they are no bytes of a read, or too few, or all
 * buffers are in use, or their buffer was given back meanwhile. */
struct input *input_keep(struct inputs *all, struct str bytes);
/* The bytes that were kept are not used any more. */
void input_give_back(struct inputs *all, struct input *input);

#endif

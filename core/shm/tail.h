/*
 * tail - the access lines of all workers while somebody reads them live (`moongate tail`): a ring
 * of bytes in shared memory, made by the master before it forks.
 *
 * Workers put lines into it only for some seconds after a reader has asked (tail_read), so that a
 * line costs one comparison otherwise. No lock: a worker reserves a place by adding to the head,
 * and marks the record as whole with its position, which no other record ever has. Writers never
 * wait for readers: who reads too late loses lines, and is told how many.
 *
 * A record is read by processes that do not trust its writer: lengths are checked.
 */
#ifndef MG_SHM_TAIL_H
#define MG_SHM_TAIL_H

#include "base/str.h"

#define TAIL_SIZE (4u << 20)  /* bytes of the ring; a power of two. Unused memory is not touched */
#define TAIL_LINE (32u << 10) /* a longer line is left out */
#define TAIL_TIME 10          /* seconds for which lines are kept after a reader has asked */

struct tail;

/* Makes the ring that this process and its children use. NULL: no memory. */
struct tail *tail_new(void);

/* Whether somebody reads, at this moment of the monotonic clock. */
bool tail_is_read(double now);
/* Adds a line, with or without its newline. */
void tail_add(struct str line);

struct tail_position {
    uint64_t at;     /* in bytes since the start */
    uint64_t number; /* of lines */
};

/* Where the next line will be. */
struct tail_position tail_end(void);
/* Reads whole lines from a position on into `out`, and moves the position behind them; *lost are
 * lines that have been overwritten before they were read. Returns the number of bytes. Keeps the
 * lines coming for TAIL_TIME. A position that never was is one whose lines are lost. */
size_t tail_read(struct tail_position *position, double now, char *out, size_t size,
                 uint64_t *lost);

#endif

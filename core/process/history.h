/*
 * history - what was loaded when, and what came of it: the last loads of the route, good and bad,
 * with the files of those that served, so that one of these can serve again.
 *
 * The master's own; others see it on the board, without the files. The number of loads is bounded,
 * and so is the memory of their files: the oldest go first, never what serves.
 */
#ifndef MG_PROCESS_HISTORY_H
#define MG_PROCESS_HISTORY_H

#include "shm/board.h"

#include <stddef.h>

/* Bytes that the files of all loads may take. */
#define HISTORY_BYTES ((size_t)64 << 20)

struct history_load {
    struct board_load shown;
    int snapshot; /* a file in memory with what its files held; 0: none, or not kept any more */
    size_t size;  /* of the snapshot */
};

struct history {
    struct board *board;
    struct history_load list[BOARD_LOADS]; /* the oldest first */
    unsigned count;
};

/* What a load was about: who asked for it, and a word for its files. */
struct history_of {
    const char *reason, *hash;
    double now; /* seconds since the epoch */
};

/* The generation serves from now on, loaded from the snapshot (0: none), which is duplicated. */
void history_serves(struct history *h, const struct history_of *of, unsigned generation,
                    int snapshot);
/* A load has come to nothing; `why` says so. */
void history_failed(struct history *h, const struct history_of *of, const char *why);
/* The load of a generation whose files are kept; NULL: there is none. */
const struct history_load *history_find(const struct history *h, unsigned generation);
/* Closes the snapshots: at the end, and in another child of the master. */
void history_close(struct history *h);

#endif

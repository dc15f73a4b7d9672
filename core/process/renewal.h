/*
 * renewal - a script that is worn: its Lua state holds so much of limits.script_memory that the
 * next hooks could fail. The same files are loaded again beside it in this worker, without the
 * master, and take its place as another generation would.
 *
 *     worn --now, or some seconds later--> the same script again, on_start --> it serves
 *                                                     \--failed--> the worn one serves on
 *
 * Part of a worker, called by its loop. A renewal has at most one generation beside the one that
 * serves, and none during a reload or a stop.
 */
#ifndef MG_PROCESS_RENEWAL_H
#define MG_PROCESS_RENEWAL_H

#include "exchange/generation.h"
#include "shm/board.h"

struct renewal {
    struct loop *loop;
    struct backends *backends;
    struct board *board;
    const struct route *route;
    struct generation **serving; /* the worker's; a renewal replaces it */
    bool (*may)(void *ctx);      /* false: no renewal begins, or ends, now */
    void *ctx;
    /* what follows is the renewal's own */
    int snapshot;            /* the files of *serving; 0: the disk's */
    struct generation *next; /* the same script again, before it serves; NULL: none */
    const char *failed;      /* why that will not */
    bool started;            /* its on_start has come to its end, well or not */
    ev_timer timer;
    double from; /* not before; seconds of loop_now */
};

/* Begins; the members above the renewal's own are set. */
void renewal_init(struct renewal *r);
/* *serving is a generation of these files from now on (0: the disk's). Owns the descriptor. */
void renewal_use(struct renewal *r, int snapshot);
/* Drops a renewal that is under way. */
void renewal_drop(struct renewal *r);

#endif

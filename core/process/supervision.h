/*
 * supervision - whether a worker's scripts and its loop come to their ends.
 *
 * The worker counts on the board when a hook begins and ends, and when its loop wakes and sleeps;
 * the master looks at these counters from time to time. A hook that runs too long is told to stop,
 * then the worker is killed; a loop that makes no turn is said in the log before that.
 */
#ifndef MG_PROCESS_SUPERVISION_H
#define MG_PROCESS_SUPERVISION_H

#include "shm/board.h"

#include <signal.h>

#define SIGNAL_TOO_LONG SIGUSR2 /* tells a worker that its script has run for too long */

struct counter {
    uint64_t seen; /* at the last look */
    double since;
};

struct supervision {
    struct counter hook, turn;
    double stopped_at; /* by a signal, monotonic; 0: it is not */
    bool told;         /* that its script has run too long */
    bool warned;       /* the log knows that its loop stands still */
};

/* A look at a worker. limit: seconds that a hook may run; loads: the worker loads a script. */
void supervision_look(struct supervision *s, pid_t pid, struct board_worker *board, double limit,
                      bool loads, double now);
/* The master itself was away for so many seconds (a terminal's Ctrl-Z, a machine that slept), and
 * most likely the workers as well: this time does not count. */
void supervision_forgive(struct supervision *s, double away);

#endif

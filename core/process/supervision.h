/*
 * supervision - finds workers whose script or loop is stuck.
 *
 * The worker counts on the board when a hook begins and ends, and when its loop wakes and sleeps;
 * the master looks at these counters from time to time. A hook that runs too long is stopped by a
 * signal, then the worker is killed. A loop that makes no turn is logged first, then the worker is
 * killed.
 */
#ifndef MG_PROCESS_SUPERVISION_H
#define MG_PROCESS_SUPERVISION_H

#include "shm/board.h"

#include <signal.h>

#define SIGNAL_TOO_LONG SIGUSR2 /* stops a worker's script, which has run too long */

struct counter {
    uint64_t seen; /* value at the last look */
    double since;
};

struct supervision {
    struct counter hook, turn;
    double stopped_at; /* monotonic time when a signal stopped the process; 0: it runs */
    bool told;         /* SIGNAL_TOO_LONG has been sent */
    bool warned;       /* the log has a line about the stuck loop */
};

/* Checks a worker. limit: seconds that a hook may run; loads: the worker loads a script. */
void supervision_look(struct supervision *s, pid_t pid, struct board_worker *board, double limit,
                      bool loads, double now);
/* Leaves out a time in which the master itself did not run (Ctrl-Z, a machine that slept), and most
 * likely the workers neither. */
void supervision_forgive(struct supervision *s, double away);

#endif

/*
 * worker - one process with one event loop: its listeners, its clients, the current generation.
 *
 * Forked by the master, which it tells over a socket when it serves or why it can't, and from which
 * it hears of reloads: it prepares the new generation beside the old one, and switches when it is
 * told. It ends gracefully at SIGTERM and when the master has gone, at once at SIGINT.
 */
#ifndef MG_PROCESS_WORKER_H
#define MG_PROCESS_WORKER_H

#include "base/link.h"
#include "base/user.h"
#include "front/listener.h"
#include "script/script.h"
#include "shm/board.h"
#include "shm/ledger.h"
#include "shm/metrics.h"
#include "shm/quarantine.h"
#include "shm/shared_file.h"

struct worker_config {
    struct route route;
    const struct user *user;
    unsigned workers; /* in all */
    unsigned index;   /* this one's place in what all share */
    unsigned number;  /* what the script knows it by, from 0 */
    struct ledger *ledger;
    struct census *census;
    struct board *board;
    struct underway *underway; /* this worker's */
    struct metrics *metrics;
    const struct quarantine *quarantine;
    const struct shared_file *shared;
    unsigned generation;
    bool reserve;              /* another worker serves until this one is told its sockets */
    int error_log, access_log; /* open; the worker's to close once it has others */
    int master; /* the worker's end of the socket; the master's end closes when the master ends */
    int signal; /* that says that a script has run for too long */
};

/* Serves until told to stop. Returns the exit status. */
int worker_run(const struct worker_config *config);

#endif

/*
 * worker - one process with one event loop: its listeners, its clients, the current generation.
 *
 * Forked by the master, which it tells over a socket when it serves or why it can't. It ends
 * gracefully at SIGTERM and when the master has gone, at once at SIGINT.
 */
#ifndef MG_WORKER_H
#define MG_WORKER_H

#include "ledger.h"
#include "listener.h"
#include "user.h"

struct worker_config {
    struct route route;
    const struct user *user;
    const struct listen_spec *specs;
    const int *fds; /* one for each spec */
    unsigned spec_count;
    unsigned workers; /* in all */
    unsigned index;   /* this one's number */
    struct ledger *ledger;
    struct census *census;
    unsigned generation;
    int master; /* the worker's end of the socket; the master's end closes when the master ends */
};

/* The first byte on the socket; a message follows WORKER_FAILED. */
enum { WORKER_READY = 'R', WORKER_FAILED = 'F' };

/* Serves until told to stop. Returns the exit status. */
int worker_run(const struct worker_config *config);

#endif

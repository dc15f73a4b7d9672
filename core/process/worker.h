/*
 * worker - one process with one event loop: its listeners, its clients, the current generation.
 *
 * The master forks it. Over a socket the worker reports to the master that it serves, or why it
 * can't, and gets the messages of reloads: it prepares the new generation beside the old one, and
 * switches at the master's message. It ends gracefully at SIGTERM and when the master has gone, at
 * once at SIGINT.
 */
#ifndef MG_PROCESS_WORKER_H
#define MG_PROCESS_WORKER_H

#include "base/link.h"
#include "base/user.h"
#include "front/listener.h"
#include "script/script.h"
#include "shm/board.h"
#include "shm/cache.h"
#include "shm/ledger.h"
#include "shm/metrics.h"
#include "shm/quarantine.h"
#include "shm/recent.h"
#include "shm/shared_file.h"
#include "shm/tickets.h"

struct worker_config {
    struct route route;
    const struct user *user;
    unsigned workers; /* number of workers */
    unsigned index;   /* the worker's place (process/memory.h) */
    unsigned number;  /* the worker's number for scripts, from 0 */
    struct ledger *ledger;
    struct census *census;
    struct changes *changes;
    struct recent *recent;
    struct board *board;
    struct underway *underway; /* the worker's table */
    struct metrics *metrics;
    struct cache *cache;
    const struct quarantine *quarantine;
    const struct shared_file *shared;
    const struct tickets *tickets; /* keys of TLS */
    int certificates;              /* as in struct release; the worker closes it */
    unsigned generation;
    bool reserve;              /* another worker serves until this one gets its sockets */
    int error_log, access_log; /* open; the worker closes them when it gets others */
    int master; /* the worker's end of the socket; the master's end closes when the master ends */
    int signal; /* by which the master stops a script that runs too long */
};

/* Serves until the master or a signal stops the worker. Returns the exit status. */
int worker_run(const struct worker_config *config);

#endif

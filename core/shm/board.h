/*
 * board - shared memory in which the master and its workers publish their state without messages:
 * one mapping, made by the master before it forks. Plain data, each field written by one side. A
 * reader may see fields of different moments, which is good enough for a status page.
 */
#ifndef MG_SHM_BOARD_H
#define MG_SHM_BOARD_H

#include "base/log.h"
#include "base/str.h"

#include <sys/types.h>

#define BOARD_WORKERS 256
#define BOARD_TEXT    2048

struct board_worker {
    /* Written by the master. */
    pid_t pid; /* 0: none */
    bool ready;
    bool leaving;    /* the process is retired: another one serves as this worker */
    unsigned number; /* the worker's number, from 0, which its script sees */
    unsigned restarts;
    /* Written by the worker. */
    uint64_t beat;    /* changes when a hook begins and when it ends: odd while one runs */
    uint64_t turn;    /* changes when the loop wakes and when it sleeps: even while it sleeps */
    char stuck[1024]; /* the hook and its request when the worker was stopped, or crashed */
    unsigned connections;
    unsigned generations; /* number of generations that the worker holds */
    uint64_t requests;
    uint64_t lua_memory; /* bytes */
};

struct board {
    /* Written by the master. */
    double started; /* seconds since the epoch */
    pid_t master;
    unsigned workers;
    unsigned generation;
    uint64_t reload_done; /* the last request that has been answered */
    bool reload_ok;
    double reload_at;
    uint64_t reloads, reloads_failed; /* number of reloads so far */
    double generation_at;          /* since when the generation serves; seconds since the epoch */
    char reload_error[BOARD_TEXT]; /* of the last reload: the reason of its failure, or its notes */
    char last_error[BOARD_TEXT];   /* of the last reload that failed */
    double last_error_at;          /* 0: no reload has failed */
    /* a line for each: address, name and, for the control listener, the route's text or "" */
    char listeners[BOARD_TEXT];
    /* Written by all workers: requests so far. */
    uint64_t reload_requested;
    struct board_worker worker[BOARD_WORKERS];
    struct log_lines lines[BOARD_WORKERS]; /* lines of the access log that are not written yet */
};

/* Makes the mapping. NULL: no memory. */
struct board *board_new(void);
void board_free(struct board *b);

#endif

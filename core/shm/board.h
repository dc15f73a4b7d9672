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
#define BOARD_STUCK   3072
#define BOARD_LOADS   32 /* loads of the route that are remembered */

enum load_outcome { LOAD_SERVES, LOAD_OVER, LOAD_FAILED };

/* A load of the route: at the start, by a reload, by a rollback. */
struct board_load {
    unsigned number; /* of the generation; 0: the load has failed */
    enum load_outcome outcome;
    double at,
        until;     /* since when the generation served, or the failure; its end. Since the epoch */
    bool kept;     /* its files are kept: it can serve again */
    char hash[17]; /* of its files, in hexadecimal; "": not known */
    char reason[64]; /* "HUP" */
    char error[512]; /* the beginning of it, of a load that has failed */
};

/* Counts how often workers of a generation began anew for limits.script_memory. */
struct board_renewals {
    unsigned number;
    unsigned count;
};

struct board_worker {
    /* Written by the master. */
    pid_t pid; /* 0: none */
    bool ready;
    bool leaving;    /* the process is retired: another one serves as this worker */
    unsigned number; /* the worker's number, from 0, which its script sees */
    unsigned restarts;
    /* Written by the worker. */
    uint64_t beat; /* changes when a hook begins and when it ends: odd while one runs */
    uint64_t turn; /* changes when the loop wakes and when it sleeps: even while it sleeps */
    char stuck[BOARD_STUCK]; /* the hook and its request when the worker was stopped, or crashed */
    unsigned connections;    /* of clients */
    unsigned active;         /* those of them that are not idle */
    unsigned generations;    /* number of generations that the worker holds */
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
    char reload_reason[64];        /* of the last reload */
    unsigned kept_from; /* the generation whose kept files serve; 0: those that were on the disk */
    struct board_load loads[BOARD_LOADS]; /* the oldest first */
    unsigned load_count;
    /* a line for each: address, name and, for the control listener, the route's text or "" */
    char listeners[BOARD_TEXT];
    /* Written by all workers, and by the master, which ends it with a reload. */
    log_order log_level; /* that an operator has ordered for the error log */
    /* Written by all workers. */
    uint64_t reload_requested;                   /* requests so far */
    struct board_renewals renewals[BOARD_LOADS]; /* by the number of the generation, modulo */
    struct board_worker worker[BOARD_WORKERS];
    struct log_lines lines[BOARD_WORKERS]; /* lines of both logs that are not written yet */
};

/* Makes the mapping. NULL: no memory. */
struct board *board_new(void);
void board_free(struct board *b);
/* A worker has begun a generation anew for limits.script_memory. */
void board_count_renewal(struct board *b, unsigned generation);
/* How often workers have. */
unsigned board_renewals(const struct board *b, unsigned generation);

#endif

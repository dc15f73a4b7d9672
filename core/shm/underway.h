/*
 * underway - the requests that each worker has under way, in memory that outlives it: when a worker
 * has been killed, the master writes their lines to the access log, and knows which request's hook
 * ran.
 *
 * One table for each worker, written by it alone. The hot path costs a copy of a request's names to
 * a slot: no system call, no allocation. Memory of slots that are never needed is never touched.
 * Names that are too long for a slot are cut; requests beyond the table are only counted.
 */
#ifndef MG_SHM_UNDERWAY_H
#define MG_SHM_UNDERWAY_H

#include "http/request.h"

#define UNDERWAY_MOST   1024
#define UNDERWAY_METHOD 24
#define UNDERWAY_HOST   128
#define UNDERWAY_URI    304

enum underway_log { UNDERWAY_NO_LINE, UNDERWAY_COMBINED, UNDERWAY_JSON };

struct underway_request {
    uint64_t id;
    double started; /* seconds since the epoch */
    struct peer client;
    uint32_t generation;
    uint16_t uri_size;
    uint8_t method_size, host_size;
    uint8_t log;     /* enum underway_log */
    uint8_t version; /* enum http_version */
    uint8_t used;
    char method[UNDERWAY_METHOD], host[UNDERWAY_HOST], uri[UNDERWAY_URI];
};

_Static_assert(sizeof(struct underway_request) <= 512, "a slot has grown");

struct underway {
    uint32_t slots;   /* that have been used so far: those behind them are untouched */
    uint32_t beyond;  /* requests that found no slot and are under way */
    uint32_t running; /* the slot whose hook runs, from 1; 0: none */
    struct underway_request list[UNDERWAY_MOST];
};

/* Tables for so many workers, shared with the processes that are forked later. NULL: no memory. */
struct underway *underway_new(unsigned workers);

/* --- in a worker --- */

/* From now on this process notes its requests there. Without it the functions below do nothing. */
void underway_use(struct underway *table);
/* The head of the request is here: sets req->underway. */
void underway_begin(struct request *req, enum underway_log log, unsigned generation);
/* The request is over, and in the log. */
void underway_end(struct request *req);
/* A hook runs for the request; NULL: none does. */
void underway_running(const struct request *req);

/* --- in the master, when the worker has ended: nothing in the table is believed --- */

/* The request whose hook ran. False: none did. */
bool underway_ran(const struct underway *table, struct underway_request *out);
/* Writes a line to the access log for each request that is left, with status 502 and the reason,
 * and empties the table. Returns their number; *beyond: how many more there were without a slot. */
unsigned underway_rescue(struct underway *table, double now, const char *reason, uint32_t *beyond);

#endif

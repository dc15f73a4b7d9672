/*
 * underway - the requests that each worker has under way, in memory that outlives the worker. After
 * a worker has been killed, the master writes the requests' lines to the access log, and knows for
 * which request a hook ran.
 *
 * Each worker has a table, which it alone writes. The hot path costs a copy of a request's names to
 * a slot: no system call, no allocation. Memory of slots that were never used is not touched. Names
 * that are too long for a slot are cut; requests beyond the table are only counted.
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
    uint32_t slots;   /* slots that were ever used; memory of the rest is untouched */
    uint32_t beyond;  /* requests under way without a slot */
    uint32_t running; /* number of the slot whose request's hook runs, from 1; 0: none */
    struct underway_request list[UNDERWAY_MOST];
};

/* Makes tables for so many workers, shared with processes that are forked later. NULL: no memory.
 */
struct underway *underway_new(unsigned workers);

/* --- in a worker --- */

/* Sets the table of this process. Before the call the functions below do nothing. */
void underway_use(struct underway *table);
/* Notes a request whose head is complete, and sets req->underway. */
void underway_begin(struct request *req, enum underway_log log, unsigned generation);
/* Removes a request that is over and has been logged. */
void underway_end(struct request *req);
/* Notes that a hook runs for the request; NULL: no hook runs. */
void underway_running(const struct request *req);

/* --- in the master, when the worker has ended: the table's contents are not trusted --- */

/* Reads the request whose hook ran. False: no hook ran. */
bool underway_ran(const struct underway *table, struct underway_request *out);
/* Writes a line to the access log for each request in the table, with status 502 and the reason,
 * and empties the table. Returns their number; *beyond is the number of requests without a slot. */
unsigned underway_rescue(struct underway *table, double now, const char *reason, uint32_t *beyond);

#endif

/*
 * quarantine - pages whose scripts have cost workers: for some time workers answer them 500 without
 * running the script, so that one page's requests don't end one worker after another.
 *
 * A page is a host and a path, as the client sends it. The master alone decides, on what it keeps
 * for itself; what is shared is only what the workers look at. Time is the master's monotonic one,
 * in seconds.
 */
#ifndef MG_SHM_QUARANTINE_H
#define MG_SHM_QUARANTINE_H

#include "shm/underway.h"

#define QUARANTINE_MOST 32

/* Shared; written by the master. */
struct quarantine {
    uint64_t seed; /* seed of the hashes, so that clients can't choose pages with equal ones */
    uint32_t count;
    uint64_t pages[QUARANTINE_MOST]; /* hashes; 0: none */
};

/* Kept by the master alone. */
struct quarantine_page {
    uint64_t hash; /* 0: none */
    double lost;   /* when it has cost a worker last, or when its last quarantine has ended */
    double length; /* of its last quarantine; 0: it has had none */
    double ends;   /* 0: it is in none */
    char name[UNDERWAY_HOST + UNDERWAY_URI + 1]; /* for the log */
};

struct quarantine_pages {
    struct quarantine *shared;
    struct quarantine_page list[QUARANTINE_MOST];
};

/* Before workers are forked. False: no memory. */
bool quarantine_init(struct quarantine_pages *pages);
/* A worker has ended while a hook ran for that request. The second one within 10 s begins a
 * quarantine of 10 s; each that follows on one is twice as long as that was, up to 60 s. */
void quarantine_lost(struct quarantine_pages *pages, const struct underway_request *request,
                     double now);
/* Ends quarantines that are over; returns when the next one ends, 0: there is none. */
double quarantine_due(struct quarantine_pages *pages, double now);
/* Another script serves: all quarantines end. */
void quarantine_clear(struct quarantine_pages *pages);

/* --- in a worker --- */

/* NULL: there is none. */
void quarantine_use(const struct quarantine *shared);
/* The script is not to be run for that request. */
bool quarantine_holds(const struct request *req);

#endif

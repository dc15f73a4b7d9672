/*
 * quarantine - pages whose scripts have cost workers: for some time workers answer them 500 without
 * running the script, so that one page's requests don't end one worker after another.
 *
 * A page is a host and a path, as the client sends it. The master decides, by a history that it
 * alone keeps; only the hashes that workers compare are shared. Times are monotonic seconds of the
 * master.
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

/* The history of a page, in the master's memory. */
struct quarantine_page {
    uint64_t hash; /* 0: none */
    double lost;   /* when the page last ended a worker, or its last quarantine ended */
    double length; /* seconds of the page's last quarantine; 0: none yet */
    double ends;   /* end of the page's quarantine; 0: not in quarantine */
    char name[UNDERWAY_HOST + UNDERWAY_URI + 1]; /* for the log */
};

struct quarantine_pages {
    struct quarantine *shared;
    struct quarantine_page list[QUARANTINE_MOST];
};

/* Makes the shared part, before workers are forked. False: no memory. */
bool quarantine_init(struct quarantine_pages *pages);
/* Notes a worker that ended while a hook ran for that request. The second one within 10 s begins a
 * quarantine of 10 s; each following quarantine of a page is twice as long as the last, up to 60 s.
 */
void quarantine_lost(struct quarantine_pages *pages, const struct underway_request *request,
                     double now);
/* Ends quarantines that are over. Returns when the next one ends; 0: no page is in quarantine. */
double quarantine_due(struct quarantine_pages *pages, double now);
/* Ends all quarantines, since another script serves. */
void quarantine_clear(struct quarantine_pages *pages);

/* --- in a worker --- */

/* Sets the shared part that quarantine_holds reads; NULL: none. */
void quarantine_use(const struct quarantine *shared);
/* True: the request's page is in quarantine, so no hook runs for it. */
bool quarantine_holds(const struct request *req);

#endif

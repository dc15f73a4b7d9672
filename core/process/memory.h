/*
 * memory - the memory that all processes of an instance share: mappings that the master makes
 * before it forks, and the file of the dictionaries.
 *
 * Each worker has a *place*, its index in these mappings, until the master has waited for it.
 */
#ifndef MG_PROCESS_MEMORY_H
#define MG_PROCESS_MEMORY_H

#include "shm/board.h"
#include "shm/cache.h"
#include "shm/census.h"
#include "shm/changes.h"
#include "shm/ledger.h"
#include "shm/metrics.h"
#include "shm/quarantine.h"
#include "shm/recent.h"
#include "shm/shared_file.h"
#include "shm/tail.h"
#include "shm/tickets.h"

struct memory {
    const struct user *user; /* the workers' user */
    unsigned places;
    struct ledger *ledger;
    struct census *census;
    struct changes *changes;
    struct recent *recent;
    struct board *board;
    struct underway *underway; /* a table for each place */
    struct metrics *metrics;
    struct tail *tail;
    struct cache *cache;
    struct quarantine_pages quarantine;
    struct shared_file dictionaries;
    struct tickets *tickets;
    double tickets_at; /* the next key is due, in monotonic seconds */
};

/* Makes the memory for so many workers, and dictionaries of so many bytes. False and errno: no
 * memory. */
bool memory_init(struct memory *m, const struct user *user, unsigned places, size_t dictionaries);
/* Gives back the claims and counts of the worker of that place, which has ended, and writes its
 * lines to the access log. how: "was killed by signal 9". blame: the page whose hook ran may have
 * caused the end, and is counted. */
void memory_reclaim(struct memory *m, unsigned place, const char *how, bool blame);
/* Sets the last error of the status page. */
void memory_show_error(const struct memory *m, const char *text);
/* Makes a new key for session tickets when it is due. Returns when the next one is. */
double memory_tickets_due(struct memory *m, double now);
/* Frees the memory at the end of the instance. */
void memory_fini(struct memory *m);

#endif

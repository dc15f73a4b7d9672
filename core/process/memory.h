/*
 * memory - what all processes of an instance share: mappings that the master makes before it forks,
 * and the file of the dictionaries.
 *
 * Each worker has a *place*, its index in these mappings, as long as it lives.
 */
#ifndef MG_PROCESS_MEMORY_H
#define MG_PROCESS_MEMORY_H

#include "shm/board.h"
#include "shm/census.h"
#include "shm/ledger.h"
#include "shm/metrics.h"
#include "shm/quarantine.h"
#include "shm/shared_file.h"

struct memory {
    const struct user *user; /* of the workers */
    unsigned places;
    struct ledger *ledger;
    struct census *census;
    struct board *board;
    struct underway *underway; /* a table for each place */
    struct metrics *metrics;
    struct quarantine_pages quarantine;
    struct shared_file dictionaries;
};

/* For so many workers, and dictionaries of so many bytes. False and errno: there is no memory. */
bool memory_init(struct memory *m, const struct user *user, unsigned places, size_t dictionaries);
/* The worker of that place has ended: what it held is given back, and its lines go to the access
 * log. how: "was killed by signal 9". blame: a page whose hook ran then may have caused that. */
void memory_reclaim(struct memory *m, unsigned place, const char *how, bool blame);
/* What the status page shows as the last error. */
void memory_show_error(const struct memory *m, const char *text);
/* At the end of the instance. */
void memory_fini(struct memory *m);

#endif

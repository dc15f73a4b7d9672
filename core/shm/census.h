/*
 * census - how many connections clients have, over all workers and for each address.
 *
 * One mapping, made by the master before it forks. Each worker writes only its own part, without
 * locks, and reads those of the others; so nothing that dies can leave more than its own part
 * behind, and the master empties that (census_worker_gone). Used by front/admission while
 * limits.connections or limits.per_ip is set; until then no page of it is touched.
 *
 * Addresses are IPv4, or the /64 of IPv6, since whoever has one address of it has all. A worker
 * knows up to CENSUS_SLOTS of them; one that finds no place is not counted and so not limited, and
 * is still part of the total.
 */
#ifndef MG_SHM_CENSUS_H
#define MG_SHM_CENSUS_H

#include "base/addr.h"

enum { CENSUS_SLOTS = 65536 };

struct census;

/* For workers 0 to workers - 1. NULL when there is no memory. */
struct census *census_new(unsigned workers);
void census_free(struct census *c);

enum census_answer {
    CENSUS_WELCOME,
    CENSUS_FULL,   /* over limits.connections */
    CENSUS_PER_IP, /* over limits.per_ip */
};

/* Counts a connection, unless that would be one too many; a limit of 0 is none. Two workers that
 * reach the limit in the same instant may both refuse, never both accept. A peer without an address
 * (a unix socket) counts only in the total. */
enum census_answer census_enter(struct census *c, unsigned worker, const struct peer *peer,
                                unsigned connections, unsigned per_ip);
/* Counts an address alone, for a connection that is in the total already or for a request on one.
 * False, and nothing is counted, where that would be one too many of per_ip. */
bool census_count(struct census *c, unsigned worker, const struct peer *peer, unsigned per_ip);
void census_uncount(struct census *c, unsigned worker, const struct peer *peer);
/* A connection that was counted has ended. */
void census_leave(struct census *c, unsigned worker, const struct peer *peer);
/* The worker has died: its connections have gone. Called by the master, before the next worker of
 * that number starts. */
void census_worker_gone(struct census *c, unsigned worker);

/* For tests and for the status page. */
unsigned census_total(const struct census *c);
unsigned census_of(const struct census *c, const struct peer *peer);

#endif

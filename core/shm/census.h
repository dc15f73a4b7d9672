/*
 * census - how many connections clients have, over all workers and for each address.
 *
 * One mapping, made by the master before it forks. Each worker writes only its own part, without
 * locks, and reads the parts of the others. So a worker that is killed leaves only its own part
 * behind, which the master empties (census_worker_gone). front/admission uses the census while
 * limits.connections or limits.per_ip is set; until then its memory is not touched.
 *
 * An address is an IPv4 address or the /64 of an IPv6 address, since a client has a whole /64. A
 * worker counts up to CENSUS_SLOTS addresses; connections of further addresses count in the total
 * alone, and per_ip does not limit them.
 */
#ifndef MG_SHM_CENSUS_H
#define MG_SHM_CENSUS_H

#include "base/addr.h"

enum { CENSUS_SLOTS = 65536 };

struct census;

/* Makes the census of workers 0 to workers - 1. NULL: no memory. */
struct census *census_new(unsigned workers);
void census_free(struct census *c);

enum census_answer {
    CENSUS_WELCOME,
    CENSUS_FULL,   /* over limits.connections */
    CENSUS_PER_IP, /* over limits.per_ip */
};

/* Counts a connection, unless it exceeds a limit; a limit of 0 is none. Two workers that reach a
 * limit at the same instant may both refuse, but never both accept. A peer without an address (a
 * unix socket) counts only in the total. */
enum census_answer census_enter(struct census *c, unsigned worker, const struct peer *peer,
                                unsigned connections, unsigned per_ip);
/* Counts an address alone, for a connection that the total already has, or for a request on such a
 * connection. False: per_ip is reached, and the address is not counted. */
bool census_count(struct census *c, unsigned worker, const struct peer *peer, unsigned per_ip);
void census_uncount(struct census *c, unsigned worker, const struct peer *peer);
/* Removes a counted connection that has ended. */
void census_leave(struct census *c, unsigned worker, const struct peer *peer);
/* Removes the connections of a worker that has ended. The master calls it before the next worker of
 * that number starts. */
void census_worker_gone(struct census *c, unsigned worker);

/* Returns the number of all connections, for tests and the status page. */
unsigned census_total(const struct census *c);
unsigned census_of(const struct census *c, const struct peer *peer);

#endif

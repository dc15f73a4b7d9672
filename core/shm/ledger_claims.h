/*
 * ledger_claims - claims and tenants of the ledger: the lists and counts that they are in, a
 * worker's free claims and its box, and the lock of a group, behind which these are whole.
 *
 * Nothing here decides who may have what. A function that is given a struct group needs its lock.
 */
#ifndef MG_SHM_LEDGER_CLAIMS_H
#define MG_SHM_LEDGER_CLAIMS_H

#include "shm/ledger_map.h"

/* Groups, servers and tenants come and go under this lock; it may be taken inside a group's. */
void ledger_lock_directory(struct ledger *l);
void ledger_unlock_directory(struct ledger *l);
struct group *ledger_lock_group(struct ledger *l, uint32_t group);
void ledger_unlock_group(struct group *g);
/* A tenant that is new in the group; the nameless one where there are too many. */
uint32_t ledger_new_tenant(struct ledger *l, struct group *g, uint64_t hash);
uint32_t ledger_find_tenant(struct ledger *l, struct group *g, uint64_t hash);
/* Forgets a tenant that has nothing any more. */
void ledger_leave_tenant(struct ledger *l, struct group *g, uint32_t tenant);
/* Forgets all such tenants. */
void ledger_sweep_tenants(struct ledger *l, struct group *g);
/* True when the tenant has per_tenant connections. */
bool ledger_is_capped(const struct ledger *l, const struct group *g, uint32_t tenant);

void ledger_wait_in_line(struct ledger *l, struct group *g, uint32_t claim);
void ledger_leave_line(struct ledger *l, struct group *g, uint32_t claim);
void ledger_become_idle(struct ledger *l, uint32_t claim);
void ledger_leave_idle(struct ledger *l, uint32_t claim);
void ledger_become_active(struct ledger *l, uint32_t claim, uint32_t server);
void ledger_leave_active(struct ledger *l, uint32_t claim);
/* Removes the claim from the list and the counts that it is in. */
void ledger_leave(struct ledger *l, struct group *g, uint32_t claim);

/* A free claim of this worker, or LEDGER_NONE. */
uint32_t ledger_take_claim(struct ledger_seat *seat);
/* Drops the claim's news that have not been collected. */
void ledger_free_claim(struct ledger_seat *seat, uint32_t claim);
/* Puts news for the claim's worker into its box. `seat` is NULL when the master does it. */
void ledger_post(struct ledger *l, struct ledger_seat *seat, uint32_t claim,
                 enum ledger_event event);
/* Asks for an idle connection to be closed. */
void ledger_ask_to_leave(struct ledger *l, struct ledger_seat *seat, uint32_t claim);

#endif

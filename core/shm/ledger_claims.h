/*
 * ledger_claims - claims and tenants of the ledger: their lists and counts, a worker's free claims
 * and its mailbox, and the lock of a group, which guards them.
 *
 * ledger_turns decides which claim gets which server. A function with a struct group as argument
 * needs the group's lock.
 */
#ifndef MG_SHM_LEDGER_CLAIMS_H
#define MG_SHM_LEDGER_CLAIMS_H

#include "shm/ledger_map.h"

/* Enters the directory's lock, under which groups, servers and tenants are made and freed. It may
 * be taken inside a group's lock. */
void ledger_lock_directory(struct ledger *l);
void ledger_unlock_directory(struct ledger *l);
struct group *ledger_lock_group(struct ledger *l, uint32_t group);
void ledger_unlock_group(struct group *g);
/* Makes a tenant of the group. The place of requests without a tenant is returned where there are
 * too many. */
uint32_t ledger_new_tenant(struct ledger *l, struct group *g, uint64_t hash);
/* The tenant of that hash, of those that have claims. LEDGER_NONE: it has none. */
uint32_t ledger_known_tenant(const struct ledger *l, const struct group *g, uint64_t hash);
/* The same tenant, made where there is none. */
uint32_t ledger_find_tenant(struct ledger *l, struct group *g, uint64_t hash);
/* Frees a tenant without claims. */
void ledger_leave_tenant(struct ledger *l, struct group *g, uint32_t tenant);
/* True when the tenant has per_tenant active connections. */
bool ledger_is_capped(const struct ledger *l, const struct group *g, uint32_t tenant);

void ledger_wait_in_line(struct ledger *l, struct group *g, uint32_t claim);
void ledger_leave_line(struct ledger *l, struct group *g, uint32_t claim);
void ledger_become_idle(struct ledger *l, uint32_t claim);
void ledger_leave_idle(struct ledger *l, uint32_t claim);
void ledger_become_active(struct ledger *l, uint32_t claim, uint32_t server);
void ledger_leave_active(struct ledger *l, uint32_t claim);
/* Removes the claim from its list and counts. */
void ledger_leave(struct ledger *l, struct group *g, uint32_t claim);

/* Takes a free claim of this worker; LEDGER_NONE: all are in use. */
uint32_t ledger_take_claim(struct ledger_seat *seat);
/* Frees the claim, and drops news of it that the worker has not read. */
void ledger_free_claim(struct ledger_seat *seat, uint32_t claim);
/* Puts news about the claim into its worker's mailbox. `seat` is NULL in the master. */
void ledger_post(struct ledger *l, struct ledger_seat *seat, uint32_t claim,
                 enum ledger_event event);
/* Asks the worker of an idle claim to close its connection. */
void ledger_ask_to_leave(struct ledger *l, struct ledger_seat *seat, uint32_t claim);

#endif

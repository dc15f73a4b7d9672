/*
 * ledger_servers - groups and servers of the ledger: who has them open, their settings, and what
 * operators, answers and checks say of them. What a worker calls of it is in ledger.h.
 */
#ifndef MG_SHM_LEDGER_SERVERS_H
#define MG_SHM_LEDGER_SERVERS_H

#include "shm/ledger_map.h"

/* A worker has ended: it has no server of the group open any more. The group is locked. */
void ledger_forget_servers(struct ledger *l, struct ledger_seat *seat, struct group *g,
                           unsigned worker);

#endif

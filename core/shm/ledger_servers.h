/*
 * ledger_servers - groups and servers of the ledger: the workers that have them open, their
 * settings, and their state by operators, answers and checks. The functions that workers call are
 * in ledger.h.
 */
#ifndef MG_SHM_LEDGER_SERVERS_H
#define MG_SHM_LEDGER_SERVERS_H

#include "shm/ledger_map.h"

/* Closes the servers of the group that a worker, which has ended, had open. The group is locked. */
void ledger_forget_servers(struct ledger *l, struct ledger_seat *seat, struct group *g,
                           unsigned worker);

#endif

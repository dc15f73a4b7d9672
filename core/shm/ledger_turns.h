/*
 * ledger_turns - the order in which waiting claims are given the servers of their group.
 *
 * The group is locked in all of these.
 */
#ifndef MG_SHM_LEDGER_TURNS_H
#define MG_SHM_LEDGER_TURNS_H

#include "shm/ledger_map.h"

/* Grants all claims that can be granted now, and asks workers to close idle connections whose
 * places are waited for. `seat` is NULL in the master. */
void ledger_pump(struct ledger *l, struct ledger_seat *seat, struct group *g);
/* The server with the least to do that has a connection to spare for a `last` claim (see
 * ledger_acquire). LEDGER_NONE: there is none, or a claim waits. */
uint32_t ledger_spare_server(const struct ledger *l, const struct group *g, const struct claim *c);
/* The claim whose turn it is on the server: of the tenant with the fewest connections, then of the
 * one that was served least recently, then the oldest. Claims of the worker `own` count as a little
 * older than they are. LEDGER_NONE: no claim that waits may have the server. */
uint32_t ledger_next_waiter(const struct ledger *l, const struct group *g, uint32_t server,
                            unsigned own);
/* Notes that a request goes to the server. A server that failed too often is tried by one request
 * at a time. True: the server was due for such a try, so claims that waited for it may have other
 * servers now, and the caller calls ledger_pump. */
bool ledger_note_probe(struct ledger_server *s);
/* The number of claims that may wait in the group. */
uint32_t ledger_room_of(const struct ledger *l, const struct group *g);
/* Refuses the waiting claims that can have no server any more, since the group's last usable server
 * may be gone. */
void ledger_refuse_lost(struct ledger *l, struct ledger_seat *seat, struct group *g);

#endif

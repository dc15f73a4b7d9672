/*
 * ledger_turns - whose turn it is: which claim that waits is given which server of its group.
 *
 * The group is locked in all of these.
 */
#ifndef MG_SHM_LEDGER_TURNS_H
#define MG_SHM_LEDGER_TURNS_H

#include "shm/ledger_map.h"

/* Grants all claims that can be granted now, and asks for idle connections to be closed whose
 * places others wait for. `seat` is NULL when the master does it. */
void ledger_pump(struct ledger *l, struct ledger_seat *seat, struct group *g);
/* The claim whose turn it is on the server: of the tenant with the fewest connections, then of the
 * one that was served least recently, then the oldest. Claims of the worker `own` count as a little
 * older than they are. LEDGER_NONE: no claim that waits may have the server. */
uint32_t ledger_next_waiter(const struct ledger *l, const struct group *g, uint32_t server,
                            unsigned own);
/* A request goes to the server. One that failed too often is tried by one request at a time. True:
 * the server was in service for that until now, so claims that waited for it may have other
 * servers: call ledger_pump. */
bool ledger_note_probe(struct ledger_server *s);
/* How many claims may wait. */
uint32_t ledger_room_of(const struct ledger *l, const struct group *g);
/* The group's last usable server may have gone: claims that can have no server are told to look
 * again. */
void ledger_refuse_lost(struct ledger *l, struct ledger_seat *seat, struct group *g);

#endif

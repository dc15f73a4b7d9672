/*
 * pick - a policy's choice without a list of all servers and a call of Lua.
 *
 * The policies are in Lua (lua/moongate/balance/), and get a list of the candidates: with a
 * thousand servers that list alone costs more than the rest of a request. Here the usual policies
 * first draw a server, and then check it. They choose by the same rules. Where they can't, or where
 * the drawn servers can't be used, the result is -1, and the list is made.
 */
#ifndef MG_BACKEND_PICK_H
#define MG_BACKEND_PICK_H

#include "backend/backend.h"

/* A server of the best class (up, no backup, with room) for a request that has tried none yet. -1:
 * the caller makes the list and calls the policy. `key` is the key of `hash` and `ip_hash`. */
int backend_pick(struct backend *b, struct str key);

/* The key of `ip_hash`, a part of the text: an IPv4 address, or the first 64 bits of an IPv6
 * address, since a client changes the rest. */
struct str pick_client(struct str ip);

#endif

/*
 * pick - a policy's choice without a list of all servers and a call of Lua.
 *
 * The policies are in Lua (lua/moongate/balance/), and get a list of the servers that may have the
 * request: at a thousand servers that list alone costs more than all the rest of a request. Here
 * the usual policies draw a server first, and look at it then. They choose by the same rules: where
 * they could not, or where those drawn are of no use, the answer is -1, and the list is made.
 */
#ifndef MG_BACKEND_PICK_H
#define MG_BACKEND_PICK_H

#include "backend/backend.h"

/* The number of a server that no other is better than (up, no backup, with room), for a request
 * that has tried none yet. -1: the caller makes the list and asks the policy. `key` is what `hash`
 * and `ip_hash` go by. */
int backend_pick(struct backend *b, struct str key);

/* The key of `ip_hash`: what stays of a client's address. One of IPv6 changes within its network of
 * 64 bits. A part of the text. */
struct str pick_client(struct str ip);

#endif

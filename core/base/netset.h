/*
 * netset - a set of networks, such as those of trusted proxies: compiled once, and searched in
 * O(log n) for each connection and hop. Pure; memory comes from an arena.
 */
#ifndef MG_BASE_NETSET_H
#define MG_BASE_NETSET_H

#include "base/addr.h"
#include "base/arena.h"

struct netset_range;

struct netset {
    const struct netset_range *ranges;
    unsigned count; /* 0: no address is in the set */
};

/* Each text is an address ("10.0.0.1", "2001:db8::1"), a network ("10.0.0.0/8") or "unix:", which
 * stands for all peers on unix sockets. Bits after the prefix are ignored. Returns NULL, or the
 * first text that is none of these. */
const struct str *netset_make(struct netset *set, const struct str *texts, unsigned count,
                              struct arena *arena);

bool netset_has(const struct netset *set, const struct peer *peer);

#endif

/*
 * pool - connections of scripts that are kept for the next one who wants the same server, by
 * name of a pool. Each worker and generation has its own. A kept connection that the other side
 * closes, or says something on, is closed; so is the one that has rested longest when its pool is
 * full. Used by script/net/tcp.c.
 */
#ifndef MG_SCRIPT_NET_POOL_H
#define MG_SCRIPT_NET_POOL_H

#include "base/loop.h"

struct sock_pool;

struct sock_pools {
    struct loop *loop;
    struct sock_pool *first;
    unsigned kept; /* connections in all of them */
};

/* The one that was kept last and is still fit, or -1. *reused: how often it had been taken, with
 * this time. */
int sock_pools_take(struct sock_pools *pools, struct str name, unsigned *reused);
/* Keeps the descriptor, which is connected and at rest, for so many seconds (0: for ever). `size`
 * is that of the pool if this makes it; at least 1. */
void sock_pools_keep(struct sock_pools *pools, struct str name, unsigned size, int fd,
                     double seconds, unsigned reused);
/* Closes the one that has rested longest in some pool. False: none is kept. */
bool sock_pools_give_up(struct sock_pools *pools);
/* Closes all. */
void sock_pools_clear(struct sock_pools *pools);

#endif

/*
 * pool - connections of scripts that are kept for the next request to the same server, found by the
 * pool's name. Each worker and generation has its own pools. A kept connection is closed when the
 * other side closes it or sends on it, and the oldest one when its pool is full. Used by
 * script/net/tcp.c.
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

/* Takes the connection that was kept last and is still open; -1: there is none. *reused is how
 * often the connection has been taken, this time included. */
int sock_pools_take(struct sock_pools *pools, struct str name, unsigned *reused);
/* Keeps the descriptor, which is connected and at rest, for so many seconds (0: for ever). `size`,
 * at least 1, is the size of the pool where the call makes it. */
void sock_pools_keep(struct sock_pools *pools, struct str name, unsigned size, int fd,
                     double seconds, unsigned reused);
/* Closes the oldest connection of a pool, to make room for another socket. False: no connection is
 * kept. */
bool sock_pools_give_up(struct sock_pools *pools);
/* Closes all. */
void sock_pools_clear(struct sock_pools *pools);

#endif

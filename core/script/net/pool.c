/* pool - see pool.h. A pool exists while it keeps a connection. */
#include "script/net/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct kept {
    struct kept *prev, *next; /* of the pool; the first has been kept last */
    struct sock_pool *pool;
    ev_io io;
    ev_timer limit;
    unsigned reused;
};

struct sock_pool {
    struct sock_pool *next;
    struct sock_pools *pools;
    struct kept *first, *last;
    unsigned count, size;
    size_t name_size;
    char name[];
};

static void *pool_must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static struct sock_pool *pool_find(struct sock_pools *pools, struct str name)
{
    struct sock_pool *p = pools->first;
    while (p != NULL && !str_eq((struct str){p->name, p->name_size}, name))
        p = p->next;
    return p;
}

static struct sock_pool *pool_find_or_make(struct sock_pools *pools, struct str name, unsigned size)
{
    struct sock_pool *p = pool_find(pools, name);
    if (p != NULL)
        return p;
    p = pool_must(calloc(1, sizeof *p + name.n));
    p->pools = pools;
    p->size = size;
    p->name_size = name.n;
    memcpy(p->name, name.p, name.n);
    p->next = pools->first;
    pools->first = p;
    return p;
}

/* Removes the connection from its pool and returns the descriptor. A pool without a connection is
 * freed. */
static int pool_take_out(struct kept *k)
{
    struct sock_pool *p = k->pool;
    struct sock_pools *pools = p->pools;
    int fd = k->io.fd;
    *(k->prev != NULL ? &k->prev->next : &p->first) = k->next;
    *(k->next != NULL ? &k->next->prev : &p->last) = k->prev;
    ev_io_stop(pools->loop->ev, &k->io);
    ev_timer_stop(pools->loop->ev, &k->limit);
    free(k);
    pools->kept--;
    if (--p->count == 0) {
        struct sock_pool **at = &pools->first;
        while (*at != p)
            at = &(*at)->next;
        *at = p->next;
        free(p);
    }
    return fd;
}

/* A kept connection is closed at any event: the other side has closed it, or sends bytes that
 * belong to no request. */
static void pool_io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    (void)events;
    close(pool_take_out(io->data));
}

static void pool_limit_cb(struct ev_loop *ev, ev_timer *limit, int events)
{
    (void)ev;
    (void)events;
    close(pool_take_out(limit->data));
}

int sock_pools_take(struct sock_pools *pools, struct str name, unsigned *reused)
{
    struct sock_pool *p;
    char byte;
    while ((p = pool_find(pools, name)) != NULL) {
        *reused = p->first->reused + 1;
        int fd = pool_take_out(p->first);
        /* The loop may not have seen yet that the other side has gone. */
        if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
            return fd;
        close(fd);
    }
    return -1;
}

void sock_pools_keep(struct sock_pools *pools, struct str name, unsigned size, int fd,
                     double seconds, unsigned reused)
{
    struct sock_pool *p = pool_find_or_make(pools, name, size);
    struct kept *k = pool_must(calloc(1, sizeof *k));
    k->pool = p;
    k->reused = reused;
    k->next = p->first;
    *(k->next != NULL ? &k->next->prev : &p->last) = k;
    p->first = k;
    p->count++;
    pools->kept++;
    ev_io_init(&k->io, pool_io_cb, fd, EV_READ);
    ev_timer_init(&k->limit, pool_limit_cb, seconds, 0);
    k->io.data = k->limit.data = k;
    ev_io_start(pools->loop->ev, &k->io);
    if (seconds > 0)
        ev_timer_start(pools->loop->ev, &k->limit);
    if (p->count > p->size)
        close(pool_take_out(p->last));
}

bool sock_pools_give_up(struct sock_pools *pools)
{
    if (pools->first == NULL)
        return false;
    close(pool_take_out(pools->first->last));
    return true;
}

void sock_pools_clear(struct sock_pools *pools)
{
    while (sock_pools_give_up(pools))
        ;
}

/*
 * ledger_map - the layout of the ledger in shared memory, for ledger*.c only.
 *
 * Places are numbers, since each process may have the mapping elsewhere. All fields of a group, of
 * its servers, tenants and claims belong to the group's lock. Who writes what, from the lowest file
 * to the highest:
 *
 *     ledger_claims    the state of claims, the lists and counts that they are in, tenants, boxes
 *     ledger_turns     which claim that waits has which server: probes of servers that are down
 *     ledger_share     requests that share the connection of a claim
 *     ledger_servers   groups and servers that come and go, their settings, what is known of them
 *     ledger           the mapping, and what a worker asks for: claims from acquire to drop
 */
#ifndef MG_SHM_LEDGER_MAP_H
#define MG_SHM_LEDGER_MAP_H

#include "shm/ledger.h"

#include <pthread.h>

#define LEDGER_GROUPS     4096
#define LEDGER_SERVERS    8192
#define LEDGER_TENANTS    16384
#define LEDGER_BUCKETS    64         /* of the tenants of a group */
#define LEDGER_SERVED     256        /* places for tenants that have nothing, in a group */
#define LEDGER_WORKER_MAX (1u << 16) /* claims of one worker */
#define MAILBOX_PARTS     (LEDGER_WORKER_MAX / 64 / 64)

enum claim_state { CLAIM_FREE, CLAIM_WAITING, CLAIM_ACTIVE, CLAIM_IDLE };

struct claim {
    void *holder; /* a pointer that only the claim's own worker may use */
    double since; /* it waits */
    uint32_t next, prev;
    uint32_t group, server, avoid, tenant;
    uint16_t worker;
    uint8_t state;
    uint8_t event; /* news that the claim's worker has not collected yet */
    bool only, fresh;
    uint32_t generation;
    bool leaving;   /* idle, and asked to be closed */
    bool shared;    /* several requests may be on its connection: */
    uint32_t extra; /* so many beyond the first */
};

/* A tenant of a group: who shares its connections. The first of each group stands for requests
 * without a tenant. */
struct tenant {
    uint64_t hash;
    uint32_t bucket_next;
    uint32_t next, prev; /* in the list of tenants with waiting claims */
    uint32_t active, waiting;
    uint32_t named;      /* of the waiting claims: those for one server and no other */
    uint32_t head, tail; /* claims, the oldest first */
    double served;       /* when the tenant was last given a connection */
    bool listed;
};

/* When a tenant was last given a connection that has none any more, and does not wait for one. */
struct served {
    uint64_t hash;
    double at;
};

/* A bit for each worker. */
struct workers {
    uint64_t bits[LEDGER_MAX_WORKERS / 64];
};

struct group {
    pthread_mutex_t lock;
    bool made;    /* the lock is one */
    uint64_t key; /* hash of its name; 0: free */
    bool held;
    uint32_t queue, per_tenant;
    uint32_t queued;
    uint32_t avoiding;                      /* of the waiting claims: those that avoid a server */
    uint32_t anyone_of[LEDGER_MAX_WORKERS]; /* of the waiting claims: those that may have any
                                               server, by worker */
    struct workers with_anyone;             /* workers that have such claims */
    uint32_t servers;                       /* the first */
    uint32_t anyone;                        /* the tenant of requests without one */
    uint32_t waiting;                       /* tenants with waiters, the first */
    uint32_t tenants[LEDGER_BUCKETS];
    struct served served[LEDGER_SERVED]; /* by hash */
    double forgotten; /* the latest time among tenants whose places were given to others */
    uint16_t refs[LEDGER_MAX_WORKERS];
};

/* A worker's claims, and its box: a bit for each claim that may have news, and a bit for each word
 * of those that is not 0. Setting one twice does no harm, so it can be done again for a worker that
 * died while it did it. */
struct part {
    int wake;
    bool woken;    /* `wake` has been written to since the last look into the box */
    uint32_t used; /* claims that were ever taken: the rest is untouched memory */
    uint64_t words[MAILBOX_PARTS];
    uint64_t news[LEDGER_WORKER_MAX / 64];
};

struct ledger {
    size_t size;
    uint64_t seed; /* of tenants' hashes */
    unsigned workers;
    pthread_mutex_t lock; /* of groups, servers and tenants coming and going */
    uint32_t free_tenant, tenants_used;
    uint32_t next_server; /* where the search for a free place begins */
    struct part parts[LEDGER_MAX_WORKERS];
    struct group groups[LEDGER_GROUPS];
    struct ledger_server servers[LEDGER_SERVERS];
    uint16_t server_refs[LEDGER_SERVERS][LEDGER_MAX_WORKERS];
    struct workers known[LEDGER_SERVERS]; /* workers that have the server open */
    struct tenant tenants[LEDGER_TENANTS];
    struct claim claims[]; /* LEDGER_WORKER_MAX of each worker */
};

static inline void ledger_set_worker(struct workers *w, unsigned worker, bool on)
{
    uint64_t bit = 1ull << worker % 64;
    w->bits[worker / 64] = on ? w->bits[worker / 64] | bit : w->bits[worker / 64] & ~bit;
}

static inline bool ledger_have_common(const struct workers *a, const struct workers *b)
{
    uint64_t common = 0;
    for (unsigned i = 0; i < LEDGER_MAX_WORKERS / 64; i++)
        common |= a->bits[i] & b->bits[i];
    return common != 0;
}

#endif

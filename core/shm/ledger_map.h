/*
 * ledger_map - the layout of the ledger in shared memory, for ledger*.c only.
 *
 * Places are numbers, since each process may have the mapping elsewhere. All fields of a group, of
 * its servers, tenants and claims belong to the group's lock. The fields that each file writes,
 * from the lowest file to the highest:
 *
 *     ledger_claims    the state of claims, their lists and counts, tenants, mailboxes
 *     ledger_turns     grants of waiting claims, probes of servers that are down
 *     ledger_share     requests that share the connection of a claim
 *     ledger_servers   making and freeing groups and servers, their settings and state
 *     ledger           the mapping, and claims from acquire to drop
 */
#ifndef MG_SHM_LEDGER_MAP_H
#define MG_SHM_LEDGER_MAP_H

#include "shm/ledger.h"

#include <pthread.h>

#define LEDGER_GROUPS     4096
#define LEDGER_SERVERS    8192
#define LEDGER_TENANTS    16384
#define LEDGER_BUCKETS    64         /* of the hash table of a group's tenants */
#define LEDGER_SERVED     256        /* places of a group for tenants without claims */
#define LEDGER_WORKER_MAX (1u << 16) /* claims of one worker */
#define MAILBOX_PARTS     (LEDGER_WORKER_MAX / 64 / 64)

enum claim_state { CLAIM_FREE, CLAIM_WAITING, CLAIM_ACTIVE, CLAIM_IDLE };

struct claim {
    void *holder; /* a pointer that only the claim's own worker may use */
    double since; /* time when the claim began to wait */
    uint32_t next, prev;
    uint32_t group, server, avoid, tenant;
    uint16_t worker;
    uint8_t state;
    uint8_t event; /* news that the claim's worker has not read yet */
    bool only, fresh, last;
    uint32_t generation;
    bool leaving;   /* an idle claim whose worker is asked to close it */
    bool shared;    /* several requests may be on the connection */
    uint32_t extra; /* number of requests beyond the first */
};

/* A tenant of a group, one of those that share its connections. The first tenant of each group
 * stands for requests without a tenant. */
struct tenant {
    uint64_t hash;
    uint32_t bucket_next;
    uint32_t next, prev; /* in the list of tenants with waiting claims */
    uint32_t active, waiting;
    uint32_t named;      /* waiting claims for one server alone */
    uint32_t head, tail; /* waiting claims, the oldest first */
    double served;       /* when the tenant was last given a connection */
    bool listed;
};

/* The last time when a tenant, which has no claim now, was given a connection. */
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
    bool made;    /* the lock is initialized */
    uint64_t key; /* hash of its name; 0: free */
    bool held;
    uint32_t queue, per_tenant;
    uint32_t queued;
    uint32_t avoiding;                      /* waiting claims that avoid a server */
    uint32_t anyone_of[LEDGER_MAX_WORKERS]; /* waiting claims that may have any server, by worker */
    struct workers with_anyone;             /* workers that have such claims */
    uint32_t servers;                       /* the first */
    uint32_t anyone;  /* the tenant that stands for requests without a tenant */
    uint32_t waiting; /* first tenant with waiting claims */
    uint32_t tenants[LEDGER_BUCKETS];
    struct served served[LEDGER_SERVED]; /* by hash */
    double forgotten;                    /* latest time of the tenants whose places were reused */
    uint16_t refs[LEDGER_MAX_WORKERS];
};

/* A worker's claims and mailbox: a bit for each claim that may have news, and a bit for each word
 * of these that is not 0. A bit may be set twice, so that the work of a worker that died while it
 * set one can be repeated. */
struct part {
    int wake;
    bool woken;    /* `wake` was written since the mailbox was last opened */
    uint32_t used; /* claims that were ever used; memory of the rest is untouched */
    uint64_t words[MAILBOX_PARTS];
    uint64_t news[LEDGER_WORKER_MAX / 64];
};

struct ledger {
    size_t size;
    uint64_t seed; /* of tenants' hashes */
    unsigned workers;
    pthread_mutex_t lock; /* guards the making and freeing of groups, servers and tenants */
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

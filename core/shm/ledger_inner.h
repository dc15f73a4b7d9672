/*
 * ledger_inner - the ledger's own data, for ledger*.c only.
 *
 * Everything here lies in the shared mapping. Places are numbers, since each process may have the
 * mapping elsewhere. "The group is locked" is what every function that takes a struct group needs.
 */
#ifndef MG_SHM_LEDGER_INNER_H
#define MG_SHM_LEDGER_INNER_H

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
    bool leaving; /* idle, and asked to be closed */
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

/* --- ledger_lists.c --- */

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

/* Groups, servers and tenants come and go under this lock; it may be taken inside a group's. */
void ledger_lock_directory(struct ledger *l);
void ledger_unlock_directory(struct ledger *l);
struct group *ledger_lock_group(struct ledger *l, uint32_t group);
void ledger_unlock_group(struct group *g);
/* A tenant that is new in the group; the nameless one where there are too many. */
uint32_t ledger_new_tenant(struct ledger *l, struct group *g, uint64_t hash);
uint32_t ledger_find_tenant(struct ledger *l, struct group *g, uint64_t hash);
/* Forgets a tenant that has nothing any more. */
void ledger_leave_tenant(struct ledger *l, struct group *g, uint32_t tenant);
/* Forgets all such tenants. */
void ledger_sweep_tenants(struct ledger *l, struct group *g);
/* True when the tenant has per_tenant connections. */
bool ledger_is_capped(const struct ledger *l, const struct group *g, uint32_t tenant);

void ledger_wait_in_line(struct ledger *l, struct group *g, uint32_t claim);
void ledger_leave_line(struct ledger *l, struct group *g, uint32_t claim);
void ledger_become_idle(struct ledger *l, uint32_t claim);
void ledger_leave_idle(struct ledger *l, uint32_t claim);
void ledger_become_active(struct ledger *l, uint32_t claim, uint32_t server);
void ledger_leave_active(struct ledger *l, uint32_t claim);
/* Removes the claim from the list and the counts that it is in. */
void ledger_leave(struct ledger *l, struct group *g, uint32_t claim);

/* A free claim of this worker, or LEDGER_NONE. */
uint32_t ledger_take_claim(struct ledger_seat *seat);
/* Drops the claim's news that have not been collected. */
void ledger_free_claim(struct ledger_seat *seat, uint32_t claim);
/* Puts news for the claim's worker into its box. `seat` is NULL when the master does it. */
void ledger_post(struct ledger *l, struct ledger_seat *seat, uint32_t claim,
                 enum ledger_event event);
/* Asks for an idle connection to be closed. */
void ledger_ask_to_leave(struct ledger *l, struct ledger_seat *seat, uint32_t claim);

/* --- ledger.c --- */

/* How many may wait. */
uint32_t ledger_room_of(const struct ledger *l, const struct group *g);
/* Grants all claims that can be granted now, and asks for idle connections to be closed whose
 * places others wait for. */
void ledger_pump(struct ledger *l, struct ledger_seat *seat, struct group *g);
/* The group's last usable server may have gone: claims that can have no server are told to look
 * again. */
void ledger_refuse_lost(struct ledger *l, struct ledger_seat *seat, struct group *g);

/* --- ledger_servers.c --- */

/* A worker has ended: it has no server of the group open any more. */
void ledger_forget_servers(struct ledger *l, struct ledger_seat *seat, struct group *g,
                           unsigned worker);

#endif

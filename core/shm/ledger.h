/*
 * ledger - the servers of all backends, the connections to them and the requests that wait for one,
 * shared by all workers.
 *
 * One shared mapping, made by the master before it forks. Each connection to a server is a claim:
 * waiting, active or idle. So max_conns, keepalive and the queue hold over all workers, and the
 * claims of a dead worker are given back. A group is a backend, found by its name, so that counts
 * survive reloads and replaced workers.
 *
 *     ledger_acquire --> [active] --ledger_release--> [idle] --ledger_reuse--> [active]
 *                  \--> [waiting] --LEDGER_GRANT--> [active]  \--LEDGER_GIVE_UP: another worker
 *                                                               waits
 *
 * The connection of an active claim may be shared by several requests of its worker. The claim
 * stays one, and counts the requests beyond the first (ledger_share, ledger_unshare).
 *
 * Plain data, with one robust mutex for each group. After a worker has died inside the lock, all
 * counts are made again from the claims. No libev, no Lua: each worker has an eventfd, which its
 * loop watches and which other workers write to. Contract section 4.
 */
#ifndef MG_SHM_LEDGER_H
#define MG_SHM_LEDGER_H

#include "base/str.h"

#define LEDGER_NONE        UINT32_MAX
#define LEDGER_MAX_WORKERS 1024 /* as many as the settings allow */

struct ledger;

/* The numbers of PHP-FPM's status page about its pool. They are PHP-FPM's own, and begin anew when
 * it does. */
struct ledger_pool {
    double read_at; /* monotonic seconds; 0: never */
    uint64_t accepted, max_children_reached, slow_requests;
    uint32_t active, idle, total, max_active;
    uint32_t listen_queue, max_listen_queue, listen_queue_size;
};

/* What the serving generation reads of PHP-FPM's status page: nothing, the numbers of the pool, or
 * the load by other clients, too. */
enum ledger_reads { LEDGER_READS_NOTHING, LEDGER_READS_POOL, LEDGER_READS_LOAD };

/* Whether a server takes several requests on a connection, by its answer to FCGI_GET_VALUES. */
enum ledger_sharing { LEDGER_UNKNOWN, LEDGER_SHARES, LEDGER_ALONE };

/* A server as a policy and the status see it. Readers read single fields without the lock. */
struct ledger_server {
    uint64_t key; /* hash of its address; 0: free */
    uint32_t group;
    uint32_t next;      /* next server of the group */
    uint32_t idle_head; /* head of the list of idle claims, the latest first */
    uint32_t idle_tail;
    /* Settings of the worker that opened the server last. */
    uint32_t max_conns; /* 0: no limit */
    uint32_t keepalive;
    uint32_t max_fails;
    bool backup;
    double fail_timeout, slow_start, weight;
    /* State. */
    uint32_t active; /* connections in use */
    uint32_t extra;  /* requests beyond the first on a shared connection */
    uint32_t spare;  /* connections of `last` requests, which take no place of max_conns */
    uint32_t idle;
    uint32_t leaving; /* idle connections that workers are asked to close */
    uint32_t named;   /* claims that wait for this server alone */
    bool skipped;     /* for one pass of granting: no waiting claim may have the server */
    bool draining;
    bool down;        /* the server failed too often; it is tried again at retry_at */
    uint32_t since;   /* first generation that knows the server */
    uint32_t retired; /* last generation that uses the server; 0: not retired */
    bool sick;        /* the server's health checks fail */
    bool unchecked;   /* the serving generation has no health checks */
    uint8_t reads;    /* enum ledger_reads */
    uint32_t heeded;  /* generation whose health checks and load are accepted */
    bool gone;        /* no worker has the server as an address of the backend */
    uint32_t fails;   /* failures since failed_at, within fail_timeout */
    double failed_at, retry_at, up_since; /* monotonic seconds */
    double next_check, checked_at;        /* when the next health check is due, the last began */
    uint32_t check_streak;                /* checks in a row that contradict `sick` */
    double latency;  /* seconds to the first byte, moving average; 0: not known */
    uint32_t others; /* busy processes of PHP-FPM that serve other clients, by its status page */
    /* The answer to FCGI_GET_VALUES; written without the lock. */
    uint8_t sharing;              /* enum ledger_sharing */
    double asked_at, alone_until; /* of FCGI_GET_VALUES; LEDGER_ALONE holds until then */
    uint32_t offered_conns,
        offered_reqs; /* with LEDGER_SHARES: the server's limits; 0: not given */
    /* Counters. */
    uint64_t requests, failures, answers;
    uint64_t messages; /* messages of its applications on STDERR */
    struct ledger_pool pool;
};

/* A worker's access to the ledger. A process has one. */
struct ledger_seat {
    struct ledger *ledger;
    unsigned worker;
    uint32_t free; /* list of the worker's free claims */
    bool noted;    /* the worker has put news into its own mailbox */
    /* Called when the worker puts the first news into its own mailbox, once until
     * ledger_open_mailbox. The callback must only note the fact; may be NULL. */
    void (*note_news)(struct ledger_seat *seat);
    /* The position of ledger_next_news. */
    unsigned part;           /* part of the mailbox */
    uint64_t words, pending; /* bits of the mailbox that have not been read */
    uint32_t word;           /* the word that `pending` belongs to */
};

enum ledger_event {
    LEDGER_NOTHING,
    LEDGER_GRANT,   /* the waiting claim has got a connection to the server */
    LEDGER_REFUSE,  /* the group may have no usable server; the claim waits until it is dropped */
    LEDGER_GIVE_UP, /* the claim is idle, and the worker closes its connection */
};

struct ledger_news {
    enum ledger_event event;
    void *holder;
    uint32_t claim, server;
};

struct ledger_limits {
    uint32_t queue;      /* for each server */
    uint32_t per_tenant; /* 0: no limit */
    bool prepared;       /* the generation does not serve yet: limits in force stay */
};

struct ledger_server_limits {
    uint32_t max_conns, keepalive, max_fails;
    double fail_timeout, slow_start, weight;
    bool backup;
    bool prepared; /* as in ledger_limits */
    uint32_t generation;
};

/* Seconds of the monotonic clock, which all processes share. */
double ledger_now(void);

/* --- the master --- */

/* Makes the mapping. NULL: no memory or descriptors, or more than LEDGER_MAX_WORKERS; see errno. */
struct ledger *ledger_new(unsigned workers);
void ledger_free(struct ledger *l);
/* Frees the claims of a worker that has ended, and grants waiting claims of other workers. */
void ledger_worker_gone(struct ledger *l, unsigned worker);

/* --- a worker --- */

void ledger_join(struct ledger_seat *seat, struct ledger *l, unsigned worker);
/* A descriptor that is readable when another worker has put news into this worker's mailbox. */
int ledger_wake_fd(const struct ledger_seat *seat);
/* Begins to read the mailbox. */
void ledger_open_mailbox(struct ledger_seat *seat);
/* Reads the next news. False: the mailbox has been read; news that came meanwhile are read after
 * the next ledger_open_mailbox. */
bool ledger_next_news(struct ledger_seat *seat, struct ledger_news *news);

/* Opens the group of that name, or makes it. Its limits are these from now on, unless they are
 * prepared. LEDGER_NONE: there are too many groups. Each open needs one close. */
uint32_t ledger_open(struct ledger_seat *seat, struct str name, const struct ledger_limits *limits);
void ledger_close(struct ledger_seat *seat, uint32_t group);
/* Opens the server with that address in the group, or makes it, in the same way. A worker's claims
 * are granted only servers that it has opened. LEDGER_NONE: there are too many servers. */
uint32_t ledger_server_open(struct ledger_seat *seat, uint32_t group, struct str address,
                            const struct ledger_server_limits *limits);
/* Closes a server, once for each open and before the last close of the group: for this worker the
 * server is not an address of the backend any more. A server that no worker has open is gone; its
 * number may be reused. */
void ledger_server_gone(struct ledger_seat *seat, uint32_t server);
/* True when another worker has the server as an address of the backend. Read without the lock. */
bool ledger_server_is_shared(const struct ledger_seat *seat, uint32_t server);
/* Limits the server to requests of generations up to this one, until a worker opens it again. */
void ledger_server_retire(struct ledger_seat *seat, uint32_t server, uint32_t generation);

/* Sets whether the serving generation has health checks of the server, and what it reads of the
 * server's status page. Where it has none, and where it reads no load, the state that earlier
 * generations found is dropped, and their further reports are ignored. A call for an earlier
 * generation than the latest is ignored, too. */
void ledger_server_set_checks(struct ledger_seat *seat, uint32_t server, uint32_t generation,
                              bool checks, enum ledger_reads reads);

struct ledger_server *ledger_at(const struct ledger_seat *seat, uint32_t server);
/* Connections in use by the server of the group with that address, which may be gone. */
unsigned ledger_active(const struct ledger_seat *seat, uint32_t group, struct str address);
bool ledger_is_held(const struct ledger_seat *seat, uint32_t group);
uint32_t ledger_queued(const struct ledger_seat *seat, uint32_t group);
/* The active claims of a tenant in the group, and those that wait. */
void ledger_tenant_claims(const struct ledger_seat *seat, uint32_t group, struct str tenant,
                          uint32_t *active, uint32_t *waiting);
/* The same of all tenants that have a name. */
void ledger_tenants_claims(const struct ledger_seat *seat, uint32_t group, uint32_t *active,
                           uint32_t *waiting);
/* How many claims may wait in the group. */
uint32_t ledger_queue_room(const struct ledger_seat *seat, uint32_t group);
/* The class of servers that requests go to now: 0 those in service, 1 backups, 2 and 3 the same
 * among servers that failed too often, LEDGER_NO_TIER: the group has no usable server. */
unsigned ledger_tier(const struct ledger_seat *seat, uint32_t group, double now);
unsigned ledger_tier_of(const struct ledger_server *s, double now);
#define LEDGER_LAST_TIERS 2u /* first class of servers that failed too often */
#define LEDGER_NO_TIER    4u
/* True while the server has room for one more connection. */
bool ledger_has_room(const struct ledger_server *s);
/* The server's weight, which grows for slow_start seconds after the server came back. */
double ledger_weight(const struct ledger_server *s, double now);

/* The seeded hash of a tenant's name, so that a client who chooses names can't find two with one
 * hash. 0 for the empty name. */
uint64_t ledger_tenant(const struct ledger_seat *seat, struct str name);

enum ledger_answer {
    LEDGER_GRANTED, /* *claim is active, on request->server */
    LEDGER_WAITING, /* *claim waits; news of it follow */
    LEDGER_FULL,    /* the queue of the group is full; of a `last` request: nothing is to spare */
};

struct ledger_request {
    uint32_t group;
    uint32_t server; /* LEDGER_NONE: any usable server; the grant names it */
    bool only;       /* only that server */
    bool fresh;      /* only a new connection: no released one is handed over */
    bool last;       /* behind all others, see ledger_acquire; `fresh` is set, and no `server` */
    uint32_t avoid;  /* a server that has just failed; LEDGER_NONE: none */
    uint64_t tenant; /* hash of the tenant's name; 0 and 1: none */
    uint32_t generation;
    void *holder;
};

/* Asks for a connection to the server, or to any server of the group. A `last` request never waits,
 * and never makes another one wait: it is granted a server at which, with it, one place of
 * max_conns is left, or nothing else is connected; and none while a claim waits. Its connection
 * takes no place of max_conns, counts for no tenant and is not kept. */
enum ledger_answer ledger_acquire(struct ledger_seat *seat, const struct ledger_request *request,
                                  uint32_t *claim);
/* The server of an active or idle claim of this worker. */
uint32_t ledger_server_of(const struct ledger_seat *seat, uint32_t claim);
/* Makes an idle claim active, to use its connection again. False: the connection must be closed, or
 * the tenant has its share; the caller asks with ledger_acquire. */
bool ledger_reuse(struct ledger_seat *seat, uint32_t claim, uint64_t tenant, void *holder);

enum ledger_kept {
    /* the caller closes the connection and drops the claim: another claim gets the place, or
       keepalive is reached */
    LEDGER_CLOSE,
    LEDGER_KEEP, /* the claim is idle now, with `holder` as its holder */
    /* *next, the holder of a waiting claim of this worker, gets the connection under the same claim
     */
    LEDGER_NEXT,
};

/* Releases a claim whose request is over and whose connection can serve another one. */
enum ledger_kept ledger_release(struct ledger_seat *seat, uint32_t claim, void *holder,
                                void **next);
/* --- several requests on one connection; the claim is active --- */

/* Marks the claim's connection as shared. An idle one is then kept regardless of the server's
 * `keepalive`. */
void ledger_let_share(struct ledger_seat *seat, uint32_t claim);
/* Adds a request to the claim's connection. False: a waiting claim comes first, or the server takes
 * no new requests; the caller asks with ledger_acquire. */
bool ledger_share(struct ledger_seat *seat, uint32_t claim, uint64_t tenant);
/* Adds the request of the waiting claim whose turn it is to the connection, if the claim is of this
 * worker, and frees that claim. Returns its holder. NULL: no claim waits, or the turn is another
 * worker's. */
void *ledger_share_next(struct ledger_seat *seat, uint32_t claim);
/* Removes a request from a shared connection; not the last one. */
void ledger_unshare(struct ledger_seat *seat, uint32_t claim);

/* --- */

/* Frees the claim, in any state: its connection is closed, or its request is withdrawn. */
void ledger_drop(struct ledger_seat *seat, uint32_t claim);

/* Grants the waiting claims that can be granted now, since a server may be due for a probe
 * (retry_at). */
void ledger_nudge(struct ledger_seat *seat, uint32_t group);

/* Refuses all claims of this worker that wait for the group; LEDGER_REFUSE follows. */
void ledger_refuse_all(struct ledger_seat *seat, uint32_t group);

/* --- operators, health --- */

void ledger_hold(struct ledger_seat *seat, uint32_t group, bool held);
void ledger_drain(struct ledger_seat *seat, uint32_t server, bool draining);
/* Counts a failure against the server. True: the server is down now. */
bool ledger_failed(struct ledger_seat *seat, uint32_t server);
/* Notes that the server has answered after `latency` seconds. */
void ledger_answered(struct ledger_seat *seat, uint32_t server, double latency);
/* Notes the result of a health check. `rise` and `fall` are the numbers of equal results in a row
 * that change the server's state. True: the state has changed. */
bool ledger_checked(struct ledger_seat *seat, uint32_t server, bool good, uint32_t rise,
                    uint32_t fall);
/* Gives a due check to the caller: true for one worker at a time. No other check begins for
 * `timeout` seconds, unless ledger_check_over has ended it. */
bool ledger_check_due(struct ledger_seat *seat, uint32_t server, double interval, double timeout);
/* Ends a check. The next one is due `interval` seconds after this one began. */
void ledger_check_over(struct ledger_seat *seat, uint32_t server, double interval);

#endif

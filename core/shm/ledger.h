/*
 * ledger - what all workers know about backends together: servers, the connections to them, and who
 * waits for one.
 *
 * One shared mapping, made by the master before it forks. Every connection to a server is a claim
 * in it: waited for, in use, or kept idle. So max_conns, keepalive and the queue hold over all
 * workers, and what a dead worker held is given back. A group is a backend, found by its name, so
 * that reloads and replaced workers go on with the same counts.
 *
 *     ledger_acquire --> [active] --ledger_release--> [idle] --ledger_reuse--> [active]
 *                  \--> [waiting] --LEDGER_GRANT--> [active]  \--LEDGER_GIVE_UP: another worker
 *                                                               waits
 *
 * An active claim's connection may be shared by several requests of its worker: the claim stays
 * one, and counts those beyond the first (ledger_share, ledger_unshare).
 *
 * Plain data under one robust mutex a group; a worker that dies inside it costs nothing, since all
 * counts can be made again from the claims. No libev, no Lua: workers wake one another through an
 * eventfd each, which their loop watches. Contract section 4.
 */
#ifndef MG_SHM_LEDGER_H
#define MG_SHM_LEDGER_H

#include "base/str.h"

#define LEDGER_NONE        UINT32_MAX
#define LEDGER_MAX_WORKERS 1024 /* as many as the settings allow */

struct ledger;

/* Whether a server takes several requests on a connection, by what it has said. */
enum ledger_sharing { LEDGER_UNKNOWN, LEDGER_SHARES, LEDGER_ALONE };

/* What a policy and the status see of one server. Read without the lock, field by field. */
struct ledger_server {
    uint64_t key; /* hash of its address; 0: free */
    uint32_t group;
    uint32_t next;      /* of the group */
    uint32_t idle_head; /* head of the list of idle claims, the latest first */
    uint32_t idle_tail;
    /* Settings, as the worker that opened the server last has them. */
    uint32_t max_conns; /* 0: no limit */
    uint32_t keepalive;
    uint32_t max_fails;
    bool backup;
    double fail_timeout, slow_start, weight;
    /* State. */
    uint32_t active; /* connections in use */
    uint32_t extra;  /* requests that share one of these with another */
    uint32_t idle;
    uint32_t leaving; /* of the idle ones: asked to be closed */
    uint32_t named;   /* requests that wait for this server and no other */
    bool skipped;     /* for one pass of granting: no waiting request may have it */
    bool draining;
    bool down;                  /* failed too often; tried again at retry_at */
    uint32_t since;             /* the first generation that knows it */
    uint32_t retired;           /* for generations after this one; 0: for none */
    bool sick;                  /* its health checks fail */
    bool unchecked, unmeasured; /* the serving generation has no health checks, no load */
    uint32_t heeded;            /* the generation that said so of health checks and load */
    bool gone;                  /* no worker knows it as an address of the backend */
    uint32_t fails;             /* since failed_at, for fail_timeout */
    double failed_at, retry_at, up_since; /* monotonic seconds */
    double next_check, checked_at;        /* when the next health check is due, the last began */
    uint32_t check_streak;                /* checks in a row that said otherwise */
    double latency;  /* seconds to the first byte, moving average; 0: not known */
    uint32_t others; /* requests of others there, by php-fpm's status page */
    /* What it has said of itself; written without the lock. */
    uint8_t sharing;                      /* enum ledger_sharing */
    double asked_at, alone_until;         /* of FCGI_GET_VALUES; LEDGER_ALONE holds until then */
    uint32_t offered_conns, offered_reqs; /* with LEDGER_SHARES: the most it takes; 0: not said */
    /* Counters. */
    uint64_t requests, failures, answers;
    uint64_t messages; /* that its applications wrote to STDERR */
};

/* A worker as the ledger sees it. A process has one. */
struct ledger_seat {
    struct ledger *ledger;
    unsigned worker;
    uint32_t free; /* claims of this worker that are free */
    bool noted;    /* something for the worker itself is in its box */
    /* The first of it has been left there: called once until ledger_open_mailbox. Only takes note
     * of that; may be NULL. */
    void (*note_news)(struct ledger_seat *seat);
    /* Where ledger_next_news is. */
    unsigned part;           /* of the box */
    uint64_t words, pending; /* bits of it that are still to be looked at */
    uint32_t word;           /* that `pending` is of */
};

enum ledger_event {
    LEDGER_NOTHING,
    LEDGER_GRANT,   /* the claim, which waited, has a connection to the server */
    LEDGER_REFUSE,  /* nothing may be left to wait for; the claim waits until it is dropped */
    LEDGER_GIVE_UP, /* the claim is idle, and its connection is to be closed */
};

struct ledger_news {
    enum ledger_event event;
    void *holder;
    uint32_t claim, server;
};

struct ledger_limits {
    uint32_t queue;      /* for each server */
    uint32_t per_tenant; /* 0: no limit */
    bool prepared; /* the limits are of a generation that does not serve yet: those in force stay */
};

struct ledger_server_limits {
    uint32_t max_conns, keepalive, max_fails;
    double fail_timeout, slow_start, weight;
    bool backup;
    bool prepared; /* as in ledger_limits */
    uint32_t generation;
};

/* Seconds of the clock that all processes share. */
double ledger_now(void);

/* --- the master --- */

/* NULL: no memory or descriptors, or more than LEDGER_MAX_WORKERS; see errno. */
struct ledger *ledger_new(unsigned workers);
void ledger_free(struct ledger *l);
/* A worker has ended, in whatever way: its claims are freed, and waiting claims of others are
 * granted. */
void ledger_worker_gone(struct ledger *l, unsigned worker);

/* --- a worker --- */

void ledger_join(struct ledger_seat *seat, struct ledger *l, unsigned worker);
/* Readable when another worker has left something in this one's box. */
int ledger_wake_fd(const struct ledger_seat *seat);
/* Begins to take what is in the box. */
void ledger_open_mailbox(struct ledger_seat *seat);
/* The next piece of news. False: that was all; what has been left meanwhile is for another time. */
bool ledger_next_news(struct ledger_seat *seat, struct ledger_news *news);

/* The group of that name, made where there is none; its limits are these from now on, unless they
 * are of a generation that may never serve. LEDGER_NONE:
 * there are too many. Close it once for each time it was opened. */
uint32_t ledger_open(struct ledger_seat *seat, struct str name, const struct ledger_limits *limits);
void ledger_close(struct ledger_seat *seat, uint32_t group);
/* The server with that address in the group, made and limited likewise. A worker's requests are
 * granted only servers that it has opened. LEDGER_NONE: there are too many. */
uint32_t ledger_server_open(struct ledger_seat *seat, uint32_t group, struct str address,
                            const struct ledger_server_limits *limits);
/* Call it once for each time the server was opened, at the latest when the group is closed for the
 * last time: the server is no address of the backend any more, as far as this worker knows. A
 * server that no worker has is gone; its number may then stand for another one. */
void ledger_server_gone(struct ledger_seat *seat, uint32_t server);
/* True when another worker has the server as an address of the backend. Read without the lock. */
bool ledger_server_is_shared(const struct ledger_seat *seat, uint32_t server);
/* Only requests of generations up to this one still go to the server, until a worker opens it
 * again. */
void ledger_server_retire(struct ledger_seat *seat, uint32_t server, uint32_t generation);

/* A generation that serves has health checks for the server, and load. Where it has none, the state
 * that others have found out is forgotten, and what they still report is ignored, as is a
 * generation that comes after a later one. */
void ledger_server_set_checks(struct ledger_seat *seat, uint32_t server, uint32_t generation,
                              bool checks, bool load);

struct ledger_server *ledger_at(const struct ledger_seat *seat, uint32_t server);
bool ledger_is_held(const struct ledger_seat *seat, uint32_t group);
uint32_t ledger_queued(const struct ledger_seat *seat, uint32_t group);
/* How many claims may wait in the group. */
uint32_t ledger_queue_room(const struct ledger_seat *seat, uint32_t group);
/* The class of servers that requests go to now: 0 those in service, 1 backups, 2 and 3 the same
 * when all have failed too often (better than none), LEDGER_NO_TIER: there is none. */
unsigned ledger_tier(const struct ledger_seat *seat, uint32_t group, double now);
unsigned ledger_tier_of(const struct ledger_server *s, double now);
#define LEDGER_LAST_TIERS 2u /* from here on they are better than none */
#define LEDGER_NO_TIER    4u
/* True while it has room for one more connection. */
bool ledger_has_room(const struct ledger_server *s);
/* Its weight, which grows for slow_start seconds after it came back. */
double ledger_weight(const struct ledger_server *s, double now);

/* What stands for a tenant's name; clients may choose names, but can't make two that are taken for
 * one. 0 for the empty name. */
uint64_t ledger_tenant(const struct ledger_seat *seat, struct str name);

enum ledger_answer {
    LEDGER_GRANTED, /* *claim is active, on request->server */
    LEDGER_WAITING, /* *claim waits; on_grant follows */
    LEDGER_FULL,    /* the queue of the group is full */
};

struct ledger_request {
    uint32_t group;
    uint32_t server; /* LEDGER_NONE: any usable one, which a grant names */
    bool only;       /* that server and no other */
    bool fresh;      /* a new connection, not a kept one that another worker gives up */
    uint32_t avoid;  /* a server that has just failed; LEDGER_NONE: none */
    uint64_t tenant; /* hash of the tenant's name; 0 and 1: none */
    uint32_t generation;
    void *holder;
};

/* Asks for a connection to the server, or to any of the group. */
enum ledger_answer ledger_acquire(struct ledger_seat *seat, const struct ledger_request *request,
                                  uint32_t *claim);
/* A kept connection is used again. False: it must be closed, or the tenant has its share; ask for
 * another one. */
bool ledger_reuse(struct ledger_seat *seat, uint32_t claim, uint64_t tenant, void *holder);

enum ledger_kept {
    LEDGER_CLOSE, /* close the connection, then ledger_drop: its place goes to another claim, or
                     keepalive is reached */
    LEDGER_KEEP,  /* the claim is idle now, `holder` its owner */
    LEDGER_NEXT,  /* *next, a holder that waited in this worker, has the connection now under the
                     same claim */
};

/* The request is over and its connection could serve another one. */
enum ledger_kept ledger_release(struct ledger_seat *seat, uint32_t claim, void *holder,
                                void **next);
/* --- several requests on one connection; the claim is active --- */

/* The claim's connection may have several: it is kept idle whatever the server's `keepalive`. */
void ledger_let_share(struct ledger_seat *seat, uint32_t claim);
/* One more request goes on the claim's connection. False: somebody waits whose turn comes first, or
 * the server gets nothing new; ask for a connection, as others do. */
bool ledger_share(struct ledger_seat *seat, uint32_t claim, uint64_t tenant);
/* The holder of the waiting claim whose turn it is, if that is one of this worker, as one more
 * request on the connection; its own claim is gone. NULL: it is nobody's turn, or another
 * worker's. */
void *ledger_share_next(struct ledger_seat *seat, uint32_t claim);
/* One of them is over, and not the last. */
void ledger_unshare(struct ledger_seat *seat, uint32_t claim);

/* --- */

/* The connection is closed, or the request is withdrawn: frees the claim, whatever its state. */
void ledger_drop(struct ledger_seat *seat, uint32_t claim);

/* Time has passed, and a server may be due for a probe (retry_at): grants what can be granted. */
void ledger_nudge(struct ledger_seat *seat, uint32_t group);

/* Refuses all claims of this worker that wait for the group: on_refuse follows. */
void ledger_refuse_all(struct ledger_seat *seat, uint32_t group);

/* --- operators, health --- */

void ledger_hold(struct ledger_seat *seat, uint32_t group, bool held);
void ledger_drain(struct ledger_seat *seat, uint32_t server, bool draining);
/* A request has failed in a way that counts against the server. True: the server is down now. */
bool ledger_failed(struct ledger_seat *seat, uint32_t server);
/* The server has answered, `latency` seconds after it was asked. */
void ledger_answered(struct ledger_seat *seat, uint32_t server, double latency);
/* A health check has ended; rise and fall are the numbers of equal results in a row that change the
 * server's state. True: the state has changed. */
bool ledger_checked(struct ledger_seat *seat, uint32_t server, bool good, uint32_t rise,
                    uint32_t fall);
/* True for one worker at a time: the check that is due is its own. No worker begins another one for
 * `timeout` seconds, unless ledger_check_over says that it has ended. */
bool ledger_check_due(struct ledger_seat *seat, uint32_t server, double interval, double timeout);
/* The check ended; the next one is due `interval` seconds after it began. */
void ledger_check_over(struct ledger_seat *seat, uint32_t server, double interval);

#endif

/*
 * backend - a named group of servers in one worker: the servers that a request may go to, and their
 * state after failures and answers. Connections to them are leased (backend/lease.h).
 *
 * A backend belongs to a generation. The state that all workers share lies in the ledger; this
 * module makes connections of it. The caller chooses among several candidates (a policy).
 */
#ifndef MG_BACKEND_BACKEND_H
#define MG_BACKEND_BACKEND_H

#include "base/resolve.h"
#include "fastcgi/connection.h"
#include "fastcgi/record.h"
#include "http/settings.h"
#include "shm/changes.h"
#include "shm/ledger.h"

struct backend;
struct metrics_backend;

/* The state that all backends of one worker share. */
struct backends {
    struct loop *loop;
    struct backend *first; /* of all generations */
    struct ledger_seat seat;
    ev_io wake;
    struct deferred collect;
    struct changes *changes; /* of operators; NULL: none */
    struct change_list changed;
};

void backends_init(struct backends *all, struct loop *loop, struct ledger *ledger, unsigned worker);
/* From now on the backends heed these changes of operators. Before the first backend is made. */
void backends_use_changes(struct backends *all, struct changes *changes);
/* Heeds what operators have changed since the last call: at the beginning of each turn of the loop,
 * so that a server that was removed gets no request of a later one. */
void backends_heed(struct backends *all);
void backends_fini(struct backends *all);
/* True while a server that another worker has, too, works for a client that has left. Its place,
 * which this process holds, must not be given to another request. */
bool backends_are_busy(const struct backends *all);

/* Makes a backend. NULL and *err: the ledger is full. The resolver must outlive it; it may be NULL
 * where no server is a name. Names are looked up from now on; until the first answer requests wait
 * in the queue. */
struct backend *backend_new(const struct backend_settings *settings, struct backends *all,
                            struct resolver *resolver, unsigned generation, const char **err);
/* Closes idle connections. No lease of the backend may be in use any more. */
void backend_free(struct backend *b);
const struct backend_settings *backend_settings(const struct backend *b);
/* Its number among the counters of shm/metrics.h. */
unsigned backend_metrics(const struct backend *b);
/* Its counters, of this worker. */
struct metrics_backend *backend_counts(const struct backend *b);
/* Retires the backend, since another generation serves, whose backend of that name is `successor`
 * (NULL: none). The successor gets the idle connections to servers that it has, too; other servers
 * get no new requests. */
void backend_retire(struct backend *b, struct backend *successor);
/* Ends look-ups of names and closes idle connections, since another worker has the next generation.
 */
void backend_rest(struct backend *b);
/* Its generation serves from now on: its limits are in force, and the results of earlier
 * generations' checks are kept only if it has such checks, too. */
void backend_serve(struct backend *b);
/* Sets the backend's limits in the ledger again. */
void backend_refresh(struct backend *b);

/* --- servers: numbers from 0, which stay while the backend lives --- */

struct str backend_address(const struct backend *b, int server);
const struct addr *backend_addr(const struct backend *b, int server);
struct ledger_server *backend_server(const struct backend *b, int server);
/* The server's place in the ledger. */
uint32_t backend_place(const struct backend *b, int server);
/* The number of server numbers, those of servers that are gone included. */
int backend_server_count(const struct backend *b);
/* True when the server is no address of the backend any more. Its number and its place in the
 * ledger are then invalid. */
bool backend_is_gone(const struct backend *b, int server);
/* The server with that address; -1: unknown address. */
int backend_find(const struct backend *b, struct str address);

enum backend_choice {
    CHOICE_SOME, /* one of the list */
    CHOICE_WAIT, /* all are busy, or the backend is held: in the queue */
    CHOICE_NONE, /* no server is left */
};

#define BACKEND_SERVERS 1024 /* most servers of a backend */

/* Room for all servers: a policy that sees only a part of them would send a key to another one. */
struct backend_candidates {
    int list[BACKEND_SERVERS];
    unsigned count;
};

/* The servers that may have the request now, without those that it has tried. */
enum backend_choice backend_choose(const struct backend *b, const int *tried, unsigned tried_count,
                                   struct backend_candidates *out);
/* True when the server is an address of a name that has another usable address, which was not
 * tried. */
bool backend_has_other_address(const struct backend *b, int server, const int *tried,
                               unsigned tried_count);
/* True when a server is in service, or has failed and is due to be tried again. True also while the
 * names of servers are looked up for the first time. */
bool backend_is_up(const struct backend *b);
/* The reason why no server is left, for the log. Text in the arena. */
const char *backend_lack(const struct backend *b, struct arena *a);
/* The load of the backend as text: "3 active, 10 queued of 1024, max_conns 4". */
const char *backend_crowd(const struct backend *b, struct arena *a);

/* The number of the connection's server. */
int backend_server_of(const struct conn *c);

/* --- results of requests for their server --- */

void backend_failed(struct backend *b, int server, const char *why);
/* Notes that the server takes one request on a connection at a time, as it has answered. It gets no
 * more for a minute. */
void backend_takes_one(struct backend *b, int server, const char *why);
/* Notes that the server answered after `latency` seconds. */
void backend_answered(struct backend *b, int server, double latency);

/* Notes the result of a health check. True: the server's state has changed. */
bool backend_checked(struct backend *b, int server, bool good);
/* Gives a due check to the caller: true for one worker at a time. */
bool backend_check_due(struct backend *b, int server, double interval, double timeout);
/* Ends the check. */
void backend_check_over(struct backend *b, int server, double interval);

/* --- operators --- */

void backend_hold(struct backend *b, bool held);
bool backend_is_held(const struct backend *b);
unsigned backend_queued(const struct backend *b);
unsigned backend_queue_room(const struct backend *b);
/* The connections in use by requests of a tenant, and its requests that wait, over all workers. */
void backend_tenant(const struct backend *b, struct str tenant, unsigned *active, unsigned *queued);
/* The same of all tenants that have a name. */
void backend_tenants(const struct backend *b, unsigned *active, unsigned *queued);
void backend_drain(struct backend *b, int server, bool draining);
/* Connections in use by the server with that address, also by one that was removed. */
unsigned backend_active(const struct backend *b, struct str address);

#endif

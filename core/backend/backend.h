/*
 * backend - a named group of servers in one worker: which of them a request may go to, and what
 * failures and answers say about a server. Connections to them are leased (backend/lease.h).
 *
 * Belongs to a generation. What all workers must agree on lies in the ledger; this module turns it
 * into connections. Who decides among several candidates is the caller's business (a policy).
 */
#ifndef MG_BACKEND_BACKEND_H
#define MG_BACKEND_BACKEND_H

#include "base/resolve.h"
#include "fastcgi/connection.h"
#include "fastcgi/record.h"
#include "http/settings.h"
#include "shm/ledger.h"

struct backend;

/* What the backends of one worker share. */
struct backends {
    struct loop *loop;
    struct backend *first; /* of all generations */
    struct ledger_seat seat;
    ev_io wake;
    struct deferred collect;
};

void backends_init(struct backends *all, struct loop *loop, struct ledger *ledger, unsigned worker);
void backends_fini(struct backends *all);
/* Some server that another worker has as well works for a client that has left: its place must not
 * be given to somebody else, and is this process's. */
bool backends_are_busy(const struct backends *all);

/* "connect", "timeout", ...: what `err.kind` says. */
const char *backend_error_name(enum backend_error error);

/* NULL and *err: the ledger is full. The resolver must live as long; it may be NULL where no server
 * is a name. Names are looked up from now on; until the first answer requests wait in the queue. */
struct backend *backend_new(const struct backend_settings *settings, struct backends *all,
                            struct resolver *resolver, unsigned generation, const char **err);
/* Closes idle connections. No lease of the backend may be in use any more. */
void backend_free(struct backend *b);
const struct backend_settings *backend_settings(const struct backend *b);
/* Its number among the counters of shm/metrics.h. */
unsigned backend_metrics(const struct backend *b);
/* Another generation serves now, with `successor` in this one's place (NULL: with nothing). The
 * successor gets the idle connections to servers that it has, too; what it doesn't have gets
 * nothing new. */
void backend_retire(struct backend *b, struct backend *successor);
/* Another worker has its next generation: names are not looked up any more, idle connections are
 * closed. */
void backend_rest(struct backend *b);
/* Its generation is the one that serves from now on: its limits count, and what the checks of
 * earlier ones have found out counts only where it has such checks, too. */
void backend_serve(struct backend *b);
/* Says to the ledger again what this backend's limits are. */
void backend_refresh(struct backend *b);

/* --- servers: numbers from 0, which stay while the backend lives --- */

struct str backend_address(const struct backend *b, int server);
const struct addr *backend_addr(const struct backend *b, int server);
struct ledger_server *backend_server(const struct backend *b, int server);
/* Its place in the ledger. */
uint32_t backend_place(const struct backend *b, int server);
/* How many numbers there are; some may be of servers that have gone. */
int backend_server_count(const struct backend *b);
/* It is no address of the backend any more: its number means nothing, nor does its place in the
 * ledger. */
bool backend_is_gone(const struct backend *b, int server);
/* The server with that address; -1: there is none such. */
int backend_find(const struct backend *b, struct str address);

enum backend_choice {
    CHOICE_SOME, /* one of the list */
    CHOICE_WAIT, /* all are busy, or the backend is held: in the queue */
    CHOICE_NONE, /* no server is left */
};

#define BACKEND_SERVERS 1024 /* that one backend may have */

/* All of them may be: a policy that sees only some would send a key elsewhere. */
struct backend_candidates {
    int list[BACKEND_SERVERS];
    unsigned count;
};

/* Who may have the request now, without those that it has tried. */
enum backend_choice backend_choose(const struct backend *b, const int *tried, unsigned tried_count,
                                   struct backend_candidates *out);
/* The server is an address of a name that has another one which was not tried and may be. */
bool backend_has_other_address(const struct backend *b, int server, const int *tried,
                               unsigned tried_count);
/* Some server may have a request that is not only a last resort: it is in service, or has failed
 * and is due to be tried again. True while the names of its servers are looked up for the first
 * time. */
bool backend_is_up(const struct backend *b);
/* Why there is none, for the log. Text in the arena. */
const char *backend_lack(const struct backend *b, struct arena *a);
/* "3 active, 10 queued of 1024, max_conns 4": what stands in the way. */
const char *backend_crowd(const struct backend *b, struct arena *a);

/* The number of the connection's server. */
int backend_server_of(const struct conn *c);

/* --- what a request has taught about its server --- */

void backend_failed(struct backend *b, int server, const char *why);
/* It takes one request on a connection at a time, and has said so: it gets no more for a minute. */
void backend_takes_one(struct backend *b, int server, const char *why);
/* It answered, so many seconds after it was asked. */
void backend_answered(struct backend *b, int server, double latency);

/* A health check ended so. True: the server has come back, or gone out. */
bool backend_checked(struct backend *b, int server, bool good);
/* True for one worker at a time: the check that is due is this one's. */
bool backend_check_due(struct backend *b, int server, double interval, double timeout);
/* It has come to its end. */
void backend_check_over(struct backend *b, int server, double interval);

/* --- operators --- */

void backend_hold(struct backend *b, bool held);
bool backend_is_held(const struct backend *b);
unsigned backend_queued(const struct backend *b);
unsigned backend_queue_room(const struct backend *b);
void backend_drain(struct backend *b, int server, bool draining);

#endif

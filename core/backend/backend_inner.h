/*
 * backend_inner - the layout of a backend and of its servers, for backend/ only. A file calls those
 * below it, and writes what it is named for:
 *
 *     backend  the backend's life, and what requests have taught about servers
 *     ask      server.asking: the question what a server can
 *     queue    struct lease of those that wait; backend.probe
 *     pick     backend.pick: what the policies know of all servers
 *     choice   nothing: reads servers
 *     left     server.left
 *     names    server_name; server.place of a name
 *     kept     server.idle, .conns, .rest, .last_at_work: connections under their claims
 *     servers  backend.servers, and the server's place in the ledger
 *
 * Two members have several writers. `gone`: servers until a new one is filled in, names when its
 * address has gone. `shared`: kept puts connections there, as the queue does with a kept one that
 * it finds, and left passes them on when the backend goes.
 *
 * Upward goes one call: backend.on_connect, by which the queue lets `ask` know.
 */
#ifndef MG_BACKEND_BACKEND_INNER_H
#define MG_BACKEND_BACKEND_INNER_H

#include "backend/lease.h"

struct conn_list {
    struct conn *first, *last;
};

struct asking; /* ask.c */
struct pick;   /* pick.c */

struct server {
    struct backend *backend;
    const struct server_settings *settings;
    struct conn_place place;
    char address[ADDR_TEXT_SIZE]; /* the place's first: numeric, or of a unix socket */
    uint32_t slot;                /* in the ledger */
    int number;
    struct conn_list idle;   /* kept connections, the latest first: it is the warmest */
    struct conn_list left;   /* those of backend_leave and backend_let_end */
    struct conn_list shared; /* those that several requests may be on, and one is */
    struct asking *asking;   /* what it can is being asked; NULL: it is not */
    double rest;             /* seconds after which a kept one has not been seen to be closed */
    double last_at_work;     /* when a kept one's process was found to be still at work; 0: never */
    unsigned conns;
    bool gone; /* its name has other addresses now */
};

/* A server that is a name: every address of it is one. */
struct server_name {
    struct lookup lookup;
    struct deadline again;
    struct backend *backend;
    const struct server_settings *settings;
    double asked_at;
    bool answered; /* once at least, whatever the answer was */
    bool failed;   /* the last time */
    char problem[200];
};

struct backend {
    struct backend *next; /* of this worker */
    const struct backend_settings *settings;
    struct backends *all;
    uint32_t group;
    unsigned metrics; /* its number in shm/metrics.h */
    struct server **servers;
    int count;
    struct resolver *resolver;
    unsigned generation;
    bool serves; /* its generation does, or has */
    struct server_name *names;
    unsigned name_count;
    /* A server is connected to; NULL: nobody wants to know. */
    void (*on_connect)(struct server *s);
    unsigned changes;      /* so often a server has come or gone */
    struct pick *pick;     /* what policies know of all servers; NULL: nothing yet */
    struct deadline probe; /* a server that is down may be tried again, and somebody waits */
};

/* --- servers.c --- */

/* Adds a server; its number may be one that has gone. NULL, or why not. */
const char *servers_add(struct backend *b, const struct server_settings *settings,
                        const struct conn_place *place);
/* The server with that place in the ledger; NULL: the backend does not have it. */
struct server *servers_at(const struct backend *b, uint32_t slot);
/* The ledger's place for the address, with the limits of these settings. LEDGER_NONE: it is full.
 */
uint32_t servers_open_slot(struct backend *b, const struct server_settings *settings,
                           const char *address);
/* Says to the ledger which checks the backend has, now that its generation serves. */
void server_set_checks(const struct server *s);

/* --- kept.c --- */

/* A connection is in one list at most. */
void conn_list_add(struct conn_list *list, struct conn *c);
void conn_unlist(struct conn *c);

/* A new connection under a claim that has been granted. NULL: the claim is dropped, errno says why.
 */
struct conn *server_connect(struct server *s, const struct lease *x, uint32_t claim);
/* A new connection in the place of `c`, under the same claim. NULL: as for server_connect. */
struct conn *server_reconnect(struct conn *c, const struct lease *x);
/* A kept connection that the request may go on, if the ledger lets it. Where none is good enough
 * one of them gives its place to a new one. NULL: there is none. */
struct conn *server_reuse(struct server *s, const struct lease *x);
/* A connection that the request may share with those that are on it, if the ledger lets it. NULL:
 * there is none. */
struct conn *server_join(struct server *s, const struct lease *x);
/* One of the server's connections has room for another request of this worker. */
bool server_has_place(const struct server *s);
/* The server takes several requests on a connection, as far as is known, and shall. */
bool server_shares(const struct server *s);
/* Gives a lease the connection of its claim. Others may join its request there; those of this
 * worker whose turn it is do. */
void server_hand_over(struct conn *c, struct lease *x);
/* The lease, which waited, has the connection. */
void lease_hand_over(struct lease *x, struct conn *c);
/* The connection's request is over, and it could serve another one: it is kept, given to a lease
 * that waits, or closed. */
void server_release(struct conn *c);
/* The connection is counted for that server, which is the same one in another generation. */
void server_adopt(struct conn *c, struct server *to);
/* The idle connections of one server are the other's from now on. */
void server_pass_kept(struct server *from, struct server *to);
void server_close_idle(struct server *s);

/* --- names.c --- */

/* Looks a name up, now and again. */
void names_add(struct backend *b, const struct server_settings *settings);
/* A connect has failed: the name may have another address by now. */
void names_look_again(struct backend *b, const struct server_settings *settings);
/* Some name has never been answered. */
bool names_are_looking(const struct backend *b);
/* No name is looked up any more. */
void names_stop(struct backend *b);
void names_free(struct backend *b);

/* --- left.c --- */

/* The backend goes: what its servers have still to notice passes to another generation, or ends. */
void left_pass(struct backend *b);

/* --- choice.c --- */

/* The server may have a request, and none can be of a better tier. `now`: of ledger_now. */
bool backend_is_best(const struct backend *b, int server, double now);

/* --- pick.c --- */

void pick_free(struct backend *b);

/* --- queue.c --- */

/* Sets the clock for the next server that is down and may be tried again, if somebody waits. */
void lease_expect_probe(struct backend *b);
void lease_probe_cb(struct deadline *d);

/* --- ask.c --- */

/* `multiplex = "auto"`: asks the server what it can, where that is not known. */
void server_ask(struct server *s);
void server_stop_asking(struct server *s);

#endif

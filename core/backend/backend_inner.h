/*
 * backend_inner - the layout of a backend and of its servers, for backend/ only. A file calls those
 * below it, and writes the members after its name:
 *
 *     backend  the backend's life, and results of requests for servers
 *     changed  what operators change about servers: adds, weighs and removes them
 *     ask      server.asking: FCGI_GET_VALUES to a server
 *     queue    struct lease of those that wait; backend.probe
 *     pick     backend.pick: data about all servers for policies
 *     choice   nothing: reads servers
 *     left     server.left
 *     names    server_name; server.place of a name
 *     kept     server.idle, .conns, .rest, .last_at_work: connections under their claims
 *     servers  backend.servers, and the server's place in the ledger
 *
 * Two members have several writers. `gone`: servers until a new one is filled in, names when its
 * address has gone, and changed. `shared`: kept puts connections there, as the queue does with a
 * kept one that it finds, and left passes them on when the backend goes.
 *
 * One call goes upward: backend.on_connect, by which the queue notifies `ask`.
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
    struct server_settings own; /* of one that an operator has added: `settings` */
    double weight;              /* the script's, or an operator's */
    struct conn_place place;
    char address[ADDR_TEXT_SIZE]; /* the place's first: numeric, or of a unix socket */
    uint32_t slot;                /* in the ledger */
    int number;
    struct conn_list idle;   /* kept connections, the latest first: it is the warmest */
    struct conn_list left;   /* connections of backend_leave and backend_let_end */
    struct conn_list shared; /* shared connections with at least one request */
    struct asking *asking;   /* FCGI_GET_VALUES under way; NULL: none */
    double rest;             /* idle seconds after which no kept connection was seen to be closed */
    /* last time when a kept connection's process was still at work; 0: never */
    double last_at_work;
    unsigned conns;
    bool gone; /* its name has other addresses now, or an operator has removed it */
};

/* A server that is given by name; each address of the name is a server. */
struct server_name {
    struct lookup lookup;
    struct deadline again;
    struct backend *backend;
    const struct server_settings *settings;
    double asked_at;
    bool answered; /* the name was answered at least once, maybe by an error */
    bool failed;   /* the last look-up has failed */
    char problem[200];
};

struct backend {
    struct backend *next; /* of this worker */
    const struct backend_settings *settings;
    struct backends *all;
    uint32_t group;
    unsigned metrics;               /* its number in shm/metrics.h */
    struct metrics_backend *counts; /* its counters of this worker */
    struct server **servers;
    int count;
    struct resolver *resolver;
    unsigned generation;
    bool serves; /* its generation serves, or has served */
    struct server_name *names;
    unsigned name_count;
    /* Called when a server is connected to; NULL: no callback. */
    void (*on_connect)(struct server *s);
    bool retired;          /* another generation, or another worker, serves in its place */
    unsigned changes;      /* counts servers that were added or are gone */
    struct pick *pick;     /* data about all servers for policies; NULL: not made yet */
    struct deadline probe; /* when a server that is down may be tried again, while leases wait */
};

/* --- servers.c --- */

/* What an operator has changed about the server; NULL: nothing. */
const struct change *servers_change(const struct backend *b, const char *address);
/* The server's weight: the script's, or an operator's. */
double servers_weight(const struct backend *b, const struct server_settings *settings,
                      const char *address);
/* Adds a server, unless an operator has removed it. It may get the number of one that is gone. The
 * settings of one that an operator has added are copied. Returns NULL, or the error. */
const char *servers_add(struct backend *b, const struct server_settings *settings,
                        const struct conn_place *place);
/* The server with that place in the ledger; NULL: the backend does not have it. */
struct server *servers_at(const struct backend *b, uint32_t slot);
/* Opens the ledger's place for the address, with the limits of these settings. LEDGER_NONE: the
 * ledger is full. */
uint32_t servers_open_slot(struct backend *b, const struct server_settings *settings,
                           const char *address);
/* Sets in the ledger which checks the backend has, when its generation serves. */
void server_set_checks(const struct server *s);

/* --- kept.c --- */

/* Adds a connection to a list; a connection is in at most one list. */
void conn_list_add(struct conn_list *list, struct conn *c);
void conn_unlist(struct conn *c);

/* Makes a connection under a granted claim. NULL and errno: it failed, and the claim is dropped. */
struct conn *server_connect(struct server *s, const struct lease *x, uint32_t claim);
/* A new connection in the place of `c`, under the same claim. NULL: as for server_connect. */
struct conn *server_reconnect(struct conn *c, const struct lease *x);
/* A kept connection for the request, if the ledger allows it. If no kept connection is suitable,
 * one of them is replaced by a new one. NULL: the server has none. */
struct conn *server_reuse(struct server *s, const struct lease *x);
/* A shared connection with room for the request, if the ledger allows it. NULL: the server has
 * none. */
struct conn *server_join(struct server *s, const struct lease *x);
/* True when a shared connection of the server has room for another request. */
bool server_has_place(const struct server *s);
/* Gives a lease the connection of its claim. If the connection can be shared, waiting leases of
 * this worker whose turn it is join it. */
void server_hand_over(struct conn *c, struct lease *x);
/* Gives a waiting lease its connection. */
void lease_hand_over(struct lease *x, struct conn *c);
/* Releases a connection whose request is over: it is kept, given to a waiting lease, or closed. */
void server_release(struct conn *c);
/* Moves the connection to the same server of another generation. */
void server_adopt(struct conn *c, struct server *to);
/* Passes the idle connections of a server to the same server of another generation. */
void server_pass_kept(struct server *from, struct server *to);
void server_close_idle(struct server *s);
/* The server is no server of the backend any more: it gets no new request. */
void server_go(struct server *s);

/* --- names.c --- */

/* Adds a name, which is looked up now and repeatedly. */
void names_add(struct backend *b, const struct server_settings *settings);
/* A connect has failed: the name may have another address by now. */
void names_look_again(struct backend *b, const struct server_settings *settings);
/* True while a name has not been answered yet. */
bool names_are_looking(const struct backend *b);
/* Ends all look-ups. */
void names_stop(struct backend *b);
void names_free(struct backend *b);

/* --- changed.c --- */

/* Does to the servers what the list of changes says. */
void changed_heed(struct backend *b);
/* Drops changes that the script of the generation, which begins to serve, says itself. */
void changed_serve(struct backend *b);

/* --- left.c --- */

/* Passes the connections whose client has left to another generation when the backend is freed, or
 * closes them. */
void left_pass(struct backend *b);

/* --- choice.c --- */

/* True when the server may have a request and no server can be of a better tier. `now` is of
 * ledger_now. */
bool backend_is_best(const struct backend *b, int server, double now);

/* --- pick.c --- */

void pick_free(struct backend *b);

/* --- queue.c --- */

/* Sets the deadline for the next server that is down and may be tried again, while leases wait. */
void lease_expect_probe(struct backend *b);
void lease_probe_cb(struct deadline *d);

/* --- ask.c --- */

/* Asks the server by FCGI_GET_VALUES (`multiplex = "auto"`), where its answer is not known. */
void server_ask(struct server *s);
void server_stop_asking(struct server *s);

#endif

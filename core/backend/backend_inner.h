/*
 * backend_inner - a backend's own data, for backend/ only: backend/backend.c has servers, leases
 * and what is known of them; backend/choice.c who may have a request; backend/names.c the servers
 * that are given by name; backend/left.c connections whose answer nobody wants.
 */
#ifndef MG_BACKEND_BACKEND_INNER_H
#define MG_BACKEND_BACKEND_INNER_H

#include "backend/backend.h"

struct server {
    struct backend *backend;
    const struct server_settings *settings;
    struct conn_place place;
    char address[ADDR_TEXT_SIZE]; /* the place's first: numeric, or of a unix socket */
    uint32_t slot;                /* in the ledger */
    int number;
    struct conn *idle; /* kept connections, the latest first */
    struct conn *idle_last;
    double rest;         /* seconds after which a kept one has not been seen to be closed */
    double last_at_work; /* when a kept one's process was found to be still at work; 0: never */
    struct conn *left;   /* those of backend_leave */
    unsigned conns;
    bool gone; /* its name has other addresses now */
};

/* A server that is a name: every address of it is one. */
struct name {
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
    struct server **servers;
    int count;
    struct resolver *resolver;
    unsigned generation;
    bool serves; /* its generation does, or has */
    struct name *names;
    unsigned name_count;
    struct deadline probe; /* a server that is down may be tried again, and somebody waits */
};

/* --- backend.c --- */

/* Adds a server; its number may be one that has gone. NULL, or why not. */
const char *backend_add_server(struct backend *b, const struct server_settings *settings,
                               const struct conn_place *place);
/* NULL: it does not have it. */
struct server *backend_server_at(const struct backend *b, uint32_t slot);
/* The connection is counted for that server, which is the same one in another generation. */
void backend_move(struct conn *c, struct server *to);

/* --- left.c --- */

/* One of them is closed. */
void backend_left_closed(struct conn *c);
/* The backend goes: what its servers have still to notice passes to another generation, or ends. */
void backend_pass_left(struct backend *b);

/* --- names.c --- */

/* Looks a name up, now and again. */
void backend_add_name(struct backend *b, const struct server_settings *settings);
/* A connect has failed: the name may have another address by now. */
void backend_look_again(struct backend *b, const struct server_settings *settings);
/* Some name has never been answered. */
bool backend_is_looking(const struct backend *b);

#endif

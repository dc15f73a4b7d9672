/*
 * clients - the connections of a worker's clients, whatever protocol they speak: the list of them,
 * what a stop tells them, and the part that all have in common.
 *
 * A protocol embeds struct client as the first member of its own connection, and gives a table of
 * functions, struct protocol. front/http1.c is one, front/protocol.c has the names of all.
 */
#ifndef MG_FRONT_CLIENTS_H
#define MG_FRONT_CLIENTS_H

#include "exchange/generation.h"
#include "front/sender.h"
#include "shm/census.h"

struct client;
struct handover;

/* What the connections of a worker share. */
struct clients {
    struct loop *loop;
    struct sender_turn turn;
    struct generation **current; /* what new requests run on */
    struct client *list;
    unsigned count;
    unsigned refused;      /* that are told 503, and not counted in the census */
    struct census *census; /* of all workers; NULL: limits.connections and per_ip don't count */
    unsigned worker;       /* our number there */
    bool stopping;         /* responses close their connections, idle ones close */
    double patience; /* while stopping: seconds that idle connections may stay, since their clients
                        can't know */
    struct handover *successor;  /* the worker that idle connections go to; NULL: there is none */
    void (*on_empty)(void *ctx); /* the last connection has ended */
    void *ctx;
};

/* Whose a connection is. */
struct client_origin {
    struct peer peer, local;
    struct str listener; /* what req.listener says; lives as long as the worker */
    bool control;        /* its requests are commands of operators */
    bool proxy_protocol; /* the header of the PROXY protocol is still to come */
    bool unknown;        /* that header said that the balancer does not know the client */
};

/* A protocol that clients of a listener may speak. */
struct protocol {
    const char *name; /* as `protocol` of `listen` says it */
    /* Serves a connection that was accepted. The socket, which does not block, is the protocol's
     * from now on. */
    void (*accept)(struct clients *clients, int fd, const struct client_origin *origin);
    /* Likewise for one that another worker has served, which has answered so many requests. */
    void (*resume)(struct clients *clients, int fd, const struct client_origin *origin,
                   unsigned requests);
    /* The worker has a successor: an idle connection goes there (handover_pass). */
    void (*pass)(struct client *c);
    /* The worker stops: an idle connection closes, now or when it has made one more request within
     * `patience` seconds; another one after its response. */
    void (*stop)(struct client *c, double patience);
    /* The worker ends: the connection closes, whatever is under way. */
    void (*cut)(struct client *c);
    /* Callbacks of the client's io, deadline and step. */
    void (*on_io)(struct ev_loop *ev, ev_io *io, int events);
    void (*on_missed)(struct deadline *d);
    void (*on_step)(struct deferred *d);
};

/* The part that connections of all protocols have. */
struct client {
    ev_io io; /* its data is the client */
    struct deadline deadline;
    struct deferred step; /* of client_queue */
    struct transport transport;
    const struct protocol *protocol;
    struct clients *clients;
    struct client *prev, *next;
    struct client_origin origin;
    unsigned requests; /* so far */
    bool counted : 1;  /* in the census, and */
    bool by_ip : 1;    /* there under its address: no trusted proxy, which brings many clients */
};

/* Census, worker, on_empty and ctx are for the caller to set. */
void clients_init(struct clients *clients, struct loop *loop, struct generation **current);
/* All connections must have been closed. */
void clients_fini(struct clients *clients);
/* See protocol.stop and protocol.cut. */
void clients_stop(struct clients *clients, double patience);
void clients_close(struct clients *clients);
/* The seconds that a client may say nothing before a request. */
double clients_idle_timeout(const struct clients *clients);

/* A connection of the list that is not watched yet. Its memory, all zero, is the protocol's. */
void client_init(struct client *c, struct clients *clients, const struct protocol *protocol, int fd,
                 const struct client_origin *origin);
/* Closes the connection, which the census must not count any more (admission_leave). `reset`: its
 * client must see that it has not got everything. */
void client_fini(struct client *c, bool reset);
/* What the socket is watched for from now on: EV_READ, EV_WRITE, both or 0. */
void client_watch(struct client *c, int events);
/* Something changed that no byte will announce: protocol.on_step is called when the event is over.
 */
static inline void client_queue(struct client *c)
{
    loop_step(c->clients->loop, &c->step);
}

/* Of the generation that new requests run on. */
static inline const struct settings *clients_settings(const struct clients *clients)
{
    return (*clients->current)->settings;
}

#endif

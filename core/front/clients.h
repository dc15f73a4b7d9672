/*
 * clients - the connections of a worker's clients, whatever protocol they speak: the list of them,
 * what a stop tells them, and the part that all have in common.
 *
 * A connection is idle or active. An idle one is a struct client and nothing else: the socket,
 * where it came in, whose it is. What is needed while bytes of a request are there is the active
 * part, which begins with struct client_active; the protocol makes it and takes it away again.
 *
 *     struct clients --idle---> client, client, ...   the one that has been idle the longest first
 *                    --active-> client, client, ...   each with a struct client_active
 *     client --> endpoint                             one for all that came to the same address
 *
 * A protocol gives a table of functions, struct protocol. front/http1.c is one, front/protocol.c
 * has the names of all.
 */
#ifndef MG_FRONT_CLIENTS_H
#define MG_FRONT_CLIENTS_H

#include "exchange/generation.h"
#include "front/sender.h"
#include "shm/census.h"

struct client;
struct endpoint;
struct handover;

struct client_list {
    struct client *first, *last;
};

struct client_spare {
    struct client_spare *next;
};

/* What the connections of a worker share. */
struct clients {
    struct loop *loop;
    struct sender_turn turn;
    struct generation **current; /* what new requests run on */
    struct client_list idle, active;
    unsigned count;            /* of both */
    struct deadline idle_time; /* of the first of `idle` */
    double idle_armed;         /* the seconds that one might be idle when idle_time was set */
    struct endpoint *endpoints;
    struct client_spare *spare; /* memory for active parts of http1, which gives it back here */
    unsigned spare_count;
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
    /* It has been idle for clients_idle_timeout: it closes. NULL: it never is in the list `idle`.
     */
    void (*expire)(struct client *c);
    /* Callbacks of the client's io (client_of_io), and of its active part. */
    void (*on_io)(struct ev_loop *ev, ev_io *io, int events);
    void (*on_missed)(struct deadline *d);
    void (*on_step)(struct deferred *d);
};

/* Where clients come in: what all connections to one address of one listener have in common.
 * ENDPOINTS of them are found again; others end with their last connection. */
struct endpoint {
    struct endpoint *next;
    struct clients *clients;
    const struct protocol *protocol;
    const struct transport_ops *transport;
    struct str listener; /* see client_origin */
    struct peer local;
    unsigned users; /* connections, and one while it can be found */
    bool control;
};

/* What a connection has only while it is not idle. */
struct client_active {
    struct client *client;
    struct deadline deadline;
    struct deferred step; /* of client_queue */
};

/* The part that connections of all protocols have, and all that an idle one has: there may
 * be tens of thousands of them. */
struct client {
    ev_io io; /* its data is the active part; NULL: the connection is idle */
    struct client *prev, *next;
    struct endpoint *endpoint;
    struct peer peer;
    uint32_t idle_since;    /* milliseconds of the loop's clock, which begin again every 49 days */
    uint32_t requests : 28; /* so far, or CLIENT_REQUESTS_MAX: it counts no further */
    bool counted : 1;       /* in the census, and */
    bool by_ip : 1; /* there under its address: no trusted proxy, which brings many clients */
    bool proxy_protocol : 1; /* see client_origin */
    bool unknown : 1;
};

enum {
    CLIENT_SIZE = 104, /* the allocator gives pieces of this size, and of 16 bytes more or less */
    CLIENT_REQUESTS_MAX = (1 << 28) - 1,
};
_Static_assert(sizeof(struct client) <= CLIENT_SIZE, "an idle connection has grown");

/* Census, worker, on_empty and ctx are for the caller to set. */
void clients_init(struct clients *clients, struct loop *loop, struct generation **current);
/* All connections must have been closed. */
void clients_fini(struct clients *clients);
/* See protocol.stop and protocol.cut. */
void clients_stop(struct clients *clients, double patience);
void clients_close(struct clients *clients);
/* The seconds that a client may say nothing before a request. */
double clients_idle_timeout(const struct clients *clients);

/* A connection that is idle and not watched yet. Its memory, all zero, is the protocol's. */
void client_init(struct client *c, struct clients *clients, const struct protocol *protocol, int fd,
                 const struct client_origin *origin);
/* The connection is not idle any more. The active part is the protocol's, but for its first member,
 * which is all set here. */
void client_wake(struct client *c, struct client_active *active);
/* It is idle from now on, or (again) anew; clients_idle_timeout begins. The active part, if there
 * is one, is not used any more. */
void client_sleep(struct client *c);
/* Closes the connection, which the census must not count any more (admission_leave). `reset`: its
 * client must see that it has not got everything. */
void client_fini(struct client *c, bool reset);
/* What the socket is watched for from now on: EV_READ, EV_WRITE, both or 0. */
void client_watch(struct client *c, int events);
/* Whose the connection is, as its successor must know it. */
struct client_origin client_origin(const struct client *c);
/* A header of the PROXY protocol has said which address of the balancer its client came to. */
void client_set_local(struct client *c, const struct peer *local);

static inline struct client *client_of_io(ev_io *io)
{
    return (struct client *)((char *)io - offsetof(struct client, io));
}
static inline struct client_active *client_active(const struct client *c)
{
    return c->io.data;
}
static inline struct clients *client_clients(const struct client *c)
{
    return c->endpoint->clients;
}
/* Its bytes, in both directions. */
static inline struct transport client_transport(const struct client *c)
{
    return (struct transport){.ops = c->endpoint->transport, .fd = c->io.fd};
}
static inline ssize_t client_read(struct client *c, char *out, size_t size)
{
    struct transport t = client_transport(c);
    return t.ops->read(&t, out, size);
}
static inline ssize_t client_writev(struct client *c, struct iovec *slices, int count)
{
    struct transport t = client_transport(c);
    return t.ops->writev(&t, slices, count, false);
}
static inline void client_shutdown(struct client *c)
{
    struct transport t = client_transport(c);
    t.ops->shutdown(&t);
}
/* Another request has come. */
static inline void client_count_request(struct client *c)
{
    if (c->requests < CLIENT_REQUESTS_MAX)
        c->requests++;
}
/* Something changed that no byte will announce: protocol.on_step is called when the event is over.
 * The connection is active. */
static inline void client_queue(struct client *c)
{
    loop_step(client_clients(c)->loop, &client_active(c)->step);
}

/* Of the generation that new requests run on. */
static inline const struct settings *clients_settings(const struct clients *clients)
{
    return (*clients->current)->settings;
}

#endif

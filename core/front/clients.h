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
#include "front/farewell.h"
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

/* The state that all connections of a worker share. */
struct clients {
    struct loop *loop;
    struct sender_turn turn;
    struct generation **current; /* what new requests run on */
    struct client_list idle, active;
    unsigned count;            /* of both, and of `farewell` */
    unsigned busy;             /* of `active` */
    struct deadline idle_time; /* of the first of `idle` */
    double idle_armed;         /* the seconds that one might be idle when idle_time was set */
    struct farewell farewell;  /* sockets of connections that have ended */
    struct endpoint *endpoints;
    struct client_spare *spare; /* memory for active parts of http1, which gives it back here */
    unsigned spare_count;
    unsigned refused;      /* connections that get a 503, and that the census does not count */
    struct census *census; /* of all workers; NULL: limits.connections and per_ip don't count */
    unsigned worker;       /* the worker's number in the census */
    bool stopping;         /* responses close their connections, idle ones close */
    double patience; /* while stopping: seconds that idle connections may stay, since their clients
                        can't know */
    struct handover *successor;  /* the worker that gets idle connections; NULL: none */
    void (*on_empty)(void *ctx); /* the last connection has ended */
    void *ctx;
};

/* The origin of a connection. */
struct client_origin {
    struct peer peer, local;
    struct str listener;    /* req.listener; lives as long as the worker */
    bool control;           /* its requests are commands of operators */
    bool proxy_protocol;    /* the header of the PROXY protocol is still to come */
    bool h2c;               /* `h2c` of its listener: it may begin with HTTP/2's preface */
    bool unknown;           /* by that header the balancer does not know the client */
    struct tls_server *tls; /* the listener's, which the connection holds; NULL: no TLS */
};

/* A protocol that clients of a listener may speak. */
struct protocol {
    const char *name; /* as `protocol` of `listen` says it */
    /* Serves a connection that was accepted. The protocol owns the socket, which is non-blocking.
     */
    void (*accept)(struct clients *clients, int fd, const struct client_origin *origin);
    /* The same for a connection that another worker has served, with so many answered requests. */
    void (*resume)(struct clients *clients, int fd, const struct client_origin *origin,
                   unsigned requests);
    /* Passes an idle connection to the worker's successor (handover_pass). */
    void (*pass)(struct client *c);
    /* Called when the worker stops: closes an idle connection, now or after one more request within
     * `patience` seconds, and an active one after its response. */
    void (*stop)(struct client *c, double patience);
    /* Called when the worker ends: closes the connection, even during a request. */
    void (*cut)(struct client *c);
    /* Closes a connection that has been idle for clients_idle_timeout. NULL: the protocol puts no
     * connection into the list `idle`. */
    void (*expire)(struct client *c);
    /* Callbacks of the client's io (client_of_io), and of its active part. */
    void (*on_io)(struct ev_loop *ev, ev_io *io, int events);
    void (*on_missed)(struct deadline *d);
    void (*on_step)(struct deferred *d);
};

/* The common part of all connections to one address of one listener. ENDPOINTS of them are kept for
 * further connections; others are freed with their last connection. */
struct endpoint {
    struct endpoint *next;
    struct clients *clients;
    const struct protocol *protocol;
    const struct transport_ops *transport; /* see client_transport */
    struct str listener;                   /* see client_origin */
    struct peer local;
    unsigned users; /* connections, and one while it is in the list */
    bool control;
    bool h2c;
};

/* The part that a connection has only while it is not idle. */
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
    bool by_ip : 1; /* counted under its address, unlike a trusted proxy, which has many clients */
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
/* Frees the state, after all connections have been closed. */
void clients_fini(struct clients *clients);
/* See protocol.stop and protocol.cut. */
void clients_stop(struct clients *clients, double patience);
void clients_close(struct clients *clients);
/* The seconds that a connection may be idle before a request. */
double clients_idle_timeout(const struct clients *clients);

/* The bytes of a client with the state of its transport, which lies behind it. A protocol whose
 * struct client is followed by other members can't have TLS. */
size_t client_size(const struct client_origin *origin);
/* Initializes a connection, which is idle and not watched yet. The protocol owns its memory, which
 * must be zeroed: client_size bytes, or more without TLS. */
void client_init(struct client *c, struct clients *clients, const struct protocol *protocol, int fd,
                 const struct client_origin *origin);
/* Makes the connection active. The protocol owns the active part; this sets its first member. */
void client_wake(struct client *c, struct client_active *active);
/* Makes the connection idle, and begins clients_idle_timeout. The active part, if there is one, is
 * not used any more. */
void client_sleep(struct client *c);
/* Closes the connection, which the census must not count any more (admission_leave). `reset`: the
 * client must see that its response is incomplete. */
void client_fini(struct client *c, bool reset);
/* Sets the events that the socket is watched for: EV_READ, EV_WRITE, both or 0. */
void client_watch(struct client *c, int events);
/* The origin of the connection, for a successor. */
struct client_origin client_origin(const struct client *c);
/* Sets the balancer's address that the client connected to, from a header of the PROXY protocol. */
void client_set_local(struct client *c, const struct peer *local);
/* Gives an idle connection to another protocol, which owns its memory from now on (free). */
void client_set_protocol(struct client *c, const struct protocol *protocol);

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
    struct transport t = {
        .ops = c->endpoint->transport, .fd = c->io.fd, .tls = (struct tls *)(c + 1)};
    if (t.ops == &transport_tls_ops && tls_is_in_kernel(t.tls))
        t.ops = &transport_ktls_ops;
    return t;
}
static inline ssize_t client_read(struct client *c, char *out, size_t size)
{
    struct transport t = client_transport(c);
    ssize_t n = t.ops->read(&t, out, size);
    if (transport_is_tls(&t) && n > 0 && tls_has_more(t.tls)) /* no event comes for that */
        ev_feed_event(client_clients(c)->loop->ev, &c->io, EV_READ);
    return n;
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
/* The TLS of the connection; NULL: it has none. */
static inline struct tls *client_tls(const struct client *c)
{
    return c->endpoint->transport == &transport_tls_ops ? (struct tls *)(c + 1) : NULL;
}
static inline struct client *client_of_tls(struct tls *t)
{
    return (struct client *)t - 1;
}
/* True before the first byte of a request can come: a PROXY header is missing, or the handshake of
 * TLS is not over. The time for that is limits.header_timeout. */
static inline bool client_is_opening(const struct client *c)
{
    const struct tls *tls = client_tls(c);
    return c->proxy_protocol || (tls != NULL && tls_state(tls) == TLS_OPENING);
}
/* Another request has come. */
static inline void client_count_request(struct client *c)
{
    if (c->requests < CLIENT_REQUESTS_MAX)
        c->requests++;
}
/* Queues protocol.on_step, after a change that no event of the socket follows. The connection must
 * be active. */
static inline void client_queue(struct client *c)
{
    loop_step(client_clients(c)->loop, &client_active(c)->step);
}

/* The settings of the generation that new requests run on. */
static inline const struct settings *clients_settings(const struct clients *clients)
{
    return (*clients->current)->settings;
}

#endif

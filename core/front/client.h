/*
 * client - one HTTP/1.x connection: its socket, its buffers, its clock, the request under way.
 *
 * Made by the listener for an accepted socket, frees itself when it ends. Only pointers and a peer
 * while idle: buffers, parser and request exist from the first byte of a request to its last.
 */
#ifndef MG_FRONT_CLIENT_H
#define MG_FRONT_CLIENT_H

#include "exchange/generation.h"
#include "front/protocol.h"
#include "front/sender.h"
#include "shm/census.h"

/* What clients share: the worker has one. `current` is what new requests run on. */
struct clients {
    struct loop *loop;
    struct sender_turn turn;
    struct generation **current;
    struct client *list;
    unsigned count;
    unsigned refused;      /* that are told 503, and not counted in the census */
    struct census *census; /* of all workers; NULL: limits.connections and per_ip don't count */
    unsigned worker;       /* our number there */
    bool stopping;         /* responses close their connections, idle ones close */
    double patience;       /* while stopping: seconds that those may stay which don't know */
    void (*on_empty)(void *ctx); /* the last one has ended */
    /* See clients_pass: who was idle has gone there; or (!all) the other worker has ended, and who
     * is left stays here. */
    void (*on_passed)(void *ctx, bool all);
    char *(*lasting)(const char *text); /* a copy that lives as long as the worker */
    void *ctx;
    ev_io successor;        /* to the worker that takes over who is idle; */
    bool passing, passed;   /* there is one; on_passed has been called of it */
    struct intake *intakes; /* from workers that leave */
};

/* The fields from census to ctx are for the caller to set. */
void clients_init(struct clients *clients, struct loop *loop, struct generation **current);
/* All connections must have been closed. */
void clients_fini(struct clients *clients);

/* The protocol "http": one connection too many is answered 503 and closed. */
void client_new(struct clients *clients, int fd, const struct client_origin *origin);
/* Closes idle connections now, or (patience > 0) when they have sent one more request or so many
 * seconds have passed; the others after their response. */
void clients_stop(struct clients *clients, double patience);
/* Connections go to another worker as soon as they are idle, in messages on `socket`, which is ours
 * from now on. New ones may still be added. Again: to another one. */
void clients_pass(struct clients *clients, int socket);
/* No more of that: who is here stays here. */
void clients_keep(struct clients *clients);
/* The other end of it, which is closed when the other worker has passed all or ended. */
void clients_take(struct clients *clients, int socket);
/* Takes what is on its way, and no more. */
void clients_end_intakes(struct clients *clients);
/* Closes all, whatever is under way. */
void clients_close(struct clients *clients);

#endif

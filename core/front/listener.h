/*
 * listener - what a worker does with a listening socket: it accepts, and the protocol of the
 * listener takes the connection over. The master opens the sockets, see process/bind.h.
 */
#ifndef MG_FRONT_LISTENER_H
#define MG_FRONT_LISTENER_H

#include "front/clients.h"

/* What to listen on, as the loader reports it. */
struct listen_spec {
    char *address;                   /* no name: 127.0.0.1:80, [::1]:80 or unix:/path */
    char *given;                     /* as the script wrote it; NULL where that is the same */
    char *name;                      /* what req.listener says; "": the address */
    const struct protocol *protocol; /* of who connects */
    int backlog;
    bool proxy_protocol; /* connections begin with a header of the PROXY protocol */
    bool control;        /* commands of operators come here: moongate.worker.control answers */
};

struct listener;

/* Accepts for the clients, which are of the spec's protocol. fd stays open until listener_drain;
 * the spec's strings live on. */
struct listener *listener_new(const struct listen_spec *spec, int fd, struct clients *clients);
/* The socket; -1 once it has been drained. */
int listener_fd(const struct listener *l);
/* Another name, protocol or backlog from now on. */
void listener_update(struct listener *l, const struct listen_spec *spec);
/* Before listener_free in a graceful stop: accepts what waits in the queue and closes the socket,
 * so that a client that comes later is refused at once. */
void listener_drain(struct listener *l);
/* Stops accepting. */
void listener_free(struct listener *l);

#endif

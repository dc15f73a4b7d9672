/*
 * listener - accepts connections from a listening socket, and passes each to the protocol of the
 * listener. The master opens the sockets, see process/bind.h.
 */
#ifndef MG_FRONT_LISTENER_H
#define MG_FRONT_LISTENER_H

#include "front/clients.h"

/* A listener as the loader reports it. */
struct listen_spec {
    char *address;                   /* no name: 127.0.0.1:80, [::1]:80 or unix:/path */
    char *given;                     /* as the script wrote it; NULL where that is the same */
    char *name;                      /* req.listener; "": the address */
    const struct protocol *protocol; /* the protocol of clients */
    int backlog;
    bool proxy_protocol; /* connections begin with a header of the PROXY protocol */
    bool h2c;            /* connections may begin with HTTP/2's preface */
    bool control;        /* the control listener: moongate.worker.control answers */
};

struct listener;

/* Accepts for the clients, which are of the spec's protocol. fd stays open until listener_drain;
 * the spec's strings live on. */
struct listener *listener_new(const struct listen_spec *spec, int fd, struct clients *clients);
/* The socket; -1 once it has been drained. */
int listener_fd(const struct listener *l);
/* Changes name, protocol and backlog. */
void listener_update(struct listener *l, const struct listen_spec *spec);
/* Called before listener_free in a graceful stop: accepts the connections in the queue and closes
 * the socket, so that later clients are refused at once. */
void listener_drain(struct listener *l);
/* Stops accepting. */
void listener_free(struct listener *l);

#endif

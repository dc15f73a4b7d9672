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
    unsigned tls;        /* the number of its TLS in the route; 0: it has none */
};

struct listener;

/* Accepts for the clients, which are of the spec's protocol. fd stays open until listener_drain;
 * the spec's strings live on. The listener holds `tls`, what its clients get (NULL: no TLS). */
struct listener *listener_new(const struct listen_spec *spec, struct tls_server *tls, int fd,
                              struct clients *clients);
/* The socket; -1 once it has been drained. */
int listener_fd(const struct listener *l);
/* Changes name, protocol, backlog and TLS, for clients that are accepted from now on. */
void listener_update(struct listener *l, const struct listen_spec *spec, struct tls_server *tls);
/* The number of its TLS in the route, and a change of that for further clients: certificates were
 * renewed. */
unsigned listener_tls(const struct listener *l);
void listener_renew_tls(struct listener *l, struct tls_server *tls);
/* Called before listener_free in a graceful stop: accepts the connections in the queue and closes
 * the socket, so that later clients are refused at once. */
void listener_drain(struct listener *l);
/* Stops accepting. */
void listener_free(struct listener *l);

#endif

/*
 * listener - a listening socket: opened by the master, accepted from by one worker.
 *
 * The master opens one socket per address and worker (SO_REUSEPORT), so that the kernel spreads
 * connections and a crash of a worker loses none that was still in the queue. A unix socket is one
 * for all.
 */
#ifndef MG_FRONT_LISTENER_H
#define MG_FRONT_LISTENER_H

#include "front/protocol.h"

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

/* Binds `count` sockets to the address into fds[] (all the same one for a unix socket); `more`: to
 * those that we have already. No client can come before listener_let_in. Returns
 * NULL, or why not, in words that name the process which holds the port where that can be known;
 * the message is valid until the next call. */
const char *listener_open(const struct listen_spec *spec, int *fds, unsigned count, bool more);
/* NULL, or which two of these are one address in different words: their connections would be spread
 * over both. Valid until the next call. */
const char *listener_twice(const struct listen_spec *specs, unsigned count);
/* Lets clients in; the same of what it returns. */
const char *listener_let_in(const struct listen_spec *spec, int fd);
/* The folder of a unix socket that nobody else may have a say in: made where it is missing. Returns
 * NULL, or what is wrong with it; valid until the next call. */
const char *listener_make_folder(const char *address);
/* Removes the file of a unix socket. */
void listener_unlink(const struct listen_spec *spec);

struct listener;

/* Accepts for the clients, which are of the spec's protocol. fd stays open until listener_drain;
 * the spec's strings live on. */
struct listener *listener_new(const struct listen_spec *spec, int fd, struct clients *clients);
/* The socket; -1 once it has been drained. */
int listener_fd(const struct listener *l);
/* Another name, protocol or backlog from now on. */
void listener_update(struct listener *l, const struct listen_spec *spec);
/* Before listener_free in a graceful stop: accepts what waits in the queue and closes the socket,
 * so that whoever comes later is refused at once instead of waiting for nobody. */
void listener_drain(struct listener *l);
/* Stops accepting. */
void listener_free(struct listener *l);

#endif

/* protocol - the protocols that clients of a listener may speak, as `protocol` of `listen` names
 * them, each with the function that an accepted connection is given to. Another protocol is a file
 * beside front/client.c and a line in the table of front/protocol.c. */
#ifndef MG_FRONT_PROTOCOL_H
#define MG_FRONT_PROTOCOL_H

#include "base/addr.h"
#include "base/str.h"

struct clients;

/* What a listener knows of a connection that it has accepted. */
struct client_origin {
    struct addr remote, local;
    struct str listener; /* what req.listener says; lives as long as the worker */
    bool control;        /* its requests are commands of operators */
    bool proxy_protocol; /* it begins with a header of the PROXY protocol */
};

struct protocol {
    const char *name;
    /* Serves the connection. The socket, which does not block, is the protocol's from now on. */
    void (*begin)(struct clients *clients, int fd, const struct client_origin *origin);
};

/* The protocol of that name; NULL: there is none. */
const struct protocol *protocol_find(const char *name);

#endif

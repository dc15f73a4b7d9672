/*
 * protocol - what the clients of a listener speak, as `protocol` of `listen` names it: who takes a
 * connection over once it is accepted. Another protocol is a file beside front/client.c and a line
 * in the table of front/protocol.c.
 */
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
    bool proxy_protocol; /* it begins with a header that says whose it is */
};

struct protocol {
    const char *name;
    /* Takes the socket over, which does not block. */
    void (*begin)(struct clients *clients, int fd, const struct client_origin *origin);
};

/* The protocol of that name; NULL: there is none. */
const struct protocol *protocol_find(const char *name);

#endif

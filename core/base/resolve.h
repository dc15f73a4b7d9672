/*
 * resolve - names to addresses, off the loop: c-ares asks the name servers, the loop watches its
 * sockets and its clock. Contract section 4 (`resolve`).
 *
 * A worker has one resolver. c-ares reads the hosts file and resolv.conf; both are read again when
 * they have changed. A look-up is part of the caller's struct:
 *
 *      idle --lookup_start--> waiting --done()--> idle
 *                                    \--lookup_cancel--> idle
 */
#ifndef MG_BASE_RESOLVE_H
#define MG_BASE_RESOLVE_H

#include "base/addr.h"

struct loop;
struct resolver;
struct asking;

enum { LOOKUP_MAX_ADDRS = 16 }; /* most addresses of a name; further ones are dropped */

/* Members that are 0 or NULL have their defaults. */
struct resolver_options {
    const struct str *servers; /* "ip:port" or "[v6]:port"; default: the servers of conf */
    unsigned count;
    const char *conf; /* a file as resolv.conf(5), default the system's */
    uint16_t port;    /* port of the servers in conf, default 53 */
    unsigned try_ms;  /* until the next server is asked, default 2000; doubled in each round */
    unsigned tries;   /* rounds over the servers, default 2 */
    double timeout;   /* seconds by which a look-up ends whatever the servers do, default 10 */
};

/* Cleared (all zero) by its owner before the first use. */
struct lookup {
    struct asking *asking; /* NULL while idle */
    /* Called when the look-up has ended. The callback may start, cancel or free the look-up and the
     * resolver. Either err is NULL and the list has `count` > 0 addresses with the port, each once,
     * in the order of addr_compare; or the list is empty and err is the reason with the name. Both
     * are valid during the call. */
    void (*done)(struct lookup *lookup, const struct addr *list, unsigned count, const char *err);
};

/* Makes a resolver with a copy of the options; NULL: all defaults. No file is read and no socket
 * opened before the first look-up, which also reports errors of the options. */
struct resolver *resolver_new(struct loop *loop, const struct resolver_options *options);
/* Cancels all look-ups without a callback, and frees the resolver. NULL is fine. */
void resolver_free(struct resolver *r);

/* Asks for all addresses of a host name, IPv4 and IPv6. The look-up must be idle. `done` is never
 * called before this returns. */
void lookup_start(struct resolver *r, struct lookup *lookup, struct str host, uint16_t port,
                  void (*done)(struct lookup *lookup, const struct addr *list, unsigned count,
                               const char *err));
/* Ends the look-up without a callback. Does nothing while it is idle. */
void lookup_cancel(struct lookup *lookup);
static inline bool lookup_is_waiting(const struct lookup *lookup)
{
    return lookup->asking != NULL;
}

#endif

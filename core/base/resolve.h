/*
 * resolve - names to addresses, off the loop: c-ares asks the name servers, the loop watches its
 * sockets and its clock. Contract section 4 (`resolve`).
 *
 * A worker has one resolver. The hosts file and resolv.conf are honoured as c-ares does it; both
 * are read again when they have changed. A look-up belongs to whoever asks and is part of his
 * struct:
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

enum { LOOKUP_MAX_ADDRS = 16 }; /* more than that of one name are left out */

/* Members that are 0 or NULL have their defaults. */
struct resolver_options {
    const struct str *servers; /* "ip:port" or "[v6]:port"; default those of conf */
    unsigned count;
    const char *conf; /* a file as resolv.conf(5), default the system's */
    uint16_t port;    /* of the servers in conf, default 53 */
    unsigned try_ms;  /* until the next server is asked, default 2000; doubles with each round */
    unsigned tries;   /* rounds over the servers, default 2 */
    double timeout;   /* seconds by which a look-up ends whatever the servers do, default 10 */
};

/* Cleared (all zero) by its owner before the first use. */
struct lookup {
    struct asking *asking; /* NULL while idle */
    /* The look-up is idle again and may be started again, cancelled or freed, and so may the
     * resolver. Either `count` > 0 addresses in the order of addr_compare, each once, with the
     * port, and err is NULL; or none and err says why, with the name. Both die with the call. */
    void (*done)(struct lookup *lookup, const struct addr *list, unsigned count, const char *err);
};

/* Copies the options; NULL: all defaults. Nothing is read and no socket is opened before the first
 * look-up; what is wrong with the options is said to those who ask. */
struct resolver *resolver_new(struct loop *loop, const struct resolver_options *options);
/* Cancels all look-ups without a callback, and frees the resolver. NULL is fine. */
void resolver_free(struct resolver *r);

/* Asks for all addresses of a host name, IPv4 and IPv6. The look-up must be idle. Never calls back
 * before it returns. */
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

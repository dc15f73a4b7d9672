/*
 * addr - socket addresses: the contract's ADDR as text, as sockaddr, and as the compact peer that a
 * connection keeps. No I/O but the look-up of a host name in addr_resolve.
 */
#ifndef MG_BASE_ADDR_H
#define MG_BASE_ADDR_H

#include "base/str.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
};

/* One side of an accepted connection; 20 bytes, since every idle client has one. */
struct peer {
    uint8_t ip[16];
    uint16_t port; /* 0 for a unix socket */
    uint8_t family;
};

enum { PEER_TEXT_SIZE = INET6_ADDRSTRLEN, ADDR_TEXT_SIZE = 128, ADDR_MOST = 16 };

/* `host:port`, `[v6]:port`, `:port`, `*:port` or `unix:/path`. A host name is looked up, which
 * blocks, so this is called at load and not while serving; the first address is taken. Returns
 * NULL, or the error. */
const char *addr_resolve(const char *text, struct addr *out);
/* Resolves an address, or all addresses of a host name, each once, in the resolver's order, up to
 * ADDR_MOST; *count is their number. */
const char *addr_resolve_all(const char *text, struct addr list[ADDR_MOST], unsigned *count);

/* True for an ADDR with a host name, as in "db.internal:9000". `host` (a slice of text) and `port`
 * are then set; both may be NULL. False for an IP address, a unix path, and a text that is no ADDR.
 */
bool addr_is_name(const char *text, struct str *host, uint16_t *port);

/* Copies an address of a resolver or the kernel. False, and *out is empty, for a family or a length
 * that is not supported. */
bool addr_from(struct addr *out, const struct sockaddr *sa, socklen_t len);
/* Sets the port; the address of a unix socket is not changed. */
void addr_set_port(struct addr *a, uint16_t port);
/* True for 0.0.0.0 and ::, which stand for all addresses. */
bool addr_is_wildcard(const struct addr *a);
/* Compares two addresses, with a result as of memcmp: IPv4 before IPv6, then by the bytes of the
 * address, then by port; unix sockets by path. */
int addr_compare(const struct addr *a, const struct addr *b);

/* Writes the ADDR as the contract has it; out has ADDR_TEXT_SIZE bytes. Returns out. */
const char *addr_text(const struct addr *a, char *out);

/* False for a unix socket. */
static inline bool peer_has_ip(const struct peer *p)
{
    return p->family == AF_INET || p->family == AF_INET6;
}

void peer_from(struct peer *p, const struct addr *a);
/* Sets the address from 4 or 16 bytes in network order; an IPv4-mapped IPv6 address becomes the
 * IPv4 address. The port is kept. */
void peer_set_ip(struct peer *p, int family, const void *ip);
/* Parses an IP address without port, brackets and zone; an IPv4-mapped IPv6 address becomes the
 * IPv4 address. False, and *p is undefined, for a text that is no IP address. */
bool peer_parse(struct peer *p, struct str text);
/* True when both have the same address, whatever the port. */
bool peer_same_ip(const struct peer *a, const struct peer *b);
/* The address without port, "unix:" for a unix socket. Returns the length written. */
size_t peer_text(const struct peer *p, char out[PEER_TEXT_SIZE]);

#endif

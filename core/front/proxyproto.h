/* proxyproto - the header of the PROXY protocol, versions 1 and 2, with which a balancer names the
 * client at the beginning of a connection (HAProxy's doc/proxy-protocol.txt). Pure. */
#ifndef MG_FRONT_PROXYPROTO_H
#define MG_FRONT_PROXYPROTO_H

#include "base/addr.h"

/* A longer header is refused: addresses take 232 bytes at most, the rest are TLVs, which are
 * skipped. */
enum { PROXYPROTO_MAX = 4096 };

enum proxyproto_result { PROXYPROTO_MORE, PROXYPROTO_DONE, PROXYPROTO_ERROR };

struct proxyproto {
    size_t size; /* bytes of the header, before the client's bytes */
    /* False where the connection is the balancer's own (LOCAL), or it does not know the client
     * (UNKNOWN, UNSPEC): then the addresses of the connection hold. */
    bool announced;
    bool unknown;              /* the balancer does not know the client */
    struct peer client, local; /* the client, and the address that it connected to */
    const char *err;           /* the error */
};

/* Reads the header that a connection begins with: `in` is all that has come so far, from its first
 * byte on. MORE: ask again with more, before there are PROXYPROTO_MAX bytes. */
enum proxyproto_result proxyproto_read(struct str in, struct proxyproto *out);

#endif

/* proxyproto - the header of the PROXY protocol, versions 1 and 2, with which a balancer names the
 * client at the beginning of a connection (HAProxy's doc/proxy-protocol.txt). Pure. */
#ifndef MG_FRONT_PROXYPROTO_H
#define MG_FRONT_PROXYPROTO_H

#include "base/addr.h"

/* A longer header is refused: addresses take 232 bytes at most, the rest are TLVs, which we skip.
 */
enum { PROXYPROTO_MAX = 4096 };

enum proxyproto_result { PROXYPROTO_MORE, PROXYPROTO_DONE, PROXYPROTO_ERROR };

struct proxyproto {
    size_t size; /* of the header: what follows is the client's */
    /* False where the connection is the balancer's own (LOCAL), or it does not know the client
     * (UNKNOWN, UNSPEC): then the addresses of the connection hold. */
    bool announced;
    bool unknown;              /* it does not know for whom */
    struct peer client, local; /* who connected, and where to */
    const char *err;           /* what is wrong */
};

/* Reads the header that a connection begins with: `in` is all that has come so far, from its first
 * byte on. MORE: ask again with more, before there are PROXYPROTO_MAX bytes. */
enum proxyproto_result proxyproto_read(struct str in, struct proxyproto *out);

#endif

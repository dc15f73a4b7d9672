/* realip - the client of a request that comes through trusted proxies: reads what they say
 * (X-Forwarded-For, -Proto, -Host, -Port; Forwarded) into the request. Pure.  * The walk begins at
 * the peer of the connection and goes on from each trusted hop to the one that it names; the first
 * hop that is not trusted is the client. A value that is no address ends the walk at the last hop
 * that had one. So nothing that a client writes is believed, since it stands behind its own
 * address. */
#ifndef MG_HTTP_REALIP_H
#define MG_HTTP_REALIP_H

#include "base/netset.h"
#include "http/request.h"

/* For a request whose head is complete, and whose `client` and `local` are those of the connection.
 * From a peer that is not trusted nothing is believed, and applications do not get these headers.
 * Returns NULL, or why it is a bad request: the host is none, or X-Forwarded-* and Forwarded
 * contradict each other, so that one of them is not the proxy's. */
const char *realip_apply(struct request *req, const struct netset *trusted);

#endif

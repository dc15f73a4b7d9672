/*
 * realip - finds the client of a request that comes through trusted proxies, by the headers
 * X-Forwarded-For, -Proto, -Host, -Port and Forwarded. Pure.
 *
 * The walk begins at the peer of the connection, and steps from each trusted hop to the hop that it
 * names; the first hop that is not trusted is the client. A value that is no address ends the walk
 * at the last hop with an address. So a client can't forge anything: the walk ends at its own
 * address, before the values that the client has sent.
 */
#ifndef MG_HTTP_REALIP_H
#define MG_HTTP_REALIP_H

#include "base/netset.h"
#include "http/request.h"

/* Called when the head is complete, while `client` and `local` are those of the connection. The
 * headers of a peer that is not trusted are removed, so applications don't get them. Returns NULL,
 * or the reason of a 400: the host is invalid, or X-Forwarded-* and Forwarded contradict each
 * other, so that a trusted proxy has written only one of them. */
const char *realip_apply(struct request *req, const struct netset *trusted);

#endif

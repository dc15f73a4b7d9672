/*
 * http1 - one HTTP/1.x connection of a client: its input, its clock, the order of its requests.
 *
 * Made for an accepted socket, frees itself when it ends. While it is idle it is a struct client:
 * parser, request and response exist from the first byte of a request to the last of its response.
 * A connection too many is answered 503 and closed.
 */
#ifndef MG_FRONT_HTTP1_H
#define MG_FRONT_HTTP1_H

#include "front/clients.h"

extern const struct protocol http1_protocol;

#endif

/*
 * gateway - the protocol "fastcgi": one connection of a web server that speaks FastCGI to moongate,
 * as to an application. Records come in, requests are found by their ids, and records go out.
 *
 *     socket -> fcgi_decoder -> gateway_request -> exchange
 *     socket <- out (records) <- sender of each request <-'
 *
 * Each id is a request of its own, with an exchange, what waits of its STDIN, and what waits of its
 * answer; none of them holds up another. FastCGI Specification 1.0.
 */
#ifndef MG_FRONT_GATEWAY_H
#define MG_FRONT_GATEWAY_H

#include "front/clients.h"

extern const struct protocol gateway_protocol;

#endif

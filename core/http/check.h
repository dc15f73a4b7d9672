/* check - what a request must be before any other part of core/ looks at it: its method, its
 * headers, its target and its host. All fronts use it, whatever their protocol; a front passes each
 * part of a request here once, in the order of the functions below. No I/O.  * How a protocol
 * frames a request (Transfer-Encoding, Connection) is the front's own. Contract section 11; RFC
 * 9110. */
#ifndef MG_HTTP_CHECK_H
#define MG_HTTP_CHECK_H

#include "http/request.h"

/* The status to refuse the request with, and why, for the log. The reason is NULL where nothing is
 * wrong; it lives as long as the request. */
struct refusal {
    int status;
    const char *reason;
};

/* Sets the request's method. Any token is one (RFC 9110 §9.1), but for CONNECT and TRACE. */
struct refusal check_method(struct request *req, struct str method);

/* Adds a header to those of the request, whose strings are not copied; *added is that one, where
 * nothing is wrong. Host and Content-Length set the request's host, host_port and body_length.
 * The request's version must be known. */
struct refusal check_header(struct request *req, const struct limits *limits, struct str name,
                            struct str value, struct header **added);

/* Parses req->target, once all headers are there. The host of an absolute target replaces the Host
 * header. */
struct refusal check_target(struct request *req);

#endif

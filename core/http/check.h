/*
 * check - the checks of a request's method, headers, target and host, which all fronts make before
 * another part of core/ sees the request. A front passes each part of a request here once, in the
 * order of the functions below. No I/O.
 *
 * Each front checks the framing of its protocol itself (Transfer-Encoding, Connection). Contract
 * section 11; RFC 9110.
 */
#ifndef MG_HTTP_CHECK_H
#define MG_HTTP_CHECK_H

#include "http/request.h"

/* The status with which a request is refused, and the reason for the log. The reason is NULL for a
 * request that passes; it lives as long as the request. */
struct refusal {
    int status;
    const char *reason;
};

/* Sets the request's method. Any token is a method (RFC 9110 §9.1); CONNECT and TRACE are refused.
 */
struct refusal check_method(struct request *req, struct str method);

/* Adds a header to the request without copying its strings; *added is the header, where it passes.
 * Host and Content-Length set the request's host, host_port and body_length. The request's version
 * must be known. */
struct refusal check_header(struct request *req, const struct limits *limits, struct str name,
                            struct str value, struct header **added);

/* Parses req->target. Called after all headers have been added. The host of an absolute target
 * replaces the Host header. */
struct refusal check_target(struct request *req);

#endif

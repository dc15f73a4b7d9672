/*
 * admission - whose a connection and its requests are (the header of the PROXY protocol, what
 * trusted proxies say), and whether one more is welcome (limits.connections and per_ip).
 *
 * A connection is in the census from accept on. It is counted under its address as soon as that is
 * known, unless it is a trusted proxy's: such a one brings the requests of many clients, and each
 * request is counted under the client that the proxy has named, for as long as it lasts.
 */
#ifndef MG_FRONT_ADMISSION_H
#define MG_FRONT_ADMISSION_H

#include "front/clients.h"

/* A connection was accepted. False when it is one too many; the log knows. */
bool admission_enter(struct client *c);
/* Counts a connection that was welcome before, whatever the limits are. */
void admission_count(struct client *c);
/* The connection ends, or is another worker's to count. */
void admission_leave(struct client *c);

enum admission_address {
    ADMISSION_MORE,     /* the header is not whole */
    ADMISSION_KNOWN,    /* *used bytes of it have been taken */
    ADMISSION_BAD,      /* there is none; the log knows */
    ADMISSION_TOO_MANY, /* limits.per_ip; the log knows */
};
/* Reads the header of the PROXY protocol, which a connection with origin.proxy_protocol begins
 * with. */
enum admission_address admission_read_address(struct client *c, struct str in, size_t *used);

/* The head of a request is complete: takes what trusted proxies say of its client. Returns 0, or
 * the status to refuse it with and why. *counted: the request is, until admission_end_request. */
int admission_begin_request(struct client *c, struct request *req, bool *counted,
                            const char **reason);
void admission_end_request(struct client *c, const struct request *req);

#endif

/*
 * admission - the client of a connection and of its requests (header of the PROXY protocol, headers
 * of trusted proxies), and the limits of connections (limits.connections and per_ip).
 *
 * A connection is in the census from accept on. It is counted under its address as soon as that is
 * known, unless it is a trusted proxy's: a trusted proxy sends the requests of many clients, and
 * each request is counted under the client that the proxy names, until it ends.
 */
#ifndef MG_FRONT_ADMISSION_H
#define MG_FRONT_ADMISSION_H

#include "front/clients.h"

/* How the log calls what a client got that is one too many. */
#define ADMISSION_503       "503"
#define ADMISSION_GOAWAY    "GOAWAY with ENHANCE_YOUR_CALM"
#define ADMISSION_OVERLOAD  "FCGI_OVERLOADED for its requests"
#define ADMISSION_NO_ANSWER "its connection is closed without an answer"

/* Counts an accepted connection. Anything but CENSUS_WELCOME: a limit is reached, and the caller
 * calls admission_log_refused when it knows what the client gets. */
enum census_answer admission_enter(struct client *c);
/* Logs that a limit is reached, and what the client got. */
void admission_log_refused(const struct client *c, enum census_answer answer, const char *outcome);
/* Counts a connection that was accepted before, regardless of the limits. */
void admission_count(struct client *c);
/* Removes a connection that ends, or that another worker counts. */
void admission_leave(struct client *c);

enum admission_address {
    ADMISSION_MORE,     /* the header is not whole */
    ADMISSION_KNOWN,    /* *used bytes of it have been taken */
    ADMISSION_BAD,      /* no valid header; logged */
    ADMISSION_TOO_MANY, /* limits.per_ip is reached: as CENSUS_PER_IP of admission_enter */
};
/* Reads the header of the PROXY protocol, which a connection with origin.proxy_protocol begins
 * with. */
enum admission_address admission_read_address(struct client *c, struct str in, size_t *used);

/* Called when the head of a request is complete: reads the headers of trusted proxies. Returns 0,
 * or the status with which the request is refused, and *reason. *counted: the request is counted
 * until admission_end_request. */
int admission_begin_request(struct client *c, struct request *req, bool *counted,
                            const char **reason);
void admission_end_request(struct client *c, const struct request *req);

/* Logs that the handshake of a client of TLS has failed, which closes its connection. */
void admission_log_handshake(const struct client *c, const char *why);

/* Notes the TLS of the connection in a request: version, names, the client's certificate. */
void admission_describe_tls(struct client *c, struct request *req);

#endif

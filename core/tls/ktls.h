/*
 * ktls - TLS in the kernel (kTLS, Linux's Documentation/networking/tls.rst): whether this machine
 * offers it, and what is sent there without OpenSSL.
 *
 * With kTLS the kernel makes the records of what is written to the socket, so that files go by
 * sendfile(2). tls/connection turns it on in the handshake of a connection; reading stays
 * OpenSSL's.
 */
#ifndef MG_TLS_KTLS_H
#define MG_TLS_KTLS_H

#include <stdbool.h>

/* Alerts (RFC 8446 section 6) */
enum ktls_alert {
    KTLS_CLOSE_NOTIFY = 0,
    KTLS_INTERNAL_ERROR = 80,
};

/* Why no connection of this machine can have kTLS, in words for a person; NULL: it is offered. The
 * first call asks the kernel, which may load its module and its ciphers then: that needs
 * CAP_NET_ADMIN, so the master asks. */
const char *ktls_problem(void);

/* Sends an alert on a socket whose records the kernel makes. False: errno is of sendmsg(2). */
bool ktls_send_alert(int fd, enum ktls_alert alert);

#endif

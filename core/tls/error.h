/*
 * error - the words of errors of this room: what was done, and OpenSSL's reason.
 */
#ifndef MG_TLS_ERROR_H
#define MG_TLS_ERROR_H

#include "shm/metrics.h"

/* Formats an error. The text is valid until the next call. */
const char *tls_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Empties OpenSSL's queue of errors, which its calls must find empty. The queue nearly always is,
 * and OpenSSL's own function costs four times the look at it. */
void tls_error_clear(void);
/* The kind of the last error in OpenSSL's queue, which stays as it is, for the counts of
 * handshakes. */
enum metrics_handshake tls_error_kind(void);
/* The reason of the last error in OpenSSL's queue, which is emptied: "no start line". */
const char *tls_error_reason(void);
/* The same for errors of a connection, in words for who reads a log: "the client speaks no version
 * of TLS that is served". `verified` is the result of the look at the client's certificate. */
const char *tls_error_words(long verified);

#endif

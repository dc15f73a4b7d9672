/*
 * given - a certificate as a script gives it (on_certificate): PEM, or the path of a file that has
 * it, which is read with the rights of this process.
 */
#ifndef MG_TLS_GIVEN_H
#define MG_TLS_GIVEN_H

#include "tls/certificate.h"

/* Makes the certificate of a pair whose texts are each PEM or an absolute path; they end with a
 * NUL. NULL and *err, valid until the next call: a file can't be read, it is no pair
 * (certificate_new), or OpenSSL does not take it (tls_server_refusal). */
struct certificate *certificate_given(struct str cert, struct str key, const char **err);

#endif

/*
 * server - what the TLS of one listener is: its versions and ciphers, its certificates by name,
 * whom it asks for a certificate, its tickets.
 *
 *     tls_server --ctx-----------> OpenSSL's SSL_CTX, with the default certificate
 *                --names, sorted-> certificate, certificate, ...    by the name that a client asks
 * for
 *
 * A name that none of its certificates has may be one that a script has a certificate for: OpenSSL
 * then stops in the handshake (SSL_ERROR_WANT_X509_LOOKUP) until tls/connection has the answer,
 * which it notes as the SSL object's app data, a struct asked_wait.
 *
 * A server is made of a generation's settings (tls/store) and does not change; a renewed
 * certificate makes another one. Connections hold the server with which they began.
 */
#ifndef MG_TLS_SERVER_H
#define MG_TLS_SERVER_H

#include "shm/tickets.h"
#include "tls/certificate.h"

struct ssl_ctx_st;

/* TLS 1.2 and 1.3 by Mozilla's intermediate list (version 5.7), without its three DHE suites: no
 * client of today needs them, and each costs the server an exponentiation that a client gets for
 * nothing (CVE-2002-20001). */
#define TLS_CIPHERS                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"     \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define TLS_GROUPS "X25519:P-256:P-384"

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

struct tls_settings {
    bool tls12, tls13;
    const char *ciphers; /* as OpenSSL names them, ':' between them; NULL: TLS_CIPHERS */
    bool http2;          /* ALPN offers h2 */
    bool asks;           /* a script has certificates for further names (tls/asked) */
    bool ktls;           /* the kernel may make the records that are sent (tls/ktls) */
    enum tls_verify verify;
    struct str client_ca; /* certificates of authorities in PEM; n = 0: none */
    const char *client_ca_source;
    const struct tickets *tickets; /* NULL: no sessions are resumed. It outlives the server */
};

struct tls_name {
    const char *name; /* of the certificate */
    struct certificate *certificate;
    unsigned order;
};

struct tls_server {
    struct ssl_ctx_st *ctx;
    const struct tickets *tickets;
    struct certificate **certificates; /* the first is the default; with `asks` there may be none */
    unsigned certificate_count;
    struct tls_name *names; /* sorted by name, then by order */
    unsigned name_count;
    enum tls_verify verify;
    bool http2; /* ALPN offers h2 */
    bool asks;
    bool ktls;
    unsigned users;
};

/* Makes a server without certificates. NULL and *err, valid until the next call. The settings'
 * texts are the caller's. */
struct tls_server *tls_server_new(const struct tls_settings *settings, const char **err);
/* Adds certificates, which the server holds, and ends the making. NULL, or the error: there is
 * none, and no script has any, or OpenSSL does not take one (its key is too small for its security
 * level). */
const char *tls_server_use(struct tls_server *s, struct certificate *const *list, unsigned count);
struct tls_server *tls_server_hold(struct tls_server *s);
void tls_server_drop(struct tls_server *s);

/* Whether OpenSSL takes a certificate that a script has given. NULL, or why not. */
const char *tls_server_refusal(const struct certificate *c);

/* The certificates for a name: *count of them, which differ in their kinds of keys. NULL: there is
 * none. The exact name comes before a wildcard (RFC 9525 section 6.3: one label). */
const struct tls_name *tls_server_find(const struct tls_server *s, const char *name,
                                       unsigned *count);

#endif

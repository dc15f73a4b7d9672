/*
 * certificate - one certificate with its chain and its private key, as a server presents it.
 *
 * The bytes are PEM (RFC 7468), as certbot, lego and `openssl` write them: in the certificate's
 * text the certificate of the site first, then those of its issuers. tls/server chooses among
 * certificates by name. Counted: the last certificate_drop frees it.
 */
#ifndef MG_TLS_CERTIFICATE_H
#define MG_TLS_CERTIFICATE_H

#include "base/str.h"
#include "tls/pem.h"

struct evp_pkey_st;
struct stack_st_X509;
struct x509_st;

enum {
    CERTIFICATE_NAMES = 256, /* names of one certificate; further ones are not served */
    CERTIFICATE_CHAIN = 10,  /* certificates of issuers */
    CERTIFICATE_TIME = 64,   /* bytes of a time as text */
};

struct certificate {
    struct x509_st *leaf;
    struct stack_st_X509 *chain; /* of the issuers */
    struct evp_pkey_st *key;
    char **names; /* lower case, "*.example.com" as it is */
    unsigned name_count;
    char *source; /* for messages, and by which a renewed one is recognised; the file's path */
    uint8_t digest[32]; /* of both texts: an unchanged pair is not read again */
    unsigned users;
};

/* The digest of a pair's texts. */
void certificate_digest(struct str cert, struct str key, uint8_t out[32]);

/* Reads a pair. NULL and *err, valid until the next call: the text is no certificate or no key, the
 * key is encrypted, or does not belong to the certificate. The strings are the caller's; `source`
 * and `key_source` are the files' paths, or words for the origin of the text. */
struct certificate *certificate_new(struct str cert, struct str key, const char *source,
                                    const char *key_source, const char **err);
struct certificate *certificate_hold(struct certificate *c);
void certificate_drop(struct certificate *c);

/* The reason for which clients would refuse a valid pair: it has expired, is not valid yet, its
 * chain lacks an issuer or has them in a wrong order. *certain: each client would. NULL: there is
 * none. Valid until the next call. */
const char *certificate_problem(const struct certificate *c, bool *certain);
/* When it ends, as text; returns `out`. */
const char *certificate_expires(const struct certificate *c, char out[CERTIFICATE_TIME]);
/* Whether clients take it for a host of this name (RFC 9525). */
bool certificate_is_for(const struct certificate *c, const char *name);

#endif

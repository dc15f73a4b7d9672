/*
 * make - certificates for the unit tests of core/tls, made in memory: PEM as a file would have it.
 */
#ifndef MG_TEST_TLS_MAKE_H
#define MG_TEST_TLS_MAKE_H

#include "base/str.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

/* A certificate and its key. */
struct made {
    X509 *cert;
    EVP_PKEY *key;
};

struct make {
    const char *common;      /* name; NULL: none */
    const char *names;       /* "DNS:a.test,DNS:b.test"; NULL: none */
    const char *access;      /* authorityInfoAccess; NULL: none */
    const struct made *by;   /* the issuer; NULL: itself */
    const struct made *same; /* it has the same key; NULL: one of its own */
    int rsa;                 /* bits of an RSA key; 0: P-256 */
    long from, to;           /* days from now; both 0: 1 before, 30 behind */
    bool authority;
};

static inline void make_extension(X509 *cert, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, kind, value);
    if (e == NULL || X509_add_ext(cert, e, -1) != 1)
        abort();
    X509_EXTENSION_free(e);
}

static inline struct made make(const struct make *want)
{
    static long serial = 1000;
    struct made m = {X509_new(), NULL};
    if (want->same != NULL) {
        m.key = want->same->key;
        EVP_PKEY_up_ref(m.key);
    } else {
        m.key = want->rsa > 0 ? EVP_RSA_gen((unsigned)want->rsa) : EVP_EC_gen("P-256");
    }
    if (m.cert == NULL || m.key == NULL)
        abort();
    X509_set_version(m.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(m.cert), ++serial);
    bool standard = want->from == 0 && want->to == 0;
    X509_time_adj_ex(X509_getm_notBefore(m.cert), (int)(standard ? -1 : want->from), 0, NULL);
    X509_time_adj_ex(X509_getm_notAfter(m.cert), (int)(standard ? 30 : want->to), 0, NULL);
    X509_NAME *name = X509_NAME_new();
    if (want->common != NULL)
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)want->common,
                                   -1, -1, 0);
    X509_set_subject_name(m.cert, name);
    X509_NAME_free(name);
    X509 *issuer = want->by != NULL ? want->by->cert : m.cert;
    X509_set_issuer_name(m.cert, X509_get_subject_name(issuer));
    X509_set_pubkey(m.cert, m.key);
    if (want->authority)
        make_extension(m.cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
    if (want->names != NULL)
        make_extension(m.cert, issuer, NID_subject_alt_name, want->names);
    if (want->access != NULL)
        make_extension(m.cert, issuer, NID_info_access, want->access);
    X509_sign(m.cert, want->by != NULL ? want->by->key : m.key, EVP_sha256());
    return m;
}

static inline void made_free(struct made *m)
{
    X509_free(m->cert);
    EVP_PKEY_free(m->key);
}

/* Text in PEM. */
struct pem {
    char text[65536];
    size_t n;
};

static inline void pem_take(struct pem *p, BIO *bio)
{
    char *bytes;
    long n = BIO_get_mem_data(bio, &bytes);
    if (p->n + (size_t)n > sizeof p->text)
        abort();
    memcpy(p->text + p->n, bytes, (size_t)n);
    p->n += (size_t)n;
    BIO_free(bio);
}

static inline void pem_add(struct pem *p, const struct made *m)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, m->cert);
    pem_take(p, bio);
}

/* `phrase`: the key is encrypted by it; NULL: it is not. */
static inline void pem_add_key(struct pem *p, const struct made *m, char *phrase)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, m->key, phrase != NULL ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL,
                             phrase);
    pem_take(p, bio);
}

static inline struct str pem_str(const struct pem *p)
{
    return (struct str){p->text, p->n};
}

#endif

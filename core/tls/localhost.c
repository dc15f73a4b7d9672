/* localhost - see localhost.h. */
#include "tls/localhost.h"

#include "tls/error.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Below the 20 bytes of RFC 5280 section 4.1.2.2, and not to be guessed. */
#define SERIAL_BITS 127
/* Seconds by which another clock may be late. */
#define CLOCK_SLACK 300

/* The extensions: names, and that it is a server's and no authority. */
static const struct {
    int nid;
    const char *value;
} extensions[] = {
    {NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1"},
    {NID_basic_constraints, "critical,CA:FALSE"},
    {NID_key_usage, "critical,digitalSignature"},
    {NID_ext_key_usage, "serverAuth"},
};

static bool localhost_add_extensions(X509 *cert)
{
    X509V3_CTX ctx;
    bool good = true;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    for (unsigned i = 0; i < sizeof extensions / sizeof *extensions && good; i++) {
        X509_EXTENSION *one =
            X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid, extensions[i].value);
        good = one != NULL && X509_add_ext(cert, one, -1) == 1;
        X509_EXTENSION_free(one);
    }
    return good;
}

static bool localhost_add_name(X509_NAME *name, const char *field, const char *value)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_ASC, (const unsigned char *)value, -1,
                                      -1, 0) == 1;
}

static bool localhost_add_serial(X509 *cert)
{
    BIGNUM *number = BN_new();
    bool good = number != NULL &&
                BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
                BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return good;
}

/* Two certificates of one subject, but of different serials, are what browsers remember apart. */
static bool localhost_fill(X509 *cert, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(cert);
    return X509_set_version(cert, X509_VERSION_3) == 1 && localhost_add_serial(cert) &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -CLOCK_SLACK) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(cert), LOCALHOST_DAYS * 86400L) != NULL &&
           localhost_add_name(name, "O", "Moongate, a certificate of this machine alone") &&
           localhost_add_name(name, "CN", "localhost") && X509_set_issuer_name(cert, name) == 1 &&
           X509_set_pubkey(cert, key) == 1 && localhost_add_extensions(cert) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

/* The text in a BIO, which is freed. */
static char *localhost_text(BIO *bio)
{
    char *bytes, *text;
    long n = BIO_get_mem_data(bio, &bytes);
    text = strndup(bytes, (size_t)n);
    if (text == NULL)
        abort();
    BIO_free(bio);
    return text;
}

const char *localhost_make(char **cert, char **key)
{
    ERR_clear_error();
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    BIO *cert_text = BIO_new(BIO_s_mem()), *key_text = BIO_new(BIO_s_mem());
    if (x509 == NULL || cert_text == NULL || key_text == NULL)
        abort();
    bool good = pair != NULL && localhost_fill(x509, pair) &&
                PEM_write_bio_X509(cert_text, x509) == 1 &&
                PEM_write_bio_PKCS8PrivateKey(key_text, pair, NULL, NULL, 0, NULL, NULL) == 1;
    const char *err =
        good ? NULL : tls_error("a certificate can't be made: %s", tls_error_reason());
    X509_free(x509);
    EVP_PKEY_free(pair);
    *cert = localhost_text(cert_text);
    *key = localhost_text(key_text);
    if (err != NULL) {
        free(*cert);
        free(*key);
    }
    return err;
}

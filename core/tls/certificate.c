/* certificate - see certificate.h. */
#include "tls/certificate.h"

#include "tls/error.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define SOURCE_SHOWN 300 /* bytes of a path in a message */

/* --- reading --- */

/* OpenSSL would ask for the passphrase of an encrypted key on the terminal. */
static int certificate_no_passphrase(char *out, int size, int writing, void *ctx)
{
    bool *asked = ctx;
    (void)out;
    (void)size;
    (void)writing;
    *asked = true;
    return -1;
}

static BIO *certificate_open(struct str text)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    if (bio == NULL)
        abort();
    return bio;
}

static const char *certificate_read_key(struct certificate *c, struct str text, const char *source)
{
    bool encrypted = false;
    BIO *bio = certificate_open(text);
    c->key = PEM_read_bio_PrivateKey(bio, NULL, certificate_no_passphrase, &encrypted);
    BIO_free(bio);
    if (c->key != NULL)
        return NULL;
    if (encrypted) {
        ERR_clear_error();
        return tls_error("%.*s: the key is encrypted; a server can't ask for its passphrase "
                         "(`openssl pkey -in KEY -out PLAIN` writes it without)",
                         SOURCE_SHOWN, source);
    }
    return tls_error("%.*s: there is no private key in PEM in it (%s)", SOURCE_SHOWN, source,
                     tls_error_reason());
}

static const char *certificate_read_chain(struct certificate *c, BIO *bio, const char *source)
{
    X509 *next;
    c->chain = sk_X509_new_null();
    if (c->chain == NULL)
        abort();
    while ((next = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_num(c->chain) == CERTIFICATE_CHAIN || !sk_X509_push(c->chain, next)) {
            X509_free(next);
            return tls_error("%.*s: more than %d certificates of issuers", SOURCE_SHOWN, source,
                             CERTIFICATE_CHAIN);
        }
    }
    unsigned long end = ERR_peek_last_error();
    if (ERR_GET_LIB(end) == ERR_LIB_PEM && ERR_GET_REASON(end) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return NULL;
    }
    return tls_error("%.*s: a certificate behind the first one can't be read (%s)", SOURCE_SHOWN,
                     source, tls_error_reason());
}

static const char *certificate_read(struct certificate *c, struct str text, const char *source)
{
    BIO *bio = certificate_open(text);
    c->leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    const char *err = c->leaf != NULL ? certificate_read_chain(c, bio, source)
                                      : tls_error("%.*s: there is no certificate in PEM in it (%s)",
                                                  SOURCE_SHOWN, source, tls_error_reason());
    BIO_free(bio);
    return err;
}

/* --- names --- */

/* Keeps a name in lower case. Names with a NUL or other odd bytes are left out: a client could not
 * ask for them. */
static void certificate_add_name(struct certificate *c, const unsigned char *text, int size)
{
    if (size <= 0 || size > 255 || c->name_count == CERTIFICATE_NAMES)
        return;
    char *name = malloc((size_t)size + 1);
    if (name == NULL)
        abort();
    for (int i = 0; i < size; i++) {
        name[i] = char_lower((char)text[i]);
        if (text[i] <= ' ' || text[i] >= 127) {
            free(name);
            return;
        }
    }
    name[size] = '\0';
    c->names[c->name_count++] = name;
}

/* The DNS names of the certificate; the common name where it has none (RFC 9525 section 6.3 has
 * clients look at the former alone, but tests and devices have certificates without). */
static void certificate_read_names(struct certificate *c)
{
    c->names = calloc(CERTIFICATE_NAMES, sizeof *c->names);
    if (c->names == NULL)
        abort();
    GENERAL_NAMES *list = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(list); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, i);
        if (name->type == GEN_DNS)
            certificate_add_name(c, ASN1_STRING_get0_data(name->d.dNSName),
                                 ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(list);
    const X509_NAME *subject = X509_get_subject_name(c->leaf);
    int at = X509_NAME_get_index_by_NID((X509_NAME *)subject, NID_commonName, -1);
    if (c->name_count > 0 || at < 0)
        return;
    const ASN1_STRING *common = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    certificate_add_name(c, ASN1_STRING_get0_data(common), ASN1_STRING_length(common));
}

/* --- life --- */

void certificate_digest(struct str cert, struct str key, uint8_t out[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, cert.p, cert.n) != 1 || EVP_DigestUpdate(ctx, key.p, key.n) != 1 ||
        EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
}

struct certificate *certificate_new(struct str cert, struct str key, const char *source,
                                    const char *key_source, const char **err)
{
    struct certificate *c = calloc(1, sizeof *c);
    if (c == NULL || (c->source = strdup(source)) == NULL)
        abort();
    c->users = 1;
    ERR_clear_error();
    *err = cert.n > PEM_BYTES || key.n > PEM_BYTES
               ? tls_error("%.*s: larger than %u bytes", SOURCE_SHOWN, source, PEM_BYTES)
               : certificate_read(c, cert, source);
    if (*err == NULL)
        *err = certificate_read_key(c, key, key_source);
    if (*err == NULL && X509_check_private_key(c->leaf, c->key) != 1)
        *err = tls_error("%.*s: the key does not fit the certificate %.*s", SOURCE_SHOWN,
                         key_source, SOURCE_SHOWN, source);
    ERR_clear_error();
    if (*err != NULL) {
        certificate_drop(c);
        return NULL;
    }
    certificate_read_names(c);
    certificate_digest(cert, key, c->digest);
    return c;
}

struct certificate *certificate_hold(struct certificate *c)
{
    c->users++;
    return c;
}

void certificate_drop(struct certificate *c)
{
    if (c == NULL || --c->users > 0)
        return;
    for (unsigned i = 0; i < c->name_count; i++)
        free(c->names[i]);
    free(c->names);
    X509_free(c->leaf);
    sk_X509_pop_free(c->chain, X509_free);
    EVP_PKEY_free(c->key);
    free(c->source);
    free(c);
}

/* --- what clients would not accept --- */

static const char *certificate_when(const ASN1_TIME *time, char out[CERTIFICATE_TIME])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 ||
        strftime(out, CERTIFICATE_TIME, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        out[0] = '\0';
    return out;
}

/* True where the system's authorities have the issuer. */
static bool certificate_is_issued_by_known(X509 *last)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (store == NULL || ctx == NULL)
        abort();
    X509 *issuer = NULL;
    bool known = X509_STORE_set_default_paths(store) == 1 &&
                 X509_STORE_CTX_init(ctx, store, last, NULL) == 1 &&
                 X509_STORE_CTX_get1_issuer(&issuer, ctx, last) == 1;
    X509_free(issuer);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    ERR_clear_error();
    return known;
}

static const char *certificate_chain_problem(const struct certificate *c, bool *certain)
{
    X509 *last = c->leaf;
    for (int i = 0; i < sk_X509_num(c->chain); i++) {
        X509 *next = sk_X509_value(c->chain, i);
        if (X509_check_issued(next, last) != X509_V_OK) {
            *certain = true;
            return tls_error("%.*s: the certificates are not in order: number %d is not the "
                             "issuer of the one before it",
                             SOURCE_SHOWN, c->source, i + 2);
        }
        last = next;
    }
    if (X509_check_issued(last, last) == X509_V_OK || certificate_is_issued_by_known(last))
        return NULL;
    /* A private authority has no address for its certificate; clients may know it as a root. */
    int uri = X509_get_ext_by_NID(last, NID_info_access, -1);
    char issuer[256];
    X509_NAME_oneline(X509_get_issuer_name(last), issuer, sizeof issuer);
    *certain = uri >= 0;
    return tls_error("%.*s: the chain is incomplete: the issuer %s is not in the file, and is no "
                     "authority that this system knows%s",
                     SOURCE_SHOWN, c->source, issuer,
                     uri >= 0 ? " (certbot's fullchain.pem has all of them)" : "");
}

const char *certificate_problem(const struct certificate *c, bool *certain)
{
    char when[CERTIFICATE_TIME];
    const ASN1_TIME *from = X509_get0_notBefore(c->leaf), *to = X509_get0_notAfter(c->leaf);
    *certain = true;
    if (X509_cmp_current_time(to) < 0)
        return tls_error("%.*s: the certificate has expired on %s", SOURCE_SHOWN, c->source,
                         certificate_when(to, when));
    if (X509_cmp_current_time(from) > 0)
        return tls_error("%.*s: the certificate is not valid before %s", SOURCE_SHOWN, c->source,
                         certificate_when(from, when));
    return certificate_chain_problem(c, certain);
}

const char *certificate_expires(const struct certificate *c, char out[CERTIFICATE_TIME])
{
    return certificate_when(X509_get0_notAfter(c->leaf), out);
}

bool certificate_is_for(const struct certificate *c, const char *name)
{
    return X509_check_host(c->leaf, name, 0, 0, NULL) == 1;
}

/* server - see server.h. */
#include "tls/server.h"

#include "tls/asked.h"
#include "tls/error.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#define NAME_MOST 255 /* bytes of a DNS name */

/* --- names --- */

static int server_compare_names(const void *a, const void *b)
{
    const struct tls_name *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

/* The first of the entries of this name. */
static const struct tls_name *server_find_exact(const struct tls_server *s, const char *name,
                                                unsigned *count)
{
    unsigned low = 0, high = s->name_count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        if (strcmp(s->names[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *count = 0;
    while (low + *count < s->name_count && strcmp(s->names[low + *count].name, name) == 0)
        ++*count;
    return *count > 0 ? &s->names[low] : NULL;
}

const struct tls_name *tls_server_find(const struct tls_server *s, const char *name,
                                       unsigned *count)
{
    char lower[NAME_MOST + 2] = "*";
    size_t n = strlen(name);
    *count = 0;
    if (n > 0 && name[n - 1] == '.') /* a name from the root (RFC 1034 section 3.1) */
        n--;
    if (n == 0 || n > NAME_MOST)
        return NULL;
    for (size_t i = 0; i < n; i++)
        lower[i + 1] = char_lower(name[i]);
    const struct tls_name *found = server_find_exact(s, lower + 1, count);
    char *dot = strchr(lower + 1, '.');
    if (found != NULL || dot == NULL || lower[1] == '*')
        return found;
    *--dot = '*';
    return server_find_exact(s, dot, count);
}

/* --- what a client hello chooses --- */

/* The certificates of the context serve where a client has sent no name, or one that nobody knows:
 * a client that does not accept them says so. Without any OpenSSL stops, for ever: tls/connection
 * breaks off the handshake. */
static int server_use_default(const struct tls_server *s)
{
    return s->certificate_count > 0 ? 1 : -1;
}

/* Takes the certificate that a script has given for the name. -1: it is not asked yet. */
static int server_use_asked(const struct tls_server *s, SSL *ssl)
{
    const struct asked_wait *w = SSL_get_app_data(ssl);
    if (w == NULL || !w->answered)
        return -1;
    const struct certificate *c = w->certificate;
    if (c == NULL)
        return server_use_default(s);
    SSL_certs_clear(ssl);
    return SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, 1) == 1;
}

/* Takes the certificates of the name that the client asks for. */
static int server_on_certificate(SSL *ssl, void *ctx)
{
    const struct tls_server *s = ctx;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    unsigned count = 0;
    const struct tls_name *found = name != NULL ? tls_server_find(s, name, &count) : NULL;
    if (found == NULL)
        return name != NULL && s->asks ? server_use_asked(s, ssl) : server_use_default(s);
    if (found->certificate == s->certificates[0])
        return 1;
    SSL_certs_clear(ssl);
    for (unsigned i = 0; i < count; i++) {
        const struct certificate *c = found[i].certificate;
        if (SSL_use_cert_and_key(ssl, c->leaf, c->key, c->chain, i == 0) != 1 && i == 0)
            return 0;
    }
    ERR_clear_error(); /* a second one with the same kind of key is left out */
    return 1;
}

/* ALPN (RFC 7301): HTTP/2 where the listener has it, else HTTP/1.1. A client that wants neither
 * speaks another protocol, and is refused as section 3.2 says, lest its bytes be taken for HTTP. */
static int server_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *size,
                          const unsigned char *offers, unsigned offers_size, void *ctx)
{
    static const unsigned char names[] = "\x02h2\x08http/1.1";
    const struct tls_server *s = ctx;
    const unsigned char *from = s->http2 ? names : names + 3;
    unsigned char *chosen;
    (void)ssl;
    int result = SSL_select_next_proto(&chosen, size, from, s->http2 ? 12 : 9, offers, offers_size);
    *out = chosen;
    return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* --- tickets --- */

static bool server_set_mac(EVP_MAC_CTX *mac, struct ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* The cipher of tickets. OpenSSL would look one up by its name each time. */
static const EVP_CIPHER *server_ticket_cipher(void)
{
    static EVP_CIPHER *cipher;
    if (cipher == NULL)
        cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    if (cipher == NULL)
        abort();
    return cipher;
}

/* Encrypts a ticket by the newest key; opens one by the key that it names. 2: it is renewed, since
 * its key is not the newest one. */
static int server_on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv,
                            EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    const struct tls_server *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const EVP_CIPHER *aes = server_ticket_cipher();
    struct ticket_key keys[TICKETS_KEYS];
    int i = 0, result = -1;
    tickets_read(s->tickets, keys);
    if (encrypt) {
        memcpy(name, keys[0].name, TICKETS_NAME);
        if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) == 1 &&
            EVP_EncryptInit_ex2(cipher, aes, keys[0].aes, iv, NULL) == 1 &&
            server_set_mac(mac, &keys[0]))
            result = 1;
    } else {
        while (i < TICKETS_KEYS && memcmp(name, keys[i].name, TICKETS_NAME) != 0)
            i++;
        if (i == TICKETS_KEYS)
            result = 0; /* a full handshake follows */
        else if (server_set_mac(mac, &keys[i]) &&
                 EVP_DecryptInit_ex2(cipher, aes, keys[i].aes, iv, NULL) == 1)
            result = i == 0 ? 1 : 2;
    }
    OPENSSL_cleanse(keys, sizeof keys);
    return result;
}

/* --- settings --- */

/* The list is one for both versions; OpenSSL has the suites of TLS 1.3 apart. */
static const char *server_set_ciphers(SSL_CTX *ctx, const char *ciphers)
{
    char old[2048], new[512];
    size_t old_used = 0, new_used = 0;
    if (ciphers == NULL)
        return SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) == 1 ? NULL : tls_error_reason();
    for (struct str rest = str_of(ciphers), name; (name = str_cut(&rest, ':')).p != NULL;) {
        bool is_new = str_starts(name, STR("TLS_"));
        char *out = is_new ? new : old;
        size_t *used = is_new ? &new_used : &old_used, size = is_new ? sizeof new : sizeof old;
        if (*used + name.n + 2 > size)
            return tls_error("ciphers: the list is too long");
        *used += (size_t)snprintf(out + *used, size - *used, "%s%.*s", *used > 0 ? ":" : "",
                                  STR_FMT(name));
    }
    if (old_used > 0 && SSL_CTX_set_cipher_list(ctx, old) != 1)
        return tls_error("ciphers: %s: %s", old, tls_error_reason());
    if (new_used > 0 && SSL_CTX_set_ciphersuites(ctx, new) != 1)
        return tls_error("ciphers: %s: %s", new, tls_error_reason());
    return NULL;
}

/* Certificates of clients are asked for, and must be of these authorities, where one is sent. */
static const char *server_set_authorities(SSL_CTX *ctx, const struct tls_settings *settings)
{
    X509_STORE *store = X509_STORE_new();
    BIO *bio = BIO_new_mem_buf(settings->client_ca.p, (int)settings->client_ca.n);
    X509 *authority;
    unsigned count = 0;
    if (store == NULL || bio == NULL)
        abort();
    while ((authority = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        count += X509_STORE_add_cert(store, authority) == 1;
        SSL_CTX_add_client_CA(ctx, authority);
        X509_free(authority);
    }
    BIO_free(bio);
    ERR_clear_error();
    SSL_CTX_set1_verify_cert_store(ctx, store);
    X509_STORE_free(store);
    SSL_CTX_set_verify(ctx,
                       settings->verify == TLS_VERIFY_REQUIRED
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_PEER,
                       NULL);
    return count > 0 ? NULL
                     : tls_error("client_ca: %.300s: there is no certificate in PEM in it",
                                 settings->client_ca_source);
}

/* A session is resumed by a listener with the same authorities alone: another one would not have
 * asked for the certificate, or for another one. */
static void server_set_context(SSL_CTX *ctx, const struct tls_settings *settings)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {(unsigned char)settings->verify};
    unsigned size = 0;
    EVP_Digest(settings->client_ca.p, settings->client_ca.n, digest + 1, &size, EVP_sha256(), NULL);
    SSL_CTX_set_session_id_context(ctx, digest, 32);
}

static void server_set_options(SSL_CTX *ctx, const struct tls_settings *settings)
{
    SSL_CTX_set_min_proto_version(ctx, settings->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(ctx, settings->tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 (settings->tickets == NULL ? SSL_OP_NO_TICKET : 0));
    if (settings->ktls)
        SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets alone */
    SSL_CTX_set_timeout(ctx, TICKETS_LIFE);
    if (settings->tickets != NULL)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, server_on_ticket);
    else
        SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set1_groups_list(ctx, TLS_GROUPS);
}

struct tls_server *tls_server_new(const struct tls_settings *settings, const char **err)
{
    struct tls_server *s = calloc(1, sizeof *s);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (s == NULL || ctx == NULL)
        abort();
    *s = (struct tls_server){.ctx = ctx,
                             .tickets = settings->tickets,
                             .verify = settings->verify,
                             .http2 = settings->http2,
                             .asks = settings->asks,
                             .ktls = settings->ktls,
                             .users = 1};
    SSL_CTX_set_app_data(ctx, s);
    server_set_options(ctx, settings);
    server_set_context(ctx, settings);
    SSL_CTX_set_cert_cb(ctx, server_on_certificate, s);
    SSL_CTX_set_alpn_select_cb(ctx, server_on_alpn, s);
    *err = server_set_ciphers(ctx, settings->ciphers);
    if (*err == NULL && settings->verify != TLS_VERIFY_NONE)
        *err = server_set_authorities(ctx, settings);
    if (*err == NULL)
        return s;
    tls_server_drop(s);
    return NULL;
}

/* --- certificates --- */

static void server_add_names(struct tls_server *s)
{
    unsigned room = 0;
    for (unsigned i = 0; i < s->certificate_count; i++)
        room += s->certificates[i]->name_count;
    s->names = calloc(room + 1, sizeof *s->names);
    if (s->names == NULL)
        abort();
    for (unsigned i = 0; i < s->certificate_count; i++)
        for (unsigned j = 0; j < s->certificates[i]->name_count; j++)
            s->names[s->name_count++] = (struct tls_name){.name = s->certificates[i]->names[j],
                                                          .certificate = s->certificates[i],
                                                          .order = i};
    qsort(s->names, s->name_count, sizeof *s->names, server_compare_names);
}

/* Whether OpenSSL takes the certificate: by trying, since it would refuse it only in the middle of
 * a handshake (a key that is too small for its security level). */
static const char *server_try(SSL *trial, const struct certificate *c)
{
    SSL_certs_clear(trial);
    if (SSL_use_cert_and_key(trial, c->leaf, c->key, c->chain, 1) == 1)
        return NULL;
    return tls_error("%.300s: %s", c->source, tls_error_reason());
}

const char *tls_server_refusal(const struct certificate *c)
{
    static SSL *trial;
    if (trial == NULL) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
        trial = ctx != NULL ? SSL_new(ctx) : NULL;
        SSL_CTX_free(ctx);
        if (trial == NULL)
            abort();
    }
    const char *err = server_try(trial, c);
    SSL_certs_clear(trial);
    return err;
}

/* The certificates of the context: the first one, and those for the same name with another kind of
 * key. */
static void server_set_default(struct tls_server *s)
{
    const struct certificate *first = s->certificates[0];
    unsigned same = 0;
    const struct tls_name *found =
        first->name_count > 0 ? tls_server_find(s, first->names[0], &same) : NULL;
    SSL_CTX_use_cert_and_key(s->ctx, first->leaf, first->key, first->chain, 1);
    for (unsigned i = 0; i < same; i++) {
        const struct certificate *c = found[i].certificate;
        if (c != first)
            SSL_CTX_use_cert_and_key(s->ctx, c->leaf, c->key, c->chain, 0);
    }
    ERR_clear_error();
}

const char *tls_server_use(struct tls_server *s, struct certificate *const *list, unsigned count)
{
    if (count == 0)
        return s->asks ? NULL : "there is no certificate";
    s->certificates = calloc(count, sizeof *s->certificates);
    SSL *trial = SSL_new(s->ctx);
    if (s->certificates == NULL || trial == NULL)
        abort();
    const char *err = NULL;
    for (unsigned i = 0; i < count && err == NULL; i++) {
        err = server_try(trial, list[i]);
        s->certificates[s->certificate_count++] = certificate_hold(list[i]);
    }
    SSL_free(trial);
    if (err != NULL)
        return err;
    server_add_names(s);
    server_set_default(s);
    return NULL;
}

/* --- life --- */

struct tls_server *tls_server_hold(struct tls_server *s)
{
    s->users++;
    return s;
}

void tls_server_drop(struct tls_server *s)
{
    if (s == NULL || --s->users > 0)
        return;
    for (unsigned i = 0; i < s->certificate_count; i++)
        certificate_drop(s->certificates[i]);
    free(s->certificates);
    free(s->names);
    SSL_CTX_free(s->ctx);
    free(s);
}

/*
 * store - the TLS of all listeners of a generation, as one file in memory has it.
 *
 * The master, which may read keys that workers may not, writes the file (process/certificates);
 * each worker makes its servers of it. It is a list of entries:
 *
 *     NUMBER TAB KEY TAB NAME TAB NAME TAB SIZE TAB SIZE NEWLINE, then that many bytes twice
 *
 * NUMBER is that of the TLS in the route, from 1 on. Keys: "versions", "ciphers" and "verify"
 * (their value is the first name), "hook" (a script has further certificates), "ktls" (the kernel
 * has TLS, and the route allows its use), "client_ca" (the first bytes are a file's), "pair" (a
 * certificate and its key; the names are the files') and "found" (a pair of a folder).
 */
#ifndef MG_TLS_STORE_H
#define MG_TLS_STORE_H

#include "tls/server.h"

enum {
    TLS_SERVERS = 64,            /* numbers of a route */
    TLS_PAIRS = 10000,           /* of one server */
    TLS_STORE_BYTES = 256 << 20, /* of the file */
    TLS_NAME = 1024,             /* bytes of a name in an entry */
};

struct tls_store {
    struct tls_server *servers[TLS_SERVERS]; /* by number less 1; NULL: the route has none such */
};

/* Makes the servers of the file (0: there is none, and the store is empty). A pair of a folder that
 * can't be used is replaced by the one of the same file in `before` (NULL: none), or left out;
 * `warn` is called with the reason. NULL and *err, valid until the next call: a pair can't be used,
 * or a listener has none. */
struct tls_store *tls_store_new(int file, const struct tickets *tickets,
                                const struct tls_store *before, void (*warn)(const char *text),
                                const char **err);
void tls_store_free(struct tls_store *store);
/* The server of that number; NULL for 0. */
struct tls_server *tls_store_server(const struct tls_store *store, unsigned number);

/* Calls `report` with each problem that clients would have with a certificate
 * (certificate_problem). */
void tls_store_check(const struct tls_store *store,
                     void (*report)(void *ctx, const char *text, bool certain), void *ctx);

#endif

/*
 * none - this room in a program that was built without libssl (make MINIMAL=1), in place of the
 * files that use it. No route has a listener with TLS then (moongate.route.tls), so no connection
 * has any, and what needs one is never called.
 */
#include "tls/connection.h"
#include "tls/facts.h"
#include "tls/given.h"
#include "tls/ktls.h"
#include "tls/localhost.h"
#include "tls/store.h"

#include <stdlib.h>

#define ABSENT "this build of moongate has no TLS (MINIMAL=1)"

/* --- store --- */

struct tls_store *tls_store_new(int file, const struct tickets *tickets,
                                const struct tls_store *before, void (*warn)(const char *text),
                                const char **err)
{
    (void)tickets, (void)before, (void)warn;
    struct tls_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        abort();
    *err = file > 0 ? ABSENT : NULL;
    if (*err == NULL)
        return store;
    free(store);
    return NULL;
}

void tls_store_free(struct tls_store *store)
{
    free(store);
}

struct tls_server *tls_store_server(const struct tls_store *store, unsigned number)
{
    (void)store, (void)number;
    return NULL;
}

void tls_store_check(const struct tls_store *store,
                     void (*report)(void *ctx, const char *text, bool certain), void *ctx)
{
    (void)store, (void)report, (void)ctx;
}

/* --- certificate --- */

struct certificate *certificate_given(struct str cert, struct str key, const char **err)
{
    (void)cert, (void)key;
    *err = ABSENT;
    return NULL;
}

struct certificate *certificate_hold(struct certificate *c)
{
    return c;
}

void certificate_drop(struct certificate *c)
{
    (void)c;
}

/* --- server --- */

struct tls_server *tls_server_hold(struct tls_server *s)
{
    return s;
}

void tls_server_drop(struct tls_server *s)
{
    (void)s;
}

/* --- facts --- */

void facts_of_listener(const struct tls_store *store, unsigned number, const char *name,
                       facts_tell *tell, void *ctx)
{
    (void)store, (void)number, (void)name;
    tell(ctx, "unusable", ABSENT);
}

void facts_of_given(struct str cert, struct str key, const char *name, facts_tell *tell, void *ctx)
{
    (void)cert, (void)key, (void)name;
    tell(ctx, "unusable", ABSENT);
}

/* --- ktls --- */

const char *ktls_problem(void)
{
    return ABSENT;
}

bool ktls_send_alert(int fd, enum ktls_alert alert)
{
    (void)fd, (void)alert;
    return false;
}

/* --- localhost --- */

const char *localhost_make(char **cert, char **key)
{
    (void)cert, (void)key;
    return ABSENT;
}

/* --- connection --- */

void tls_begin_turn(void)
{
}

bool tls_turn_is_over(void)
{
    return false;
}

void tls_init(struct tls *t, struct tls_server *server, int fd, bool before)
{
    (void)t, (void)server, (void)fd, (void)before;
    abort();
}

void tls_begin(struct tls *t, const char *bytes, size_t n)
{
    (void)t, (void)bytes, (void)n;
    abort();
}

void tls_fini(struct tls *t)
{
    (void)t;
    abort();
}

ssize_t tls_read(struct tls *t, char *out, size_t size)
{
    (void)t, (void)out, (void)size;
    abort();
}

ssize_t tls_writev(struct tls *t, const struct iovec *slices, int count, bool more)
{
    (void)t, (void)slices, (void)count, (void)more;
    abort();
}

ssize_t tls_sendfile(struct tls *t, int file, off_t at, size_t size)
{
    (void)t, (void)file, (void)at, (void)size;
    abort();
}

bool tls_flush(struct tls *t)
{
    (void)t;
    abort();
}

void tls_end(struct tls *t)
{
    (void)t;
    abort();
}

const char *tls_failure(void)
{
    return ABSENT;
}

enum metrics_handshake tls_failure_kind(void)
{
    abort();
}

bool tls_is_resumed(const struct tls *t)
{
    (void)t;
    abort();
}

struct str tls_alpn(const struct tls *t)
{
    (void)t;
    abort();
}

const char *tls_version(const struct tls *t)
{
    (void)t;
    abort();
}

const char *tls_cipher(const struct tls *t)
{
    (void)t;
    abort();
}

const char *tls_asked_name(const struct tls *t)
{
    (void)t;
    abort();
}

const struct tls_peer *tls_peer(struct tls *t)
{
    (void)t;
    abort();
}

/*
 * connection_test - a server's side of TLS over a socket pair, with a client of OpenSSL's own:
 * handshakes, sessions while the keys of tickets change, names that a script is asked for. Links
 * tls/ whole.
 */
#include "../test.h"
#include "make.h"
#include "tls/asked.h"
#include "tls/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static char room[TLS_ROOM_MIN];

/* A connection and its client. */
struct pair {
    struct tls tls;
    SSL_CTX *ctx;
    SSL *client;
    int fd; /* the client's socket */
};

static struct certificate *issue(const char *names)
{
    static struct pem cert, key;
    const char *err;
    struct made m = make(&(struct make){.common = "x", .names = names});
    cert.n = key.n = 0;
    pem_add(&cert, &m);
    pem_add_key(&key, &m, NULL);
    struct certificate *c = certificate_new(pem_str(&cert), pem_str(&key), names, "key", &err);
    if (c == NULL)
        abort();
    made_free(&m);
    return c;
}

static struct tls_server *serve(const struct tls_settings *settings, struct certificate *c)
{
    const char *err;
    struct tls_server *s = tls_server_new(settings, &err);
    if (s == NULL || tls_server_use(s, &c, c != NULL) != NULL)
        abort();
    return s;
}

static void open_pair(struct pair *p, struct tls_server *server, const char *name, int version,
                      SSL_SESSION *session)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0)
        abort();
    tls_init(&p->tls, server, fds[0], false);
    p->fd = fds[1];
    p->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(p->ctx, SSL_SESS_CACHE_OFF);
    if (version != 0) {
        SSL_CTX_set_min_proto_version(p->ctx, version);
        SSL_CTX_set_max_proto_version(p->ctx, version);
    }
    p->client = SSL_new(p->ctx);
    SSL_set_fd(p->client, p->fd);
    SSL_set_connect_state(p->client);
    if (name != NULL)
        SSL_set_tlsext_host_name(p->client, name);
    if (session != NULL)
        SSL_set_session(p->client, session);
}

static void close_pair(struct pair *p)
{
    int fd = p->tls.fd;
    tls_fini(&p->tls);
    close(fd);
    SSL_shutdown(p->client); /* the session stays good */
    SSL_free(p->client);
    SSL_CTX_free(p->ctx);
    close(p->fd);
}

static int
    client_reason; /* why the client's handshake has failed, by OpenSSL's number; 0: it has not */

static int client_goes_on(struct pair *p)
{
    ERR_clear_error();
    int done = SSL_do_handshake(p->client);
    if (done != 1 && ERR_peek_last_error() != 0)
        client_reason = ERR_GET_REASON(ERR_peek_last_error());
    ERR_clear_error();
    return done;
}

/* Both sides go on until they have nothing to do. Returns what the server's last read has. */
static ssize_t run(struct pair *p, int *client)
{
    ssize_t n = -1;
    int err = EAGAIN;
    client_reason = 0;
    for (int i = 0; i < 8; i++) {
        *client = client_goes_on(p);
        errno = 0;
        n = tls_read(&p->tls, room, sizeof room);
        err = errno;
        tls_begin_turn();
    }
    errno = err;
    return n;
}

static bool shakes(struct pair *p)
{
    int client;
    run(p, &client);
    return client == 1 && tls_state(&p->tls) == TLS_OPEN;
}

/* Sends bytes both ways, by which a client of TLS 1.3 gets its ticket, too. */
static bool talks(struct pair *p)
{
    struct iovec v = {room, 5};
    char got[16];
    if (SSL_write(p->client, "hello", 5) != 5 || tls_read(&p->tls, room, sizeof room) != 5)
        return false;
    return tls_writev(&p->tls, &v, 1, false) == 5 && SSL_read(p->client, got, sizeof got) == 5 &&
           memcmp(got, "hello", 5) == 0;
}

/* A session with the server, or a resumed one: the caller's. */
static SSL_SESSION *session(struct tls_server *s, int version, SSL_SESSION *old, bool *resumed)
{
    struct pair p;
    open_pair(&p, s, "a.test", version, old);
    check(shakes(&p) && talks(&p));
    *resumed = SSL_session_reused(p.client) == 1;
    SSL_SESSION *got = SSL_get1_session(p.client);
    close_pair(&p);
    return got;
}

/* Whether a session is resumed; *renewed is the one that follows it. */
static bool resumes(struct tls_server *s, int version, SSL_SESSION *old, SSL_SESSION **renewed)
{
    bool resumed;
    SSL_SESSION *next = session(s, version, old, &resumed);
    if (renewed != NULL)
        *renewed = next;
    else
        SSL_SESSION_free(next);
    return resumed;
}

static void test_tickets(int version, const char *name)
{
    bool resumed;
    struct tickets *keys = tickets_new();
    const struct tls_settings settings = {.tls12 = true, .tls13 = true, .tickets = keys};
    struct certificate *c = issue("DNS:a.test");
    struct tls_server *s = serve(&settings, c);
    SSL_SESSION *renewed;

    test(name);
    SSL_SESSION *first = session(s, version, NULL, &resumed);
    check(!resumed && resumes(s, version, first, NULL));
    tickets_rotate(keys);
    check(resumes(s, version, first, &renewed));
    for (unsigned i = 2; i < TICKETS_KEYS; i++)
        tickets_rotate(keys);
    check(resumes(s, version, first, NULL)); /* by the oldest key */
    tickets_rotate(keys);
    check(!resumes(s, version, first, NULL));
    check(resumes(s, version, renewed, NULL)); /* its ticket has a newer key */
    tickets_rotate(keys);
    check(!resumes(s, version, renewed, NULL));
    SSL_SESSION_free(renewed);
    SSL_SESSION_free(first);
    tls_server_drop(s);
    certificate_drop(c);
    tickets_free(keys);
}

/* --- a script --- */

static struct asked_name *asked;
static unsigned calls;

static void on_ask(void *ctx, struct asked_name *name, const char *text)
{
    (void)ctx;
    (void)text;
    calls++;
    asked = name;
}

static bool on_may_ask(void *ctx, const struct asked_wait *w)
{
    (void)ctx;
    return w->tls != NULL;
}

static void on_missed(void *ctx, const struct asked_wait *w)
{
    (void)ctx;
    (void)w;
}

static void on_ready(void *ctx)
{
    (void)ctx;
}

static unsigned on_generation(void *ctx)
{
    (void)ctx;
    return 1;
}

static unsigned on_most(void *ctx)
{
    (void)ctx;
    return 16;
}

static double on_now(void *ctx)
{
    (void)ctx;
    return 1;
}

static const struct asked_source source = {.ask = on_ask,
                                           .may_ask = on_may_ask,
                                           .missed = on_missed,
                                           .ready = on_ready,
                                           .generation = on_generation,
                                           .most = on_most,
                                           .clock = on_now};

static bool has(const struct pair *p, const struct certificate *c)
{
    X509 *got = SSL_get1_peer_certificate(p->client);
    bool same = got != NULL && X509_cmp(got, c->leaf) == 0;
    X509_free(got);
    return same;
}

static void test_asking(int version, struct tls_server *s, const char *name)
{
    struct certificate *c = issue("DNS:a.test");
    struct asked_wait *next;
    struct pair p, other;
    int client;
    asked_use(&source);
    calls = 0;

    test(name);
    open_pair(&p, s, "a.test", version, NULL);
    open_pair(&other, s, "A.test", version, NULL);
    check(run(&p, &client) == -1 && errno == EAGAIN && client != 1);
    check(run(&other, &client) == -1 && errno == EAGAIN);
    check_int(calls, 1);
    check(tls_waits_for_script(&p.tls));
    asked_answer(asked, certificate_hold(c), 100);
    check((next = asked_next()) != NULL && next->tls == &p.tls);
    check((next = asked_next()) != NULL && next->tls == &other.tls);
    check(shakes(&p) && talks(&p) && has(&p, c) && !tls_waits_for_script(&p.tls));
    check(shakes(&other) && talks(&other) && has(&other, c));
    close_pair(&p);
    close_pair(&other);

    open_pair(&p, s, "a.test", version, NULL); /* it is known */
    check(shakes(&p) && has(&p, c));
    check_int(calls, 1);
    close_pair(&p);

    open_pair(&p, s, "gone.test", version, NULL); /* its client leaves */
    run(&p, &client);
    check_int(asked_waiting(), 1);
    shutdown(p.fd, SHUT_RDWR);
    check(tls_read(&p.tls, room, sizeof room) == 0);
    close_pair(&p);
    check_int(asked_waiting(), 0);
    asked_answer(asked, NULL, 100);
    asked_end();
    certificate_drop(c);
}

/* What a client is told where a listener without certificates has none for its name. */
static void test_refusal(int version, struct tls_server *s, const char *name, int alert)
{
    struct pair p;
    int client;
    asked_use(&source);
    open_pair(&p, s, name, version, NULL);
    run(&p, &client);
    if (name != NULL) {
        asked_answer(asked, NULL, 100);
        check(asked_next() != NULL);
    }
    check(tls_read(&p.tls, room, sizeof room) == -1 && errno == EPROTO);
    check(tls_state(&p.tls) == TLS_BROKEN);
    check(client_goes_on(&p) != 1);
    check_int(client_reason, 1000 + alert); /* of an alert: its number and 1000 */
    check(strstr(tls_failure(), name != NULL ? "no certificate" : "no name") != NULL);
    close_pair(&p);
    asked_end();
}

static void test_script(void)
{
    const struct tls_settings settings = {.tls12 = true, .tls13 = true, .asks = true};
    struct certificate *own = issue("DNS:own.test");
    struct tls_server *bare = serve(&settings, NULL), *s = serve(&settings, own);
    struct pair p;
    int client;
    test_asking(TLS1_2_VERSION, bare, "a script's certificate, in TLS 1.2");
    test_asking(TLS1_3_VERSION, bare, "a script's certificate, in TLS 1.3");
    test_asking(TLS1_3_VERSION, s, "a script's certificate, beside one of the listener's own");

    test("a client whose name has no certificate is told so, by the alerts of RFC 6066 and 8446");
    test_refusal(TLS1_2_VERSION, bare, "none.test", SSL_AD_UNRECOGNIZED_NAME);
    test_refusal(TLS1_3_VERSION, bare, "none.test", SSL_AD_UNRECOGNIZED_NAME);
    test_refusal(TLS1_2_VERSION, bare, NULL, SSL_AD_MISSING_EXTENSION);
    test_refusal(TLS1_3_VERSION, bare, NULL, SSL_AD_MISSING_EXTENSION);

    test("the listener's first certificate is for all others");
    asked_use(&source);
    calls = 0;
    open_pair(&p, s, "own.test", 0, NULL);
    check(shakes(&p) && has(&p, own));
    close_pair(&p);
    open_pair(&p, s, NULL, 0, NULL);
    check(shakes(&p) && has(&p, own));
    close_pair(&p);
    check_int(calls, 0);
    open_pair(&p, s, "none.test", 0, NULL);
    check(run(&p, &client) == -1);
    asked_answer(asked, NULL, 100);
    check(asked_next() != NULL && shakes(&p) && has(&p, own));
    close_pair(&p);
    asked_end();
    tls_server_drop(s);
    tls_server_drop(bare);
    certificate_drop(own);
}

/* A client that sends before it is answered. */
static void test_ahead(void)
{
    const struct tls_settings settings = {.tls12 = true, .tls13 = true, .asks = true};
    static const char bytes[8192];
    struct tls_server *s = serve(&settings, NULL);
    struct pair p;
    int client;
    test("a client that sends much while a script is asked is cut off");
    asked_use(&source);
    open_pair(&p, s, "a.test", 0, NULL);
    run(&p, &client);
    check(write(p.fd, bytes, 100) == 100);
    check(tls_read(&p.tls, room, sizeof room) == -1 && errno == EAGAIN);
    check(write(p.fd, bytes, sizeof bytes) == sizeof bytes);
    ssize_t n;
    do
        n = tls_read(&p.tls, room, sizeof room);
    while (n == -1 && errno == EAGAIN && tls_state(&p.tls) != TLS_BROKEN);
    check(n == -1 && errno == EPROTO);
    close_pair(&p);
    asked_answer(asked, NULL, 1);

    test("what came too soon is read behind the answer");
    struct certificate *c = issue("DNS:b.test");
    open_pair(&p, s, "b.test", 0, NULL);
    run(&p, &client);
    check(write(p.fd, bytes, 100) == 100); /* no record */
    check(tls_read(&p.tls, room, sizeof room) == -1 && errno == EAGAIN);
    asked_answer(asked, certificate_hold(c), 100);
    check(asked_next() != NULL);
    check(tls_read(&p.tls, room, sizeof room) == -1 && errno == EPROTO);
    close_pair(&p);
    asked_end();
    certificate_drop(c);
    tls_server_drop(s);
}

/* A listener that may use the kernel's TLS, on a socket that has none: OpenSSL makes the records,
 * and the flush that it asks for before it tries the kernel loses nothing. */
static void test_without_kernel(int version, const char *name)
{
    struct tickets *keys = tickets_new();
    const struct tls_settings settings = {
        .tls12 = true, .tls13 = true, .tickets = keys, .ktls = true};
    struct certificate *c = issue("DNS:a.test");
    struct tls_server *s = serve(&settings, c);
    struct pair p;
    bool resumed;
    test(name);
    open_pair(&p, s, "a.test", version, NULL);
    check(shakes(&p) && talks(&p) && !tls_is_in_kernel(&p.tls));
    tls_end(&p.tls);
    check(SSL_read(p.client, room, sizeof room) == 0);
    check_int(SSL_get_error(p.client, 0), SSL_ERROR_ZERO_RETURN);
    close_pair(&p);
    SSL_SESSION *first = session(s, version, NULL, &resumed);
    check(!resumed && resumes(s, version, first, NULL));
    SSL_SESSION_free(first);

    /* a client that has left: the flush inside the handshake fails */
    open_pair(&p, s, "a.test", version, NULL);
    client_goes_on(&p);
    shutdown(p.fd, SHUT_RD);
    tls_read(&p.tls, room, sizeof room);
    check(tls_state(&p.tls) == TLS_BROKEN);
    close_pair(&p);
    tls_server_drop(s);
    certificate_drop(c);
    tickets_free(keys);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    test_tickets(TLS1_2_VERSION, "a session is resumed until its key is gone, in TLS 1.2");
    test_tickets(TLS1_3_VERSION, "a session is resumed until its key is gone, in TLS 1.3");
    test_script();
    test_ahead();
    test_without_kernel(TLS1_2_VERSION,
                        "without the kernel's TLS OpenSSL makes the records, in 1.2");
    test_without_kernel(TLS1_3_VERSION,
                        "without the kernel's TLS OpenSSL makes the records, in 1.3");
    return test_report();
}

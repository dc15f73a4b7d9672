/* connection - see connection.h. */
#include "tls/connection.h"

#include "tls/asked.h"
#include "tls/error.h"
#include "tls/ktls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH     4     /* records of one write */
#define OVERHEAD  512   /* bytes of a record beside its plain ones, and alerts behind it */
#define HELLO_MAX 65536 /* bytes of a flight of the handshake, with the chain */
#define IN_SIZE   (64 * 1024)
#define OUT_SIZE  (BATCH * (TLS_RECORD + OVERHEAD) + HELLO_MAX)
/* Bytes of `held`, at most: records of one write and alerts. A client that asks for a renegotiation
 * again and again, and reads none of the refusals, has its connection broken off. */
#define HELD_MAX (2 * OUT_SIZE)
#define TURN     0.005 /* seconds of handshakes in one turn of the loop */
/* Bytes that a client may send while a script is asked: none, by the protocol, but an alert. */
#define AHEAD_MAX 4096
/* Alerts (RFC 8446 section 6.2) */
#define ALERT_MISSING_EXTENSION 109
#define ALERT_UNRECOGNIZED_NAME 112

/* The buffers of the process. `in` is what OpenSSL has not taken of the read under way. */
static struct {
    struct str in;
    size_t out_used;
    double spent; /* seconds of handshakes in this turn */
    const char *failure;
    enum metrics_handshake kind; /* of the failure */
    char in_bytes[IN_SIZE], out[OUT_SIZE];
    char plain[TLS_RECORD]; /* slices of one record */
} now;

/* A record that is in now.out. */
struct tls_record {
    size_t end, plain;
};

/* --- the BIO --- */

static int tls_bio_read(BIO *bio, char *out, size_t size, size_t *done)
{
    BIO_clear_retry_flags(bio);
    *done = size < now.in.n ? size : now.in.n;
    if (*done == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    memcpy(out, now.in.p, *done);
    now.in = str_skip(now.in, *done);
    return 1;
}

static int tls_bio_write(BIO *bio, const char *bytes, size_t size, size_t *done)
{
    BIO_clear_retry_flags(bio);
    *done = size;
    if (size > OUT_SIZE - now.out_used) /* a flight of more than HELLO_MAX */
        return -1;
    memcpy(now.out + now.out_used, bytes, size);
    now.out_used += size;
    return 1;
}

static long tls_bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP;
}

static int tls_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* Makes a BIO that ends here, from which OpenSSL reads, and to which it writes without kTLS. */
static BIO *tls_bio(void)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "moongate");
        if (method == NULL)
            abort();
        BIO_meth_set_read_ex(method, tls_bio_read);
        BIO_meth_set_write_ex(method, tls_bio_write);
        BIO_meth_set_ctrl(method, tls_bio_ctrl);
        BIO_meth_set_create(method, tls_bio_create);
    }
    BIO *bio = BIO_new(method);
    if (bio == NULL)
        abort();
    return bio;
}

/* --- the socket --- */

static void tls_break(struct tls *t)
{
    t->state = TLS_BROKEN;
    free(t->held);
    t->held = NULL;
}

static ssize_t tls_send(const struct tls *t, const char *bytes, size_t n, bool more)
{
    return send(t->fd, bytes, n, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

/* Writes a record of OpenSSL's that is held, of the type that its socket BIO has been told. The
 * kernel takes it whole or not at all. */
static ssize_t tls_kernel_send_held(const struct tls *t)
{
    BIO *socket = BIO_find_type(SSL_get_wbio(t->ssl), BIO_TYPE_SOCKET);
    int n = BIO_write(socket, t->held, (int)t->held_size);
    if (n <= 0)
        errno = BIO_should_retry(socket) ? EAGAIN : EPIPE;
    return n;
}

bool tls_flush(struct tls *t)
{
    if (t->held == NULL)
        return t->state != TLS_BROKEN;
    ssize_t n = t->kernel ? tls_kernel_send_held(t)
                          : tls_send(t, t->held + t->held_at, t->held_size - t->held_at, false);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        tls_break(t);
    if (n <= 0)
        return false;
    t->held_at += (size_t)n;
    if (t->held_at < t->held_size)
        return false;
    free(t->held);
    t->held = NULL;
    return true;
}

/* Keeps bytes that the socket has not taken, behind those that are held. */
static void tls_hold(struct tls *t, const char *bytes, size_t n)
{
    size_t before = t->held != NULL ? t->held_size - t->held_at : 0;
    if (n == 0)
        return;
    if (before + n > HELD_MAX) {
        tls_break(t);
        return;
    }
    char *held = malloc(before + n);
    if (held == NULL)
        abort();
    if (before > 0)
        memcpy(held, t->held + t->held_at, before);
    memcpy(held + before, bytes, n);
    free(t->held);
    t->held = held;
    t->held_at = 0;
    t->held_size = before + n;
}

/* Writes now.out, or keeps it behind what is held. Returns the bytes that have left. */
static size_t tls_write_out(struct tls *t, bool more)
{
    ssize_t n = 0;
    if (now.out_used > 0 && t->held == NULL) {
        n = tls_send(t, now.out, now.out_used, more);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            tls_break(t);
    }
    size_t taken = n > 0 ? (size_t)n : 0;
    if (t->state != TLS_BROKEN)
        tls_hold(t, now.out + taken, now.out_used - taken);
    now.out_used = 0;
    return taken;
}

/* --- the BIO with kTLS --- */

/* Takes what OpenSSL writes: before the kernel makes records as the other BIO does, from then on a
 * record that is no application's (a ticket, an alert) for the socket BIO below. One of them may
 * wait for room in the socket. */
static int tls_kernel_bio_write(BIO *bio, const char *bytes, size_t size, size_t *done)
{
    struct tls *t = BIO_get_data(bio);
    if (!t->kernel)
        return tls_bio_write(bio, bytes, size, done);
    BIO_clear_retry_flags(bio);
    *done = size;
    if (t->rekey || t->held != NULL)
        return -1;
    if (BIO_write(BIO_next(bio), bytes, (int)size) == (int)size)
        return 1;
    if (!BIO_should_retry(BIO_next(bio)))
        return -1;
    tls_hold(t, bytes, size);
    return 1;
}

/* OpenSSL flushes the BIO before it gives the kernel its keys, and before each record of its own
 * that the kernel makes. The commands by which it does both are its own, and are passed to the
 * socket BIO below; not while bytes of its own records wait, and then it goes on without kTLS. */
static long tls_kernel_bio_ctrl(BIO *bio, int what, long number, void *pointer)
{
    struct tls *t = BIO_get_data(bio);
    if (what == BIO_CTRL_DUP)
        return 1;
    if (what == BIO_CTRL_FLUSH && t->kernel)
        return tls_flush(t);
    if (what == BIO_CTRL_FLUSH) {
        tls_write_out(t, false);
        return 1;
    }
    if (BIO_next(bio) == NULL || (!t->kernel && (now.out_used > 0 || t->held != NULL)))
        return 0;
    long result = BIO_ctrl(BIO_next(bio), what, number, pointer);
    t->kernel = BIO_get_ktls_send(BIO_next(bio));
    return result;
}

static BIO *tls_kernel_bio(struct tls *t)
{
    static BIO_METHOD *method;
    if (method == NULL) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "moongate with kTLS");
        if (method == NULL)
            abort();
        BIO_meth_set_write_ex(method, tls_kernel_bio_write);
        BIO_meth_set_ctrl(method, tls_kernel_bio_ctrl);
        BIO_meth_set_create(method, tls_bio_create);
    }
    BIO *bio = BIO_new(method), *socket = BIO_new_socket(t->fd, BIO_NOCLOSE);
    if (bio == NULL || socket == NULL)
        abort();
    BIO_set_data(bio, t);
    return BIO_push(bio, socket);
}

/* Called by OpenSSL with each message before it is handled: notes that the client has asked for new
 * keys of this side (RFC 8446 section 4.6.3). OpenSSL would make some that the kernel does not get
 * before Linux 6.14, and never from OpenSSL 3.0. */
static void tls_on_message(int is_sent, int version, int type, const void *bytes, size_t size,
                           SSL *ssl, void *ctx)
{
    const unsigned char *message = bytes;
    struct tls *t = ctx;
    (void)version, (void)ssl;
    if (t->kernel && !is_sent && type == SSL3_RT_HANDSHAKE && size > SSL3_HM_HEADER_LENGTH &&
        message[0] == SSL3_MT_KEY_UPDATE &&
        message[SSL3_HM_HEADER_LENGTH] == SSL_KEY_UPDATE_REQUESTED)
        t->rekey = true;
}

/* --- life --- */

void tls_init(struct tls *t, struct tls_server *server, int fd, bool before)
{
    *t = (struct tls){.server = tls_server_hold(server), .fd = fd, .before = before};
}

/* The answer of a script is not needed any more. */
static void tls_forget_asked(struct tls *t)
{
    if (t->asked == NULL)
        return;
    SSL_set_app_data(t->ssl, NULL);
    asked_leave(t->asked);
    free(t->asked);
    t->asked = NULL;
}

void tls_fini(struct tls *t)
{
    tls_forget_asked(t);
    SSL_free(t->ssl);
    free(t->held);
    free(t->early);
    if (t->peer != NULL) {
        free(t->peer->subject);
        free(t->peer->serial);
        free(t->peer->pem);
        free(t->peer);
    }
    tls_server_drop(t->server);
    *t = (struct tls){.fd = -1, .state = TLS_BROKEN};
}

static void tls_create(struct tls *t)
{
    BIO *bio = tls_bio();
    t->ssl = SSL_new(t->server->ctx);
    if (t->ssl == NULL)
        abort();
    SSL_set_bio(t->ssl, bio, t->server->ktls ? tls_kernel_bio(t) : bio);
    if (t->server->ktls) {
        SSL_set_msg_callback(t->ssl, tls_on_message);
        SSL_set_msg_callback_arg(t->ssl, t);
    }
    SSL_set_accept_state(t->ssl);
}

void tls_end(struct tls *t)
{
    if (t->state != TLS_OPEN || SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)
        return;
    SSL_shutdown(t->ssl);
    tls_error_clear();
    tls_write_out(t, true); /* in one packet with the FIN that the caller sends */
}

/* --- the handshake --- */

static double tls_clock(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

void tls_begin_turn(void)
{
    now.spent = 0;
}

bool tls_turn_is_over(void)
{
    return now.spent > TURN;
}

const char *tls_failure(void)
{
    return now.failure != NULL ? now.failure : "";
}

enum metrics_handshake tls_failure_kind(void)
{
    return now.kind;
}

/* The connection can't go on: an alert leaves, if OpenSSL has made one. */
static ssize_t tls_fail(struct tls *t)
{
    now.kind = tls_error_kind();
    now.failure = tls_error_words(SSL_get_verify_result(t->ssl));
    tls_write_out(t, false);
    tls_break(t);
    errno = EPROTO;
    return -1;
}

/* Refuses a client for whose name there is no certificate, by an alert of this program's own:
 * OpenSSL would call it an internal error. Neither side has keys yet, so the alert is sent as it
 * is. */
static int tls_refuse(struct tls *t)
{
    bool named = tls_asked_name(t) != NULL;
    const char record[] = {
        21, 3, 3, 0, 2, 2, named ? ALERT_UNRECOGNIZED_NAME : ALERT_MISSING_EXTENSION};
    tls_error_clear();
    memcpy(now.out + now.out_used, record, sizeof record);
    now.out_used += sizeof record;
    tls_fail(t);
    now.failure = named ? "there is no certificate for the name" : "the client has sent no name";
    return -1;
}

/* Keeps bytes that came too soon: those of the read under way, and others behind them. */
static void tls_keep_early(struct tls *t)
{
    if (now.in.n == 0)
        return;
    char *bytes = malloc(now.in.n + t->early_size);
    if (bytes == NULL)
        abort();
    memcpy(bytes, now.in.p, now.in.n);
    if (t->early_size > 0)
        memcpy(bytes + now.in.n, t->early, t->early_size);
    free(t->early);
    t->early = bytes;
    t->early_size += now.in.n;
    now.in.n = 0;
}

/* OpenSSL needs the certificate of the name that the client has sent. True: there is an answer, and
 * the handshake goes on. */
static bool tls_ask(struct tls *t)
{
    const char *name = tls_asked_name(t);
    if (t->asked != NULL || name == NULL)
        return false;
    t->asked = calloc(1, sizeof *t->asked);
    if (t->asked == NULL)
        abort();
    t->asked->tls = t;
    SSL_set_app_data(t->ssl, t->asked);
    return asked_begin(t->asked, name);
}

/* Calls OpenSSL, which may stop for a certificate. Returns its SSL_ERROR. */
static int tls_step(struct tls *t)
{
    int done, why;
    do {
        tls_error_clear();
        done = SSL_do_handshake(t->ssl);
        why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, done);
    } while (why == SSL_ERROR_WANT_X509_LOOKUP && tls_ask(t));
    return why;
}

/* Goes on with the handshake. Returns 1: it is over; -1 and errno. */
static int tls_shake(struct tls *t)
{
    double from = tls_clock();
    int why = tls_step(t);
    now.spent += tls_clock() - from;
    if (why == SSL_ERROR_WANT_X509_LOOKUP) {
        if (t->asked == NULL || t->asked->answered)
            return tls_refuse(t);
        tls_keep_early(t);
        errno = EAGAIN;
        return -1;
    }
    tls_forget_asked(t);
    if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ)
        return (int)tls_fail(t);
    tls_write_out(t, now.in.n > 0); /* tickets leave with the answer to a request that is here */
    if (t->state == TLS_BROKEN) {
        errno = ECONNRESET;
        return -1;
    }
    errno = EAGAIN;
    if (why == SSL_ERROR_NONE)
        t->state = TLS_OPEN;
    return why == SSL_ERROR_NONE ? 1 : -1;
}

/* --- reading --- */

/* The client can't have new keys of this side: an alert says that the connection ends, which the
 * old ones may still do. */
static ssize_t tls_refuse_rekey(struct tls *t)
{
    ssize_t result = tls_fail(t);
    ktls_send_alert(t->fd, KTLS_INTERNAL_ERROR);
    now.failure = "the client asks for new keys, which the kernel does not make";
    errno = EPROTO;
    return result;
}

/* Decrypts what now.in holds. Returns the plain bytes, or as tls_read. */
static ssize_t tls_decrypt(struct tls *t, char *out, size_t size)
{
    size_t total = 0, n = 0;
    int why = SSL_ERROR_NONE;
    tls_error_clear();
    while (why == SSL_ERROR_NONE && total < size && (now.in.n > 0 || SSL_pending(t->ssl) > 0)) {
        int done = SSL_read_ex(t->ssl, out + total, size - total, &n);
        if (done == 1)
            total += n;
        else
            why = SSL_get_error(t->ssl, done);
    }
    if (t->rekey)
        return tls_refuse_rekey(t);
    if (why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL)
        return tls_fail(t);
    if (now.out_used > 0) /* the answer to a KeyUpdate, say */
        tls_write_out(t, false);
    if (t->state == TLS_BROKEN) {
        errno = EPROTO;
        return -1;
    }
    t->ended |= why == SSL_ERROR_ZERO_RETURN;
    if (total > 0 || t->ended)
        return (ssize_t)total;
    errno = EAGAIN;
    return -1;
}

/* Handles ciphertext that has come. */
static ssize_t tls_take(struct tls *t, char *out, size_t size)
{
    if (t->ssl == NULL)
        tls_create(t);
    if (t->state == TLS_OPENING && tls_shake(t) != 1)
        return -1;
    return tls_decrypt(t, out, size);
}

/* A client without TLS begins with a method, a letter (RFC 9110 section 9.1). A record of a
 * handshake begins with 22. */
static bool tls_is_clear(const struct tls *t, char first)
{
    return t->ssl == NULL && ((first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z'));
}

/* Reads up to `size` bytes that tls_begin was given, or else of the socket. */
static ssize_t tls_receive(struct tls *t, char *out, size_t size)
{
    if (t->early == NULL)
        return read(t->fd, out, size);
    size_t n = size < t->early_size ? size : t->early_size;
    memcpy(out, t->early, n);
    t->early_size -= n;
    memmove(t->early, t->early + n, t->early_size);
    if (t->early_size == 0) {
        free(t->early);
        t->early = NULL;
    }
    return (ssize_t)n;
}

void tls_begin(struct tls *t, const char *bytes, size_t n)
{
    t->before = false;
    if (n == 0)
        return;
    t->early = malloc(n);
    if (t->early == NULL)
        abort();
    memcpy(t->early, bytes, n);
    t->early_size = n;
}

/* Reads while a script is asked: a client that leaves is noticed. */
static ssize_t tls_read_ahead(struct tls *t)
{
    ssize_t n = read(t->fd, now.in_bytes, AHEAD_MAX);
    if (n <= 0)
        return n;
    if (t->early_size + (size_t)n > AHEAD_MAX) {
        tls_break(t);
        now.kind = METRICS_BAD_TLS;
        now.failure = "the client sends without waiting for the handshake";
        errno = EPROTO;
        return -1;
    }
    char *bytes = realloc(t->early, t->early_size + (size_t)n);
    if (bytes == NULL)
        abort();
    memcpy(bytes + t->early_size, now.in_bytes, (size_t)n);
    t->early = bytes;
    t->early_size += (size_t)n;
    errno = EAGAIN;
    return -1;
}

ssize_t tls_read(struct tls *t, char *out, size_t size)
{
    if (t->before || t->state == TLS_CLEAR)
        return tls_receive(t, out, size);
    if (t->state == TLS_BROKEN || size < TLS_ROOM_MIN) {
        errno = t->state == TLS_BROKEN ? EPROTO : EINVAL;
        return -1;
    }
    if (t->ended)
        return 0;
    if (t->asked != NULL && !t->asked->answered)
        return tls_read_ahead(t);
    bool answered = t->asked != NULL;
    if (t->state == TLS_OPENING && tls_turn_is_over() && !answered && t->early == NULL) {
        errno = EAGAIN; /* the socket's event comes again */
        return -1;
    }
    /* a part of a record may wait in OpenSSL, and is decrypted with what comes */
    size_t room = size - TLS_RECORD - OVERHEAD;
    ssize_t n = 0;
    if (!answered || t->early != NULL) {
        n = tls_receive(t, now.in_bytes, room < IN_SIZE ? room : IN_SIZE);
        if (n <= 0)
            return n;
    }
    if (!answered && tls_is_clear(t, now.in_bytes[0])) {
        t->state = TLS_CLEAR;
        memcpy(out, now.in_bytes, (size_t)n);
        return n;
    }
    now.in = (struct str){now.in_bytes, (size_t)n};
    return tls_take(t, out, size);
}

/* --- writing --- */

/* A place in the caller's slices. */
struct tls_place {
    const struct iovec *slices;
    int count;
    size_t at; /* in the first one */
};

static void tls_skip(struct tls_place *p, size_t n)
{
    p->at += n;
    while (p->count > 0 && p->at >= p->slices->iov_len) {
        p->at -= p->slices->iov_len;
        p->slices++;
        p->count--;
    }
}

/* The bytes of the next record, at their place or gathered. n = 0: there are none. */
static struct str tls_next(struct tls_place *p)
{
    size_t used = 0;
    tls_skip(p, 0);
    if (p->count == 0)
        return STR_NONE;
    struct str first = {(const char *)p->slices->iov_base + p->at, p->slices->iov_len - p->at};
    if (first.n >= TLS_RECORD || p->count == 1) {
        first.n = first.n < TLS_RECORD ? first.n : TLS_RECORD;
        tls_skip(p, first.n);
        return first;
    }
    while (p->count > 0 && used < TLS_RECORD) {
        size_t n = p->slices->iov_len - p->at;
        n = n < TLS_RECORD - used ? n : TLS_RECORD - used;
        memcpy(now.plain + used, (const char *)p->slices->iov_base + p->at, n);
        used += n;
        tls_skip(p, n);
    }
    return (struct str){now.plain, used};
}

/* Encrypts some records into now.out. Returns their number; -1: OpenSSL has refused one. */
static int tls_encrypt(struct tls *t, struct tls_place *p, struct tls_record records[BATCH])
{
    struct str bytes;
    size_t done;
    int count = 0;
    while (count < BATCH && (bytes = tls_next(p)).n > 0) {
        if (SSL_write_ex(t->ssl, bytes.p, bytes.n, &done) != 1)
            return -1;
        records[count++] = (struct tls_record){now.out_used, bytes.n};
    }
    return count;
}

/* Bytes that were encrypted before, and are given again. Returns how many of them have left now;
 * -1: they still wait. */
static ssize_t tls_settle_owed(struct tls *t, const struct iovec *slices, int count)
{
    size_t given = 0;
    if (!tls_flush(t)) {
        errno = t->state == TLS_BROKEN ? EPIPE : EAGAIN;
        return -1;
    }
    for (int i = 0; i < count; i++)
        given += slices[i].iov_len;
    size_t settled = t->owed < given ? t->owed : given;
    t->owed -= settled;
    return (ssize_t)settled;
}

/* False and errno: nothing can be given to the kernel, or not yet. */
static bool tls_kernel_is_ready(struct tls *t)
{
    bool ready = t->state == TLS_OPEN && tls_flush(t);
    if (!ready)
        errno = t->state == TLS_BROKEN ? EPIPE : t->state == TLS_OPEN ? EAGAIN : ENOTCONN;
    return ready;
}

static ssize_t tls_kernel_writev(struct tls *t, const struct iovec *slices, int count, bool more)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)slices, .msg_iovlen = (size_t)count};
    if (!tls_kernel_is_ready(t))
        return -1;
    return sendmsg(t->fd, &msg, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

ssize_t tls_sendfile(struct tls *t, int file, off_t at, size_t size)
{
    return tls_kernel_is_ready(t) ? sendfile(t->fd, file, &at, size) : -1;
}

ssize_t tls_writev(struct tls *t, const struct iovec *slices, int count, bool more)
{
    struct tls_record records[BATCH];
    struct tls_place place = {slices, count, 0};
    if (t->state == TLS_CLEAR)
        return writev(t->fd, slices, count);
    if (t->kernel)
        return tls_kernel_writev(t, slices, count, more);
    if (t->state != TLS_OPEN) {
        errno = t->state == TLS_OPENING ? ENOTCONN : EPIPE;
        return -1;
    }
    ssize_t total = tls_settle_owed(t, slices, count);
    if (total < 0)
        return -1;
    tls_skip(&place, (size_t)total);
    int made;
    tls_error_clear();
    while (t->held == NULL && (made = tls_encrypt(t, &place, records)) != 0) {
        if (made < 0)
            return tls_fail(t);
        size_t taken = tls_write_out(t, more && place.count == 0);
        for (int i = 0; i < made; i++)
            if (records[i].end <= taken)
                total += (ssize_t)records[i].plain;
            else
                t->owed += records[i].plain;
        if (t->state == TLS_BROKEN) {
            errno = EPIPE;
            return -1;
        }
    }
    if (total > 0 || t->held == NULL)
        return total;
    errno = EAGAIN;
    return -1;
}

/* --- what was agreed on --- */

struct str tls_alpn(const struct tls *t)
{
    const unsigned char *name = NULL;
    unsigned size = 0;
    if (t->state == TLS_OPEN)
        SSL_get0_alpn_selected(t->ssl, &name, &size);
    return (struct str){(const char *)name, size};
}

bool tls_is_resumed(const struct tls *t)
{
    return SSL_session_reused(t->ssl) == 1;
}

const char *tls_version(const struct tls *t)
{
    return SSL_get_version(t->ssl);
}

const char *tls_cipher(const struct tls *t)
{
    return SSL_get_cipher_name(t->ssl);
}

const char *tls_asked_name(const struct tls *t)
{
    return t->ssl != NULL ? SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
}

/* The text that was written to a BIO, which is freed. */
static char *tls_text_of(BIO *bio)
{
    char *bytes;
    long n = BIO_get_mem_data(bio, &bytes);
    char *text = malloc((size_t)n + 1);
    if (text == NULL)
        abort();
    memcpy(text, bytes, (size_t)n);
    text[n] = '\0';
    BIO_free(bio);
    return text;
}

static BIO *tls_memory(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio == NULL)
        abort();
    return bio;
}

const struct tls_peer *tls_peer(struct tls *t)
{
    if (t->peer != NULL || t->server->verify == TLS_VERIFY_NONE)
        return t->peer;
    X509 *cert = SSL_get1_peer_certificate(t->ssl);
    if (cert == NULL || SSL_get_verify_result(t->ssl) != X509_V_OK) {
        X509_free(cert);
        return NULL;
    }
    BIO *subject = tls_memory(), *serial = tls_memory(), *pem = tls_memory();
    X509_NAME_print_ex(subject, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);
    i2a_ASN1_INTEGER(serial, X509_get0_serialNumber(cert));
    PEM_write_bio_X509(pem, cert);
    X509_free(cert);
    t->peer = malloc(sizeof *t->peer);
    if (t->peer == NULL)
        abort();
    *t->peer = (struct tls_peer){tls_text_of(subject), tls_text_of(serial), tls_text_of(pem)};
    return t->peer;
}

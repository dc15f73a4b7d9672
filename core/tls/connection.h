/*
 * connection - TLS of one client's connection: ciphertext on the socket, plain bytes for the
 * caller.
 *
 *     socket --one read--> in --BIO--> OpenSSL --records--> the caller's buffer
 *     caller's slices --records of 16 KB--> OpenSSL --BIO--> out --one write--> socket
 *                                                              \--> held: not taken by the socket
 *
 * `in` and `out` are buffers of the process; a call empties them before it returns. So an idle
 * connection has its SSL object and nothing else, a read event is one system call, and OpenSSL
 * never holds whole records that no event of the socket would announce: one read takes at most as
 * many bytes as the caller's buffer has room for when they are decrypted.
 *
 * Records that the socket has not taken are kept in `held`, and their plain bytes (`owed`) are not
 * reported as written. The caller gives the same bytes again when there is room, as with any
 * socket, and they are reported when their records have left.
 *
 * With kTLS (tls/ktls) the kernel makes the records of what is written: OpenSSL gives it the keys
 * inside the handshake, and from then on `out` is not used.
 *
 *     caller's slices, files ------------------------------------> socket, records of the kernel's
 *     OpenSSL's alerts and tickets --BIO--> OpenSSL's socket BIO --> socket
 *                                     \--> held: one that the socket has not taken
 *
 * It is the listener's `ktls`, and begins only where kernel and cipher allow it and all bytes of
 * the handshake have left; else the connection goes on as any other. A client that asks for new
 * keys of this side (KeyUpdate) has its connection ended by an alert.
 *
 * Where a script has the certificate of the name that a client asks for (tls/asked), the handshake
 * stops until the answer is there. Bytes of the client are read meanwhile, so that its end is
 * noticed.
 *
 * The SSL object is made when the first byte comes, so a connection that says nothing costs none.
 */
#ifndef MG_TLS_CONNECTION_H
#define MG_TLS_CONNECTION_H

#include "shm/metrics.h"
#include "tls/server.h"

#include <sys/types.h>
#include <sys/uio.h>

struct asked_wait;
struct ssl_st;

enum tls_state {
    TLS_OPENING, /* the handshake is not over */
    TLS_OPEN,
    TLS_CLEAR,  /* the client speaks without TLS; its bytes are passed as they are */
    TLS_BROKEN, /* no byte passes any more */
};

/* The certificate of a client, once for its connection. The strings are the struct's. */
struct tls_peer {
    char *subject; /* as RFC 2253 writes it: "CN=alice,O=Example" */
    char *serial;  /* in upper case hex */
    char *pem;
};

/* Embedded in a transport. All members are private. */
struct tls {
    struct tls_server *server;
    struct ssl_st *ssl; /* NULL: no byte has come */
    char *held;         /* ciphertext from held_at on; NULL: none */
    size_t held_at, held_size;
    size_t owed;              /* plain bytes of it */
    struct tls_peer *peer;    /* NULL: not asked for yet, or there is none */
    struct asked_wait *asked; /* the certificate that a script is asked for; NULL: none */
    char *early; /* what was read too soon: behind a PROXY header, while a script is asked; NULL:
                    nothing that is not read yet */
    size_t early_size;
    int fd;        /* the caller's */
    uint8_t state; /* enum tls_state */
    bool ended;    /* the client's close_notify has come */
    bool kernel;   /* the kernel makes the records that are sent (kTLS); held is then one record of
                      OpenSSL's that is not encrypted yet */
    bool rekey;    /* the client has asked for new keys, which the kernel can't have */
    bool before;   /* bytes that are not TLS come first, a header of the PROXY protocol */
};

enum {
    TLS_RECORD = 16384, /* plain bytes of a record, at most (RFC 8446 section 5.1) */
    TLS_ROOM_MIN = 2 * TLS_RECORD + 1024, /* bytes of the buffer that a caller reads into */
};

/* Begins. `before`: what is read is passed on as it is until tls_begin. Holds the server. */
void tls_init(struct tls *t, struct tls_server *server, int fd, bool before);
/* Bytes that were read before (n may be 0) are the client's first ones of TLS. */
void tls_begin(struct tls *t, const char *bytes, size_t n);
/* Frees all but the socket. Held ciphertext is lost. */
void tls_fini(struct tls *t);

/* As read(2): reads from the socket once, goes on with the handshake, returns plain bytes. `size`
 * is at least TLS_ROOM_MIN. 0: the client has ended its side. -1 and EAGAIN: nothing yet; EPROTO:
 * it is no TLS, or a rule of TLS was broken (tls_failure); other errors are the socket's. */
ssize_t tls_read(struct tls *t, char *out, size_t size);
/* As writev(2), but all that the socket takes; see `owed`. */
ssize_t tls_writev(struct tls *t, const struct iovec *slices, int count, bool more);
/* As sendfile(2), from `at` on; for connections with kTLS. */
ssize_t tls_sendfile(struct tls *t, int file, off_t at, size_t size);
/* Writes held ciphertext. False: some is left, or the socket is broken. */
bool tls_flush(struct tls *t);
/* Sends close_notify, once, as far as the socket takes it. */
void tls_end(struct tls *t);

/* True when a read finds something without an event of the socket. */
static inline bool tls_has_more(const struct tls *t)
{
    return t->early != NULL || t->ended;
}
/* True when a byte of the client's has come. */
static inline bool tls_has_begun(const struct tls *t)
{
    return t->ssl != NULL;
}
/* True when ciphertext waits for room in the socket. */
static inline bool tls_waits(const struct tls *t)
{
    return t->held != NULL;
}
/* True when the kernel makes the records that are sent (kTLS). */
static inline bool tls_is_in_kernel(const struct tls *t)
{
    return t->kernel;
}
static inline enum tls_state tls_state(const struct tls *t)
{
    return (enum tls_state)t->state;
}

/* Why the last handshake or read of this process has failed, in words for a log, and of which kind
 * that is. */
const char *tls_failure(void);
enum metrics_handshake tls_failure_kind(void);

/* True when the handshake has resumed a session of an earlier connection. */
bool tls_is_resumed(const struct tls *t);

/* True while the handshake waits for the answer of a script. */
static inline bool tls_waits_for_script(const struct tls *t)
{
    return t->asked != NULL;
}

/* The protocol that ALPN chose: "h2", "http/1.1", or n = 0. */
struct str tls_alpn(const struct tls *t);

/* The version, "TLSv1.3", and the cipher as OpenSSL names it. */
const char *tls_version(const struct tls *t);
const char *tls_cipher(const struct tls *t);
/* The name that the client has asked for (SNI); NULL: none. Valid as long as the connection. */
const char *tls_asked_name(const struct tls *t);
/* The client's certificate, which has been verified; NULL: it has none. Valid as long as the
 * connection. */
const struct tls_peer *tls_peer(struct tls *t);

/* Called when the loop wakes: handshakes of a turn take TLS_TURN seconds at most, and the others
 * the next turn, so that a flood of handshakes does not hold up requests. */
void tls_begin_turn(void);
/* True when this turn has had its share of handshakes. */
bool tls_turn_is_over(void);

#endif

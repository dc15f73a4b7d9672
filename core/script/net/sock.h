/*
 * sock - one connection that a script makes to some server: connecting (by name too), sending,
 * receiving, each with its own limit of time. Reading and writing may go on at the same time. On a
 * datagram socket each send is one datagram.
 *
 *      closed --sock_connect--> connecting --connected()--> open --sock_close--> closed
 *
 * The owner embeds the struct. A function of this header calls no callback: it returns SOCK_WAITS
 * where the callback follows later. Used by script/net/tcp.c and script/net/udp.c.
 */
#ifndef MG_SCRIPT_NET_SOCK_H
#define MG_SCRIPT_NET_SOCK_H

#include "base/buf.h"
#include "base/loop.h"
#include "base/resolve.h"

enum { SOCK_BUFFER = 64 * 1024 * 1024 }; /* most bytes that are kept in either direction */

enum sock_result {
    SOCK_DONE,
    SOCK_WAITS, /* the callback follows */
    SOCK_ENDED, /* the other side has closed; only sock_fill says so */
    SOCK_FAILED /* sock->err says why; what is still open is closed by the owner */
};

struct sock;

/* A callback may do anything with the sock but free its memory. err is NULL, or the reason of a
 * failure. */
struct sock_ops {
    void (*connected)(struct sock *k, const char *err);
    void (*sent)(struct sock *k, const char *err);
    /* Something can be read (sock_fill), or err is "timeout". */
    void (*readable)(struct sock *k, const char *err);
};

struct sock {
    struct loop *loop;
    const struct sock_ops *ops;
    int fd; /* -1: closed, or its name is being looked up */
    bool datagram, connecting;
    struct buf in;  /* bytes received, not yet taken by the script */
    struct buf out; /* bytes that the kernel has not taken yet */
    ev_io reader, writer;
    struct deadline read_limit, write_limit;
    double send_seconds;
    struct lookup lookup;
    struct addr *list; /* addresses to connect to; NULL after connecting */
    unsigned count, next;
    char err[320];
};

/* The memory must be cleared. */
void sock_init(struct sock *k, struct loop *loop, bool datagram, const struct sock_ops *ops);
/* Closes the sock and stops its watchers. Called before its memory is freed. */
void sock_fini(struct sock *k);

/* Connects to one address within `seconds`. The sock must be closed. */
enum sock_result sock_connect(struct sock *k, const struct addr *addr, double seconds);
/* Looks the name up and tries its addresses in turn. */
enum sock_result sock_connect_name(struct sock *k, struct resolver *resolver, struct str host,
                                   uint16_t port, double seconds);
/* Takes over a connected descriptor. */
void sock_adopt(struct sock *k, int fd);
static inline bool sock_is_open(const struct sock *k)
{
    return k->fd >= 0 && !k->connecting;
}

/* Sends all bytes; those that the kernel does not take now are copied. It fails after `seconds`
 * without progress. One send at a time. */
enum sock_result sock_send(struct sock *k, struct str bytes, double seconds);
/* Stops sending without a callback. The other side may have got a part of the message. */
void sock_forget_send(struct sock *k);
/* Reads what has come, up to about `most` bytes, to the end of k->in. WAITS: nothing is there. */
enum sock_result sock_fill(struct sock *k, size_t most);
/* Begins to call `readable` whenever bytes can be read, until sock_rest. */
void sock_await(struct sock *k, double seconds);
void sock_rest(struct sock *k);

/* Gives the descriptor to the caller; the sock is closed. */
int sock_release(struct sock *k);
/* Closes the sock and ends its operations without a callback. Does nothing when the sock is closed.
 */
void sock_close(struct sock *k);

#endif

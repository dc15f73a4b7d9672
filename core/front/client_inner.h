/*
 * client_inner - one HTTP/1 connection, for front/client*.c only: front/client.c is its life, its
 * input and the order of requests; front/client_address.c whose it is; front/client_reply.c what
 * goes out (front_ops); front/client_pass.c its way to another worker.
 */
#ifndef MG_FRONT_CLIENT_INNER_H
#define MG_FRONT_CLIENT_INNER_H

#include "front/client.h"

#include "exchange/exchange.h"
#include "front/sender.h"
#include "http/h1.h"

#define CLIENT_SKIP_BYTES 65536 /* of an unread body that are dropped to keep the connection */

struct client {
    ev_io io;
    struct front front; /* of the request under way */
    struct transport transport;
    struct deadline deadline;
    struct sender sender;
    struct clients *clients;
    struct client *prev, *next;
    struct exchange *exchange; /* the request under way, NULL when idle */
    struct deferred step;      /* something changed that no byte will announce */
    struct request *req;
    struct h1 *h1;
    struct buf in;
    struct str listener;
    struct peer peer, local;
    unsigned requests;
    uint64_t lingered; /* bytes that were read and dropped behind the response */
    double linger_end; /* by then it is closed, in the loop's clock */
    bool
        fresh : 1; /* nothing of the bytes of this read has been taken, and none were kept before */
    bool head_done : 1;
    bool body_done : 1;
    bool want_body : 1;
    bool head_waits : 1; /* respond was called, the head has not left */
    bool chunked : 1;
    bool until_eof : 1; /* the connection's end is the body's: if it comes too soon, by a reset */
    bool skipping : 1;  /* the response is out, the rest of the body is read and dropped */
    bool ended : 1;     /* the response is whole, or */
    bool cut : 1;       /* broken off */
    bool close : 1;     /* after this response */
    bool eof : 1;       /* the client has closed its sending side */
    bool lingering : 1; /* the response is out; what comes is dropped */
    bool sending : 1;   /* the deadline is send_timeout's: something waits for the client */
    bool spool_reported : 1;
    bool counted : 1; /* in the census, and */
    bool by_ip : 1;   /* there under its address: no trusted proxy, which brings many clients */
    bool request_by_ip : 1;  /* the client that a trusted proxy has named is, for this request */
    bool awaits_address : 1; /* the header of the PROXY protocol is not whole yet */
    bool unknown : 1;        /* it said that the balancer does not know whose the connection is */
    bool refused : 1;        /* one too many: it has its 503, and lingers */
    bool control : 1;        /* accepted by the control listener */
};

/* --- client.c --- */

/* A connection that is not watched yet; client_begin watches it. */
struct client *client_make(struct clients *clients, int fd, const struct peer *peer,
                           const struct peer *local);
void client_begin(struct client *c);
/* Closes it; no request may be under way. */
void client_free(struct client *c);

/* Derives what to wait for from the state. */
void client_rearm(struct client *c);
/* Something changed that no byte will announce: client_process looks again when the event is over.
 */
void client_queue(struct client *c);

/* --- client_address.c --- */

/* False when the connection is one too many; the log knows. */
bool client_enter_census(struct client *c);
void client_leave_census(struct client *c);
/* Counts one that was welcome before, whatever the limits are. */
void client_count(struct client *c);

enum client_address {
    CLIENT_ADDRESS_MORE,     /* the header is not whole */
    CLIENT_ADDRESS_KNOWN,    /* *used bytes of it have been taken */
    CLIENT_ADDRESS_BAD,      /* there is none; the log knows */
    CLIENT_ADDRESS_TOO_MANY, /* limits.per_ip; the log knows */
};
/* Reads the header of the PROXY protocol, which the connection begins with. */
enum client_address client_read_address(struct client *c, struct str in, size_t *used);

/* The head of the request is complete: takes what trusted proxies say of its client. Returns 0, or
 * the status to refuse it with and why. */
int client_name_request(struct client *c, const char **reason);
/* Before the request is given up. */
void client_forget_request(struct client *c);

/* --- client_pass.c --- */

/* The worker leaves and the connection is idle: another worker has it from now on. True: c is
 * gone. */
bool client_pass(struct client *c);

/* --- client_reply.c --- */

extern const struct front_ops client_front_ops;
/* What every write is followed by: the count, the clock, and the end of a client that has gone. */
void client_note_sent(struct client *c, size_t n);

#endif

/*
 * gateway_inner - the layout of a web server's connection and of the requests on it, for
 * front/gateway*.c only. A file calls those below it:
 *
 *     gateway          the connection: its life, what comes, what to wait for
 *     gateway_request  one request from BEGIN_REQUEST to END_REQUEST, and its response (front_ops)
 *     gateway_out      the records that go out, and what each write says of the socket (blocked)
 *
 * All three append records to gateway.out, which gateway_out alone writes to the socket. `broken`
 * is set where the fault is seen: by gateway in what comes, by gateway_out in what goes; gateway
 * clears `blocked` when all of `out` has been taken. A request says to its connection that it
 * closes behind it (closing, unread), and that it is to be begun before the next record (whole).
 *
 * What a request's own step changes reaches the connection by the table of its protocol (on_step).
 */
#ifndef MG_FRONT_GATEWAY_INNER_H
#define MG_FRONT_GATEWAY_INNER_H

#include "front/gateway.h"

#include "base/backlog.h"
#include "exchange/exchange.h"
#include "fastcgi/record.h"
#include "front/sender.h"

struct gateway {
    struct client client;
    struct client_active
        active; /* its deadline: the socket takes nothing, half a record, the end */
    struct fcgi_decoder decoder;
    struct gateway_request *requests; /* under way; the first one writes first */
    unsigned count;
    struct gateway_request *whole; /* its head is complete: it is begun before the next record */
    struct buf out;                /* records: small ones, and the rest of one that is half sent */
    struct deferred flush;         /* writes `out` at the end of the turn */
    struct buf values;             /* GET_VALUES, as it comes */
    const char *broken;            /* why nothing can be read or written any more; NULL: it can */
    uint64_t lingered;             /* bytes that were read and dropped behind the last response */
    bool blocked : 1;              /* the socket has not taken all of what it was given */
    bool closing : 1;              /* once the requests under way have ended */
    bool unread : 1;               /* a STDIN that is closing's may still come */
    bool lingering : 1;            /* all is written; what comes is dropped */
    bool refused : 1;              /* one connection too many */
};

static inline const struct limits *gateway_limits(const struct gateway *g)
{
    return &clients_settings(client_clients(&g->client))->limits;
}

/* One request: what is told of it, its body on the way in, its response on the way out. */
struct gateway_request {
    struct front front;
    struct transport transport; /* its STDOUT */
    struct sender sender;
    struct deferred step;
    struct deadline deadline; /* head, then body */
    struct gateway *gateway;
    struct gateway_request *next;
    struct exchange *exchange;
    struct request *req;
    struct str pairs;          /* PARAMS so far; in the request's arena */
    struct backlog stdin_kept; /* STDIN that the exchange does not want yet */
    uint64_t stdin_bytes;      /* that have come */
    uint16_t id;
    bool keep : 1;        /* FCGI_KEEP_CONN */
    bool params_done : 1; /* all of PARAMS is here, or no more of it is wanted */
    bool begun : 1;       /* the exchange has the head */
    bool in_data : 1;     /* the end of a filter's STDIN is here: DATA follows */
    bool stdin_done : 1;  /* the end of STDIN is here, or no more of it is wanted */
    bool stdin_told : 1;  /* the exchange knows of that end */
    bool stdin_over : 1;  /* the end of STDIN has come, whether it was wanted or not; of a filter,
                           * that of DATA */
    bool want_body : 1;
    bool head_waits : 1; /* respond was called, the head has not left */
    bool ended : 1;      /* the response is whole, or */
    bool cut : 1;        /* broken off */
    bool by_ip : 1;      /* counted under its client's address */
    bool spool_reported : 1;
};

/* --- gateway_out.c --- */

/* Bytes of `out` beyond which nothing more is read, and slices of responses don't go there. */
#define GATEWAY_OUT_MARK 65536

/* Writes slices of a request's response as STDOUT records. As transport_ops.writev. */
ssize_t gateway_stdout(struct gateway *g, uint16_t id, const struct iovec *slices, int count);
/* `out` has got something: it is written at the end of the turn. */
void gateway_flush(struct gateway *g);
/* Writes `out` now, as far as the socket takes it. */
void gateway_write_out(struct gateway *g);

/* --- gateway_request.c --- */

/* BEGIN_REQUEST. */
void gateway_request_begin(struct gateway *g, uint16_t id, enum fcgi_role role, bool keep);
/* A slice of PARAMS, its end; a slice of STDIN, its end. Returns what makes the connection
 * unusable, or NULL. */
const char *gateway_request_params(struct gateway_request *r, struct str bytes);
void gateway_request_params_end(struct gateway_request *r);
void gateway_request_stdin(struct gateway_request *r, struct str bytes);
void gateway_request_stdin_end(struct gateway_request *r);
/* A slice of a filter's DATA, and its end. */
void gateway_request_data(struct gateway_request *r, struct str bytes);
void gateway_request_data_end(struct gateway_request *r);
/* ABORT_REQUEST. r is gone. */
void gateway_request_abort(struct gateway_request *r);
/* Does what can be done now. False: it has ended, and r is gone. */
bool gateway_request_go(struct gateway_request *r);
/* There is room in the socket. */
void gateway_request_write(struct gateway_request *r);
/* Whether no more of its STDIN can be kept. */
bool gateway_request_is_full(const struct gateway_request *r);
/* The web server has gone, or (stopped) we end before the request does. r is gone. */
void gateway_request_drop(struct gateway_request *r, const char *why, bool stopped);

#endif

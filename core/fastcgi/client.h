/*
 * client - one exchange over a connection, blocking, for a command: the bytes of `moongate status`
 * and its like, and a FastCGI request ("curl for FastCGI"). It has a loop of its own, which runs
 * until the reply is there; a worker never calls it.
 */
#ifndef MG_FASTCGI_CLIENT_H
#define MG_FASTCGI_CLIENT_H

#include "fastcgi/record.h"
#include "http/request.h"

#include <sys/types.h>

struct client_call {
    const char *address; /* contract's ADDR; the addresses of a name are tried in turn */
    double timeout;      /* seconds that all of it may take */
    bool owned;          /* see struct conn_target */
    uid_t owner;
    struct str out; /* what is sent */
    /* Bytes that came; n = 0: the server has closed. Sets *done when nothing more is wanted.
     * Returns NULL, or why this is no reply. NULL: a connection is all that is wanted. */
    const char *(*take)(void *ctx, struct str bytes, bool *done);
    void *ctx;
};

/* Returns NULL, or what went wrong; the message is valid until the next call. */
const char *client_call(const struct client_call *call);

struct client_request {
    const char *address;
    double timeout;
    bool values; /* FCGI_GET_VALUES with the params' names, instead of a request */
    uint16_t role;
    const struct params *params;
    struct str body;
    struct str data; /* of a filter, behind the body */
    /* The answer. out is STDOUT, or the pairs of GET_VALUES_RESULT. */
    struct buf out, err;
    uint32_t app_status;
    uint8_t protocol_status;
    bool ended; /* END_REQUEST has come */
    struct fcgi_decoder decoder;
};

/* As client_call. out and err are the caller's to buf_fini either way. At most 1 GB of reply. */
const char *client_request(struct client_request *x);

#endif

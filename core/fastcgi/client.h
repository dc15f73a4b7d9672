/*
 * client - one FastCGI exchange, blocking, for the command line ("curl for FastCGI"). A server
 * never calls it: there it is stream's business.
 */
#ifndef MG_FASTCGI_CLIENT_H
#define MG_FASTCGI_CLIENT_H

#include "fastcgi/record.h"
#include "http/request.h"

struct fcgi_exchange {
    const char *address; /* contract's ADDR */
    bool values;         /* FCGI_GET_VALUES with the params' names, instead of a request */
    uint16_t role;
    const struct params *params;
    struct str body;
    double timeout; /* seconds without progress */
    /* The answer. out is STDOUT, or the pairs of GET_VALUES_RESULT. */
    struct buf out, err;
    uint32_t app_status;
    uint8_t protocol_status;
};

/* Returns NULL, or what went wrong; the message is valid until the next call. out and err are the
 * caller's to buf_fini either way. At most 1 GB of answer. */
const char *fcgi_exchange(struct fcgi_exchange *x);

#endif

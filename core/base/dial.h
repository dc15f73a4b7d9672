/*
 * dial - one exchange of bytes with a server, blocking, for the command line: connect, write, read
 * until whoever asks has enough. Used by fcgi_client and core.ask; a server's own loop never waits
 * here.
 */
#ifndef MG_BASE_DIAL_H
#define MG_BASE_DIAL_H

#include "base/buf.h"

struct dial {
    const char *address; /* contract's ADDR */
    double timeout;      /* seconds without progress */
    struct buf *out;     /* what is sent */
    /* Bytes that came; n = 0: the other side has closed. Sets *done when nothing more is wanted.
     * Returns NULL, or why this is no answer. */
    const char *(*take)(void *ctx, struct str bytes, bool *done);
    void *ctx;
    bool done; /* false */
};

/* Returns NULL, or what went wrong; the message is valid until the next call. */
const char *dial(struct dial *d);

/* Connects and closes again, without a byte. NULL, or why that can't be done. */
const char *dial_look(const char *address, double timeout);

#endif

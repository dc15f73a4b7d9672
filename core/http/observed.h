/*
 * observed - what is noted of an application's reply where a script has asked for it
 * (req:observe()): the head as it came, the body's length and checksum, the beginning of STDERR. No
 * I/O.
 *
 * exchange fills it, script shows it to on_log. Only a request with req:observe() has one.
 */
#ifndef MG_HTTP_OBSERVED_H
#define MG_HTTP_OBSERVED_H

#include "http/request.h"

#define OBSERVED_STDERR 4096 /* bytes of it that are kept */

struct observed {
    int status;             /* 0: no head has come */
    struct headers headers; /* before any hook, or the decision, has changed them */
    uint64_t length;        /* bytes of the body so far */
    unsigned long crc32;    /* of these */
    bool whole;             /* the body has come to its end */
    size_t messages_size;
    char messages[OBSERVED_STDERR];
};

/* A server is asked, maybe another one: what was noted of a reply before is forgotten. */
void observed_begin(struct observed *o);
/* The head; its strings are those of the response, whose arena is `a`. */
void observed_head(struct observed *o, struct arena *a, const struct response *response);
/* A slice of the body, as the application sends it. */
void observed_body(struct observed *o, struct str bytes);
/* A slice of STDERR. */
void observed_stderr(struct observed *o, struct str bytes);

#endif

/*
 * coder - compressors of content codings, which take the bytes of a body in any slices, and give
 * what they have made in pieces.
 *
 * A coder has an output buffer of CODER_OUT bytes. coder_run fills it; the caller takes what is
 * there (coder_output, coder_clear) and calls again while coder_run says so. The libraries behind
 * are zlib, and unless the program was built with MINIMAL=1 brotli and zstd, each in a file of its
 * own (coder_gzip.c ...), which is a struct coder_kind.
 *
 * Memory: a coder takes what its kind says (`memory`), whatever the level and however long the body
 * is. The coders of a process take CODER_MEMORY in all; then none is opened. Some that are not used
 * any more are kept, since making one anew costs more than a small body.
 */
#ifndef MG_HTTP_CODER_H
#define MG_HTTP_CODER_H

#include "http/coding.h"

#define CODER_OUT    32768
#define CODER_MEMORY (64u << 20)
/* Levels of all kinds: what is beyond them costs several times as much memory or time. */
#define CODER_LEVELS 9

enum coder_order {
    CODER_FEED,   /* take the bytes; what they become may stay inside */
    CODER_FLUSH,  /* and give all that a decoder needs to have each byte so far */
    CODER_FINISH, /* and end */
};

struct coder;

/* True when this program can make the coding. */
bool coder_knows(enum coding coding);
/* Opens a coder of that kind; `level` is 1 to CODER_LEVELS. NULL: there is no memory for another
 * one. A failed malloc ends the process. */
struct coder *coder_open(enum coding coding, unsigned level);
void coder_close(struct coder *coder);
/* Takes bytes of *in from its front. True: the buffer is full; the caller empties it and calls
 * again with the same order and the rest of *in. False: the order is carried out. */
bool coder_run(struct coder *coder, enum coder_order order, struct str *in);
/* The bytes in the buffer, valid until coder_clear. */
struct str coder_output(const struct coder *coder);
void coder_clear(struct coder *coder);
/* Bytes that the coders of this process have now, those that are kept included. */
size_t coder_memory(void);

/* --- for the kinds --- */

struct coder_kind {
    size_t memory; /* bytes that one takes at most, with its buffer */
    void *(*start)(unsigned level);
    /* As coder_run: writes up to *size bytes to `out`, and leaves the number in *size. */
    bool (*run)(void *state, enum coder_order order, struct str *in, char *out, size_t *size);
    /* Makes the state like a new one. NULL: it can't be used again. */
    void (*reset)(void *state);
    void (*end)(void *state);
};

extern const struct coder_kind coder_gzip, coder_brotli, coder_zstd;

#endif

/*
 * fuzz - what the fuzz targets share. A target is a program with one function over arbitrary bytes,
 * which ends the process where a rule does not hold for them.
 *
 * Linked with libFuzzer, a target looks for such bytes (`make fuzz`); linked with replay.c, it is a
 * test that runs its corpus (tests/fuzz/corpus/TARGET). A parser is fed the same bytes whole and in
 * pieces: what comes out must not depend on how the bytes came in.
 */
#ifndef MG_FUZZ_H
#define MG_FUZZ_H

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the process where the rule does not hold. */
#define must(rule) ((rule) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #rule))

static inline void fuzz_failed(const char *file, int line, const char *rule)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, rule);
    abort();
}

/* --- the bytes, in pieces --- */

/* The first byte of an input says how the others are cut: 0 leaves them whole, 1 cuts them into
 * single bytes, any other begins a sequence of sizes. */
struct pieces {
    struct str rest;
    uint32_t state;
    char
        *piece; /* a copy of the size that it has, so that a sanitizer sees a byte read beyond it */
    bool whole;
};

static inline struct pieces pieces_of(const uint8_t *data, size_t size, bool whole)
{
    return (struct pieces){.rest = {(const char *)data + 1, size - 1},
                           .state = data[0],
                           .whole = whole || data[0] == 0};
}

/* The next piece; the one before it is overwritten and freed, as a read buffer is used again.
 * False: there is none. */
static inline bool pieces_next(struct pieces *p, struct str *piece)
{
    free(p->piece);
    p->piece = NULL;
    if (p->rest.n == 0)
        return false;
    size_t n = p->rest.n;
    if (!p->whole) {
        uint32_t state = p->state;
        p->state = state <= 1 ? state : state * 1664525 + 1013904223;
        size_t most = state <= 1 ? 1 : 1 + ((p->state >> 24) & 31);
        n = most < n ? most : n;
    }
    p->piece = malloc(n);
    if (p->piece == NULL)
        abort();
    memcpy(p->piece, p->rest.p, n);
    *piece = (struct str){p->piece, n};
    p->rest = (struct str){p->rest.p + n, p->rest.n - n};
    return true;
}

/* A parser has used the piece up: what it kept of it must be a copy. */
static inline void pieces_spoil(struct pieces *p, size_t n)
{
    if (n > 0)
        memset(p->piece, 'Z', n);
}

/* What came behind the last piece is left where it is. */
static inline void pieces_end(struct pieces *p)
{
    free(p->piece);
    p->piece = NULL;
}

/* --- what came out, as one number --- */

struct digest {
    uint64_t sum;
};

static inline void digest_bytes(struct digest *d, struct str bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        d->sum = (d->sum ^ (unsigned char)bytes.p[i]) * 1099511628211u;
}

static inline void digest_number(struct digest *d, uint64_t number)
{
    d->sum = (d->sum ^ number) * 1099511628211u + 1;
}

/* A text of its own: where it ends matters. */
static inline void digest_text(struct digest *d, struct str text)
{
    digest_bytes(d, text);
    digest_number(d, text.n);
}

/* --- rules that many targets have --- */

static inline bool fuzz_has_byte(struct str text, const char *bytes, size_t n)
{
    for (size_t i = 0; i < text.n; i++)
        if (memchr(bytes, text.p[i], n) != NULL)
            return true;
    return false;
}

/* A byte that would end a line of a head, or a string of C. */
#define fuzz_breaks_line(text) fuzz_has_byte(text, "\r\n\0", 3)

#endif

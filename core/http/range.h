/*
 * range - parses the Range header and merges its ranges (RFC 9110 §14).
 *
 * Pure functions; called by file.
 */
#ifndef MG_HTTP_RANGE_H
#define MG_HTTP_RANGE_H

#include "base/str.h"

enum {
    RANGE_MAX = 16,    /* after merging; a request for more gets the whole file */
    RANGE_SPECS = 256, /* before it */
};

struct range {
    uint64_t first, last; /* both are part of it */
};

enum range_answer {
    RANGE_WHOLE, /* the header is malformed, of another unit, or asks for too much: ignored */
    RANGE_SOME,
    RANGE_NONE, /* 416: no range lies inside the file */
};

/* Reads a Range header for a file of `size` bytes. RANGE_SOME: out holds *count ranges in ascending
 * order that neither overlap nor touch; those that lie outside the file are left out. */
enum range_answer range_parse(struct str header, uint64_t size, struct range out[RANGE_MAX],
                              unsigned *count);

#endif

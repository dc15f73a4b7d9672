/*
 * coding - content codings (RFC 9110 §8.4.1): their names, and the choice of one by a request's
 * Accept-Encoding.
 *
 * Pure functions; called by exchange/compress and http/file.
 */
#ifndef MG_HTTP_CODING_H
#define MG_HTTP_CODING_H

#include "base/str.h"

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_BR, CODING_ZSTD };
#define CODINGS (CODING_ZSTD + 1)

/* The name in Accept-Encoding and Content-Encoding. */
struct str coding_name(enum coding coding);
/* The coding of that name; CODING_IDENTITY for any other. */
enum coding coding_of(struct str name);

/* The coding of `order` that an Accept-Encoding header (all its values, joined by commas; STR_NONE:
 * there is none) gives the most weight; of equal ones the first. CODING_IDENTITY: it accepts none
 * of them, or prefers no coding. *must: it refuses a response without a coding (`identity;q=0`, or
 * `*;q=0`). RFC 9110 §12.5.3. */
enum coding coding_choose(struct str accept, const uint8_t *order, unsigned count, bool *must);

#endif

/* chunked - the body framing of RFC 9112 §7.1, read strictly, since a lenient parser lets requests
 * be smuggled: only CRLF ends a line, sizes are hex digits alone, extensions are skipped and
 * bounded, trailers checked, bounded and dropped. No I/O, no memory. */
#ifndef MG_HTTP_CHUNKED_H
#define MG_HTTP_CHUNKED_H

#include "base/str.h"

struct chunked {
    uint64_t left; /* bytes of the chunk that have not come */
    size_t extra;  /* bytes of extensions and trailers so far */
    size_t extra_max;
    unsigned trailers;
    unsigned trailers_max;
    uint8_t state;
    uint8_t digits;
};

void chunked_init(struct chunked *c, size_t extra_max, unsigned trailers_max);

enum chunked_result {
    CHUNKED_MORE,  /* all bytes are used */
    CHUNKED_SIZE,  /* a chunk of `left` bytes begins; the caller feeds the rest */
    CHUNKED_DATA,  /* *data is a slice of the body; the caller feeds the rest */
    CHUNKED_END,   /* the message is complete; bytes behind it belong to the next one */
    CHUNKED_ERROR, /* *err says why */
};

/* Errors of a body that is well-formed, but over a limit. */
extern const char *const CHUNKED_TRAILERS;
extern const char *const CHUNKED_EXTRA;

/* Consumes bytes from the front of *in until there is an event. */
enum chunked_result chunked_feed(struct chunked *c, struct str *in, struct str *data,
                                 const char **err);

#endif

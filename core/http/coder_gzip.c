/*
 * coder_gzip - gzip (RFC 1952) by zlib, with its usual window of 32 KB and hash of 15 bits: zlib
 * allocates 262 KB for that (zconf.h) and some structs.
 */
#include "http/coder.h"

#include <stdlib.h>
#include <zlib.h>

enum { WINDOW_BITS = 15, GZIP_WRAPPER = 16, MEMORY_LEVEL = 8 };

static void *gzip_start(unsigned level)
{
    z_stream *z = calloc(1, sizeof *z);
    if (z == NULL || deflateInit2(z, (int)level, Z_DEFLATED, WINDOW_BITS + GZIP_WRAPPER,
                                  MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    return z;
}

static bool gzip_run(void *state, enum coder_order order, struct str *in, char *out, size_t *size)
{
    static const int flushes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    z_stream *z = state;
    size_t n = in->n < 1u << 30 ? in->n : 1u << 30; /* avail_in has 32 bits */
    z->next_in = (unsigned char *)in->p;
    z->avail_in = (unsigned)n;
    z->next_out = (unsigned char *)out;
    z->avail_out = (unsigned)*size;
    /* A slice that is larger than avail_in is only fed at first. */
    int result = deflate(z, n == in->n ? flushes[order] : Z_NO_FLUSH);
    *in = str_skip(*in, n - z->avail_in);
    *size -= z->avail_out;
    return result != Z_STREAM_END && (z->avail_out == 0 || in->n > 0);
}

static void gzip_reset(void *state)
{
    deflateReset(state);
}

static void gzip_end(void *state)
{
    deflateEnd(state);
    free(state);
}

const struct coder_kind coder_gzip = {
    .memory = (272 << 10) + CODER_OUT,
    .start = gzip_start,
    .run = gzip_run,
    .reset = gzip_reset,
    .end = gzip_end,
};

/*
 * coder_brotli - brotli (RFC 7932) by libbrotlienc, with a window of 64 KB: with a larger one the
 * library's tables are 10 to 38 MB from level 7 on, with this one below 2.7 MB at each level. It
 * can't use an encoder again.
 */
#include "http/coder.h"

#ifdef MG_BROTLI
#    include <brotli/encode.h>
#    include <stdlib.h>

enum { WINDOW_BITS = 16 };

static void *brotli_start(unsigned level)
{
    BrotliEncoderState *state = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    if (state == NULL)
        abort();
    BrotliEncoderSetParameter(state, BROTLI_PARAM_QUALITY, level);
    BrotliEncoderSetParameter(state, BROTLI_PARAM_LGWIN, WINDOW_BITS);
    return state;
}

static bool brotli_run(void *state, enum coder_order order, struct str *in, char *out, size_t *size)
{
    static const BrotliEncoderOperation operations[] = {
        BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH, BROTLI_OPERATION_FINISH};
    const uint8_t *next = (const uint8_t *)in->p;
    uint8_t *to = (uint8_t *)out;
    size_t left = in->n, room = *size;
    bool more;
    do {
        if (!BrotliEncoderCompressStream(state, operations[order], &left, &next, &room, &to, NULL))
            abort(); /* it has no memory */
        more = left > 0 || BrotliEncoderHasMoreOutput(state) ||
               (order == CODER_FINISH && !BrotliEncoderIsFinished(state));
    } while (more && room > 0);
    *in = str_skip(*in, in->n - left);
    *size -= room;
    return more;
}

static void brotli_end(void *state)
{
    BrotliEncoderDestroyInstance(state);
}

const struct coder_kind coder_brotli = {
    .memory = (2700 << 10) + CODER_OUT,
    .start = brotli_start,
    .run = brotli_run,
    .end = brotli_end,
};
#endif

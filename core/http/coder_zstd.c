/*
 * coder_zstd - zstd (RFC 8878) by libzstd, with a window of 128 KB and tables of at most 2^16
 * entries, which are 1.2 MB at each level. RFC 9659 allows 8 MB for the window of an HTTP response.
 */
#include "http/coder.h"

#ifdef MG_ZSTD
#    include <stdlib.h>
#    include <zstd.h>

enum { WINDOW_LOG = 17, TABLE_LOG = 16 };

static void *zstd_start(unsigned level)
{
    ZSTD_CCtx *state = ZSTD_createCCtx();
    if (state == NULL)
        abort();
    ZSTD_CCtx_setParameter(state, ZSTD_c_compressionLevel, (int)level);
    ZSTD_CCtx_setParameter(state, ZSTD_c_windowLog, WINDOW_LOG);
    ZSTD_CCtx_setParameter(state, ZSTD_c_hashLog, TABLE_LOG);
    ZSTD_CCtx_setParameter(state, ZSTD_c_chainLog, TABLE_LOG);
    return state;
}

static bool zstd_run(void *state, enum coder_order order, struct str *in, char *out, size_t *size)
{
    static const ZSTD_EndDirective directives[] = {ZSTD_e_continue, ZSTD_e_flush, ZSTD_e_end};
    ZSTD_inBuffer from = {in->p, in->n, 0};
    ZSTD_outBuffer to = {out, *size, 0};
    bool more;
    do {
        size_t left = ZSTD_compressStream2(state, &to, &from, directives[order]);
        if (ZSTD_isError(left))
            abort(); /* it has no memory */
        more = from.pos < from.size || (order != CODER_FEED && left > 0);
    } while (more && to.pos < to.size);
    *in = str_skip(*in, from.pos);
    *size = to.pos;
    return more;
}

static void zstd_reset(void *state)
{
    ZSTD_CCtx_reset(state, ZSTD_reset_session_only);
}

static void zstd_end(void *state)
{
    ZSTD_freeCCtx(state);
}

const struct coder_kind coder_zstd = {
    .memory = (1300 << 10) + CODER_OUT,
    .start = zstd_start,
    .run = zstd_run,
    .reset = zstd_reset,
    .end = zstd_end,
};
#endif

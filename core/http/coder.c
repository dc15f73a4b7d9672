/* coder - see coder.h. */
#include "http/coder.h"

#include <stdlib.h>

#define KEPT_MOST 16 /* coders that nobody uses; the oldest go first */

struct coder {
    const struct coder_kind *kind;
    unsigned level;
    void *state;
    size_t used;
    struct coder *next; /* of those that are kept */
    char out[CODER_OUT];
};

static const struct coder_kind *const kinds[CODINGS] = {
    [CODING_GZIP] = &coder_gzip,
#ifdef MG_BROTLI
    [CODING_BR] = &coder_brotli,
#endif
#ifdef MG_ZSTD
    [CODING_ZSTD] = &coder_zstd,
#endif
};

static struct {
    struct coder *kept; /* newest first */
    unsigned count;
    size_t memory; /* of all coders, kept ones included */
} coders;

bool coder_knows(enum coding coding)
{
    return kinds[coding] != NULL;
}

size_t coder_memory(void)
{
    return coders.memory;
}

static void coder_free(struct coder *coder)
{
    coders.memory -= coder->kind->memory;
    coder->kind->end(coder->state);
    free(coder);
}

/* Frees the kept coder that has waited the longest. False: none is kept. */
static bool coder_free_oldest(void)
{
    struct coder **at = &coders.kept;
    if (*at == NULL)
        return false;
    while ((*at)->next != NULL)
        at = &(*at)->next;
    coder_free(*at);
    *at = NULL;
    coders.count--;
    return true;
}

static struct coder *coder_take_kept(const struct coder_kind *kind, unsigned level)
{
    for (struct coder **at = &coders.kept; *at != NULL; at = &(*at)->next) {
        struct coder *coder = *at;
        if (coder->kind == kind && coder->level == level) {
            *at = coder->next;
            coders.count--;
            coder->kind->reset(coder->state);
            return coder;
        }
    }
    return NULL;
}

struct coder *coder_open(enum coding coding, unsigned level)
{
    const struct coder_kind *kind = kinds[coding];
    struct coder *coder = coder_take_kept(kind, level);
    if (coder != NULL)
        return coder;
    while (coders.memory + kind->memory > CODER_MEMORY)
        if (!coder_free_oldest())
            return NULL;
    coder = malloc(sizeof *coder);
    if (coder == NULL)
        abort();
    coder->kind = kind;
    coder->level = level;
    coder->used = 0;
    coder->state = kind->start(level);
    if (coder->state == NULL)
        abort();
    coders.memory += kind->memory;
    return coder;
}

void coder_close(struct coder *coder)
{
    coder->used = 0;
    if (coder->kind->reset == NULL) {
        coder_free(coder);
        return;
    }
    coder->next = coders.kept;
    coders.kept = coder;
    if (++coders.count > KEPT_MOST)
        coder_free_oldest();
}

bool coder_run(struct coder *coder, enum coder_order order, struct str *in)
{
    size_t size = sizeof coder->out - coder->used;
    if (size == 0)
        return true;
    bool more = coder->kind->run(coder->state, order, in, coder->out + coder->used, &size);
    coder->used += size;
    return more;
}

struct str coder_output(const struct coder *coder)
{
    return (struct str){coder->out, coder->used};
}

void coder_clear(struct coder *coder)
{
    coder->used = 0;
}

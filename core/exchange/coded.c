/*
 * coded - see parts.h. This file keeps bodies in a content coding, so that what the cache has is
 * coded once and not for each hit. Such a body lies in the cache as a file of its own, under the id
 * of its response (shm/cache.h); the head is always made of the response's.
 *
 *     hit --coded_choose--> its body is kept: that is sent in place of the response's own
 *                     \---> it is not: the filter `compress` codes it, and this client's copy is
 * kept miss --coded_follow-> the copy of this client is kept with the response (coded_name)
 *
 * One request makes a body at a time, over all workers; others code for themselves meanwhile.
 */
#include "exchange/parts.h"

#include "http/file.h"
#include "shm/cachestore.h"
#include "shm/ledger.h"

#include <math.h>

#define CODED_UNKEPT 10.0 /* seconds for which one that could not be kept is not tried again */

static struct coded *coded_new(struct exchange *x)
{
    if (x->coded != NULL)
        coded_leave(x);
    x->coded = arena_alloc(&x->req.arena, sizeof *x->coded);
    *x->coded = (struct coded){.write = NULL};
    return x->coded;
}

/* The body is one of the response with that id. */
static void coded_set_response(struct coded *c, uint32_t slot, uint64_t id)
{
    c->slot = slot;
    c->of = id;
    c->hash = cache_coded_hash(cachestore_index(), id, c->coding);
}

static struct str coded_key(const struct coded *c, char text[2])
{
    text[0] = '\0'; /* which no key of a response has */
    text[1] = (char)c->coding;
    return (struct str){text, 2};
}

/* --- sending one --- */

static struct cache_entry *coded_find(const struct coded *c, unsigned level)
{
    struct cache_found found;
    char text[2];
    if (!cache_find(cachestore_index(), c->hash, ledger_now(), &found))
        return NULL;
    struct cache_entry *e = cachestore_get(&found, coded_key(c, text));
    if (e == NULL || (e->of == c->of && e->level == level))
        return e;
    file_source_drop(&e->file.source); /* of other settings */
    return NULL;
}

/* Puts the body in the place of the response's own. */
static void coded_put(struct exchange *x, struct cache_entry *e, struct file *file)
{
    struct file_piece *piece = arena_alloc(&x->req.arena, sizeof *piece);
    *piece = (struct file_piece){.before = STR_NONE, .at = e->body_at, .size = e->file.size};
    file->source = &e->file.source;
    file->pieces = piece;
    file->piece_count = 1;
    compress_mark(&x->req, x->coded->coding);
    x->req.response.content_length = (int64_t)e->file.size;
    x->coded->entry = e;
}

void coded_choose(struct exchange *x, const struct cache_found *of, struct file *file)
{
    const struct compress_settings *settings = exchange_compress(x);
    enum coding coding = compress_expect(&x->req, settings, &x->always);
    if (coding == CODING_IDENTITY)
        return;
    struct coded *c = coded_new(x);
    c->coding = coding;
    coded_set_response(c, of->slot, of->id);
    struct cache_entry *e = coded_find(c, settings->levels[coding]);
    request_step(&x->req, "its body in %s is %s", coding_name(coding).p, e ? "kept" : "made");
    if (e != NULL) {
        coded_put(x, e, file);
    } else if (x->req.method_id == METHOD_GET) {
        c->purges = cache_purges(cachestore_index());
        c->told = cache_begin_fill(cachestore_index(), c->hash, ledger_now()) == CACHE_YOURS;
        c->ready = c->told;
    }
}

/* --- keeping one --- */

void coded_follow(struct exchange *x)
{
    if (!exchange_compress(x)->on)
        return;
    struct coded *c = coded_new(x);
    c->purges = x->caching->purges;
    c->ready = true;
}

void coded_name(struct exchange *x, uint32_t slot, uint64_t id)
{
    if (x->coded != NULL && x->coded->write != NULL)
        coded_set_response(x->coded, slot, id);
}

void coded_drop(struct exchange *x)
{
    struct coded *c = x->coded;
    c->ready = c->makes = false;
    if (c->write != NULL)
        cachestore_drop(c->write);
    c->write = NULL;
    if (c->told)
        cache_end_fill(cachestore_index(), c->hash);
    c->told = false;
}

/* It can't be kept: nobody tries it again for some time. */
static void coded_give_up(struct exchange *x)
{
    struct coded *c = x->coded;
    if (c->told)
        cache_note_unkept(cachestore_index(), c->hash, ledger_now() + CODED_UNKEPT);
    coded_drop(x);
}

static void coded_begin(struct exchange *x, enum coding coding)
{
    struct coded *c = x->coded;
    char text[2];
    c->coding = coding;
    const struct cache_record record = {
        .key = coded_key(c, text), .vary = STR(""), .level = exchange_compress(x)->levels[coding]};
    c->write = arena_alloc(&x->req.arena, sizeof *c->write);
    cachestore_begin(c->write, &record, c->purges, fill_most(x));
}

/* A coder of another kind has taken the place of one that had no memory: its bytes are kept as
 * such, but not under the name of the first. */
static void coded_add(void *ctx, enum coding coding, struct str bytes)
{
    struct exchange *x = ctx;
    struct coded *c = x->coded;
    if (!c->makes)
        return;
    if (c->of != 0 && coding != c->coding) {
        coded_drop(x);
        return;
    }
    if (c->write == NULL)
        coded_begin(x, coding);
    if (!cachestore_add(c->write, bytes))
        coded_give_up(x);
}

static void coded_end(void *ctx)
{
    struct exchange *x = ctx;
    struct coded *c = x->coded;
    if (!c->makes || c->write == NULL || c->of == 0) {
        coded_drop(x);
        return;
    }
    struct cache_facts facts = {.hash = c->hash,
                                .fresh_until = HUGE_VAL,
                                .stale_until = HUGE_VAL,
                                .coded = true,
                                .of_slot = c->slot,
                                .of = c->of,
                                .text = STR("")};
    if (cachestore_end(c->write, &facts) == NULL)
        coded_drop(x);
    else
        coded_give_up(x);
}

static void coded_flushed(void *ctx)
{
    coded_drop(ctx);
}

void coded_watch(struct exchange *x)
{
    static const struct compress_copy copy = {coded_add, coded_end, coded_flushed};
    struct coded *c = x->coded;
    c->makes = c->ready;
    c->ready = false; /* of one response alone */
    if (!c->makes)
        return;
    x->compress->copy = &copy;
    x->compress->whole = c->of != 0;
}

void coded_leave(struct exchange *x)
{
    coded_drop(x);
    if (x->coded->entry != NULL)
        file_source_drop(&x->coded->entry->file.source);
    x->coded = NULL;
}

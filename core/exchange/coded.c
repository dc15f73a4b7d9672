/*
 * coded - see parts.h. This file keeps bodies in a content coding, so that what the cache has, and
 * a static file, is coded once and not for each client. Such a body lies in the cache as a file of
 * its own: under the id of its response (shm/cache.h), or under what tells a static file from all
 * others. The head is always made of the response's or the file's.
 *
 *     hit --coded_choose-----> its body is kept: that is sent in place of the plain one
 *     file --coded_choose_file-^ \---> it is not: the filter `compress` codes it, and this client's
 *                                      copy is kept
 *     miss --coded_follow----> this client's copy is kept with the response (coded_name)
 *
 * One request makes a body at a time, over all workers; others code for themselves meanwhile.
 */
#include "exchange/parts.h"

#include "http/file.h"
#include "http/filecache.h"
#include "http/logline.h"
#include "shm/cachestore.h"
#include "shm/ledger.h"

#include <math.h>

#define CODED_PART   8    /* a response may have this part of all room */
#define CODED_UNKEPT 10.0 /* seconds for which one that could not be kept is not tried again */

/* --- the store --- */

/* The folder is that of the first route; a reload changes its size only. */
bool coded_open(const struct exchange *x)
{
    static bool told; /* the log, that the folder can't be used */
    const struct settings *s = x->generation->settings;
    if (cachestore_index() == NULL) {
        const char *bad = cachestore_use(s->cache_path);
        if (bad != NULL && !told)
            logline_write(&x->req, NULL, LOG_ERROR,
                          "cache.path %.*s can't be used, so nothing is kept: %s",
                          STR_FMT(s->cache_path), bad);
        told = bad != NULL;
        if (bad != NULL)
            return false;
    }
    cache_set_limit(cachestore_index(), s->cache_size);
    cachestore_set_memory(s->cache_memory);
    return true;
}

uint64_t coded_most(const struct exchange *x)
{
    return x->generation->settings->cache_size / CODED_PART;
}

/* --- keys --- */

static struct coded *coded_new(struct exchange *x, enum coding coding)
{
    if (x->coded != NULL)
        coded_leave(x);
    struct coded *c = x->coded = arena_alloc(&x->req.arena, sizeof *c);
    *c = (struct coded){.coding = coding};
    return c;
}

static struct str coded_key(const struct coded *c)
{
    return (struct str){c->text, c->text_size};
}

/* Begins the key by the coding, and a zero, which no key of a response has. */
static void coded_begin_key(struct coded *c)
{
    c->text[0] = '\0';
    c->text[1] = (char)c->coding;
    c->text_size = 2;
}

static void coded_name_response(struct coded *c, uint32_t slot, uint64_t id)
{
    coded_begin_key(c);
    c->slot = slot;
    c->of = id;
    c->hash = cache_coded_hash(cachestore_index(), id, c->coding);
    c->named = true;
}

static void coded_name_file(struct coded *c, const uint64_t name[FILECACHE_NAME])
{
    const size_t size = FILECACHE_NAME * sizeof *name;
    _Static_assert(2 + FILECACHE_NAME * sizeof *name <= CODED_KEY, "the key has room");
    coded_begin_key(c);
    memcpy(c->text + c->text_size, name, size);
    c->text_size += (unsigned)size;
    c->hash = cache_hash(cachestore_index(), coded_key(c));
    c->named = true;
}

/* --- sending one --- */

static struct cache_entry *coded_find(const struct coded *c, unsigned level)
{
    struct cache_found found;
    if (!cache_find(cachestore_index(), c->hash, ledger_now(), &found))
        return NULL;
    struct cache_entry *e = cachestore_get(&found, coded_key(c));
    if (e == NULL || (e->of == c->of && e->level == level))
        return e;
    file_source_drop(&e->file.source); /* of other settings */
    return NULL;
}

/* Puts the body in the place of the plain one. */
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

/* Sends the body if it is kept; else notes that it is to be kept. */
static void coded_use(struct exchange *x, struct file *file)
{
    struct coded *c = x->coded;
    struct cache_entry *e = coded_find(c, exchange_compress(x)->levels[c->coding]);
    request_step(&x->req, "its body in %s is %s", coding_name(c->coding).p,
                 e != NULL ? "kept" : "not kept yet");
    if (e != NULL) {
        coded_put(x, e, file);
    } else if (x->req.method_id == METHOD_GET) {
        c->purges = cache_purges(cachestore_index());
        c->told = cache_begin_fill(cachestore_index(), c->hash, ledger_now()) == CACHE_YOURS;
        c->ready = c->told;
    }
}

void coded_choose(struct exchange *x, const struct cache_found *of, struct file *file)
{
    enum coding coding = compress_expect(&x->req, exchange_compress(x), &x->always);
    if (coding == CODING_IDENTITY)
        return;
    coded_name_response(coded_new(x, coding), of->slot, of->id);
    coded_use(x, file);
}

void coded_choose_file(struct exchange *x, struct file *file)
{
    const struct compress_settings *settings = exchange_compress(x);
    const struct request *req = &x->req;
    uint64_t name[FILECACHE_NAME];
    if (req->response.status != 200 || req->decision.handed_over ||
        (uint64_t)req->response.content_length > settings->keep)
        return;
    enum coding coding = compress_expect(&x->req, settings, &x->always);
    if (coding == CODING_IDENTITY || !filecache_identify(file->source, name) || !coded_open(x))
        return;
    struct coded *c = coded_new(x, coding);
    c->source = file->source;
    coded_name_file(c, name);
    coded_use(x, file);
}

/* --- keeping one --- */

void coded_follow(struct exchange *x)
{
    if (!exchange_compress(x)->on)
        return;
    struct coded *c = coded_new(x, CODING_IDENTITY); /* the filter chooses it */
    c->purges = x->caching->purges;
    c->ready = true;
}

void coded_name(struct exchange *x, uint32_t slot, uint64_t id)
{
    if (x->coded == NULL || x->coded->named)
        return;
    x->coded->slot = slot;
    x->coded->of = id;
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
    c->coding = coding;
    if (!c->named)
        coded_begin_key(c);
    const struct cache_record record = {
        .key = coded_key(c), .vary = STR(""), .level = exchange_compress(x)->levels[coding]};
    c->write = arena_alloc(&x->req.arena, sizeof *c->write);
    cachestore_begin(c->write, &record, c->purges, coded_most(x));
}

/* A coder of another kind has taken the place of one that had no memory: its bytes are kept as
 * such, but not under the name of the first. */
static void coded_add(void *ctx, enum coding coding, struct str bytes)
{
    struct exchange *x = ctx;
    struct coded *c = x->coded;
    if (!c->makes)
        return;
    if (c->named && coding != c->coding) {
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
    bool sound = c->source == NULL || filecache_is_unchanged(c->source);
    if (!c->named && c->of != 0)
        coded_name_response(c, c->slot, c->of);
    if (!c->makes || c->write == NULL || !c->named || !sound) {
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
    if (cachestore_end(c->write, &facts) == CACHE_NO_REASON)
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
    x->compress->whole = c->named; /* its body is a file */
}

void coded_leave(struct exchange *x)
{
    coded_drop(x);
    if (x->coded->entry != NULL)
        file_source_drop(&x->coded->entry->file.source);
    x->coded = NULL;
}

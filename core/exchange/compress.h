/*
 * compress - a filter that sends a response in a content coding (`compress`): zstd, brotli or gzip,
 * as the request's Accept-Encoding chooses.
 *
 *     exchange ---> [postpone --->] compress ---> front
 *
 * The filter lies in the chain only where the settings or the decision ask for it. It judges each
 * head that passes: most responses then pass unchanged. Of a body without a known length the first
 * bytes are kept, and the head with them, until there are `min` of them, or the response pauses or
 * ends. A response is coded in pieces of CODER_OUT bytes, so that memory does not depend on its
 * length.
 *
 * Flushes: a coder's flush costs bytes and time, so the filter waits COMPRESS_LATE seconds for more
 * bytes first. A response that is read as it comes (text/event-stream, response_buffering = false,
 * X-Accel-Buffering: no) is flushed at once.
 *
 * Called by response; embedded in the memory of a request.
 */
#ifndef MG_EXCHANGE_COMPRESS_H
#define MG_EXCHANGE_COMPRESS_H

#include "base/buf.h"
#include "base/loop.h"
#include "exchange/filter.h"
#include "http/coder.h"

enum compress_state {
    COMPRESS_PASSES,  /* the response passes unchanged */
    COMPRESS_GATHERS, /* head and first bytes are kept */
    COMPRESS_CODES,
};

/* Gets what a response becomes as well, from its first byte to its last. */
struct compress_copy {
    void (*add)(void *ctx, enum coding coding, struct str bytes);
    void (*end)(void *ctx);
    /* The body has been flushed within, so that it is larger than it need be. */
    void (*flushed)(void *ctx);
};

struct compress {
    struct filter filter;
    struct request *req;
    const struct compress_settings *settings; /* NULL: the next response passes unchanged */
    void (*on_late)(struct compress *c, void *ctx);
    void *ctx;
    const struct compress_copy *copy; /* gets ctx; NULL: none is made */
    enum compress_state state;
    enum coding coding;
    struct coder *coder; /* NULL: none */
    struct buf kept;     /* the first bytes; they live on until the next response */
    int64_t length;      /* of the response's body as it came; -1: not known */
    size_t need;         /* so many are waited for */
    bool prompt;         /* no flush waits */
    bool whole;          /* the body does not pause, so that it needs no flush */
    bool unflushed;      /* the coder has had bytes since its last flush */
    bool gone;           /* the front may have sent a part of the response */
    uint64_t in, out;    /* bytes of the body that were coded, and what they have become */
    struct deadline late;
};

/* Puts the filter before what *first is. on_late says that compress_flush is due; it may not call
 * the filter. */
void compress_add(struct compress *c, struct front **first, struct request *req, struct loop *loop,
                  void (*on_late)(struct compress *c, void *ctx), void *ctx);
/* For the response that follows, of which no copy is made. NULL: it passes unchanged. */
void compress_set(struct compress *c, const struct compress_settings *settings);
/* The coding that a response gets whose head and length are in req->response, if the headers of
 * `more` are added to it; CODING_IDENTITY: none. */
enum coding compress_expect(struct request *req, const struct compress_settings *settings,
                            const struct headers *more);
/* Changes the head of such a response; the caller sets its length. */
void compress_mark(struct request *req, enum coding coding);
/* Sends what the filter has, after on_late. */
void compress_flush(struct compress *c);
/* True when the front has seen nothing of the response. */
static inline bool compress_holds(const struct compress *c)
{
    return c->state != COMPRESS_PASSES && !c->gone;
}
void compress_fini(struct compress *c);

/* If-None-Match for an application whose tags clients know as weak ones: without "W/", which has no
 * meaning in that header (RFC 9110 §13.1.2), but keeps applications from finding their own tag.
 * Returns `list` itself where no tag is weak. */
struct str compress_strong_tags(struct arena *a, struct str list);

#endif

/* compress - see compress.h. */
#include "exchange/compress.h"

#include "shm/metrics.h"

#define COMPRESS_LATE 0.005 /* seconds that a flush waits for more bytes */

static struct compress *compress_of(struct front *front)
{
    return (struct compress *)((char *)front - offsetof(struct compress, filter.front));
}

/* --- the head --- */

/* What the headers of a response say about its coding. */
struct compress_head {
    struct str type;
    struct header *tag;
    bool fixed;  /* it is coded already, or must not be changed */
    bool varies; /* Vary names Accept-Encoding, or all */
};

/* True when the list, of tokens and parameters, has the token. */
static bool compress_has_token(struct str list, struct str token)
{
    while (list.p != NULL)
        if (str_ieq(str_trim(str_cut(&list, ',')), token))
            return true;
    return false;
}

/* Headers about bytes that a coding would change: another coding, and digests (RFC 9530, RFC 3230,
 * RFC 1864). */
static bool compress_is_about_bytes(struct str name)
{
    static const struct str names[] = {
        {"Content-Encoding", 16}, {"Content-Digest", 14}, {"Repr-Digest", 11},
        {"Content-MD5", 11},      {"Digest", 6},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_ieq(name, names[i]))
            return true;
    return false;
}

static void compress_read_head(const struct headers *h, struct compress_head *out)
{
    for (unsigned i = 0; i < h->count; i++) {
        struct header *header = &h->list[i];
        if (header->id == HEADER_CONTENT_TYPE)
            out->type = header->value;
        else if (header->id == HEADER_ETAG)
            out->tag = header;
        else if (header->id != HEADER_OTHER)
            continue;
        else if (str_ieq(header->name, STR("Vary")))
            out->varies |= compress_has_token(header->value, STR("Accept-Encoding")) ||
                           compress_has_token(header->value, STR("*"));
        else if (str_ieq(header->name, STR("Cache-Control")))
            out->fixed |= compress_has_token(header->value, STR("no-transform"));
        else
            out->fixed |= compress_is_about_bytes(header->name);
    }
}

/* True when a pattern of `types` fits: "text/html", "text/ *" without the blank, "*". */
static bool compress_is_listed(const struct compress_settings *settings, struct str type)
{
    type = str_trim(str_cut(&type, ';'));
    for (unsigned i = 0; i < settings->type_count; i++) {
        struct str pattern = settings->types[i];
        bool open = str_ends(pattern, STR("*"));
        size_t n = pattern.n - open;
        if (open ? type.n >= n && type.n > 0 && str_same_letters(type.p, pattern.p, n)
                 : str_ieq(type, pattern))
            return true;
    }
    return false;
}

static struct str compress_request_header(struct request *req, struct str name)
{
    return headers_joined(&req->arena, &req->headers, name);
}

/* A coded response has other bytes than the one that its strong tag names (RFC 9110 §8.8.1). */
static void compress_weaken(struct arena *a, struct header *tag)
{
    if (tag != NULL && !str_starts(tag->value, STR("W/")))
        tag->value = arena_printf(a, "W/%.*s", STR_FMT(tag->value));
}

/* Weakens the tag of a 304 where the client has named it as a weak one, as it got it. */
static void compress_renew(struct request *req, struct header *tag)
{
    struct str list = compress_request_header(req, STR("If-None-Match"));
    if (tag == NULL || str_starts(tag->value, STR("W/")))
        return;
    struct str weak = arena_printf(&req->arena, "W/%.*s", STR_FMT(tag->value));
    if (list.n > 0 && memmem(list.p, list.n, weak.p, weak.n) != NULL)
        tag->value = weak;
}

/* Adds Vary, unless it is there. */
static void compress_vary(struct request *req, const struct compress_head *head)
{
    if (!head->varies)
        headers_add(&req->arena, &req->response.headers, STR("Vary"), STR("Accept-Encoding"));
}

/* Changes the head into that of a coded response, which has Vary. */
static void compress_change_head(struct request *req, enum coding coding)
{
    struct headers *h = &req->response.headers;
    headers_add(&req->arena, h, STR("Content-Encoding"), coding_name(coding));
    headers_remove(h, STR("Accept-Ranges"));
    compress_weaken(&req->arena, headers_find(h, HEADER_ETAG));
    req->response.content_length = -1;
}

void compress_mark(struct request *req, enum coding coding)
{
    struct compress_head head = {.type = STR("")};
    compress_read_head(&req->response.headers, &head);
    compress_vary(req, &head);
    compress_change_head(req, coding);
}

/* Opens a coder of the chosen kind, or of gzip, which needs the least memory, where that has none
 * left. */
static bool compress_open(struct compress *c)
{
    static const uint8_t gzip = CODING_GZIP;
    bool must;
    c->coder = coder_open(c->coding, c->settings->levels[c->coding]);
    struct str accept = compress_request_header(c->req, STR("Accept-Encoding"));
    if (c->coder == NULL && coding_choose(accept, &gzip, 1, &must) == CODING_GZIP) {
        c->coding = CODING_GZIP;
        c->coder = coder_open(CODING_GZIP, c->settings->levels[CODING_GZIP]);
    }
    return c->coder != NULL;
}

/* The response is coded from here on, unless there is no memory for that: its head goes on. */
static void compress_begin(struct compress *c)
{
    c->state = compress_open(c) ? COMPRESS_CODES : COMPRESS_PASSES;
    if (c->state == COMPRESS_CODES)
        compress_change_head(c->req, c->coding);
    c->unflushed = true;
    filter_respond(&c->filter.front);
}

/* Chooses the coding, for a response that may have one. */
static enum coding compress_choose(struct request *req, const struct compress_settings *s,
                                   bool *must)
{
    struct str accept = compress_request_header(req, STR("Accept-Encoding"));
    *must = false;
    if (accept.p == NULL || req->version == HTTP_1_0)
        return CODING_IDENTITY;
    return coding_choose(accept, s->order, s->coding_count, must);
}

/* The bytes that a body must have. */
static size_t compress_need(const struct compress_settings *s, bool must)
{
    return must || s->min == 0 ? 1 : s->min;
}

/* True for a status whose responses have no body, or only a part of it. */
static bool compress_is_partial(int status)
{
    return status < 200 || status == 204 || status == 206 || status == 304;
}

enum coding compress_expect(struct request *req, const struct compress_settings *settings,
                            const struct headers *more)
{
    const struct response *res = &req->response;
    struct compress_head head = {.type = STR("")};
    bool must;
    if (!settings->on || compress_is_partial(res->status) || res->content_length <= 0)
        return CODING_IDENTITY;
    compress_read_head(&res->headers, &head);
    compress_read_head(more, &head);
    if (head.fixed || !compress_is_listed(settings, head.type))
        return CODING_IDENTITY;
    enum coding coding = compress_choose(req, settings, &must);
    return (uint64_t)res->content_length < compress_need(settings, must) ? CODING_IDENTITY : coding;
}

/* Judges the head of a response of a listed type. Returns what becomes of the response; a HEAD gets
 * the head that a GET would, as far as that is known. */
static enum compress_state compress_judge(struct compress *c)
{
    const struct response *res = &c->req->response;
    bool must;
    c->coding = res->status == 206 ? CODING_IDENTITY : compress_choose(c->req, c->settings, &must);
    if (c->coding == CODING_IDENTITY || res->content_length == 0)
        return COMPRESS_PASSES;
    c->need = compress_need(c->settings, must);
    if (res->content_length >= 0 && (uint64_t)res->content_length < c->need)
        return COMPRESS_PASSES;
    if (c->req->method_id == METHOD_HEAD) {
        if (res->content_length > 0)
            compress_change_head(c->req, c->coding);
        return COMPRESS_PASSES;
    }
    return res->content_length > 0 ? COMPRESS_CODES : COMPRESS_GATHERS;
}

/* --- the body --- */

/* Gives the front what the coder has made. */
static void compress_give(struct compress *c)
{
    struct str made = coder_output(c->coder);
    c->out += made.n;
    if (made.n == 0)
        return;
    if (c->copy != NULL)
        c->copy->add(c->ctx, c->coding, made);
    filter_body(&c->filter.front, made);
}

/* The same, and sends it: the buffer is used again. */
static void compress_send(struct compress *c)
{
    compress_give(c);
    filter_flush(&c->filter.front);
    coder_clear(c->coder);
    c->gone = true;
}

static void compress_run(struct compress *c, enum coder_order order, struct str bytes)
{
    c->in += bytes.n;
    c->unflushed = true;
    while (coder_run(c->coder, order, &bytes))
        compress_send(c);
}

/* The kept bytes are enough, or the response has paused: it is coded. */
static void compress_decide(struct compress *c)
{
    compress_begin(c);
    if (c->state == COMPRESS_CODES)
        compress_run(c, CODER_FEED, buf_peek(&c->kept));
    else if (buf_len(&c->kept) > 0)
        filter_body(&c->filter.front, buf_peek(&c->kept));
}

static void compress_close(struct compress *c)
{
    deadline_clear(&c->late);
    if (c->coder != NULL)
        coder_close(c->coder);
    c->coder = NULL;
    c->state = COMPRESS_PASSES;
}

/* Counts a response that was compressed, of which the client gets all or a part. */
static void compress_count(const struct compress *c)
{
    struct metrics_coded *counts = &metrics_own->coded[c->coding];
    if (c->state != COMPRESS_CODES)
        return;
    metrics_add(&counts->answers, 1);
    metrics_add(&counts->bytes_in, c->in);
    metrics_add(&counts->bytes_out, c->out);
}

/* Forgets the response. */
static void compress_forget(struct compress *c)
{
    compress_close(c);
    buf_consume(&c->kept, buf_len(&c->kept));
    c->in = c->out = 0;
    c->gone = false;
}

void compress_flush(struct compress *c)
{
    deadline_clear(&c->late);
    if (c->state == COMPRESS_PASSES) /* the response has ended, or was taken back */
        return;
    if (c->state == COMPRESS_GATHERS)
        compress_decide(c);
    if (c->state == COMPRESS_PASSES) {
        filter_flush(&c->filter.front);
        return;
    }
    if (c->copy != NULL)
        c->copy->flushed(c->ctx);
    compress_run(c, CODER_FLUSH, STR(""));
    compress_send(c);
    c->unflushed = false;
}

/* --- front_ops --- */

static void compress_respond(struct front *front)
{
    struct compress *c = compress_of(front);
    struct response *res = &c->req->response;
    struct compress_head head = {.type = STR("")};
    compress_forget(c);
    c->length = res->content_length;
    if (c->settings == NULL || res->status < 200 || res->status == 204) {
        filter_respond(front);
        return;
    }
    compress_read_head(&res->headers, &head);
    bool renewed = res->status == 304;
    bool listed = compress_is_listed(c->settings, head.type) || (renewed && head.type.n == 0);
    if (head.fixed || !listed) {
        filter_respond(front);
        return;
    }
    compress_vary(c->req, &head);
    if (renewed)
        compress_renew(c->req, head.tag);
    else
        c->state = compress_judge(c);
    c->prompt =
        res->unbuffered || str_ieq(str_trim(str_cut(&head.type, ';')), STR("text/event-stream"));
    if (c->state == COMPRESS_CODES)
        compress_begin(c);
    else if (c->state == COMPRESS_PASSES)
        filter_respond(front);
}

static void compress_body(struct front *front, struct str bytes)
{
    struct compress *c = compress_of(front);
    if (c->state == COMPRESS_GATHERS) {
        if (buf_len(&c->kept) + bytes.n < c->need) {
            buf_append_str(&c->kept, bytes);
            return;
        }
        compress_decide(c);
    }
    if (c->state == COMPRESS_CODES)
        compress_run(c, CODER_FEED, bytes);
    else
        filter_body(front, bytes);
}

/* A front that gets the file itself would not see it coded. */
static bool compress_file(struct front *front, struct file_source *source,
                          const struct file_piece *pieces, unsigned count)
{
    return compress_of(front)->state == COMPRESS_PASSES &&
           filter_file(front, source, pieces, count);
}

static void compress_flush_front(struct front *front)
{
    struct compress *c = compress_of(front);
    if (c->state == COMPRESS_PASSES)
        filter_flush(front);
    else if (c->state == COMPRESS_CODES && (!c->unflushed || c->whole))
        return;
    else if (c->prompt)
        compress_flush(c);
    else if (c->late.at == 0)
        deadline_set(&c->late, COMPRESS_LATE);
}

static void compress_end(struct front *front)
{
    struct compress *c = compress_of(front);
    if (c->state == COMPRESS_GATHERS) { /* a small body, whose length is known now */
        c->req->response.content_length = (int64_t)buf_len(&c->kept);
        filter_respond(front);
        if (buf_len(&c->kept) > 0)
            filter_body(front, buf_peek(&c->kept));
    } else if (c->state == COMPRESS_CODES) {
        compress_run(c, CODER_FINISH, STR(""));
        compress_give(c);
        if (c->copy != NULL)
            c->copy->end(c->ctx);
    }
    filter_end(front);
    compress_count(c);
    compress_close(c);
}

static bool compress_retract(struct front *front)
{
    struct compress *c = compress_of(front);
    if (c->state != COMPRESS_GATHERS && !filter_retract(front))
        return false;
    compress_forget(c);
    return true;
}

/* The client gets all bytes that have come, but not the coding's end. */
static void compress_cut(struct front *front)
{
    struct compress *c = compress_of(front);
    if (c->state == COMPRESS_CODES && c->gone)
        compress_flush(c);
    filter_cut(front);
    compress_count(c);
    compress_close(c);
}

static void compress_drop(struct front *front, const char *why)
{
    struct compress *c = compress_of(front);
    filter_drop(front, why);
    compress_count(c);
    compress_close(c);
}

/* While the filter keeps the head, nothing waits for the client. */
static size_t compress_room(struct front *front)
{
    return compress_of(front)->state == COMPRESS_GATHERS ? SIZE_MAX : filter_room(front);
}

static const struct front_ops compress_ops = {
    .want_body = filter_want_body,
    .hints = filter_hints,
    .respond = compress_respond,
    .body = compress_body,
    .file = compress_file,
    .flush = compress_flush_front,
    .end = compress_end,
    .retract = compress_retract,
    .cut = compress_cut,
    .drop = compress_drop,
    .room = compress_room,
};

static void compress_missed(struct deadline *d)
{
    struct compress *c = (struct compress *)((char *)d - offsetof(struct compress, late));
    c->on_late(c, c->ctx);
}

void compress_add(struct compress *c, struct front **first, struct request *req, struct loop *loop,
                  void (*on_late)(struct compress *c, void *ctx), void *ctx)
{
    *c = (struct compress){.req = req, .on_late = on_late, .ctx = ctx};
    buf_init(&c->kept, SIZE_MAX);
    deadline_init(&c->late, loop, compress_missed);
    filter_add(first, &c->filter, &compress_ops);
}

void compress_set(struct compress *c, const struct compress_settings *settings)
{
    c->settings = settings;
    c->whole = false;
    c->copy = NULL;
}

void compress_fini(struct compress *c)
{
    compress_close(c);
    deadline_fini(&c->late);
    buf_fini(&c->kept);
}

/* --- If-None-Match --- */

struct str compress_strong_tags(struct arena *a, struct str list)
{
    if (list.n == 0 || memmem(list.p, list.n, "W/\"", 3) == NULL)
        return list;
    char *out = arena_bytes(a, list.n);
    size_t n = 0;
    bool quoted = false; /* within a tag, whose text may have "W/" */
    for (size_t i = 0; i < list.n; i++) {
        if (!quoted && str_starts(str_skip(list, i), STR("W/\"")))
            i += 2;
        quoted ^= list.p[i] == '"';
        out[n++] = list.p[i];
    }
    return (struct str){out, n};
}

/* record - see record.h. */
#include "fastcgi/record.h"

void fcgi_header(uint8_t out[FCGI_HEADER_SIZE], enum fcgi_type type, uint16_t id, size_t content)
{
    out[0] = 1; /* FCGI_VERSION_1 */
    out[1] = (uint8_t)type;
    out[2] = (uint8_t)(id >> 8);
    out[3] = (uint8_t)id;
    out[4] = (uint8_t)(content >> 8);
    out[5] = (uint8_t)content;
    out[6] = 0; /* no padding: 65,529 bytes and more with padding are reset by PHP-FPM */
    out[7] = 0;
}

void fcgi_begin(struct buf *out, uint16_t id, enum fcgi_role role, uint8_t flags)
{
    uint8_t record[FCGI_HEADER_SIZE + 8] = {0};
    fcgi_header(record, FCGI_BEGIN_REQUEST, id, 8);
    record[FCGI_HEADER_SIZE + 1] = (uint8_t)role;
    record[FCGI_HEADER_SIZE + 2] = flags;
    buf_append(out, record, sizeof record);
}

void fcgi_end(struct buf *out, uint16_t id, uint32_t app_status, enum fcgi_protocol_status status)
{
    uint8_t record[FCGI_HEADER_SIZE + 8] = {0};
    uint8_t *body = record + FCGI_HEADER_SIZE;
    fcgi_header(record, FCGI_END_REQUEST, id, 8);
    body[0] = (uint8_t)(app_status >> 24);
    body[1] = (uint8_t)(app_status >> 16);
    body[2] = (uint8_t)(app_status >> 8);
    body[3] = (uint8_t)app_status;
    body[4] = (uint8_t)status;
    buf_append(out, record, sizeof record);
}

void fcgi_unknown_type(struct buf *out, uint8_t type)
{
    uint8_t record[FCGI_HEADER_SIZE + 8] = {0};
    fcgi_header(record, FCGI_UNKNOWN_TYPE, 0, 8);
    record[FCGI_HEADER_SIZE] = type;
    buf_append(out, record, sizeof record);
}

void fcgi_empty(struct buf *out, enum fcgi_type type, uint16_t id)
{
    uint8_t header[FCGI_HEADER_SIZE];
    fcgi_header(header, type, id, 0);
    buf_append(out, header, sizeof header);
}

void fcgi_pairs_init(struct fcgi_pairs *p, struct buf *out, enum fcgi_type type, uint16_t id)
{
    *p = (struct fcgi_pairs){.out = out, .type = (uint8_t)type, .id = id};
}

void fcgi_pairs_end(struct fcgi_pairs *p)
{
    if (!p->open || p->out->overflow)
        return;
    uint8_t *header = (uint8_t *)p->out->data + p->out->head + p->record;
    size_t content = buf_len(p->out) - p->record - FCGI_HEADER_SIZE;
    fcgi_header(header, p->type, p->id, content);
    p->open = false;
}

static void fcgi_open_record(struct fcgi_pairs *p)
{
    p->record = buf_len(p->out);
    buf_append(p->out, (uint8_t[FCGI_HEADER_SIZE]){0}, FCGI_HEADER_SIZE);
    p->open = true;
}

/* Writes a length: one byte below 128, else four with the top bit set (§3.4). */
static uint8_t *fcgi_put_length(uint8_t *at, size_t n)
{
    if (n < 128) {
        *at++ = (uint8_t)n;
        return at;
    }
    *at++ = (uint8_t)(n >> 24 | 0x80);
    *at++ = (uint8_t)(n >> 16);
    *at++ = (uint8_t)(n >> 8);
    *at++ = (uint8_t)n;
    return at;
}

/* Copies n bytes, of which there are few: without a call for those that most params have. */
static inline uint8_t *fcgi_put_bytes(uint8_t *at, struct str s)
{
    uint64_t first, last;
    if (s.n >= sizeof first && s.n <= 2 * sizeof first) {
        memcpy(&first, s.p, sizeof first);
        memcpy(&last, s.p + s.n - sizeof last, sizeof last);
        memcpy(at, &first, sizeof first);
        memcpy(at + s.n - sizeof last, &last, sizeof last);
    } else if (s.n > 0) {
        memcpy(at, s.p, s.n);
    }
    return at + s.n;
}

static inline uint8_t *fcgi_put_pair(uint8_t *at, struct str name, struct str value)
{
    at = fcgi_put_length(at, name.n);
    at = fcgi_put_length(at, value.n);
    at = fcgi_put_bytes(at, name);
    return fcgi_put_bytes(at, value);
}

void fcgi_pairs_add(struct fcgi_pairs *p, struct str name, struct str value)
{
    size_t size = (name.n < 128 ? 1 : 4) + (value.n < 128 ? 1 : 4) + name.n + value.n;
    if (size > FCGI_CONTENT_MAX) {
        p->too_large = true;
        return;
    }
    if (p->open && buf_len(p->out) - p->record - FCGI_HEADER_SIZE + size > FCGI_RECORD_MAX)
        fcgi_pairs_end(p);
    if (!p->open)
        fcgi_open_record(p);
    uint8_t *room = (uint8_t *)buf_reserve(p->out, size);
    if (room == NULL)
        return;
    fcgi_put_pair(room, name, value);
    buf_commit(p->out, size);
}

void fcgi_pairs_add_all(struct fcgi_pairs *p, const struct param *list, unsigned count)
{
    size_t size = FCGI_HEADER_SIZE;
    for (unsigned i = 0; i < count; i++)
        size += list[i].name.n + list[i].value.n + 8;
    uint8_t *record =
        p->open || size > FCGI_RECORD_MAX ? NULL : (uint8_t *)buf_reserve(p->out, size);
    if (record == NULL) {
        for (unsigned i = 0; i < count; i++)
            fcgi_pairs_add(p, list[i].name, list[i].value);
        return;
    }
    uint8_t *at = record + FCGI_HEADER_SIZE;
    for (unsigned i = 0; i < count; i++)
        at = fcgi_put_pair(at, list[i].name, list[i].value);
    if (count == 0)
        return;
    p->record = buf_len(p->out);
    p->open = true; /* fcgi_pairs_end writes its header */
    buf_commit(p->out, (size_t)(at - record));
}

void fcgi_decoder_init(struct fcgi_decoder *d)
{
    *d = (struct fcgi_decoder){0};
}

void fcgi_decoder_accept(struct fcgi_decoder *d)
{
    *d = (struct fcgi_decoder){.accepts = true};
}

/* True for records whose eight bytes of content are passed on as a whole. */
static bool fcgi_is_collected(const struct fcgi_decoder *d)
{
    return d->type == (d->accepts ? FCGI_BEGIN_REQUEST : FCGI_END_REQUEST);
}

/* Collects up to eight bytes; true when they are there. */
static bool fcgi_collect(struct fcgi_decoder *d, const char **at, const char *end)
{
    size_t want = 8u - d->have, got = (size_t)(end - *at);
    if (got > want)
        got = want;
    memcpy(d->bytes + d->have, *at, got);
    d->have = (uint8_t)(d->have + got);
    *at += got;
    return d->have == 8;
}

static const char *fcgi_begin_record(struct fcgi_decoder *d)
{
    const uint8_t *h = d->bytes;
    d->have = 0;
    if (h[0] != 1)
        return "not a FastCGI record (its version is not 1)";
    d->type = h[1];
    d->id = (uint16_t)(h[2] << 8 | h[3]);
    d->left = d->size = (uint16_t)(h[4] << 8 | h[5]);
    d->padding = h[6];
    d->in_content = true;
    if (!fcgi_is_collected(d) || d->left == 8)
        return NULL;
    return d->accepts ? "a BEGIN_REQUEST record whose body is not 8 bytes"
                      : "an END_REQUEST record whose body is not 8 bytes";
}

/* Passes on the content of the current record that has come. Returns false when the callback stops
 * the decoder. */
static bool fcgi_pass_content(struct fcgi_decoder *d, const char **at, const char *end,
                              fcgi_event_cb on_event, void *ctx)
{
    struct fcgi_event event = {.type = d->type, .id = d->id};
    if (fcgi_is_collected(d)) { /* kept until its padding has come, too */
        if (fcgi_collect(d, at, end))
            d->left = 0;
        return true;
    }
    size_t n = (size_t)(end - *at);
    if (n > d->left)
        n = d->left;
    event.content = (struct str){*at, n};
    *at += n;
    d->left = (uint16_t)(d->left - n);
    return on_event(ctx, &event);
}

/* Ends a record of a web server, which is complete. */
static bool fcgi_end_accepted(struct fcgi_decoder *d, fcgi_event_cb on_event, void *ctx)
{
    struct fcgi_event event = {.type = d->type, .id = d->id, .complete = true, .size = d->size};
    if (d->type == FCGI_BEGIN_REQUEST) {
        event.role = (uint16_t)(d->bytes[0] << 8 | d->bytes[1]);
        event.flags = d->bytes[2];
    }
    d->have = 0;
    return on_event(ctx, &event);
}

/* Ends a record, which is complete with its padding. */
static bool fcgi_end_record(struct fcgi_decoder *d, fcgi_event_cb on_event, void *ctx)
{
    d->in_content = false;
    if (d->accepts)
        return fcgi_end_accepted(d, on_event, ctx);
    if (d->type != FCGI_END_REQUEST)
        return true;
    const uint8_t *b = d->bytes;
    struct fcgi_event event = {
        .type = d->type,
        .id = d->id,
        .app_status =
            (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | (uint32_t)b[3],
        .protocol_status = b[4], /* the three bytes behind it are garbage in PHP-FPM */
    };
    d->have = 0;
    return on_event(ctx, &event);
}

const char *fcgi_feed(struct fcgi_decoder *d, const char *data, size_t n, size_t *used,
                      fcgi_event_cb on_event, void *ctx)
{
    const char *at = data, *end = data + n, *err = NULL;
    bool go = true;
    while (at < end && err == NULL && go) {
        if (!d->in_content) {
            if (fcgi_collect(d, &at, end))
                err = fcgi_begin_record(d);
        } else if (d->left > 0) {
            go = fcgi_pass_content(d, &at, end, on_event, ctx);
        } else {
            size_t skip = (size_t)(end - at) < d->padding ? (size_t)(end - at) : d->padding;
            at += skip;
            d->padding = (uint8_t)(d->padding - skip);
        }
        if (err == NULL && d->in_content && d->left == 0 && d->padding == 0)
            go &= fcgi_end_record(d, on_event, ctx);
    }
    *used = (size_t)(at - data);
    return err;
}

static bool fcgi_get_length(struct str *in, size_t *out)
{
    const uint8_t *p = (const uint8_t *)in->p;
    if (in->n < 1)
        return false;
    size_t size = p[0] < 128 ? 1 : 4;
    if (in->n < size)
        return false;
    *out = size == 1 ? p[0]
                     : (size_t)(p[0] & 0x7f) << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    *in = str_skip(*in, size);
    return true;
}

bool fcgi_pair_next(struct str *in, struct str *name, struct str *value)
{
    size_t name_size, value_size;
    if (!fcgi_get_length(in, &name_size) || !fcgi_get_length(in, &value_size))
        return false;
    if (in->n < name_size || in->n - name_size < value_size)
        return false;
    *name = (struct str){in->p, name_size};
    *value = (struct str){in->p + name_size, value_size};
    *in = str_skip(*in, name_size + value_size);
    return true;
}

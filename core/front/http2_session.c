/*
 * http2_session - see http2_inner.h. This file has nghttp2's session of a connection: its settings,
 * and the callbacks that pass what comes to streams.
 *
 * nghttp2's own rules for HTTP messages are off: http/h2 makes these checks, so that a malformed
 * request gets a response and a line in the logs, as over HTTP/1.
 */
#include "front/http2_inner.h"

#include "base/log.h"
#include "shm/underway.h"

#include <stdlib.h>

enum {
    CONTINUATIONS = 7,       /* frames of one header block behind its first */
    HEADER_BLOCK = 16 << 20, /* bytes of a block that is sent; limits.response_header is less */
    SENT_FIELDS = 1024,      /* HPACK's table of sent fields, where an old `date` stays for long */
    PRIORITY_UPDATE = 0x10,  /* the type of that frame, RFC 9218 section 7 */
};

/* Points of http2_toll for frames that cost work and bring none, and the size from which on DATA
 * brings some. */
enum { POINTS_DEAR = 10, POINTS_CHEAP = 1, TINY_DATA = 256 };

static const char too_many[] = "too many frames that only cost work (RST_STREAM, PING, SETTINGS, "
                               "tiny DATA, WINDOW_UPDATE)";

/* --- what comes --- */

static unsigned http2_session_points(const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length < TINY_DATA && (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0 ? POINTS_CHEAP
                                                                                    : 0;
    case NGHTTP2_HEADERS:
        return 0;
    case NGHTTP2_PRIORITY:
    case NGHTTP2_WINDOW_UPDATE:
        return POINTS_CHEAP;
    default:
        return POINTS_DEAR;
    }
}

/* Called with the head of each frame. */
static int http2_session_on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd,
                                        void *ctx)
{
    struct http2 *h = ctx;
    unsigned points = http2_session_points(hd);
    (void)session;
    if (hd->type == NGHTTP2_HEADERS)
        h->continuations = 0;
    else if (hd->type == NGHTTP2_CONTINUATION && ++h->continuations > CONTINUATIONS) {
        http2_refuse(h, NGHTTP2_ENHANCE_YOUR_CALM, "a header block of too many frames");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (points == 0 || http2_toll_pay(h, points))
        return 0;
    http2_refuse(h, NGHTTP2_ENHANCE_YOUR_CALM, too_many);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int http2_session_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame,
                                          void *ctx)
{
    struct http2 *h = ctx;
    int32_t id = frame->hd.stream_id;
    h->in_head = true;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        h->heading = http2_session_stream(h, id);
        if (h->heading != NULL)
            h->heading->trailing = true;
        return 0;
    }
    h->heading = http2_stream_begin(h, id);
    nghttp2_session_set_stream_user_data(session, id, h->heading);
    return 0;
}

static struct str http2_session_str(nghttp2_rcbuf *text)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(text);
    return (struct str){(const char *)v.base, v.len};
}

static int http2_session_on_header(nghttp2_session *session, const nghttp2_frame *frame,
                                   nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags,
                                   void *ctx)
{
    struct http2_stream *s = ((struct http2 *)ctx)->heading;
    (void)session;
    (void)frame;
    (void)flags;
    if (s == NULL)
        return 0;
    if (!s->trailing) {
        h2_head_field(&s->head, http2_session_str(name), http2_session_str(value));
    } else if (!s->body_done) {
        struct refusal bad =
            h2_trailer_field(&s->head, http2_session_str(name), http2_session_str(value));
        if (bad.reason != NULL)
            http2_stream_refuse(s, bad);
    }
    return 0;
}

/* A header block is complete. */
static void http2_session_head(struct http2 *h, const nghttp2_frame *frame)
{
    struct http2_stream *s = h->heading;
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    h->in_head = false;
    h->heading = NULL;
    if (s == NULL)
        return;
    s->remote_done |= last;
    if (s->trailing)
        http2_stream_trailers(s, last);
    else
        http2_stream_head(s, last);
}

static int http2_session_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct http2 *h = ctx;
    struct http2_stream *s;
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        http2_session_head(h, frame);
        break;
    case NGHTTP2_DATA:
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
            break;
        s = http2_session_stream(h, frame->hd.stream_id);
        if (s != NULL) {
            s->remote_done = true;
            http2_stream_body_end(s);
        }
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
            http2_ping_answered(h);
        break;
    default:
        break;
    }
    return 0;
}

/* The window of the connection is for all streams, so what has come is taken from it at once: a
 * stream whose body waits holds up no other. Its own window bounds what it may send. */
static int http2_session_on_data(nghttp2_session *session, uint8_t flags, int32_t id,
                                 const uint8_t *data, size_t n, void *ctx)
{
    struct http2_stream *s = http2_session_stream(ctx, id);
    (void)flags;
    nghttp2_session_consume_connection(session, n);
    if (s != NULL)
        http2_stream_body(s, (struct str){(const char *)data, n});
    return 0;
}

/* A frame of an unknown type, which is dropped: it has been paid for. */
static int http2_session_on_unknown(nghttp2_session *session, void **payload,
                                    const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    (void)payload;
    (void)hd;
    (void)ctx;
    return NGHTTP2_ERR_CANCEL;
}

/* --- what goes --- */

/* Counts a frame that has been given to the connection, and notes the end of a response. */
static int http2_session_on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    const nghttp2_frame_hd *hd = &frame->hd;
    struct http2 *h = ctx;
    if (hd->type == NGHTTP2_GOAWAY && h->stage == HTTP2_NOTICED) /* a PING would overtake it */
        nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, (const uint8_t *)"leaving");
    if (hd->type != NGHTTP2_HEADERS && hd->type != NGHTTP2_DATA)
        return 0;
    struct http2_stream *s = http2_session_stream(h, hd->stream_id);
    if (s == NULL)
        return 0;
    s->req->bytes_out += hd->length + 9;
    underway_sent(s->req);
    if (hd->type == NGHTTP2_DATA)
        http2_toll_earn(h, hd->length);
    if ((hd->flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    s->sent = true;
    /* the rest of a body is not wanted any more (RFC 9113 section 8.1) */
    if (!s->remote_done)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, hd->stream_id, NGHTTP2_NO_ERROR);
    http2_out_over(s);
    return 0;
}

/* A response that nghttp2 can't send, for example because its head is larger than HEADER_BLOCK. */
static int http2_session_on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int err,
                                     void *ctx)
{
    struct http2_stream *s = http2_session_stream(ctx, frame->hd.stream_id);
    if (s == NULL || frame->hd.type != NGHTTP2_HEADERS || err == NGHTTP2_ERR_STREAM_CLOSED)
        return 0;
    s->broken = nghttp2_strerror(err);
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                              NGHTTP2_INTERNAL_ERROR);
    http2_out_over(s);
    return 0;
}

static int http2_session_on_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct http2 *h = ctx;
    struct http2_stream *s = http2_session_stream(h, id);
    h->found = NULL; /* nghttp2 forgets it */
    if (s == NULL)
        return 0;
    s->closed = true;
    if (h->heading == s) {
        h->heading = NULL;
        h->in_head = false;
    }
    /* nghttp2 has reset the stream, for what the client has sent on it */
    if (!h->feeding && !s->sent && !s->cut && s->broken == NULL && code != NGHTTP2_NO_ERROR &&
        h->refused == 0 && !http2_toll_pay(h, POINTS_DEAR)) {
        http2_refuse(h, NGHTTP2_ENHANCE_YOUR_CALM, too_many);
        nghttp2_session_terminate_session(session, h->refused);
    }
    if (h->feeding && !s->sent) /* at once, since a client may reset a thousand in one read */
        http2_stream_drop(s, "the client reset the stream", false);
    else
        http2_out_over(s);
    return 0;
}

/* nghttp2 says why it ends a stream or the connection. */
static int http2_session_on_error(nghttp2_session *session, int code, const char *text, size_t n,
                                  void *ctx)
{
    static struct log_quota quota = {.most = LOG_MOST};
    struct http2 *h = ctx;
    char ip[PEER_TEXT_SIZE];
    (void)session;
    (void)code;
    peer_text(&h->client->peer, ip);
    log_within(&quota, LOG_INFO, "client %s: HTTP/2: %.*s", ip, (int)n, text);
    return 0;
}

/* --- the session --- */

static void http2_session_check(int err)
{
    if (err == NGHTTP2_ERR_NOMEM)
        abort();
}

static nghttp2_session_callbacks *http2_session_callbacks(void)
{
    nghttp2_session_callbacks *c;
    http2_session_check(nghttp2_session_callbacks_new(&c));
    nghttp2_session_callbacks_set_on_begin_frame_callback(c, http2_session_on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, http2_session_on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(c, http2_session_on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, http2_session_on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, http2_session_on_data);
    nghttp2_session_callbacks_set_unpack_extension_callback(c, http2_session_on_unknown);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, http2_session_on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, http2_session_on_not_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, http2_session_on_close);
    nghttp2_session_callbacks_set_error_callback2(c, http2_session_on_error);
    nghttp2_session_callbacks_set_send_data_callback(c, http2_out_data);
    return c;
}

static nghttp2_option *http2_session_options(void)
{
    nghttp2_option *o;
    http2_session_check(nghttp2_option_new(&o));
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_http_messaging(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_send_header_block_length(o, HEADER_BLOCK);
    nghttp2_option_set_max_deflate_dynamic_table_size(o, SENT_FIELDS);
    /* frames of unknown types would be dropped unseen */
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
        if (type != PRIORITY_UPDATE)
            nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
    nghttp2_option_set_builtin_recv_extension_type(o, PRIORITY_UPDATE);
    return o;
}

static void *http2_session_alloc(size_t size, void *ctx)
{
    return region_alloc(ctx, size);
}

static void *http2_session_alloc_array(size_t count, size_t size, void *ctx)
{
    return region_alloc_array(ctx, count, size);
}

static void *http2_session_resize(void *p, size_t size, void *ctx)
{
    return region_resize(ctx, p, size);
}

static void http2_session_free(void *p, void *ctx)
{
    region_free(ctx, p);
}

void http2_session_open(struct http2 *h)
{
    static nghttp2_session_callbacks *callbacks;
    static nghttp2_option *options;
    const struct limits *limits = http2_limits(h);
    if (callbacks == NULL) {
        callbacks = http2_session_callbacks();
        options = http2_session_options();
    }
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
         limits->header < UINT32_MAX ? (uint32_t)limits->header : UINT32_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    nghttp2_mem memory = {.mem_user_data = &h->memory,
                          .malloc = http2_session_alloc,
                          .free = http2_session_free,
                          .calloc = http2_session_alloc_array,
                          .realloc = http2_session_resize};
    region_init(&h->memory);
    http2_session_check(nghttp2_session_server_new3(&h->session_, callbacks, h, options, &memory));
    http2_session_check(nghttp2_submit_settings(h->session_, NGHTTP2_FLAG_NONE, settings,
                                                sizeof settings / sizeof *settings));
    http2_session_check(nghttp2_session_set_local_window_size(h->session_, NGHTTP2_FLAG_NONE, 0,
                                                              HTTP2_CONNECTION_WINDOW));
}

void http2_session_close(struct http2 *h)
{
    nghttp2_session_del(http2_session(h));
    region_fini(&h->memory);
}

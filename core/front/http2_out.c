/*
 * http2_out - see http2_inner.h. This file gathers the frames of a connection and writes them.
 *
 *     mem_send: frames of nghttp2       copied into `bytes` --.
 *               DATA: header            copied into `bytes` --+--> one writev --> the socket
 *                     body in memory    as it lies there -----'        '-> h->out: what it did not
 *                     body in a spool   read into `bytes`                  take
 *                     body of a file    read into `bytes`, as many frames of it as will follow
 *
 * The buffer is the worker's: nothing is in it between two calls. While h->out has bytes nghttp2 is
 * not asked for more, so a connection keeps GATHER_BYTES at most.
 */
#include "front/http2_inner.h"

#include "front/sender.h"

#include <errno.h>
#include <stdlib.h>

enum {
    GATHER_BYTES = 256 * 1024,
    GATHER_SLICES = 128,
    DATA_MOST = 16384, /* bytes of a frame without its header: as many as nghttp2 makes, */
    HEADER = 9,        /* those of the header, */
    FRAME_MOST = DATA_MOST + HEADER, /* and both: the largest that a client takes unasked */
    AHEAD_MOST = 8,                  /* streams that have bytes read ahead */
    TURN_MOST = 1 << 20, /* bytes of a connection in one turn, so that others have theirs */
};

/* Bytes of a stream's file that were read with those of an earlier frame, for its next frames: in
 * `bytes`, with room for a header before each DATA_MOST of them. */
struct gather_ahead {
    const struct http2_stream *stream;
    char *at; /* the room of the next header */
    size_t left;
};

static struct {
    char bytes[GATHER_BYTES];
    size_t used; /* of `bytes` */
    struct iovec v[GATHER_SLICES];
    int count;
    size_t size; /* of all slices */
    bool full;   /* a frame has waited for room */
    struct gather_ahead ahead[AHEAD_MOST];
    unsigned ahead_count;
} gather;

/* --- streams that a flush concerns --- */

void http2_out_touch(struct http2_stream *s)
{
    struct http2 *h = s->connection;
    if (s->is_ready)
        return;
    s->is_ready = true;
    s->next_ready = NULL;
    *h->ready_end = s;
    h->ready_end = &s->next_ready;
}

void http2_out_over(struct http2_stream *s)
{
    struct http2 *h = s->connection;
    if (s->is_over)
        return;
    s->is_over = true;
    s->next_over = h->over;
    h->over = s;
}

/* --- gathering --- */

static bool http2_out_gather_has_room(void)
{
    return gather.size + FRAME_MOST <= GATHER_BYTES && gather.used + FRAME_MOST <= GATHER_BYTES &&
           gather.count + 4 <= GATHER_SLICES;
}

/* Adds a slice that lies behind the last one, or a new one. */
static void http2_out_gather_slice(const char *p, size_t n)
{
    struct iovec *last = gather.count > 0 ? &gather.v[gather.count - 1] : NULL;
    gather.size += n;
    if (last != NULL && (const char *)last->iov_base + last->iov_len == p)
        last->iov_len += n;
    else
        gather.v[gather.count++] = (struct iovec){(char *)p, n};
}

static void http2_out_gather_copy(const void *p, size_t n)
{
    char *at = gather.bytes + gather.used;
    memcpy(at, p, n);
    gather.used += n;
    http2_out_gather_slice(at, n);
}

static void http2_out_gather_clear(void)
{
    gather.used = gather.size = 0;
    gather.count = 0;
    gather.ahead_count = 0;
}

/* --- the body of a response --- */

/* Gathers n bytes of the backlog. The backlog's memory changes with its next use, so the bytes are
 * copied. */
static bool http2_out_gather_backlog(struct http2_stream *s, size_t n)
{
    while (n > 0) {
        char *room = gather.bytes + gather.used;
        struct str bytes = backlog_peek(&s->out, room, n);
        if (bytes.p == NULL || bytes.n == 0)
            return false;
        size_t some = bytes.n < n ? bytes.n : n;
        if (bytes.p != room)
            memcpy(room, bytes.p, some);
        gather.used += some;
        http2_out_gather_slice(room, some);
        backlog_consume(&s->out, some);
        n -= some;
    }
    return true;
}

/* Gathers n bytes of the file. Its content in memory stays where it is until the stream ends, which
 * is behind the write. */
static bool http2_out_gather_file(struct http2_stream *s, size_t n)
{
    s->req->body_out += n;
    while (n > 0) {
        char *room = gather.bytes + gather.used;
        if (gather.count == GATHER_SLICES)
            return false;
        struct str bytes = front_file_peek(&s->file, room, n);
        if (bytes.n == 0)
            return false;
        if (bytes.p == room)
            gather.used += bytes.n;
        http2_out_gather_slice(bytes.p, bytes.n);
        front_file_consume(&s->file, bytes.n);
        n -= bytes.n;
    }
    return true;
}

/* --- files: several frames by one call --- */

static void http2_out_take_file(struct http2_stream *s, char *frame, size_t n)
{
    s->req->body_out += n;
    front_file_consume(&s->file, n);
    http2_out_gather_slice(frame, HEADER + n);
}

/* How many bytes of the stream its next frames may take: by the windows, and by its share of the
 * room among the streams of the connection, since nghttp2 sends them by turns. A share ends with a
 * whole frame. */
static size_t http2_out_reach(const struct http2_stream *s)
{
    struct http2 *h = s->connection;
    nghttp2_session *session = http2_session(h);
    size_t reach = (size_t)nghttp2_session_get_stream_remote_window_size(session, s->id);
    size_t all = (size_t)nghttp2_session_get_remote_window_size(session);
    size_t sharers = h->count > 0 ? h->count : 1;
    size_t kept = gather.used + FRAME_MOST + HEADER * GATHER_SLICES;
    size_t room = kept < GATHER_BYTES ? GATHER_BYTES - kept : 0;
    if (room > GATHER_BYTES / sharers)
        room = GATHER_BYTES / sharers;
    if (sharers > 1)
        all = all / sharers / DATA_MOST * DATA_MOST;
    if (reach > all)
        reach = all;
    return reach > room ? room / DATA_MOST * DATA_MOST : reach;
}

/* Gathers a frame whose body was read with an earlier one. False: it was not, or nghttp2 has cut
 * the frame elsewhere; what was read is read again then. */
static bool http2_out_gather_ahead(struct http2_stream *s, const uint8_t *header, size_t n)
{
    unsigned i = 0;
    while (i < gather.ahead_count && gather.ahead[i].stream != s)
        i++;
    if (i == gather.ahead_count)
        return false;
    struct gather_ahead *a = &gather.ahead[i];
    bool fits = n == (a->left < DATA_MOST ? a->left : DATA_MOST);
    if (fits) {
        memcpy(a->at, header, HEADER);
        http2_out_take_file(s, a->at, n);
        a->at += HEADER + n;
        a->left -= n;
    }
    if (!fits || a->left == 0)
        *a = gather.ahead[--gather.ahead_count];
    return fits;
}

/* Gathers a frame of a file, and reads the bytes of the frames that will follow it in the same
 * call. False: nothing is gathered, and the frame is like others. */
static bool http2_out_read_ahead(struct http2_stream *s, const uint8_t *header, size_t n)
{
    if (n != DATA_MOST || s->file.count == 0 || backlog_size(&s->out) > 0 ||
        gather.ahead_count == AHEAD_MOST)
        return false;
    size_t reach = http2_out_reach(s);
    if (reach <= n)
        return false;
    char *frame = gather.bytes + gather.used;
    size_t got = front_file_read(&s->file, frame + HEADER, reach, DATA_MOST, HEADER);
    if (got < n)
        return false;
    memcpy(frame, header, HEADER);
    gather.used += got + (got + DATA_MOST - 1) / DATA_MOST * HEADER;
    http2_out_take_file(s, frame, n);
    if (got > n)
        gather.ahead[gather.ahead_count++] = (struct gather_ahead){s, frame + HEADER + n, got - n};
    return true;
}

/* --- frames of DATA --- */

static bool http2_out_gather_body(struct http2_stream *s, size_t n)
{
    uint64_t first = backlog_size(&s->out);
    size_t some = first < n ? (size_t)first : n;
    if (!http2_out_gather_backlog(s, some)) {
        s->broken = "what was kept in spool_dir could not be read";
        return false;
    }
    if (!http2_out_gather_file(s, n - some)) {
        s->broken = "the file has shrunk since its length was promised, or can't be read";
        return false;
    }
    return true;
}

/* Gathers the header and the body of a frame. False: the body can't be read, and nothing has been
 * gathered. */
static bool http2_out_gather_frame(struct http2_stream *s, const uint8_t *header, size_t n)
{
    if (http2_out_gather_ahead(s, header, n) || http2_out_read_ahead(s, header, n))
        return true;
    size_t used = gather.used, size = gather.size;
    int count = gather.count;
    struct iovec last = gather.v[count > 0 ? count - 1 : 0];
    http2_out_gather_copy(header, HEADER);
    if (http2_out_gather_body(s, n))
        return true;
    gather.used = used;
    gather.size = size;
    gather.count = count;
    gather.v[count > 0 ? count - 1 : 0] = last;
    return false;
}

/* Gathers a DATA frame. A response whose bytes can't be read ends with RST_STREAM. */
int http2_out_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header,
                   size_t length, nghttp2_data_source *source, void *ctx)
{
    struct http2_stream *s = http2_session_stream(ctx, frame->hd.stream_id);
    (void)session;
    (void)source;
    if (s == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (!http2_out_gather_has_room()) {
        gather.full = true;
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    if (!http2_out_gather_frame(s, header, length)) {
        http2_out_over(s);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    s->connection->sent_at = loop_now(http2_loop(s->connection));
    if (s->sending)
        deadline_set(&s->deadline, s->limits->send_timeout);
    http2_out_touch(s);
    return 0;
}

/* --- writing --- */

/* Follows every write: send_timeout runs from the last byte that the socket took. */
static void http2_out_wrote(struct http2 *h, ssize_t n, size_t size)
{
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        h->broken = SENDER_GONE;
        return;
    }
    bool blocked = n < 0 || (size_t)n < size;
    if (!blocked)
        h->write_by = 0;
    else if (n > 0 || !h->blocked)
        h->write_by = loop_now(http2_loop(h)) + http2_limits(h)->send_timeout;
    h->blocked = blocked;
}

/* Writes what is gathered, and keeps a copy of the bytes that the socket did not take. */
static void http2_out_write_gathered(struct http2 *h)
{
    if (gather.count == 0)
        return;
    ssize_t n = client_writev(h->client, gather.v, gather.count);
    http2_out_wrote(h, n, gather.size);
    size_t done = n > 0 ? (size_t)n : 0;
    for (int i = 0; i < gather.count && h->blocked && h->broken == NULL; i++) {
        const struct iovec *v = &gather.v[i];
        size_t taken = done < v->iov_len ? done : v->iov_len;
        buf_append(&h->out, (const char *)v->iov_base + taken, v->iov_len - taken);
        done -= taken;
    }
    http2_out_gather_clear();
}

static void http2_out_write_kept(struct http2 *h)
{
    struct str bytes = buf_peek(&h->out);
    struct iovec v = {(char *)bytes.p, bytes.n};
    ssize_t n = client_writev(h->client, &v, 1);
    http2_out_wrote(h, n, bytes.n);
    buf_consume(&h->out, n > 0 ? (size_t)n : 0);
    if (!h->blocked)
        buf_fini(&h->out);
}

/* Gathers frames until there are none, or the buffer is full. False: there are none left. */
static bool http2_out_gather(struct http2 *h)
{
    nghttp2_session *session = http2_session(h);
    gather.full = false;
    while (http2_out_gather_has_room()) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(session, &bytes);
        if (n == NGHTTP2_ERR_NOMEM)
            abort();
        if (n < 0)
            h->broken = nghttp2_strerror((int)n);
        if (n <= 0)
            return gather.full;
        http2_out_gather_copy(bytes, (size_t)n);
    }
    return true;
}

void http2_out_write(struct http2 *h)
{
    size_t total = 0;
    bool more = true;
    if (h->blocked)
        http2_out_write_kept(h);
    while (more && !h->blocked && h->broken == NULL) {
        if (total >= TURN_MOST) {
            http2_flush(h);
            return;
        }
        more = http2_out_gather(h);
        total += gather.size;
        http2_out_write_gathered(h);
    }
}

void http2_flush(struct http2 *h)
{
    loop_defer(http2_loop(h), &h->flush);
}

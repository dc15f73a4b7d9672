/*
 * http2 - see http2.h. This file has the life of a connection, and the events of its socket and of
 * its deadline.
 */
#include "front/http2_inner.h"

#include "base/log.h"
#include "front/admission.h"
#include "front/http1.h"

#include <errno.h>
#include <stdlib.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum {
    READ_SIZE = 65536,
    OUT_MAX = 1 << 20,
    QUEUED_MAX = 1000, /* frames that wait for a client that takes nothing, before reading stops */
    DROPPED_MAX = 2 * HTTP2_CONNECTION_WINDOW,
};

static const double LINGER_TIME = 2;
static const double PACK_TIME = 1; /* for which a session without streams is not packed */

static void http2_settle(struct http2 *h);

static struct http2 *http2_of(const struct client *client)
{
    return (struct http2 *)client_active(client);
}

enum http2_preface http2_preface(struct str bytes)
{
    size_t n = bytes.n < sizeof PREFACE - 1 ? bytes.n : sizeof PREFACE - 1;
    if (memcmp(bytes.p, PREFACE, n) != 0)
        return HTTP2_NO;
    return n < sizeof PREFACE - 1 ? HTTP2_MAYBE : HTTP2_YES;
}

struct str http2_refusal(void)
{
    static const char frames[] = "\0\0\0\4\0\0\0\0\0"
                                 "\0\0\10\7\0\0\0\0\0"
                                 "\0\0\0\0\0\0\0\13";
    return (struct str){frames, sizeof frames - 1};
}

/* --- the end --- */

static void http2_free(struct http2 *h)
{
    struct client *client = h->client;
    loop_undefer(&h->flush);
    http2_session_close(h);
    buf_fini(&h->out);
    admission_leave(client);
    client_fini(client, false);
    free(client);
    free(h);
}

static void http2_drop_streams(struct http2 *h, const char *why)
{
    while (h->streams != NULL)
        http2_stream_drop(h->streams, why, false);
}

static void http2_gone(struct http2 *h, const char *why)
{
    http2_drop_streams(h, why);
    http2_free(h);
}

/* All is written. Bytes that the client still sends are read, since the kernel would answer unread
 * ones with a reset, which would discard what is on its way. */
static void http2_linger(struct http2 *h)
{
    http2_drop_streams(h, "the connection was ended by an error of HTTP/2");
    h->stage = HTTP2_LINGERING;
    client_shutdown(h->client);
    deadline_set(&h->active.deadline, LINGER_TIME);
    client_watch(h->client, EV_READ);
}

/* --- interest --- */

static bool http2_wants_read(struct http2 *h)
{
    return !h->blocked || nghttp2_session_get_outbound_queue_size(http2_session(h)) < QUEUED_MAX;
}

/* True while ciphertext waits that belongs to no write of ours. */
static bool http2_transport_waits(const struct http2 *h)
{
    const struct tls *tls = client_tls(h->client);
    return tls != NULL && tls_waits(tls);
}

static void http2_rearm(struct http2 *h)
{
    client_watch(h->client, (http2_wants_read(h) ? EV_READ : 0) |
                                (h->blocked || http2_transport_waits(h) ? EV_WRITE : 0));
}

/* Notes since when the connection has been idle, or in a header block. An idle one that is not
 * used for a while has its session packed. */
static void http2_note_times(struct http2 *h)
{
    const struct clients *all = client_clients(h->client);
    double now = loop_now(all->loop);
    if (!h->in_head)
        h->head_by = 0;
    else if (h->head_by == 0)
        h->head_by = now + http2_limits(h)->header_timeout;
    if (h->count > 0 || h->in_head || h->stage != HTTP2_OPEN) {
        h->idle_by = h->pack_by = 0;
        return;
    }
    if (h->idle_by == 0)
        h->idle_by = now + clients_idle_timeout(all);
    if (h->blocked)
        h->pack_by = 0;
    else if (h->pack_by == 0)
        h->pack_by = now + PACK_TIME;
}

/* Sets the deadline to the earliest of the times. */
static void http2_arm(struct http2 *h)
{
    double times[] = {h->idle_by, h->pack_by, h->head_by, h->write_by, h->leave_by}, first = 0;
    for (unsigned i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i] != 0 && (first == 0 || times[i] < first))
            first = times[i];
    if (first == 0) {
        deadline_clear(&h->active.deadline);
        return;
    }
    double left = first - loop_now(http2_loop(h));
    deadline_set(&h->active.deadline, left > 0.001 ? left : 0.001);
}

/* True when nothing more can come or go. */
static bool http2_is_over(struct http2 *h)
{
    nghttp2_session *session = http2_session(h);
    return !h->blocked && h->ready == NULL && !nghttp2_session_want_read(session) &&
           !nghttp2_session_want_write(session);
}

static void http2_settle(struct http2 *h)
{
    if (h->broken != NULL) {
        http2_gone(h, h->broken);
        return;
    }
    if (h->stage == HTTP2_LINGERING)
        return;
    if (http2_is_over(h)) {
        http2_linger(h);
        return;
    }
    /* connections are not kept */
    if (h->count == 0 && h->client->requests > 0 && http2_limits(h)->keepalive_timeout <= 0)
        http2_leave_now(h);
    http2_note_times(h);
    http2_rearm(h);
    http2_arm(h);
}

/* --- writing --- */

/* Ends the streams whose response has left. While the socket has not taken all of their bytes they
 * wait, so that the log has the time at which it had. */
static void http2_reap(struct http2 *h)
{
    struct http2_stream *next;
    for (struct http2_stream *s = h->over; s != NULL; s = next) {
        next = s->next_over;
        if (!h->blocked || !s->sent || h->broken != NULL)
            http2_stream_done(s);
    }
}

static void http2_send(struct http2 *h)
{
    struct http2_stream *s;
    for (s = h->ready; s != NULL; s = s->next_ready)
        http2_stream_submit(s);
    http2_out_write(h);
    while ((s = h->ready) != NULL) {
        h->ready = s->next_ready;
        if (h->ready == NULL)
            h->ready_end = &h->ready;
        s->is_ready = false;
        http2_stream_flushed(s);
    }
}

static void http2_flush_cb(struct deferred *d)
{
    struct http2 *h = (struct http2 *)((char *)d - offsetof(struct http2, flush));
    if (h->stage == HTTP2_LINGERING)
        return;
    if (!h->blocked && h->broken == NULL)
        http2_send(h);
    http2_reap(h);
    http2_settle(h);
}

static void http2_writable(struct http2 *h)
{
    http2_out_write(h);
    if (!h->blocked && h->broken == NULL)
        http2_send(h);
    http2_reap(h);
    http2_settle(h);
}

/* --- reading --- */

/* The session can't go on. */
static void http2_failed(struct http2 *h, int err)
{
    uint32_t code = h->refused;
    if (err == NGHTTP2_ERR_NOMEM)
        abort();
    if (err == NGHTTP2_ERR_BAD_CLIENT_MAGIC) {
        h->broken = "the client does not begin with HTTP/2's preface and SETTINGS";
        return;
    }
    if (code == 0) {
        code = err == NGHTTP2_ERR_FLOODED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR;
        http2_refuse(h, code, nghttp2_strerror(err));
    }
    nghttp2_session_terminate_session(http2_session(h), code);
}

static void http2_feed(struct http2 *h, struct str bytes)
{
    h->feeding = true;
    ssize_t n = nghttp2_session_mem_recv(http2_session(h), (const uint8_t *)bytes.p, bytes.n);
    h->feeding = false;
    if (n < 0)
        http2_failed(h, (int)n);
    http2_flush(h);
}

static void http2_drop_input(struct http2 *h, ssize_t n)
{
    h->dropped += n > 0 ? (uint32_t)n : 0;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || h->dropped > DROPPED_MAX)
        http2_free(h);
}

static void http2_readable(struct http2 *h)
{
    char *room = loop_room(http2_loop(h));
    ssize_t n = client_read(h->client, room, READ_SIZE);
    if (h->stage == HTTP2_LINGERING)
        http2_drop_input(h, n);
    else if (n > 0)
        http2_feed(h, (struct str){room, (size_t)n});
    else if (n == 0)
        http2_gone(h, "the client closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        http2_gone(h, "the client reset the connection");
    else
        http2_rearm(h);
}

/* Writes what TLS has kept of its own. */
static void http2_flush_transport(struct http2 *h)
{
    struct tls *tls = client_tls(h->client);
    if (!tls_flush(tls) && tls_state(tls) == TLS_BROKEN)
        http2_gone(h, "the client reset the connection");
    else
        http2_rearm(h);
}

static void http2_on_io(struct ev_loop *ev, ev_io *io, int events)
{
    struct http2 *h = http2_of(client_of_io(io));
    (void)ev;
    if (events & EV_WRITE && h->blocked)
        http2_writable(h);
    else if (events & EV_WRITE && http2_transport_waits(h))
        http2_flush_transport(h);
    else if (events & EV_READ)
        http2_readable(h);
    else
        http2_rearm(h);
}

static void http2_on_step(struct deferred *d)
{
    http2_settle((struct http2 *)((char *)d - offsetof(struct http2, active.step)));
}

static bool http2_is_past(double time, double now)
{
    return time != 0 && now >= time;
}

static void http2_on_missed(struct deadline *d)
{
    struct http2 *h = (struct http2 *)((char *)d - offsetof(struct http2, active.deadline));
    double now = loop_now(http2_loop(h)) + 0.0005; /* the timer's precision */
    if (h->stage == HTTP2_LINGERING) {
        http2_free(h);
        return;
    }
    if (http2_is_past(h->pack_by, now)) {
        h->pack_by = 0;
        http2_session_pack(h);
        http2_arm(h); /* not http2_settle, which would ask the session */
        return;
    }
    if (http2_is_past(h->write_by, now)) {
        http2_gone(h, "the client took nothing within send_timeout");
        return;
    }
    if (http2_is_past(h->head_by, now)) {
        http2_refuse(h, NGHTTP2_ENHANCE_YOUR_CALM, "a head did not come within header_timeout");
        nghttp2_session_terminate_session(http2_session(h), h->refused);
        h->head_by = 0;
        h->in_head = false;
        http2_flush(h);
    }
    if (http2_is_past(h->idle_by, now) || http2_is_past(h->leave_by, now))
        http2_leave_now(h);
    http2_settle(h);
}

/* --- life --- */

void http2_take(struct client *c, struct str bytes)
{
    struct http2 *h = calloc(1, sizeof *h);
    struct clients *all = client_clients(c);
    if (h == NULL)
        abort();
    h->client = c;
    h->flush.run = http2_flush_cb;
    h->ready_end = &h->ready;
    buf_init(&h->out, OUT_MAX);
    client_set_protocol(c, &http2_protocol);
    client_wake(c, &h->active);
    http2_session_open(h);
    http2_feed(h, bytes);
    if (all->stopping)
        http2_leave(h);
}

static void http2_stop(struct client *client, double patience)
{
    struct http2 *h = http2_of(client);
    (void)patience; /* the notice says what a client on an idle connection can't know else */
    http2_leave(h);
}

/* The state of HPACK can't be passed on, so the connection ends. */
static void http2_pass(struct client *client)
{
    http2_leave(http2_of(client));
}

/* Ends a connection with requests that are not over at the end of a stop: those without a byte of a
 * response get a 503. */
static void http2_cut(struct client *client)
{
    struct http2 *h = http2_of(client);
    if (h->stage != HTTP2_LINGERING) {
        for (struct http2_stream *s = h->streams; s != NULL; s = s->next)
            http2_stream_stop(s);
        http2_leave_now(h);
        if (!h->blocked && h->broken == NULL)
            http2_out_write(h);
    }
    while (h->streams != NULL)
        http2_stream_drop(h->streams, "the server was stopped", true);
    http2_free(h);
}

/* Connections begin with http1. */
static void http2_accept(struct clients *clients, int fd, const struct client_origin *origin)
{
    http1_protocol.accept(clients, fd, origin);
}

static void http2_resume(struct clients *clients, int fd, const struct client_origin *origin,
                         unsigned requests)
{
    http1_protocol.resume(clients, fd, origin, requests);
}

const struct protocol http2_protocol = {
    .name = "http2",
    .accept = http2_accept,
    .resume = http2_resume,
    .pass = http2_pass,
    .stop = http2_stop,
    .cut = http2_cut,
    .on_io = http2_on_io,
    .on_missed = http2_on_missed,
    .on_step = http2_on_step,
};

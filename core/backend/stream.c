/*
 * stream - see stream.h.
 *
 * Params are encoded into the connection's out; STDIN is never copied there unless the socket is
 * full.
 */
#include "backend/stream.h"

#include "shm/underway.h"

#include <errno.h>
#include <stdlib.h>

#define KEPT_TRIES 3     /* kept connections that are tried before a new one is made */
#define OUT_MARK   65536 /* bytes of a streamed body that may wait, plus one slice */
#define KEPT_PIECE 65536 /* bytes of `kept` that are handed out at a time */

/* Slices of the read buffer, valid until the loop's event is over. */
struct slice {
    const char *bytes;
    uint16_t size;
    bool is_error;
    unsigned next; /* index of the same stream's next slice */
};

/* Every slice but the first follows a record's header, which bounds the slices of one read. */
#define SLICES_MAX (LOOP_READ_SIZE / (FCGI_HEADER_SIZE + 1) + 2)

static struct slice slices[SLICES_MAX];
/* bytes of one stream's file, valid until its user's step is over */
static char kept_bytes[KEPT_PIECE];
static unsigned slices_used, slices_held; /* held: not returned by stream_next yet */

static void stream_note_slice(struct stream *s, const struct fcgi_event *event)
{
    if (slices_held == 0)
        slices_used = 0;
    if (slices_used == SLICES_MAX) { /* not reached: a dropped stream gives back its slices */
        s->rejected = "more records than one read can bring";
        return;
    }
    unsigned i = slices_used++;
    slices[i] = (struct slice){.bytes = event->content.p,
                               .size = (uint16_t)event->content.n,
                               .is_error = event->type == FCGI_STDERR};
    if (s->slices == 0)
        s->slice = i;
    else
        slices[s->last_slice].next = i;
    s->last_slice = i;
    s->slices++;
    slices_held++;
}

static void stream_forget_kept(struct stream *s)
{
    if (s->kept == NULL)
        return;
    backlog_fini(s->kept);
    free(s->kept);
    s->kept = NULL;
    s->told = 0;
    s->told_over = false;
}

/* Ends the stream and drops the events that it has left. */
static void stream_finish(struct stream *s)
{
    stream_forget_kept(s);
    s->channel = NULL;
    s->request = NULL;
    slices_held -= s->slices;
    s->slices = 0;
    s->rejected = NULL;
    s->ended = s->failed = s->room = false;
}

/* Notes a failure of the stream, whose connection has gone or was never made. */
static void stream_fail(struct stream *s, enum failure failure, const char *detail)
{
    s->channel = NULL;
    s->request = NULL;
    s->failed = true;
    s->failure = failure;
    s->detail = detail;
    loop_step(s->loop, s->step);
}

static double stream_now(const struct stream *s)
{
    return loop_now(s->loop);
}

/* --- out --- */

bool stream_params_fit(const struct params *params, size_t pair_max, const struct param **large)
{
    const struct param *end = params->list + params->count;
    size_t size = 0;
    *large = NULL;
    if (pair_max > FCGI_PAIR_MAX)
        pair_max = FCGI_PAIR_MAX;
    for (const struct param *param = params->list; param < end; param++) {
        size_t pair = param->name.n + param->value.n;
        if (pair > pair_max) {
            *large = param;
            return false;
        }
        size += pair + 8; /* the lengths of the name and of the value, four bytes at most each */
    }
    return size <= STREAM_PARAMS_MAX;
}

/* Encodes BEGIN_REQUEST and PARAMS. An offer leaves out the last byte, so that a server can't begin
 * even if the connection ends there: libfcgi takes the end of a connection for the end of PARAMS,
 * unless it comes in the middle of a pair. */
static void stream_encode_params(struct stream *s)
{
    struct buf *out = channel_out(s->channel);
    const struct params *params = s->request->params;
    const struct backend_settings *settings = backend_settings(s->request->backend);
    uint16_t id = s->channel->id;
    struct fcgi_pairs pairs;
    fcgi_begin(out, id, s->request->role,
               settings->keepalive > 0 || conn_is_shared(s->channel->conn) ? FCGI_KEEP_CONN : 0);
    fcgi_pairs_init(&pairs, out, FCGI_PARAMS, id);
    fcgi_pairs_add_all(&pairs, params->list, params->count);
    fcgi_pairs_end(&pairs);
    if (s->offer)
        s->offer_rest = buf_take_last(out);
    else
        fcgi_empty(out, FCGI_PARAMS, id);
}

/* Sets the time limit for the next bytes of the reply: first_byte_timeout before the first one, if
 * it is set. */
static void stream_set_read_deadline(struct stream *s)
{
    const struct stream_request *r = s->request;
    if (s->times.first_byte == 0 && r->first_byte_timeout > 0)
        channel_deadline(s->channel, r->first_byte_timeout, "no answer within first_byte_timeout");
    else
        channel_deadline(s->channel, r->read_timeout, "no answer within read_timeout");
}

/* Sets the send timeout while bytes wait to be sent, the read timeout otherwise. No timeout runs
 * while a client is slow with a streamed body, since the application can't reply before it has it.
 */
static void stream_set_deadline(struct stream *s)
{
    if (s->request->streamed && s->stdin_open && channel_is_drained(s->channel))
        channel_deadline(s->channel, 0, NULL);
    else if (channel_is_drained(s->channel))
        stream_set_read_deadline(s);
    else
        channel_deadline(s->channel, s->request->send_timeout,
                         "nothing was taken within send_timeout");
}

/* Collects records of STDIN, or of DATA, for one write: each header stands in `headers`. */
struct batch {
    struct iovec slices[38];
    uint8_t headers[18][FCGI_HEADER_SIZE];
    int count, used;
    uint16_t id;
    enum fcgi_type type;
};

static bool batch_add(struct batch *b, struct str bytes)
{
    if (b->used == 18)
        return false;
    uint8_t *header = b->headers[b->used++];
    fcgi_header(header, b->type, b->id, bytes.n);
    b->slices[b->count++] = (struct iovec){header, FCGI_HEADER_SIZE};
    if (bytes.n > 0)
        b->slices[b->count++] = (struct iovec){(char *)bytes.p, bytes.n};
    return true;
}

/* Adds records of the bytes as far as the batch has room. Returns the bytes taken. */
static size_t batch_fill(struct batch *b, struct str bytes)
{
    size_t taken = 0;
    while (taken < bytes.n && b->used < 17) { /* one header is left for the end of STDIN */
        size_t n = bytes.n - taken < FCGI_RECORD_MAX ? bytes.n - taken : FCGI_RECORD_MAX;
        batch_add(b, (struct str){bytes.p + taken, n});
        taken += n;
    }
    return taken;
}

static void stream_end_stdin(struct stream *s, struct batch *b)
{
    batch_add(b, STR(""));
    s->stdin_open = s->request->data != NULL && !s->in_data;
    s->in_data = true;
}

/* Adds the next bytes of the spooled body, or of a filter's data. False: they can't be read. */
static bool batch_add_spooled(struct stream *s, struct batch *b)
{
    struct spool *from = s->in_data ? s->request->data : s->request->body;
    uint64_t *at = s->in_data ? &s->data_at : &s->body_at;
    if (from != NULL) {
        struct str slice = spool_read(from, *at, s->loop->scratch, LOOP_SCRATCH_SIZE);
        if (slice.p == NULL && *at < from->size)
            return false;
        *at += batch_fill(b, slice);
    }
    if (!s->request->streamed && (from == NULL || *at == from->size))
        stream_end_stdin(s, b);
    return true;
}

/* Writes the params and as much of the spooled body as the socket takes, in few writes. Returns
 * false when the stream has failed. */
static bool stream_send_stdin(struct stream *s)
{
    const struct stream_request *r = s->request;
    if (r->body == NULL && r->data == NULL && !r->streamed && s->stdin_open) {
        fcgi_empty(channel_out(s->channel), FCGI_STDIN, s->channel->id);
        s->stdin_open = false;
        channel_write_soon(s->channel);
        stream_set_read_deadline(s);
        return true;
    }
    if (!channel_may_begin(s->channel)) { /* stream_on_drain follows */
        stream_set_deadline(s);
        return true;
    }
    do {
        struct batch batch = {.id = s->channel->id, .type = s->in_data ? FCGI_DATA : FCGI_STDIN};
        if (!batch_add_spooled(s, &batch)) {
            const char *what = s->in_data ? "the file for the filter could not be read to its end"
                                          : "the spooled request body could not be read";
            stream_abort(s);
            stream_fail(s, FAILURE_PROTOCOL, what);
            return false;
        }
        channel_write(s->channel, batch.slices, batch.count);
    } while (s->stdin_open && !s->request->streamed && channel_may_write(s->channel));
    stream_set_deadline(s);
    return true;
}

bool stream_body(struct stream *s, struct str bytes)
{
    if (s->channel == NULL) {  /* STREAM_FAILED has not been returned yet */
        s->body_at += bytes.n; /* so the request is not sent again without these bytes */
        return false;
    }
    while (bytes.n > 0) {
        struct batch batch = {.id = s->channel->id, .type = FCGI_STDIN};
        size_t taken = batch_fill(&batch, bytes);
        channel_write(s->channel, batch.slices, batch.count);
        bytes = str_skip(bytes, taken);
        s->body_at += taken;
    }
    stream_set_deadline(s);
    return buf_len(channel_out(s->channel)) < OUT_MARK;
}

void stream_body_end(struct stream *s)
{
    if (s->channel == NULL || s->offer || !s->stdin_open || !channel_is_open(s->channel))
        return; /* the end is sent when STREAM_ROOM has been returned */
    struct batch batch = {.id = s->channel->id, .type = FCGI_STDIN};
    stream_end_stdin(s, &batch);
    channel_write(s->channel, batch.slices, batch.count);
    stream_set_deadline(s);
}

/* --- STDOUT that is kept for a paused user --- */

/* Keeps STDOUT that comes while the user is paused, or behind bytes that are kept already. */
static void stream_keep(struct stream *s, struct str bytes)
{
    const struct backlog_limits *limits = s->request->spool;
    if (s->kept == NULL) {
        s->kept = malloc(sizeof *s->kept);
        if (s->kept == NULL)
            abort();
        backlog_init(s->kept, limits->memory + LOOP_READ_SIZE);
    }
    if (backlog_room(s->kept, limits) < bytes.n)
        s->rejected = "its client is too slow, and the connection is read for others: "
                      "limits.spool is reached";
    else if (backlog_append(s->kept, limits, bytes) != NULL)
        s->rejected = "its client is too slow, and what waits for it can't be written to "
                      "limits.spool_dir";
}

/* True when the request is complete in both directions, so that the connection can be used again. A
 * refusal does not spoil a connection that other requests share. */
static bool stream_is_whole(const struct stream *s)
{
    return !s->stdin_open &&
           (s->protocol_status == FCGI_REQUEST_COMPLETE ? s->answered : s->shared);
}

/* Gives the connection back after END_REQUEST although the user has not had all of `kept`. */
static void stream_release_early(struct stream *s)
{
    struct channel *ch = s->channel;
    s->channel = NULL;
    channel_release(ch, stream_is_whole(s));
}

/* Returns a piece of `kept` in *content. The bytes are valid until the user's step is over, so the
 * next piece is returned in another step. */
static bool stream_next_kept(struct stream *s, struct str *content)
{
    if (s->kept == NULL || s->rejected != NULL)
        return false;
    if (s->told > 0 && !s->told_over) {
        s->told_over = true;
        loop_step(s->loop, s->step);
        return false;
    }
    backlog_consume(s->kept, s->told);
    s->told = 0;
    s->told_over = false;
    if (backlog_is_empty(s->kept)) {
        stream_forget_kept(s);
        return false;
    }
    if (s->paused)
        return false;
    *content = backlog_peek(s->kept, kept_bytes, sizeof kept_bytes);
    if (content->n > sizeof kept_bytes)
        content->n = sizeof kept_bytes;
    s->told = content->n;
    if (content->p == NULL)
        s->rejected = "what waited for its client could not be read";
    return content->p != NULL;
}

/* --- in --- */

/* Notes the time of the reply's first byte, for the server's statistics, too. */
static void stream_note_first_byte(struct stream *s)
{
    s->times.first_byte = stream_now(s);
    backend_answered(s->request->backend, s->server, s->times.first_byte - s->times.opened);
}

static bool stream_on_record(void *user, const struct fcgi_event *event)
{
    struct stream *s = user;
    if (event->type == FCGI_END_REQUEST) {
        s->ended = true;
        s->app_status = event->app_status;
        s->protocol_status = event->protocol_status;
        return true;
    }
    if (s->offer)
        return false; /* a record of an earlier request */
    if (s->times.first_byte == 0)
        stream_note_first_byte(s);
    if (event->type == FCGI_STDOUT && (s->kept != NULL || s->keeps))
        stream_keep(s, event->content);
    else if (event->type == FCGI_STDOUT || event->type == FCGI_STDERR)
        stream_note_slice(s, event);
    else
        s->rejected = "a record that only a web server may send";
    return s->rejected == NULL;
}

static void stream_on_lost(void *user, bool ended);

static void stream_on_turn(void *user, size_t n)
{
    struct stream *s = user;
    /* before the end of PARAMS a server may only refuse the request (FCGI_OVERLOADED and the like)
     */
    bool refused = s->ended && s->protocol_status != FCGI_REQUEST_COMPLETE;
    if (s->offer && !refused) {
        s->ended = false;
        stream_on_lost(s, true);
        return;
    }
    if (s->times.first_byte == 0)
        stream_note_first_byte(s);
    s->bytes_in += n;
    if (!s->ended)
        stream_set_deadline(s);
    else if (s->kept != NULL)
        stream_release_early(s);
    loop_step(s->loop, s->step);
}

static enum stream_event stream_next_slice(struct stream *s, struct str *content)
{
    const struct slice *slice = &slices[s->slice];
    *content = (struct str){slice->bytes, slice->size};
    s->slice = slice->next;
    s->slices--;
    slices_held--;
    return slice->is_error ? STREAM_STDERR : STREAM_STDOUT;
}

static enum stream_event stream_fail_rejected(struct stream *s)
{
    const char *why = s->rejected;
    stream_abort(s);
    s->detail = why;
    s->failure = FAILURE_PROTOCOL;
    return STREAM_FAILED;
}

static enum stream_event stream_tell_end(struct stream *s)
{
    struct channel *ch = s->channel;
    if (s->protocol_status == FCGI_CANT_MPX_CONN)
        backend_takes_one(s->request->backend, s->server, "FCGI_CANT_MPX_CONN");
    stream_finish(s);
    if (ch != NULL)
        channel_release(ch, stream_is_whole(s));
    return STREAM_END;
}

enum stream_event stream_next(struct stream *s, struct str *content)
{
    if (s->slices > 0)
        return stream_next_slice(s, content);
    if (stream_next_kept(s, content))
        return STREAM_STDOUT;
    if (s->rejected != NULL)
        return stream_fail_rejected(s);
    if (s->ended && s->kept == NULL)
        return stream_tell_end(s);
    if (s->failed) {
        stream_forget_kept(s);
        s->failed = false;
        return STREAM_FAILED;
    }
    if (s->room) {
        s->room = false;
        return STREAM_ROOM;
    }
    return STREAM_NOTHING;
}

/* Notes that there is room for more of a streamed body. */
static void stream_note_room(struct stream *s)
{
    s->room = true;
    loop_step(s->loop, s->step);
}

static void stream_on_drain(void *user)
{
    struct stream *s = user;
    if (!s->stdin_open)
        stream_set_deadline(s);
    else if (s->request->streamed)
        stream_note_room(s);
    else
        stream_send_stdin(s);
}

/* True for an error that counts as the server's failure: broken records, a failed connect, no byte
 * at all. A script that is slow or crashes after the first byte is not the server's failure, nor is
 * the close of a kept connection. */
static bool stream_counts_for_server(const struct stream *s, enum failure failure)
{
    if (failure == FAILURE_CONNECT || failure == FAILURE_PROTOCOL)
        return true;
    if (s->bytes_in > 0 || failure == FAILURE_QUEUE)
        return false;
    return failure == FAILURE_TIMEOUT || !s->reused;
}

static void stream_on_conn_fail(void *user, enum failure failure, const char *detail,
                                uint64_t written)
{
    struct stream *s = user;
    s->written = written;
    if (stream_counts_for_server(s, failure) && conn_blame(s->channel->conn))
        backend_failed(s->request->backend, s->server, detail);
    stream_fail(s, failure, detail);
}

static void stream_begin_body(struct stream *s)
{
    if (stream_send_stdin(s) && s->request->streamed)
        stream_note_room(s);
}

/* Notes for the list of requests which server has this one, and how far it is. */
static void stream_note_state(const struct stream *s, enum underway_state state)
{
    const struct stream_request *r = s->request;
    if (r->underway > 0)
        underway_at_server(r->underway, state, backend_place(r->backend, s->server));
}

static void stream_on_open(void *user)
{
    struct stream *s = user;
    s->times.opened = stream_now(s);
    stream_note_state(s, UNDERWAY_WAITING);
    if (s->offer)
        channel_offer(s->channel);
    else
        stream_begin_body(s);
}

static void stream_on_taken(void *user)
{
    struct stream *s = user;
    s->offer = false;
    buf_append(channel_out(s->channel), &s->offer_rest, 1);
    fcgi_empty(channel_out(s->channel), FCGI_PARAMS, s->channel->id);
    stream_begin_body(s);
}

static const struct channel_ops channel_ops = {
    .on_open = stream_on_open,
    .on_record = stream_on_record,
    .on_turn = stream_on_turn,
    .on_drain = stream_on_drain,
    .on_fail = stream_on_conn_fail,
    .on_taken = stream_on_taken,
    .on_lost = stream_on_lost,
};

/* --- begin and end --- */

/* Begins the request on a connection, which may still be connecting. */
static void stream_on_conn(void *user, struct conn *conn)
{
    struct stream *s = user;
    s->channel = channel_begin(conn, &channel_ops, s);
    s->server = backend_server_of(conn);
    if (s->replaced == 0)
        s->times.granted = stream_now(s);
    s->reused = s->channel->reused;
    s->shared = conn_is_shared(conn);
    s->offer = s->reused && s->request->once && conn_can_offer(conn);
    stream_encode_params(s);
    if (channel_is_open(s->channel))
        stream_on_open(s);
    else
        stream_note_state(s, UNDERWAY_CONNECT);
}

static void stream_on_lost(void *user, bool ended)
{
    struct stream *s = user;
    /* the caller has had STREAM_ROOM and may have sent a part of the body */
    if (s->request->streamed && !s->offer) {
        struct channel *ch = s->channel;
        stream_on_conn_fail(s, FAILURE_CLOSED, "the connection ended", 0);
        channel_drop(ch);
        return;
    }
    /* Bytes that waited for the lost connection are lost, so all of STDIN is sent anew. */
    s->body_at = s->data_at = 0;
    s->stdin_open = true;
    s->in_data = false;
    bool fresh = ++s->replaced >= KEPT_TRIES;
    struct conn *conn = backend_replace(&s->lease, s->channel->conn, ended, fresh);
    if (conn != NULL) {
        stream_on_conn(s, conn);
        return;
    }
    const char *why = conn_error_text(errno);
    backend_failed(s->request->backend, s->server, why);
    stream_fail(s, FAILURE_CONNECT, why);
}

static void stream_on_refused(void *user, enum failure failure, const char *detail)
{
    struct stream *s = user;
    s->server = s->lease.server;
    if (failure == FAILURE_CONNECT && s->server >= 0) /* server -1: no server was left to try */
        backend_failed(s->request->backend, s->server, detail);
    stream_fail(s, failure, detail);
}

static const struct lease_ops lease_ops = {.on_conn = stream_on_conn,
                                           .on_refused = stream_on_refused};

void stream_start(struct stream *s, struct loop *loop, const struct stream_request *request,
                  struct deferred *step)
{
    *s = (struct stream){.loop = loop,
                         .step = step,
                         .request = request,
                         .stdin_open = true,
                         .server = request->server};
    s->times.asked = stream_now(s);
    const struct lease_terms terms = {
        .server = request->server,
        .avoid = request->avoid,
        .only = request->only,
        .fresh = request->fresh,
        .once = request->once,
        .last = request->last,
        .connect_timeout = request->connect_timeout,
        .tenant = request->tenant,
        .ops = &lease_ops,
        .user = s,
    };
    struct conn *conn = NULL;
    enum failure failure;
    const char *detail = NULL;
    switch (backend_acquire(request->backend, &s->lease, &terms, &conn, &failure, &detail)) {
    case LEASE_WAITING:
        break;
    case LEASE_FAILED:
        s->server = s->lease.server; /* a `last` request has learnt it just now */
        if (failure == FAILURE_CONNECT)
            backend_failed(request->backend, s->server, detail);
        stream_fail(s, failure, detail);
        break;
    case LEASE_READY:
        stream_on_conn(s, conn);
        break;
    }
}

void stream_read_max(struct stream *s, size_t bytes)
{
    if (s->channel != NULL)
        channel_read_max(s->channel, bytes);
}

void stream_pause(struct stream *s, bool paused)
{
    if (!stream_active(s))
        return;
    s->paused = paused;
    if (!paused && s->kept != NULL)
        loop_step(s->loop, s->step);
    bool held_back = s->channel != NULL && channel_pause(s->channel, paused);
    s->keeps = paused && !held_back;
    if (!held_back)
        return;
    /* A slow client must not make the application's timeout expire. */
    if (paused)
        channel_deadline(s->channel, 0, NULL);
    else if (channel_is_open(s->channel))
        stream_set_deadline(s);
}

void stream_abort(struct stream *s)
{
    backend_cancel(&s->lease);
    if (s->channel != NULL)
        channel_drop(s->channel);
    stream_finish(s);
}

void stream_leave(struct stream *s)
{
    /* the server notices the close at its next write */
    if (s->channel == NULL || s->offer || s->bytes_in > 0) {
        stream_abort(s);
        return;
    }
    if (s->stdin_open) /* no timeout may be running, see stream_set_deadline */
        stream_set_read_deadline(s);
    backend_leave(&s->lease, s->channel);
    stream_finish(s);
}

bool stream_let_end(struct stream *s)
{
    if (s->channel == NULL || s->stdin_open || s->offer || s->ended || s->failed ||
        s->rejected != NULL || s->slices > 0 || s->kept != NULL)
        return false;
    backend_let_end(s->channel);
    stream_finish(s);
    return true;
}

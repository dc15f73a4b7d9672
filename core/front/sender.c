/* sender - see sender.h. */
#include "front/sender.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Bytes of a response that a script made; other bodies are held back earlier. */
#define OUT_MAX (1ul << 30)
/* Bytes of the backlog in one event, so that other clients have their turn. */
#define OUT_PIECE     (256 * 1024)
#define GATHER_SLICES 48
#define PIECE_SLICES  16 /* texts and pieces of a file in memory that leave by one write */
#define TURN_SIZE     (1024 * 1024) /* bytes; the kernel backs only pages that have been used */
#define TURN_RESPONSE 8192      /* bytes of a response whose copy costs less than a system call */
#define FILE_PIECE    (1 << 20) /* bytes of a file in one event */

const char *const SENDER_GONE = "the client closed the connection";

/* Gathered slices. They are valid for one event, so only one sender gathers at a time. */
static struct {
    struct sender *owner;
    struct iovec slices[GATHER_SLICES];
    int count;
    size_t bytes;
} gathered;

void sender_turn_init(struct sender_turn *turn, struct loop *loop)
{
    *turn = (struct sender_turn){.loop = loop, .bytes = malloc(TURN_SIZE)};
    if (turn->bytes == NULL)
        abort();
}

void sender_turn_fini(struct sender_turn *turn)
{
    free(turn->bytes);
    turn->bytes = NULL;
}

static void sender_flush_cb(struct deferred *d)
{
    struct sender *s = (struct sender *)((char *)d - offsetof(struct sender, flush));
    s->on_turn(s);
}

void sender_init(struct sender *s, struct transport *transport, struct sender_turn *shared,
                 void (*on_turn)(struct sender *s))
{
    *s = (struct sender){.transport = transport, .shared = shared, .on_turn = on_turn};
    s->flush.run = sender_flush_cb;
    backlog_init(&s->out, OUT_MAX);
}

/* Gives back the sender's part of the turn's buffer; the last sender to do so empties the buffer.
 */
static void sender_leave_turn(struct sender *s)
{
    if (s->turn.n == 0)
        return;
    loop_undefer(&s->flush);
    s->turn = STR_NONE;
    if (--s->shared->count == 0)
        s->shared->used = 0;
}

static void sender_close_file(struct sender *s)
{
    if (s->file != NULL)
        file_source_drop(s->file);
    s->file = NULL;
    s->piece_count = 0;
}

void sender_fini(struct sender *s)
{
    sender_forget(s);
    sender_leave_turn(s);
    sender_close_file(s);
    backlog_fini(&s->out);
}

static void sender_break_off(struct sender *s, const char *why)
{
    s->broken = why;
    sender_leave_turn(s);
    sender_close_file(s);
    backlog_fini(&s->out);
}

/* --- limits --- */

void sender_begin(struct sender *s, const struct limits *limits, bool unbuffered)
{
    s->limits = limits;
    s->unbuffered = unbuffered;
    s->no_spool = NULL;
}

static struct backlog_limits sender_out_limits(const struct sender *s)
{
    if (s->limits == NULL) /* an interim response */
        return (struct backlog_limits){.memory = OUT_MAX};
    return (struct backlog_limits){
        .memory = s->limits->response_memory,
        .file = s->unbuffered || s->no_spool != NULL ? 0 : s->limits->spool,
        .dir = s->limits->spool_dir,
    };
}

size_t sender_room(const struct sender *s)
{
    struct backlog_limits limits = sender_out_limits(s);
    uint64_t room = backlog_room(&s->out, &limits), bytes = sender_gathered(s);
    room = bytes < room ? room - bytes : 0;
    return room < SIZE_MAX ? (size_t)room : SIZE_MAX;
}

/* --- gathering --- */

bool sender_gather(struct sender *s, struct str bytes)
{
    if (gathered.owner != s) {
        if (gathered.owner != NULL &&
            gathered.bytes > 0) /* a response with lost bytes must not look complete */
            sender_break_off(gathered.owner,
                             "another response took the place of what was gathered of it");
        gathered.owner = s;
        gathered.count = 0;
        gathered.bytes = 0;
    }
    if (gathered.count == GATHER_SLICES)
        return false;
    gathered.slices[gathered.count++] = (struct iovec){(char *)bytes.p, bytes.n};
    gathered.bytes += bytes.n;
    return true;
}

size_t sender_gathered(const struct sender *s)
{
    return gathered.owner == s ? gathered.bytes : 0;
}

void sender_forget(struct sender *s)
{
    if (gathered.owner == s)
        gathered.owner = NULL;
}

/* --- sending --- */

static bool sender_is_retry(int err)
{
    return err == EAGAIN || err == EINTR;
}

/* Writes all slices in one call. Returns the bytes taken; breaks off when the client has gone. */
static size_t sender_put(struct sender *s, struct iovec *v, int count, bool more)
{
    ssize_t n = s->transport->ops->writev(s->transport, v, count, more);
    if (n >= 0)
        return (size_t)n;
    if (!sender_is_retry(errno))
        sender_break_off(s, SENDER_GONE);
    return 0;
}

/* Copies the bytes behind the first `done` ones of the slices into the backlog. */
static void sender_keep(struct sender *s, const struct iovec *v, int count, size_t done)
{
    struct backlog_limits limits = sender_out_limits(s);
    for (int i = 0; i < count; i++) {
        if (done >= v[i].iov_len) {
            done -= v[i].iov_len;
            continue;
        }
        struct str rest = {(char *)v[i].iov_base + done, v[i].iov_len - done};
        const char *err = backlog_append(&s->out, &limits, rest);
        if (err != NULL) {
            s->no_spool = err;
            limits.file = 0;
        }
        done = 0;
    }
    if (backlog_overflows(&s->out)) /* a response with lost bytes must not go on */
        sender_break_off(s, "more than a gigabyte of it waited for the client");
}

/* Copies the slices into the turn's buffer: a head, or a small response. A file is not copied. */
static bool sender_wait_for_turn(struct sender *s, const struct iovec *v, int count, size_t size)
{
    struct sender_turn *shared = s->shared;
    if (size > TURN_RESPONSE || size > TURN_SIZE - shared->used || !backlog_is_empty(&s->out))
        return false;
    char *at = shared->bytes + shared->used;
    s->turn = (struct str){at, size};
    for (int i = 0; i < count; i++) {
        memcpy(at, v[i].iov_base, v[i].iov_len);
        at += v[i].iov_len;
    }
    shared->used += size;
    shared->count++;
    loop_defer(shared->loop, &s->flush);
    return true;
}

static void sender_add(struct iovec *v, int *count, struct str s)
{
    if (s.n > 0)
        v[(*count)++] = (struct iovec){(char *)s.p, s.n};
}

size_t sender_send(struct sender *s, const struct sender_frame *frame, enum sender_when when)
{
    struct iovec v[GATHER_SLICES + 3];
    size_t bytes = sender_gathered(s), size = bytes + frame->head.n + frame->line.n + frame->tail.n;
    int count = 0;
    sender_add(v, &count, frame->head);
    sender_add(v, &count, frame->line);
    if (bytes > 0) {
        memcpy(v + count, gathered.slices, (size_t)gathered.count * sizeof *v);
        count += gathered.count;
    }
    sender_add(v, &count, frame->tail);
    sender_forget(s);
    if (s->broken != NULL || size == 0)
        return 0;
    if (when == SENDER_TURN && sender_wait_for_turn(s, v, count, size))
        return 0;
    size_t done = backlog_is_empty(&s->out) ? sender_put(s, v, count, s->piece_count > 0) : 0;
    if (s->broken == NULL && done < size)
        sender_keep(s, v, count, done);
    return done;
}

void sender_file(struct sender *s, struct file_source *file, const struct file_piece *pieces,
                 unsigned count)
{
    /* nothing would follow the head of an empty file, which must not wait for more */
    for (; count > 0 && pieces->before.n + pieces->size == 0; pieces++)
        count--;
    if (count == 0)
        return;
    s->file = file;
    file->users++;
    s->pieces = pieces;
    s->piece_count = count;
    s->piece_at = 0;
}

static size_t sender_write_out(struct sender *s)
{
    size_t total = 0;
    struct str waiting;
    struct iovec v;
    do {
        waiting = backlog_peek(&s->out, s->shared->loop->scratch, LOOP_SCRATCH_SIZE);
        if (waiting.p == NULL) {
            sender_break_off(s, "what was kept in spool_dir could not be read");
            return total;
        }
        v = (struct iovec){(char *)waiting.p, waiting.n};
        size_t done = sender_put(s, &v, 1, false);
        total += done;
        if (s->broken != NULL)
            return total;
        backlog_consume(&s->out, done);
        if (done < waiting.n)
            return total;
    } while (total < OUT_PIECE && !backlog_is_empty(&s->out));
    return total;
}

/* --- files --- */

/* Notes that n bytes of the pieces have left. */
static void sender_advance(struct sender *s, size_t n)
{
    s->file_sent += n;
    while (s->piece_count > 0) {
        uint64_t left = s->pieces->before.n + s->pieces->size - s->piece_at;
        if (n < left) {
            s->piece_at += n;
            return;
        }
        n -= (size_t)left;
        s->pieces++;
        s->piece_at = 0;
        s->piece_count--;
    }
    sender_close_file(s);
}

/* Lists what is left of the pieces of a file in memory, with their texts, as far as PIECE_SLICES
 * go. Returns the number of slices. */
static int sender_list_pieces(const struct sender *s, struct iovec *v)
{
    uint64_t at = s->piece_at;
    int count = 0;
    for (unsigned i = 0; i < s->piece_count && count <= PIECE_SLICES - 2; i++) {
        const struct file_piece *piece = &s->pieces[i];
        uint64_t done = at > piece->before.n ? at - piece->before.n : 0;
        sender_add(v, &count, str_skip(piece->before, (size_t)(at - done)));
        sender_add(v, &count,
                   (struct str){s->file->content + piece->at + done, (size_t)(piece->size - done)});
        at = 0;
    }
    return count;
}

/* Writes pieces of a file in memory by one call. Returns the bytes taken. */
static size_t sender_write_memory(struct sender *s)
{
    struct iovec v[PIECE_SLICES];
    int count = sender_list_pieces(s, v);
    return count > 0 ? sender_put(s, v, count, false) : 0;
}

/* Writes the first piece's text, of which something is left. Returns the bytes taken. */
static size_t sender_write_before(struct sender *s)
{
    const struct file_piece *piece = s->pieces;
    struct str text = str_skip(piece->before, (size_t)s->piece_at);
    struct iovec v = {(char *)text.p, text.n};
    return sender_put(s, &v, 1, piece->size > 0 || s->piece_count > 1);
}

/* Writes bytes of a file that are read here, for a transport without sendfile. Returns as
 * transport_ops.sendfile does. */
static ssize_t sender_write_read(struct sender *s, off_t at, size_t size)
{
    char *bytes = s->shared->loop->scratch;
    ssize_t n = pread(s->file->fd, bytes, size < LOOP_SCRATCH_SIZE ? size : LOOP_SCRATCH_SIZE, at);
    if (n < 0)
        errno = EIO;
    if (n <= 0)
        return n;
    struct iovec v = {bytes, (size_t)n};
    return s->transport->ops->writev(s->transport, &v, 1, false);
}

/* Writes the first piece's part of the file, if any is left. Returns the bytes taken. */
static size_t sender_write_stretch(struct sender *s, size_t most)
{
    const struct file_piece *piece = s->pieces;
    uint64_t done = s->piece_at - piece->before.n, left = piece->size - done;
    off_t at = (off_t)(piece->at + done);
    if (left == 0)
        return 0;
    size_t size = left < most ? (size_t)left : most;
    ssize_t n = s->transport->ops->sendfile != NULL
                    ? s->transport->ops->sendfile(s->transport, s->file->fd, at, size)
                    : sender_write_read(s, at, size);
    if (n < 0 && sender_is_retry(errno))
        return 0;
    if (n > 0)
        return (size_t)n;
    sender_break_off(s, n == 0         ? "the file has shrunk since its length was promised"
                        : errno == EIO ? "the file could not be read"
                                       : SENDER_GONE);
    return 0;
}

static size_t sender_write_next(struct sender *s, size_t most)
{
    if (s->file->content != NULL)
        return sender_write_memory(s);
    return s->piece_at < s->pieces->before.n ? sender_write_before(s)
                                             : sender_write_stretch(s, most);
}

static size_t sender_write_pieces(struct sender *s)
{
    size_t total = 0;
    while (s->piece_count > 0 && total < FILE_PIECE) {
        const struct file_piece *piece = s->pieces;
        size_t done = sender_write_next(s, FILE_PIECE - total);
        if (s->broken != NULL)
            return total;
        total += done;
        sender_advance(s, done);
        if (s->piece_count > 0 && s->pieces == piece &&
            (done == 0 || s->piece_at != piece->before.n))
            return total; /* the socket is full */
    }
    return total;
}

/* Writes what has waited for the end of the turn, and then the file. A file in memory leaves by the
 * same call as its head. */
static size_t sender_write_turn(struct sender *s)
{
    struct iovec v[PIECE_SLICES + 1] = {{(char *)s->turn.p, s->turn.n}};
    bool file = s->piece_count > 0, in_memory = file && s->file->content != NULL;
    int count = in_memory ? 1 + sender_list_pieces(s, v + 1) : 1;
    size_t done = sender_put(s, v, count, file && !in_memory);
    if (s->broken != NULL)
        return 0;
    bool whole = done >= s->turn.n;
    size_t of_file = whole ? done - s->turn.n : 0;
    if (!whole)
        sender_keep(s, v, 1, done);
    sender_leave_turn(s);
    if (in_memory && whole)
        sender_advance(s, of_file);
    return file && !in_memory && whole ? done + sender_write_pieces(s) : done;
}

size_t sender_write(struct sender *s)
{
    if (s->broken != NULL)
        return 0;
    if (s->turn.n > 0)
        return sender_write_turn(s);
    if (!backlog_is_empty(&s->out))
        return sender_write_out(s);
    return s->piece_count > 0 ? sender_write_pieces(s) : 0;
}

/* sender - see sender.h. */
#include "sender.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_MAX       (1ul << 30) /* of replies that a script made; others are held back sooner */
#define GATHER_SLICES 48
#define TURN_SIZE     (128 * 1024)
#define TURN_RESPONSE 4096      /* what is small: a copy costs less than waking somebody up */
#define FILE_PIECE    (1 << 20) /* of one sendfile: others want the worker, too */

/* Slices until they are sent. They live for one event, so only one sender gathers at a time. */
static struct {
    const struct sender *owner;
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

static void flush_cb(struct deferred *d)
{
    struct sender *s = (struct sender *)((char *)d - offsetof(struct sender, flush));
    s->on_turn(s);
}

void sender_init(struct sender *s, int fd, struct sender_turn *shared,
                 void (*on_turn)(struct sender *s))
{
    *s = (struct sender){.fd = fd, .shared = shared, .on_turn = on_turn, .file = -1};
    s->flush.run = flush_cb;
    buf_init(&s->out, OUT_MAX);
}

/* The part of the turn's buffer is not needed any more; the last one to leave empties it. */
static void leave_turn(struct sender *s)
{
    if (s->turn.n == 0)
        return;
    loop_undefer(s->shared->loop, &s->flush);
    s->turn = STR_NONE;
    if (--s->shared->count == 0)
        s->shared->used = 0;
}

static void close_file(struct sender *s)
{
    if (s->file >= 0)
        close(s->file);
    s->file = -1;
    s->file_left = 0;
}

void sender_fini(struct sender *s)
{
    sender_forget(s);
    leave_turn(s);
    close_file(s);
    buf_fini(&s->out);
}

static void break_off(struct sender *s)
{
    s->broken = true;
    leave_turn(s);
    close_file(s);
    buf_fini(&s->out);
}

/* --- gathering --- */

bool sender_gather(struct sender *s, struct str bytes)
{
    if (gathered.owner != s) {
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

static bool is_retry(int err)
{
    return err == EAGAIN || err == EINTR;
}

/* One call for all slices. Returns the bytes taken; breaks off where the client has gone. */
static size_t put(struct sender *s, struct iovec *v, int count, bool more)
{
    struct msghdr msg = {.msg_iov = v, .msg_iovlen = (size_t)count};
    ssize_t n = count == 1 && !more ? write(s->fd, v->iov_base, v->iov_len)
                                    : sendmsg(s->fd, &msg, more ? MSG_MORE : 0);
    if (n >= 0)
        return (size_t)n;
    if (!is_retry(errno))
        break_off(s);
    return 0;
}

/* Keeps what is behind the first `done` bytes of the slices. */
static void keep(struct sender *s, const struct iovec *v, int count, size_t done)
{
    for (int i = 0; i < count; i++) {
        if (done >= v[i].iov_len) {
            done -= v[i].iov_len;
            continue;
        }
        buf_append(&s->out, (char *)v[i].iov_base + done, v[i].iov_len - done);
        done = 0;
    }
    if (s->out.overflow) /* a response with a hole must not go on */
        break_off(s);
}

static bool wait_for_turn(struct sender *s, const struct iovec *v, int count, size_t size)
{
    struct sender_turn *shared = s->shared;
    if (size > TURN_RESPONSE || size > TURN_SIZE - shared->used || buf_len(&s->out) > 0)
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

static void add(struct iovec *v, int *count, struct str s)
{
    if (s.n > 0)
        v[(*count)++] = (struct iovec){(char *)s.p, s.n};
}

size_t sender_send(struct sender *s, const struct sender_frame *frame, enum sender_when when)
{
    struct iovec v[GATHER_SLICES + 3];
    size_t bytes = sender_gathered(s), size = bytes + frame->head.n + frame->line.n + frame->tail.n;
    int count = 0;
    add(v, &count, frame->head);
    add(v, &count, frame->line);
    if (bytes > 0) {
        memcpy(v + count, gathered.slices, (size_t)gathered.count * sizeof *v);
        count += gathered.count;
    }
    add(v, &count, frame->tail);
    sender_forget(s);
    if (s->broken || size == 0)
        return 0;
    if (when == SENDER_TURN && wait_for_turn(s, v, count, size))
        return 0;
    size_t done = buf_len(&s->out) == 0 ? put(s, v, count, when == SENDER_MORE) : 0;
    if (!s->broken && done < size)
        keep(s, v, count, done);
    return done;
}

void sender_file(struct sender *s, int fd, uint64_t size)
{
    s->file = fd;
    s->file_at = 0;
    s->file_left = size;
}

static size_t write_turn(struct sender *s)
{
    struct iovec v = {(char *)s->turn.p, s->turn.n};
    size_t size = s->turn.n, done = put(s, &v, 1, false);
    if (!s->broken && done < size)
        keep(s, &v, 1, done);
    leave_turn(s);
    return done;
}

static size_t write_out(struct sender *s)
{
    struct str waiting = buf_peek(&s->out);
    struct iovec v = {(char *)waiting.p, waiting.n};
    size_t done = put(s, &v, 1, false);
    if (s->broken)
        return done;
    buf_consume(&s->out, done);
    if (buf_len(&s->out) == 0)
        buf_fini(&s->out); /* a slow client's backlog is not kept for the next one */
    return done;
}

static size_t write_file(struct sender *s)
{
    off_t at = (off_t)s->file_at;
    ssize_t n =
        sendfile(s->fd, s->file, &at, s->file_left < FILE_PIECE ? s->file_left : FILE_PIECE);
    if (n < 0 && is_retry(errno))
        return 0;
    if (n <= 0) { /* n == 0: the file has shrunk since its length was promised */
        break_off(s);
        return 0;
    }
    s->file_at += (uint64_t)n;
    s->file_left -= (uint64_t)n;
    if (s->file_left == 0)
        close_file(s);
    return (size_t)n;
}

size_t sender_write(struct sender *s)
{
    if (s->broken)
        return 0;
    if (s->turn.n > 0)
        return write_turn(s);
    if (buf_len(&s->out) > 0)
        return write_out(s);
    return s->file_left > 0 ? write_file(s) : 0;
}

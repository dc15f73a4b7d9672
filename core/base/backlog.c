/* backlog - see backlog.h. */
#include "base/backlog.h"

#include "base/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Bytes between two calls that give space back: often enough that the disk does not fill, and
 * seldom enough that the calls cost little. */
#define STEP_MIN   (256ul * 1024)
#define STEP_MAX   (8ul << 20)
#define STEP_SHARE 16
#define STEP_ALIGN (64ul * 1024) /* no file system has larger blocks */

struct backlog_file {
    int fd;
    uint64_t from, to; /* offsets of the bytes that wait */
    uint64_t freed;    /* bytes below this offset have been given back to the file system */
    uint64_t step;
    struct buf tail;
};

void backlog_init(struct backlog *b, size_t max)
{
    *b = (struct backlog){.file = NULL};
    buf_init(&b->mem, max);
}

void backlog_fini(struct backlog *b)
{
    struct backlog_file *f = b->file;
    buf_fini(&b->mem);
    b->file = NULL;
    b->in_file = false;
    if (f == NULL)
        return;
    buf_fini(&f->tail);
    close(f->fd);
    free(f);
}

/* --- adding --- */

static struct backlog_file *backlog_file_new(int fd, uint64_t limit, size_t max)
{
    struct backlog_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    uint64_t step = limit / STEP_SHARE;
    step = step < STEP_MIN ? STEP_MIN : step > STEP_MAX ? STEP_MAX : step;
    f->fd = fd;
    f->step = step - step % STEP_ALIGN;
    buf_init(&f->tail, max);
    return f;
}

static uint64_t backlog_file_room(const struct backlog_file *f, uint64_t limit)
{
    uint64_t used = f != NULL ? f->to - f->freed : 0;
    return used < limit ? limit - used : 0;
}

/* Writes as many bytes as the limit allows; *bytes is the rest. */
static const char *backlog_file_write(struct backlog_file *f, uint64_t limit, struct str *bytes)
{
    uint64_t room = backlog_file_room(f, limit);
    size_t n = bytes->n < room ? bytes->n : (size_t)room;
    while (n > 0) {
        ssize_t done = pwrite(f->fd, bytes->p, n, (off_t)f->to);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return strerror(done < 0 ? errno : ENOSPC);
        f->to += (uint64_t)done;
        *bytes = str_skip(*bytes, (size_t)done);
        n -= (size_t)done;
    }
    return NULL;
}

/* Writes bytes to the file. The tail is written first, to keep the order of bytes. */
static const char *backlog_spill(struct backlog *b, const struct backlog_limits *limits,
                                 struct str *bytes)
{
    if (b->file == NULL) {
        int fd = spool_unlinked(limits->dir);
        if (fd < 0)
            return strerror(errno);
        b->file = backlog_file_new(fd, limits->file, b->mem.max);
    }
    struct backlog_file *f = b->file;
    struct str tail = buf_peek(&f->tail);
    size_t waiting = tail.n;
    const char *err = backlog_file_write(f, limits->file, &tail);
    buf_consume(&f->tail, waiting - tail.n);
    if (err == NULL && tail.n == 0)
        err = backlog_file_write(f, limits->file, bytes);
    b->in_file = f->from < f->to;
    return err;
}

const char *backlog_append(struct backlog *b, const struct backlog_limits *limits, struct str bytes)
{
    const char *err = NULL;
    if (!b->in_file) {
        size_t used = buf_len(&b->mem);
        size_t room = used < limits->memory ? limits->memory - used : 0;
        size_t n = bytes.n < room ? bytes.n : room;
        buf_append(&b->mem, bytes.p, n);
        bytes = str_skip(bytes, n);
    }
    if (bytes.n > 0 && limits->file > 0)
        err = backlog_spill(b, limits, &bytes);
    buf_append(b->in_file ? &b->file->tail : &b->mem, bytes.p, bytes.n);
    return err;
}

uint64_t backlog_room(const struct backlog *b, const struct backlog_limits *limits)
{
    uint64_t used = buf_len(&b->mem), tail = b->in_file ? buf_len(&b->file->tail) : 0;
    if (limits->file == 0) {
        used += tail;
        return used < limits->memory ? limits->memory - used : 0;
    }
    uint64_t room = backlog_file_room(b->file, limits->file);
    room = tail < room ? room - tail : 0;
    if (!b->in_file && used < limits->memory)
        room += limits->memory - used;
    return room;
}

uint64_t backlog_size(const struct backlog *b)
{
    uint64_t size = buf_len(&b->mem);
    return b->in_file ? size + b->file->to - b->file->from + buf_len(&b->file->tail) : size;
}

bool backlog_overflows(const struct backlog *b)
{
    return b->mem.overflow || (b->file != NULL && b->file->tail.overflow);
}

/* --- removing --- */

/* Empties the file, which has been read to its end; only the tail is left. */
static void backlog_file_drained(struct backlog *b)
{
    struct backlog_file *f = b->file;
    struct buf empty = b->mem;
    b->mem = f->tail;
    f->tail = empty;
    b->in_file = false;
    while (ftruncate(f->fd, 0) != 0 && errno == EINTR)
        ;
    f->from = f->to = f->freed = 0;
}

/* Gives the space of read bytes back. A file system that can't do this keeps them until the file is
 * emptied. */
static void backlog_give_space_back(struct backlog_file *f)
{
    uint64_t upto = f->from - f->from % STEP_ALIGN;
    if (upto < f->freed + f->step)
        return;
    if (fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)f->freed,
                  (off_t)(upto - f->freed)) == 0)
        f->freed = upto;
    else if (errno != EINTR)
        f->step = UINT64_MAX - f->freed;
}

/* Reads from the file in place of sendfile: a socket would keep the file's own pages until the
 * client has acknowledged them, and the space may be given back by then. */
struct str backlog_peek(struct backlog *b, char *scratch, size_t scratch_size)
{
    if (buf_len(&b->mem) > 0 || !b->in_file)
        return (struct str){buf_len(&b->mem) > 0 ? buf_peek(&b->mem).p : scratch, buf_len(&b->mem)};
    struct backlog_file *f = b->file;
    uint64_t left = f->to - f->from;
    ssize_t n;
    do
        n = pread(f->fd, scratch, left < scratch_size ? (size_t)left : scratch_size,
                  (off_t)f->from);
    while (n < 0 && errno == EINTR);
    return n > 0 ? (struct str){scratch, (size_t)n} : STR_NONE;
}

void backlog_consume(struct backlog *b, size_t n)
{
    struct backlog_file *f = b->file;
    if (n == 0)
        return;
    if (buf_len(&b->mem) > 0) {
        buf_consume(&b->mem, n);
        if (buf_len(&b->mem) == 0)
            buf_fini(&b->mem); /* memory of a slow client is freed at once */
        return;
    }
    f->from += n;
    if (f->from == f->to)
        backlog_file_drained(b);
    else
        backlog_give_space_back(f);
}

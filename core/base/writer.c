/* writer - see writer.h. */
#include "base/writer.h"

#include "base/outlet.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define WRITER_CHUNK (64u << 10) /* bytes of one write */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more, progress;    /* bytes have come; bytes have been written */
    struct writer_file *files, *last; /* last: was written to last */
    bool runs;
    bool begun; /* the thread itself says so */
} writer = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint32_t writer_load(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static uint32_t writer_pending(const struct writer_file *f)
{
    return writer_load(f->used) - writer_load(f->written);
}

/* --- the thread --- */

/* The first file with bytes, from one on and before another. */
static struct writer_file *writer_find(struct writer_file *from, const struct writer_file *end)
{
    while (from != end && (from->fd < 0 || writer_pending(from) == 0))
        from = from->next;
    return from != end ? from : NULL;
}

/* The file that is written next; NULL: no file has bytes. They take turns, so that one which is
 * always behind keeps none waiting. */
static struct writer_file *writer_next(void)
{
    struct writer_file *after = writer.last != NULL ? writer.last->next : NULL;
    struct writer_file *f = writer_find(after, NULL);
    return f != NULL ? f : writer_find(writer.files, after);
}

/* Copies whole lines of the file's bytes that go to its descriptor; a longer line is cut. */
static size_t writer_copy(const struct writer_file *f, char *chunk)
{
    const char *from = f->bytes + writer_load(f->written);
    size_t n = f->later >= 0 ? f->mark - writer_load(f->written) : writer_pending(f);
    if (n > WRITER_CHUNK) {
        const char *end = memrchr(from, '\n', WRITER_CHUNK);
        n = end != NULL ? (size_t)(end - from) + 1 : WRITER_CHUNK;
    }
    memcpy(chunk, from, n);
    return n;
}

/* Notes that so many bytes are written. Behind the last one for a descriptor the next one's begin.
 */
static void writer_advance(struct writer_file *f, size_t n)
{
    uint32_t at = writer_load(f->written) + (uint32_t)n;
    __atomic_store_n(f->written, at, __ATOMIC_RELEASE);
    if (f->later < 0 || at < f->mark)
        return;
    close(f->fd);
    f->fd = f->later;
    f->later = -1;
}

/* Writes some bytes of the file; the lock is held before and afterwards, not meanwhile. */
static void writer_write(struct writer_file *f)
{
    static char chunk[WRITER_CHUNK];
    size_t n = writer_copy(f, chunk);
    unsigned turn = f->turn;
    int fd = f->fd, err;
    f->busy = fd;
    writer.last = f;
    pthread_mutex_unlock(&writer.lock);
    size_t done = outlet_put(&(struct outlet){.fd = fd, .kind = OUTLET_FILE}, chunk, n, &err);
    pthread_mutex_lock(&writer.lock);
    f->busy = -1;
    if (f->fd != fd)
        close(fd); /* the buffer has been taken back meanwhile */
    if (f->turn == turn)
        writer_advance(f, n);
    if (f->turn == turn && done < n) { /* bytes that were taken back are the caller's to count */
        f->lost += outlet_count(chunk + done, n - done);
        f->reason = err;
    }
    pthread_cond_broadcast(&writer.progress);
}

static void *writer_run(void *ctx)
{
    struct writer_file *f;
    pthread_mutex_lock(&writer.lock);
    writer.begun = true;
    pthread_cond_broadcast(&writer.progress);
    for (;;) {
        if ((f = writer_next()) != NULL)
            writer_write(f);
        else
            pthread_cond_wait(&writer.more, &writer.lock);
    }
    return ctx;
}

/* --- forks --- */

static void writer_before_fork(void)
{
    pthread_mutex_lock(&writer.lock);
}

static void writer_in_parent(void)
{
    pthread_mutex_unlock(&writer.lock);
}

/* A child has no thread, and its parent's files are written by the parent. */
static void writer_in_child(void)
{
    for (struct writer_file *f = writer.files; f != NULL; f = f->next) {
        if (f->busy >= 0 && f->busy != f->fd)
            close(f->busy);
        if (f->fd >= 0)
            close(f->fd);
        if (f->later >= 0)
            close(f->later);
        f->fd = f->busy = f->later = -1;
    }
    writer.files = NULL;
    writer.runs = writer.begun = false;
    pthread_mutex_init(&writer.lock, NULL);
}

bool writer_start(void)
{
    static bool handled; /* children inherit the handlers */
    pthread_condattr_t attributes;
    sigset_t all, before;
    pthread_t thread;
    if (!handled && pthread_atfork(writer_before_fork, writer_in_parent, writer_in_child) != 0)
        return false;
    handled = true;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writer.more, &attributes);
    pthread_cond_init(&writer.progress, &attributes);
    pthread_condattr_destroy(&attributes);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    writer.runs = pthread_create(&thread, NULL, writer_run, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!writer.runs)
        return false;
    pthread_detach(thread);
    /* A thread that begins allocates memory, and not every allocator (AddressSanitizer's) lets a
     * process fork meanwhile. Later on this one never does. */
    pthread_mutex_lock(&writer.lock);
    while (!writer.begun)
        pthread_cond_wait(&writer.progress, &writer.lock);
    pthread_mutex_unlock(&writer.lock);
    return true;
}

bool writer_runs(void)
{
    return writer.runs;
}

/* --- the caller's side --- */

static bool writer_has(const struct writer_file *wanted)
{
    const struct writer_file *f = writer.files;
    while (f != NULL && f != wanted)
        f = f->next;
    return f != NULL;
}

/* Closes the file's descriptors, but for the one to which the thread is writing, which closes it
 * then. */
static void writer_give_up(struct writer_file *f)
{
    if (f->fd >= 0 && f->fd != f->busy)
        close(f->fd);
    if (f->later >= 0)
        close(f->later);
    f->fd = f->later = -1;
}

/* Sets the descriptor of the bytes to come. */
static void writer_set_later(struct writer_file *f, int fd)
{
    if (f->fd < 0 || writer_pending(f) == 0) {
        writer_give_up(f);
        f->fd = fd;
        return;
    }
    if (f->later >= 0)
        close(f->later); /* bytes for that one go to this one */
    else
        f->mark = writer_load(f->used);
    f->later = fd;
}

bool writer_set(struct writer_file *f, int fd)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (own < 0)
        return false;
    pthread_mutex_lock(&writer.lock);
    if (!writer_has(f)) {
        f->fd = f->busy = f->later = -1;
        f->next = writer.files;
        writer.files = f;
    }
    writer_set_later(f, own);
    pthread_cond_signal(&writer.more);
    pthread_mutex_unlock(&writer.lock);
    return true;
}

static struct timespec writer_moment(double seconds)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    double nanoseconds = (double)at.tv_nsec + (seconds - (double)(time_t)seconds) * 1e9;
    at.tv_sec += (time_t)seconds + (nanoseconds >= 1e9);
    at.tv_nsec = (long)(nanoseconds >= 1e9 ? nanoseconds - 1e9 : nanoseconds);
    return at;
}

size_t writer_take_back(struct writer_file *f, double seconds)
{
    struct timespec until = writer_moment(seconds);
    pthread_mutex_lock(&writer.lock);
    while (f->fd >= 0 && writer_pending(f) > 0 &&
           pthread_cond_timedwait(&writer.progress, &writer.lock, &until) == 0)
        ;
    writer_give_up(f);
    f->turn++;
    size_t left = writer_pending(f);
    pthread_mutex_unlock(&writer.lock);
    return left;
}

void writer_wake(void)
{
    pthread_mutex_lock(&writer.lock);
    pthread_cond_signal(&writer.more);
    pthread_mutex_unlock(&writer.lock);
}

void writer_make_room(struct writer_file *f)
{
    pthread_mutex_lock(&writer.lock);
    uint32_t left = writer_pending(f), done = writer_load(f->written);
    if (done > 0) {
        memmove(f->bytes, f->bytes + done, left);
        f->mark = f->later >= 0 ? f->mark - done : 0;
        __atomic_store_n(f->written, 0, __ATOMIC_RELEASE);
        __atomic_store_n(f->used, left, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&writer.lock);
}

unsigned long writer_lost(struct writer_file *f, int *reason)
{
    pthread_mutex_lock(&writer.lock);
    unsigned long lost = f->lost;
    *reason = f->reason;
    f->lost = 0;
    pthread_mutex_unlock(&writer.lock);
    return lost;
}

bool writer_wait(struct writer_file *f, double seconds)
{
    struct timespec until = writer_moment(seconds);
    int waited = 0;
    pthread_mutex_lock(&writer.lock);
    pthread_cond_signal(&writer.more);
    while (f->fd >= 0 && writer_pending(f) > 0 && waited == 0)
        waited = pthread_cond_timedwait(&writer.progress, &writer.lock, &until);
    bool all = writer_pending(f) == 0;
    pthread_mutex_unlock(&writer.lock);
    return all;
}

bool writer_drain(double seconds)
{
    struct timespec until = writer_moment(seconds);
    int waited = 0;
    pthread_mutex_lock(&writer.lock);
    pthread_cond_signal(&writer.more);
    while (writer_next() != NULL && waited == 0)
        waited = pthread_cond_timedwait(&writer.progress, &writer.lock, &until);
    bool all = writer_next() == NULL;
    pthread_mutex_unlock(&writer.lock);
    return all;
}

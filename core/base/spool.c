/* spool - see spool.h. */
#include "base/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BODY_NAME    "moongate-body-"
#define BODY_RANDOM  6      /* letters and digits of mkostemp behind it */
#define ENTRIES_MOST 100000 /* of a folder that are looked at */
#define FOLDERS      64     /* folders that a process remembers to have looked at */
#define TRIES        5

const char *const SPOOL_TOO_LARGE = "larger than the spool may be";

void spool_init(struct spool *s, size_t memory, uint64_t limit, const char *dir)
{
    *s = (struct spool){.limit = limit, .dir = dir, .fd = -1};
    buf_init(&s->mem, memory);
}

void spool_init_named(struct spool *s, uint64_t limit, const char *dir)
{
    spool_init(s, 0, limit, dir);
    s->named = true;
}

/* Memory ends, and with it the bytes in it. */
static void spool_end_memory(struct spool *s)
{
    if (s->input == NULL) {
        buf_fini(&s->mem);
        return;
    }
    input_give_back(s->inputs, s->input);
    s->input = NULL;
    buf_init(&s->mem, s->mem.max);
}

void spool_fini(struct spool *s)
{
    spool_end_memory(s);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->size = 0;
    if (s->path != NULL)
        unlink(s->path);
    free(s->path);
    s->path = NULL;
}

void spool_expect(struct spool *s, uint64_t size)
{
    s->expected = size <= s->mem.max ? (size_t)size : 0;
}

/* O_TMPFILE makes a file without a name; on file systems without it the file's name is removed at
 * once. */
int spool_unlinked(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
        return fd;
    char path[4096];
    if (snprintf(path, sizeof path, "%s/moongate-XXXXXX", dir) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* --- files with a name --- */

static bool spool_is_body(const char *name)
{
    const char *rest = name + sizeof BODY_NAME - 1;
    return strncmp(name, BODY_NAME, sizeof BODY_NAME - 1) == 0 && strlen(rest) == BODY_RANDOM &&
           strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") ==
               BODY_RANDOM;
}

/* Removes the file if it is one of this user's that no process holds (spool_hold). Links are not
 * followed, and a FIFO of somebody else's keeps nobody waiting. */
static void spool_remove_left(int dir, const char *name)
{
    struct stat st;
    int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        flock(fd, LOCK_EX | LOCK_NB) == 0)
        unlinkat(dir, name, 0);
    close(fd);
}

/* True where this process has not looked at the folder yet, or not lately. */
static bool spool_is_new(const char *folder)
{
    static uint64_t seen[FOLDERS];
    static unsigned next;
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (const char *c = folder; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3;
    for (unsigned i = 0; i < FOLDERS; i++)
        if (seen[i] == hash)
            return false;
    seen[next++ % FOLDERS] = hash;
    return true;
}

/* Removes what killed processes have left in the folder, of this instance and of others. */
static void spool_sweep(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    for (unsigned n = 0; dir != NULL && n < ENTRIES_MOST && (e = readdir(dir)) != NULL; n++)
        if (spool_is_body(e->d_name))
            spool_remove_left(dirfd(dir), e->d_name);
    if (dir != NULL)
        closedir(dir);
}

/* Holds a new file by a lock that ends with this process; a shared one, so that the application may
 * have one as well. False: another process has taken it for a left one meanwhile. */
static bool spool_hold(int fd)
{
    struct stat st;
    if (flock(fd, LOCK_SH | LOCK_NB) != 0)
        return errno != EWOULDBLOCK; /* a file system without locks: nobody removes it */
    return fstat(fd, &st) != 0 || st.st_nlink > 0;
}

/* Makes a file that this process holds, and writes its name to `path`. */
static int spool_make_held(const char *folder, char *path, size_t size)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (snprintf(path, size, "%s/" BODY_NAME "XXXXXX", folder) >= (int)size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0 || spool_hold(fd))
            return fd;
        close(fd);
    }
    errno = EAGAIN;
    return -1;
}

/* The reader is another program, maybe of another user: mkostemp's mode is for this one alone. */
static int spool_open_named(struct spool *s)
{
    char path[4096];
    if (spool_is_new(s->dir))
        spool_sweep(s->dir);
    int fd = spool_make_held(s->dir, path, sizeof path);
    if (fd < 0)
        return -1;
    s->path = strdup(path);
    if (s->path == NULL)
        abort();
    if (fchmod(fd, 0640) == 0)
        return fd;
    int err = errno;
    close(fd);
    errno = err;
    return -1; /* spool_fini removes it */
}

static const char *spool_write_file(struct spool *s, struct str bytes)
{
    if (s->fd < 0 && (s->fd = s->named ? spool_open_named(s) : spool_unlinked(s->dir)) < 0)
        return strerror(errno);
    uint64_t at = s->size - s->mem.tail;
    while (bytes.n > 0) {
        ssize_t done = pwrite(s->fd, bytes.p, bytes.n, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return strerror(done < 0 ? errno : ENOSPC);
        bytes = str_skip(bytes, (size_t)done);
        at += (uint64_t)done;
        s->size += (uint64_t)done;
    }
    return NULL;
}

/* More comes than was expected: the bytes move to memory of the spool's own. */
static void spool_leave_input(struct spool *s)
{
    struct buf own;
    buf_init(&own, s->mem.max);
    buf_append_str(&own, buf_peek(&s->mem));
    spool_end_memory(s);
    s->mem = own;
}

const char *spool_write(struct spool *s, struct str bytes)
{
    if (bytes.n > s->limit - s->size)
        return SPOOL_TOO_LARGE;
    if (s->input != NULL)
        spool_leave_input(s);
    if (s->fd < 0) { /* memory comes before the file, so it is filled first */
        size_t room = s->mem.max - s->mem.tail;
        size_t n = bytes.n < room ? bytes.n : room;
        if (s->size == 0 && s->expected > 0)
            buf_reserve(&s->mem, s->expected);
        buf_append(&s->mem, bytes.p, n);
        s->size += n;
        bytes = str_skip(bytes, n);
    }
    return bytes.n > 0 ? spool_write_file(s, bytes) : NULL;
}

const char *spool_take(struct spool *s, struct inputs *inputs, struct str bytes)
{
    bool whole = s->size == 0 && bytes.n == s->expected && bytes.n <= s->limit;
    struct input *input = whole ? input_keep(inputs, bytes) : NULL;
    if (input == NULL)
        return spool_write(s, bytes);
    s->input = input;
    s->inputs = inputs;
    s->mem.data = (char *)bytes.p;
    s->mem.cap = s->mem.tail = s->size = bytes.n;
    return NULL;
}

struct str spool_read(struct spool *s, uint64_t at, char *scratch, size_t scratch_size)
{
    if (at >= s->size)
        return (struct str){scratch, 0};
    if (at < s->mem.tail)
        return (struct str){s->mem.data + at, s->mem.tail - (size_t)at};
    ssize_t n;
    do
        n = pread(s->fd, scratch, scratch_size, (off_t)(at - s->mem.tail));
    while (n < 0 && errno == EINTR);
    return n > 0 ? (struct str){scratch, (size_t)n} : STR_NONE;
}

const char *spool_name(struct spool *s, uint64_t limit, const char *dir)
{
    char piece[65536];
    struct spool named;
    const char *err = NULL;
    spool_init_named(&named, limit, dir);
    while (err == NULL && named.size < s->size) {
        struct str bytes = spool_read(s, named.size, piece, sizeof piece);
        err = bytes.n > 0 ? spool_write(&named, bytes) : strerror(EIO);
    }
    if (err != NULL) {
        spool_fini(&named);
        return err;
    }
    spool_fini(s);
    *s = named;
    return NULL;
}

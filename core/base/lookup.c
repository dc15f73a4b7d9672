/* lookup - see lookup.h. */
#include "base/lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* --- opening --- */

static int open_confined(int dir, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = resolve};
    int fd, tries = 0;
    do /* EAGAIN: something was renamed while a ".." of a symlink was followed (openat2(2)) */
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 10);
    return fd;
}

static int open_beneath(const char *root, const char *path, int flags, uint64_t resolve)
{
    int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    while (*path == '/')
        path++;
    int fd = open_confined(dir, *path != '\0' ? path : ".", flags, RESOLVE_BENEATH | resolve);
    int saved = errno;
    close(dir);
    errno = saved;
    return fd;
}

/* A symlink leads out of the root, or is absolute, which the kernel takes for the same. Allowed
 * when the real path lies in one of the folders. The second open follows no symlink at all, so
 * nothing can change between the look and the open. */
static int open_within(const char *whole, const struct str *within, unsigned count, int flags)
{
    char real[PATH_MAX], folder[PATH_MAX], real_folder[PATH_MAX];
    if (realpath(whole, real) == NULL)
        return -1;
    for (unsigned i = 0; i < count; i++) {
        if (within[i].n >= sizeof folder)
            continue;
        snprintf(folder, sizeof folder, "%.*s", STR_FMT(within[i]));
        if (realpath(within[i].n > 0 ? folder : "/", real_folder) == NULL)
            continue;
        size_t n = strcmp(real_folder, "/") == 0 ? 0 : strlen(real_folder);
        if (strncmp(real, real_folder, n) == 0 && (real[n] == '/' || real[n] == '\0'))
            return open_beneath(real_folder, real + n, flags, RESOLVE_NO_SYMLINKS);
    }
    errno = EXDEV;
    return -1;
}

/* Writes root, a slash and path. False with ENAMETOOLONG where that can't be the name of a file. */
static bool lookup_join(char out[PATH_MAX], struct str root, struct str path)
{
    if (root.n + path.n + 2 > PATH_MAX || memchr(path.p, '\0', path.n) != NULL) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (root.n > 0)
        memcpy(out, root.p, root.n);
    out[root.n] = '/';
    memcpy(out + root.n + 1, path.p, path.n);
    out[root.n + 1 + path.n] = '\0';
    return true;
}

/* Opens what join has made, which lies in root where a symlink doesn't lead out of it. */
static int open_in_root(struct str root, const char *whole, int flags, bool *followed)
{
    /* Mostly there is no symlink on the way, not even to the root, so nothing can lead out of it
     * but "..": that takes one call. */
    if (strstr(whole, "/..") == NULL) {
        int fd = open_confined(AT_FDCWD, whole, flags, RESOLVE_NO_SYMLINKS);
        if (fd >= 0 || errno != ELOOP)
            return fd;
    }
    char folder[PATH_MAX] = "/";
    if (root.n > 0) {
        memcpy(folder, whole, root.n);
        folder[root.n] = '\0';
    }
    const char *name = whole + root.n + 1;
    int fd = open_beneath(folder, name, flags, RESOLVE_NO_SYMLINKS);
    if (fd >= 0 || errno != ELOOP)
        return fd;
    *followed = true;
    fd = open_beneath(folder, name, flags, 0);
    if (fd >= 0 || errno != EXDEV)
        return fd;
    return open_within(whole, &root, 1, flags);
}

int lookup_open(struct str root, struct str path, const struct str *within, unsigned count,
                int flags, bool *followed)
{
    char whole[PATH_MAX];
    *followed = false;
    if (!lookup_join(whole, root, path))
        return -1;
    if (count == 0 || (count == 1 && str_eq(within[0], root)))
        return open_in_root(root, whole, flags, followed);
    *followed = true;
    return open_within(whole, within, count, flags);
}

/* --- what was found --- */

/* A file or folder that lookup_open has found at this place. It is what lies there as long as the
 * path leads to that inode and nothing has happened to it: a symlink that is put into its place
 * leads to another inode, and an inode that is used again has another ctime. */
struct finding {
    dev_t device;
    ino_t inode;
    struct timespec changed;
    uint16_t size;
    char place[222]; /* root, path and `within`, each with a NUL */
};

enum { FINDINGS = 8192 }; /* 2 MB, of which only what is used is there */

/* Adds a string and a NUL; false where they don't fit. */
static bool add_place(struct finding *f, struct str s)
{
    if (f->size + s.n + 1 > sizeof f->place)
        return false;
    if (s.n > 0)
        memcpy(f->place + f->size, s.p, s.n);
    f->place[f->size + s.n] = '\0';
    f->size += (uint16_t)(s.n + 1);
    return true;
}

/* Makes what is compared of a finding; false where that is too long to be kept. */
static bool make_place(struct finding *f, struct str root, struct str path,
                       const struct str *within, unsigned count)
{
    f->size = 0;
    bool fits = add_place(f, root) && add_place(f, path);
    for (unsigned i = 0; i < count && fits; i++)
        fits = add_place(f, within[i]);
    return fits;
}

/* FNV-1a of Fowler, Noll and Vo. */
static uint32_t lookup_hash_of(const char *p, size_t n)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)p[i]) * 16777619u;
    return hash;
}

static struct finding *finding_at(const struct finding *f)
{
    static struct finding *findings;
    if (findings == NULL && (findings = calloc(FINDINGS, sizeof *findings)) == NULL)
        abort();
    return &findings[lookup_hash_of(f->place, f->size) % FINDINGS];
}

static void note_file(struct finding *f, const struct stat *st)
{
    f->device = st->st_dev;
    f->inode = st->st_ino;
    f->changed = st->st_ctim;
}

static bool is_known(const struct finding *f)
{
    const struct finding *known = finding_at(f);
    return known->size == f->size && known->inode == f->inode && known->device == f->device &&
           known->changed.tv_sec == f->changed.tv_sec &&
           known->changed.tv_nsec == f->changed.tv_nsec &&
           memcmp(known->place, f->place, f->size) == 0;
}

/* What has changed just now could be another file of the same inode and ctime a moment later: the
 * kernel's clock has ticks of some milliseconds. */
static bool is_settled(const struct finding *f)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > f->changed.tv_sec + 1;
}

static enum lookup_kind lookup_kind_of(mode_t mode)
{
    return S_ISREG(mode) ? LOOKUP_FILE : S_ISDIR(mode) ? LOOKUP_FOLDER : LOOKUP_NONE;
}

/* Does errno say that nothing is there, or nothing that may be looked at? */
static bool is_nothing(int err)
{
    static const int errors[] = {ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, ENXIO, ENODEV, EACCES};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (err == errors[i])
            return true;
    return false;
}

enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count)
{
    char whole[PATH_MAX];
    struct stat st;
    struct finding f;
    bool followed, kept = make_place(&f, root, path, within, count);
    if (!lookup_join(whole, root, path))
        return LOOKUP_NONE;
    if (stat(whole, &st) == 0) {
        note_file(&f, &st);
        if (kept && is_known(&f))
            return lookup_kind_of(st.st_mode);
    } else if (errno == ENOENT || errno == ENOTDIR) {
        return LOOKUP_NONE; /* wherever it would have been */
    }
    int fd = lookup_open(root, path, within, count, O_PATH, &followed);
    if (fd < 0)
        return errno == EXDEV ? LOOKUP_OUTSIDE : is_nothing(errno) ? LOOKUP_NONE : LOOKUP_ERROR;
    bool seen = fstat(fd, &st) == 0;
    close(fd);
    if (!seen)
        return LOOKUP_ERROR;
    note_file(&f, &st);
    if (kept && is_settled(&f))
        *finding_at(&f) = f;
    return lookup_kind_of(st.st_mode);
}

ssize_t lookup_read_start(struct str root, struct str path, const struct str *within,
                          unsigned count, char *out, size_t size)
{
    struct stat st;
    bool followed;
    int fd = lookup_open(root, path, within, count, O_RDONLY | O_NONBLOCK, &followed);
    if (fd < 0)
        return -1;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    ssize_t n = regular ? read(fd, out, size) : -1;
    close(fd);
    return n;
}

/* --- roots --- */

struct str lookup_real_root(struct str root, double now)
{
    enum { SLOTS = 4096 }; /* 1 MB, of which only what is used is there */
    struct known {
        double at;
        char given[124], real[124];
    };
    static struct known *cache;
    static char real[PATH_MAX];
    char given[PATH_MAX];
    if (root.n == 0 || root.n >= sizeof given)
        return root;
    if (cache == NULL && (cache = calloc(SLOTS, sizeof *cache)) == NULL)
        abort();
    struct known *known = &cache[lookup_hash_of(root.p, root.n) % SLOTS];
    if (root.n < sizeof known->given && memcmp(known->given, root.p, root.n) == 0 &&
        known->given[root.n] == '\0' && now < known->at + 1 && now >= known->at)
        return str_of(known->real);
    memcpy(given, root.p, root.n);
    given[root.n] = '\0';
    if (realpath(given, real) == NULL)
        return root;
    if (root.n < sizeof known->given && strlen(real) < sizeof known->real) {
        strcpy(known->given, given);
        strcpy(known->real, real);
        known->at = now;
    }
    return str_of(real);
}

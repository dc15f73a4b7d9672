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

uint64_t lookup_turn;

void lookup_begin_turn(void)
{
    lookup_turn++;
}

/* What was found at a place: a path below a root (LOOKUP_FILE and so on), or where the symlinks of
 * a root lead to. Within a turn of the loop that is the answer. A file or folder is still the same
 * in a later turn if the path leads to that inode and nothing has happened to it: a symlink that is
 * put into its place leads to another inode, and an inode that is used again has another ctime. */
struct finding {
    uint64_t turn; /* the last one in which it held; 0: an empty slot */
    dev_t device;
    ino_t inode;
    struct timespec changed; /* its ctime */
    bool settled;            /* it holds for later turns, too, if stat says so */
    uint8_t kind;
    uint16_t size;                 /* of the place */
    char place[LOOKUP_PLACE_SIZE]; /* and behind it the real path of a root */
};

enum { FINDINGS = 16384 }; /* 4 MB, of which only what is used is there */

/* Adds a string and a NUL; false where that can't be kept. */
static bool place_add(struct lookup_place *p, struct str s)
{
    if (p->size + s.n + 1 > sizeof p->text || (s.n > 0 && memchr(s.p, '\0', s.n) != NULL))
        return false;
    if (s.n > 0)
        memcpy(p->text + p->size, s.p, s.n);
    p->text[p->size + s.n] = '\0';
    p->size += s.n + 1;
    return true;
}

bool lookup_place(struct lookup_place *p, struct str root, struct str path,
                  const struct str *within, unsigned count)
{
    p->size = 0;
    bool fits = place_add(p, root) && place_add(p, path);
    for (unsigned i = 0; i < count && fits; i++)
        fits = place_add(p, within[i]);
    return fits;
}

/* Eight bytes at once; the constants are those of MurmurHash3's finalizer. */
uint32_t lookup_place_hash(const struct lookup_place *p)
{
    uint64_t hash = p->size, word;
    for (size_t i = 0; i < p->size; i += sizeof word) {
        word = 0;
        memcpy(&word, p->text + i, p->size - i < sizeof word ? p->size - i : sizeof word);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 33;
    }
    return (uint32_t)(hash * 0xc4ceb9fe1a85ec53u >> 32);
}

/* The finding of that place (*known), or the slot to write it to: a place has two slots, so that
 * two places in use do not drive each other out. */
static struct finding *finding_at(const struct lookup_place *p, bool *known)
{
    static struct finding *findings;
    if (findings == NULL && (findings = calloc(FINDINGS, sizeof *findings)) == NULL)
        abort();
    struct finding *slots = &findings[lookup_place_hash(p) % (FINDINGS / 2) * 2];
    for (unsigned i = 0; i < 2; i++) {
        *known = slots[i].size == p->size && memcmp(slots[i].place, p->text, p->size) == 0;
        if (*known)
            return &slots[i];
    }
    return slots[0].turn <= slots[1].turn ? &slots[0] : &slots[1];
}

static bool finding_holds(const struct finding *f, const struct stat *st)
{
    return f->settled && f->inode == st->st_ino && f->device == st->st_dev &&
           f->changed.tv_sec == st->st_ctim.tv_sec && f->changed.tv_nsec == st->st_ctim.tv_nsec;
}

/* Writes what was found into the slot; st is NULL where nothing is there, which holds for this turn
 * alone. What has changed just now does, too: it could be another file of the same inode and ctime
 * a moment later, since the kernel's clock has ticks of some milliseconds. */
static void finding_note(struct finding *f, const struct lookup_place *p, enum lookup_kind kind,
                         const struct stat *st)
{
    f->turn = lookup_turn;
    f->kind = (uint8_t)kind;
    f->size = (uint16_t)p->size;
    memcpy(f->place, p->text, p->size);
    f->settled = false;
    if (st == NULL)
        return;
    f->device = st->st_dev;
    f->inode = st->st_ino;
    f->changed = st->st_ctim;
    f->settled = lookup_is_settled(st);
}

bool lookup_is_settled(const struct stat *st)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec > st->st_ctim.tv_sec + 1 && now.tv_sec > st->st_mtim.tv_sec + 1;
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

/* Opens what lies there to see what it is. *there: st says what it is. */
static enum lookup_kind look_at(struct str root, struct str path, const struct str *within,
                                unsigned count, struct stat *st, bool *there)
{
    bool followed;
    int fd = lookup_open(root, path, within, count, O_PATH, &followed);
    *there = false;
    if (fd < 0)
        return errno == EXDEV ? LOOKUP_OUTSIDE : is_nothing(errno) ? LOOKUP_NONE : LOOKUP_ERROR;
    *there = fstat(fd, st) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return *there ? lookup_kind_of(st->st_mode) : LOOKUP_ERROR;
}

enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count)
{
    char whole[PATH_MAX];
    struct stat st;
    struct lookup_place place;
    bool known = false, kept = lookup_place(&place, root, path, within, count), there = false;
    struct finding *f = kept ? finding_at(&place, &known) : NULL;
    if (known && lookup_turn > 0 && f->turn == lookup_turn)
        return f->kind;
    if (!lookup_join(whole, root, path))
        return LOOKUP_NONE;
    enum lookup_kind kind;
    if (stat(whole, &st) == 0) {
        if (known && finding_holds(f, &st)) {
            f->turn = lookup_turn;
            return f->kind;
        }
        kind = look_at(root, path, within, count, &st, &there);
    } else if (errno == ENOENT || errno == ENOTDIR) {
        kind = LOOKUP_NONE; /* wherever it would have been */
    } else {
        kind = look_at(root, path, within, count, &st, &there);
    }
    if (kept && kind != LOOKUP_ERROR)
        finding_note(f, &place, kind, there ? &st : NULL);
    return kind;
}

/* What the kernel puts behind the name of a file that has been replaced since. */
#define GONE " (deleted)"

struct str lookup_real_part(int fd, struct str root, char out[PATH_MAX])
{
    char link[64], folder[PATH_MAX], top[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, PATH_MAX - 1);
    if (n < 0)
        return STR_NONE;
    struct str real = {out, (size_t)n};
    if (str_ends(real, STR(GONE)))
        real.n -= sizeof GONE - 1;
    out[real.n] = '\0';
    snprintf(folder, sizeof folder, "%.*s", STR_FMT(root));
    size_t size = root.n > 0 && realpath(folder, top) != NULL ? strlen(top) : 0;
    if (size > 0 && strncmp(out, top, size) == 0 && (out[size] == '/' || size == 1))
        return str_skip(real, size);
    const char *slash = memrchr(out, '/', real.n);
    return slash != NULL ? str_skip(real, (size_t)(slash - out)) : real;
}

bool lookup_has_found(const struct lookup_place *p, dev_t device, ino_t inode,
                      const struct timespec *changed)
{
    bool known;
    const struct finding *f = finding_at(p, &known);
    return known && lookup_turn > 0 && f->turn == lookup_turn && f->kind == LOOKUP_FILE &&
           f->device == device && f->inode == inode && f->changed.tv_sec == changed->tv_sec &&
           f->changed.tv_nsec == changed->tv_nsec;
}

bool lookup_stat(struct str root, struct str path, struct stat *st)
{
    char whole[PATH_MAX];
    return lookup_join(whole, root, path) && stat(whole, st) == 0;
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

struct str lookup_real_root(struct str root)
{
    static char real[PATH_MAX];
    char given[PATH_MAX];
    struct stat st;
    struct lookup_place place = {.size = 0};
    bool known = false;
    if (root.n == 0 || root.n >= sizeof given || !place_add(&place, root))
        place.size = 0;
    struct finding *f = place.size > 0 ? finding_at(&place, &known) : NULL;
    if (known && lookup_turn > 0 && f->turn == lookup_turn)
        return str_of(f->place + f->size);
    if (root.n == 0 || root.n >= sizeof given)
        return root;
    memcpy(given, root.p, root.n);
    given[root.n] = '\0';
    /* A real path of another name is looked at, too: a folder on the way may have been renamed. */
    if (known && stat(given, &st) == 0 && finding_holds(f, &st) &&
        (strcmp(given, f->place + f->size) == 0 ||
         (stat(f->place + f->size, &st) == 0 && finding_holds(f, &st)))) {
        f->turn = lookup_turn;
        return str_of(f->place + f->size);
    }
    if (realpath(given, real) == NULL)
        return root;
    /* The real path is looked at, not the root: what the root leads to may have changed since. */
    size_t n = strlen(real);
    if (f != NULL && place.size + n + 1 <= sizeof f->place && stat(real, &st) == 0) {
        finding_note(f, &place, LOOKUP_FOLDER, &st);
        memcpy(f->place + f->size, real, n + 1);
    }
    return str_of(real);
}

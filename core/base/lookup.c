/* lookup - see lookup.h. */
#include "base/lookup.h"

#include "base/finding.h"
#include "base/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* --- opening --- */

static int lookup_openat2(int dir, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)flags, .resolve = resolve};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

/* True where openat2 can't be called at all: the kernel does not know it, or a seccomp profile
 * which does not know it either refuses it (EPERM, ENOSYS). */
static bool lookup_lacks_openat2(void)
{
    int fd = lookup_openat2(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == ENOSYS || errno == EPERM);
}

/* EAGAIN: something was renamed, anywhere on the machine, while a ".." of a symlink was followed
 * (openat2(2)). A process that renames all the time must not keep a file from being found, so after
 * some tries the path is walked here. */
static int lookup_open_confined(int dir, const char *path, int flags, uint64_t resolve)
{
    static bool walks;
    int fd, tries = 0;
    flags |= O_CLOEXEC;
    if (walks)
        return walk_open(dir, path, flags, resolve);
    do
        fd = lookup_openat2(dir, path, flags, resolve);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR) && ++tries < 10);
    if (fd < 0 && errno == EAGAIN)
        return walk_open(dir, path, flags, resolve);
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
        return fd;
    int err = errno;
    walks = lookup_lacks_openat2();
    errno = err;
    return walks ? walk_open(dir, path, flags, resolve) : -1;
}

static int lookup_open_beneath(const char *root, const char *path, int flags, uint64_t resolve)
{
    int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -1;
    while (*path == '/')
        path++;
    int fd =
        lookup_open_confined(dir, *path != '\0' ? path : ".", flags, RESOLVE_BENEATH | resolve);
    int saved = errno;
    close(dir);
    errno = saved;
    return fd;
}

/* Opens a path with a symlink that leads out of the root, or is absolute, which the kernel treats
 * as the same. It is allowed when the real path lies in one of the folders. The second open follows
 * no symlink at all, so a change after the check can't lead elsewhere. */
static int lookup_open_within(const char *whole, const struct str *within, unsigned count,
                              int flags)
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
            return lookup_open_beneath(real_folder, real + n, flags, RESOLVE_NO_SYMLINKS);
    }
    errno = EXDEV;
    return -1;
}

/* Writes root, a slash and path. False with ENAMETOOLONG: the result can't be the name of a file.
 */
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

/* Opens the path that lookup_join has made; a symlink must not lead out of root. */
static int lookup_open_in_root(struct str root, const char *whole, int flags, bool *followed)
{
    /* Most paths have no symlink at all, so one call that refuses symlinks is enough, unless the
     * path has "..". */
    if (strstr(whole, "/..") == NULL) {
        int fd = lookup_open_confined(AT_FDCWD, whole, flags, RESOLVE_NO_SYMLINKS);
        if (fd >= 0 || errno != ELOOP)
            return fd;
    }
    char folder[PATH_MAX] = "/";
    if (root.n > 0) {
        memcpy(folder, whole, root.n);
        folder[root.n] = '\0';
    }
    const char *name = whole + root.n + 1;
    int fd = lookup_open_beneath(folder, name, flags, RESOLVE_NO_SYMLINKS);
    if (fd >= 0 || errno != ELOOP)
        return fd;
    *followed = true;
    fd = lookup_open_beneath(folder, name, flags, 0);
    if (fd >= 0 || errno != EXDEV)
        return fd;
    return lookup_open_within(whole, &root, 1, flags);
}

static int lookup_open_any(struct str root, struct str path, const struct str *within,
                           unsigned count, int flags, bool *followed)
{
    char whole[PATH_MAX];
    *followed = false;
    if (!lookup_join(whole, root, path))
        return -1;
    if (count == 0 || (count == 1 && str_eq(within[0], root)))
        return lookup_open_in_root(root, whole, flags, followed);
    *followed = true;
    return lookup_open_within(whole, within, count, flags);
}

/* --- the folder of a process in a sandbox --- */

static struct {
    char folder[PATH_MAX];
    size_t size; /* 0: there is none */
    bool free;   /* it was said that there is none */
} confined;

bool lookup_confine(const char *folder)
{
    char real[PATH_MAX];
    if (folder == NULL) {
        confined.free = true;
        errno = EBUSY;
        return confined.size == 0;
    }
    if (realpath(folder, real) == NULL)
        return false;
    errno = EBUSY;
    if (confined.free || (confined.size > 0 && strcmp(confined.folder, real) != 0))
        return false;
    errno = EINVAL;
    if (strcmp(real, "/") == 0)
        return false;
    memcpy(confined.folder, real, sizeof real);
    confined.size = strlen(real);
    return true;
}

const char *lookup_confined(void)
{
    return confined.size > 0 ? confined.folder : NULL;
}

/* The descriptor, where its file lies in the folder; else -1. */
static int lookup_expect_confined(int fd)
{
    char link[64], real[PATH_MAX];
    if (fd < 0 || confined.size == 0)
        return fd;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, real, sizeof real);
    if (n >= (ssize_t)confined.size && memcmp(real, confined.folder, confined.size) == 0 &&
        (n == (ssize_t)confined.size || real[confined.size] == '/'))
        return fd;
    close(fd);
    errno = EXDEV;
    return -1;
}

int lookup_open(struct str root, struct str path, const struct str *within, unsigned count,
                int flags, bool *followed)
{
    return lookup_expect_confined(lookup_open_any(root, path, within, count, flags, followed));
}

/* --- how long a finding is valid --- */

uint64_t lookup_turn;

void lookup_begin_turn(void)
{
    lookup_turn++;
}

static bool lookup_is_current(const struct finding *f)
{
    return lookup_turn > 0 && f->turn == lookup_turn;
}

bool lookup_is_settled(const struct stat *st)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec > st->st_ctim.tv_sec + 1 && now.tv_sec > st->st_mtim.tv_sec + 1;
}

/* Writes a result into the slot; st is NULL for a missing file, which is valid for this turn alone.
 * So is a file that has just changed: it could change again with the same ctime, since the kernel's
 * clock has ticks of some milliseconds. */
static void lookup_note(struct finding *f, enum lookup_kind kind, const struct stat *st)
{
    f->turn = lookup_turn;
    f->kind = (uint8_t)kind;
    f->proof = st != NULL && lookup_is_settled(st) ? PROOF_OWN : PROOF_NONE;
    if (st != NULL)
        f->identity = identity_of(st);
}

/* True when the path still leads to the file of the finding, which is unchanged. */
static bool lookup_holds(const struct finding *f, const char *path)
{
    struct stat st;
    if (f->proof != PROOF_OWN || stat(path, &st) != 0)
        return false;
    struct identity now = identity_of(&st);
    return identity_same(&f->identity, &now);
}

/* --- roots --- */

/* True for a file system where the ctime of a folder changes with its entries. On others (FUSE,
 * network) it may not be kept, or come from a cache. */
static bool lookup_root_has_sure_times(const char *path)
{
    static const unsigned long types[] = {
        EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,      BTRFS_SUPER_MAGIC,    TMPFS_MAGIC,
        F2FS_SUPER_MAGIC, 0x2fc12fc1 /* ZFS */, OVERLAYFS_SUPER_MAGIC};
    struct statfs fs;
    if (statfs(path, &fs) != 0)
        return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((unsigned long)fs.f_type == types[i])
            return true;
    return false;
}

/* Finds the root's real path and stats that path, not the root, which may have been changed in
 * between. */
static struct finding *lookup_root_look(const struct place *place)
{
    char real[PATH_MAX];
    struct stat st;
    if (realpath(place->text, real) == NULL || stat(real, &st) != 0)
        return NULL;
    size_t n = strcmp(real, place->text) == 0 ? 0 : strlen(real);
    if (place->size + n + 1 > sizeof place->text)
        return NULL;
    struct finding *f = finding_slot(place);
    lookup_note(f, LOOKUP_FOLDER, &st);
    f->has_sure_times = lookup_root_has_sure_times(real);
    f->real_size = (uint16_t)n;
    memcpy(f->place.text + f->place.size, real, n + 1);
    return f;
}

/* The finding of a root, valid in this turn; NULL: it can't be cached. The pointer is valid until
 * the next look-up. */
static struct finding *lookup_root_find(struct str root)
{
    static struct finding *last; /* a request looks up its root several times */
    struct place place;
    if (root.n == 0 || memchr(root.p, '\0', root.n) != NULL)
        return NULL;
    if (last != NULL && lookup_is_current(last) && place_is_root(&last->place, root))
        return last;
    if (!place_make(&place, root, STR_NONE, NULL, 0))
        return NULL;
    struct finding *f = finding_get(&place);
    if (f != NULL && lookup_is_current(f))
        return last = f;
    /* The real path is checked, too, if it differs: a folder in it may have been renamed. */
    if (f != NULL && lookup_holds(f, place.text) &&
        (f->real_size == 0 || lookup_holds(f, f->place.text + f->place.size))) {
        f->turn = lookup_turn;
        return last = f;
    }
    return last = lookup_root_look(&place);
}

struct str lookup_real_root(struct str root)
{
    static char real[PATH_MAX];
    char given[PATH_MAX];
    const struct finding *f = lookup_root_find(root);
    if (f != NULL && f->real_size > 0)
        return (struct str){f->place.text + f->place.size, f->real_size};
    if (f != NULL || root.n == 0 || root.n >= sizeof given)
        return root;
    memcpy(given, root.p, root.n);
    given[root.n] = '\0';
    return realpath(given, real) != NULL ? str_of(real) : root;
}

/* Gets the root's identity. True: it vouches for the root's entries. */
static bool lookup_root_vouches(struct str root, struct identity *identity)
{
    const struct finding *f = lookup_root_find(root);
    if (f == NULL || f->proof != PROOF_OWN || !f->has_sure_times)
        return false;
    *identity = f->identity;
    return true;
}

/* --- looking --- */

/* A look at the disk: its place and its result. */
struct look {
    struct str root, path;
    const struct str *within;
    unsigned count;
    char *whole;  /* root and path, PATH_MAX bytes */
    bool missing; /* not even a symlink has that name */
    bool there;   /* st is set */
    bool followed;
    struct stat st;
};

/* True for an errno that means a missing file, or one that this user may not stat. */
static bool lookup_is_nothing(int err)
{
    static const int errors[] = {ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, ENXIO, ENODEV, EACCES};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (err == errors[i])
            return true;
    return false;
}

/* Checks the name first, since most files that are looked for do not exist; opens an existing one
 * to find its kind. */
static enum lookup_kind lookup_look_at(struct look *l)
{
    l->there = l->followed = false;
    l->missing = lstat(l->whole, &l->st) != 0 && (errno == ENOENT || errno == ENOTDIR);
    if (l->missing)
        return LOOKUP_NONE; /* missing, inside or outside of the root */
    int fd = lookup_open(l->root, l->path, l->within, l->count, O_PATH, &l->followed);
    if (fd < 0)
        return errno == EXDEV             ? LOOKUP_OUTSIDE
               : lookup_is_nothing(errno) ? LOOKUP_NONE
                                          : LOOKUP_ERROR;
    l->there = fstat(fd, &l->st) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    if (!l->there)
        return LOOKUP_ERROR;
    return S_ISREG(l->st.st_mode)   ? LOOKUP_FILE
           : S_ISDIR(l->st.st_mode) ? LOOKUP_FOLDER
                                    : LOOKUP_NONE;
}

/* The beginning of a path that names an entry of the root, such as "/index.php" or "/folder" of
 * "/folder/file"; STR_NONE: the path does not begin with a name. */
static struct str lookup_first_entry(struct str path)
{
    if (path.n < 2 || path.p[0] != '/')
        return STR_NONE;
    const char *slash = memchr(path.p + 1, '/', path.n - 1);
    struct str entry = {path.p, slash != NULL ? (size_t)(slash - path.p) : path.n};
    bool named = entry.n > 1 && !str_eq(entry, STR("/.")) && !str_eq(entry, STR("/.."));
    return named ? entry : STR_NONE;
}

/* Whether the root may vouch for the result at one of its entries: no symlink was followed, and the
 * root was the same before and after the look. A missing entry must be looked up twice, so that a
 * name which is looked up once costs no further call. */
static bool lookup_root_may_vouch(const struct look *l, enum lookup_kind kind,
                                  const struct identity *before, bool again)
{
    struct stat st;
    char *end = (char *)l->whole + l->root.n;
    bool fits = kind == LOOKUP_NONE
                    ? l->missing && again
                    : !l->followed && (kind == LOOKUP_FILE || kind == LOOKUP_FOLDER);
    if (!fits)
        return false;
    *end = '\0';
    bool there = stat(l->whole, &st) == 0;
    *end = '/';
    struct identity after = identity_of(&st);
    return there && identity_same(before, &after);
}

/* Finds an entry of the root. f: its finding, or NULL. */
static enum lookup_kind lookup_probe_entry(const struct place *place, struct finding *f,
                                           struct look *l)
{
    struct identity root;
    if (f != NULL && lookup_is_current(f))
        return f->kind;
    bool again = f != NULL, own = f != NULL && f->needs_own;
    bool vouched = !own && lookup_root_vouches(l->root, &root);
    if (f != NULL && !place_same(&f->place, place))
        f = NULL; /* the root's finding has taken its slot */
    if (f != NULL && (f->proof == PROOF_ROOT ? vouched && identity_same(&f->identity, &root)
                                             : !vouched && lookup_holds(f, l->whole))) {
        f->turn = lookup_turn;
        return f->kind;
    }
    enum lookup_kind kind = lookup_look_at(l);
    if (kind == LOOKUP_ERROR)
        return kind;
    bool vouches = vouched && !own && lookup_root_may_vouch(l, kind, &root, again);
    f = finding_slot(place);
    lookup_note(f, kind, l->there ? &l->st : NULL);
    f->needs_own = own || l->followed;
    if (vouches) {
        f->proof = PROOF_ROOT;
        f->identity = root;
    }
    return kind;
}

/* True when the path is missing because the entry of the root that it begins with is missing. */
static bool lookup_is_below_nothing(const struct look *l, struct str entry)
{
    char whole[PATH_MAX];
    struct place place;
    struct look top = *l;
    top.path = entry;
    top.whole = whole;
    return place_make(&place, l->root, entry, l->within, l->count) &&
           lookup_join(whole, l->root, entry) &&
           lookup_probe_entry(&place, finding_get(&place), &top) == LOOKUP_NONE;
}

enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count)
{
    char whole[PATH_MAX];
    struct place place;
    struct look l = {.root = root, .path = path, .within = within, .count = count, .whole = whole};
    bool kept = place_make(&place, root, path, within, count);
    struct finding *f = kept ? finding_get(&place) : NULL;
    if (f != NULL && lookup_is_current(f))
        return f->kind;
    if (!lookup_join(whole, root, path))
        return LOOKUP_NONE;
    bool alone = root.n > 0 && (count == 0 || (count == 1 && str_eq(within[0], root)));
    struct str entry = kept && alone ? lookup_first_entry(path) : STR_NONE;
    if (entry.p != NULL && entry.n == path.n)
        return lookup_probe_entry(&place, f, &l);
    if (f != NULL && lookup_holds(f, whole)) {
        f->turn = lookup_turn;
        return f->kind;
    }
    if (entry.p != NULL && lookup_is_below_nothing(&l, entry))
        return LOOKUP_NONE;
    enum lookup_kind kind = lookup_look_at(&l);
    if (kept && kind != LOOKUP_ERROR)
        lookup_note(finding_slot(&place), kind, l.there ? &l.st : NULL);
    return kind;
}

bool lookup_has_found(const struct place *p, const struct identity *file)
{
    const struct finding *f = finding_get(p);
    return f != NULL && lookup_is_current(f) && f->kind == LOOKUP_FILE && f->proof == PROOF_OWN &&
           identity_same(&f->identity, file);
}

void lookup_vouch_by_file(const struct place *p)
{
    struct finding *f = finding_get(p);
    if (f == NULL || f->needs_own)
        return;
    f->needs_own = true;
    if (f->proof == PROOF_ROOT)
        f->proof = PROOF_NONE;
}

/* --- open files --- */

/* The text that the kernel appends to the name of a file that has been removed or replaced. */
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

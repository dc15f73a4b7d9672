/* walk - see walk.h. */
#include "base/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 256 /* folders that are open at a time */
#define LINKS_MAX 40  /* symlinks of a path, as path_resolution(7) has it */

struct walk {
    int folders[DEPTH_MAX]; /* from the one where the path begins to the current one */
    int depth;
    unsigned links;
    char rest[PATH_MAX]; /* the names that have not been opened yet */
    uint64_t resolve;
    int flags;
};

static int walk_fail(int err)
{
    errno = err;
    return -1;
}

/* Closes all folders of the walk, and keeps errno. */
static void walk_fini(struct walk *w)
{
    int err = errno;
    while (w->depth > 0)
        close(w->folders[--w->depth]);
    errno = err;
}

/* Enters a file, whose descriptor is the walk's from now on. The next name fails with ENOTDIR if it
 * is no folder. */
static bool walk_enter(struct walk *w, int fd)
{
    if (fd < 0)
        return false;
    if (w->depth == DEPTH_MAX) {
        close(fd);
        errno = ELOOP;
        return false;
    }
    w->folders[w->depth++] = fd;
    return true;
}

/* Goes back to the folder before. The folder where the path begins is left by no "..", and above
 * "/" is "/". */
static bool walk_leave(struct walk *w)
{
    if (w->depth > 1) {
        close(w->folders[--w->depth]);
        return true;
    }
    errno = EXDEV;
    return (w->resolve & RESOLVE_BENEATH) == 0;
}

/* Moves the next name of the rest to `name`: 0, there is none; 1, it is the last one; 2, a slash or
 * another name follows; -1 and errno, it is too long. */
static int walk_next(struct walk *w, char name[NAME_MAX + 1])
{
    const char *from = w->rest + strspn(w->rest, "/");
    size_t n = strcspn(from, "/");
    if (n > NAME_MAX)
        return walk_fail(ENAMETOOLONG);
    memcpy(name, from, n);
    name[n] = '\0';
    from += n;
    memmove(w->rest, from, strlen(from) + 1);
    return n == 0 ? 0 : *w->rest == '\0' ? 1 : 2;
}

/* Puts the target of a symlink before the rest. */
static bool walk_follow(struct walk *w, int link)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(link, "", target, sizeof target);
    size_t rest = strlen(w->rest);
    close(link);
    if (n < 0)
        return false;
    errno = 0;
    if ((w->resolve & RESOLVE_NO_SYMLINKS) != 0 || ++w->links > LINKS_MAX)
        errno = ELOOP;
    else if (n == 0)
        errno = ENOENT;
    else if (target[0] == '/')
        errno = EXDEV;
    else if ((size_t)n + rest >= sizeof w->rest)
        errno = ENAMETOOLONG;
    if (errno != 0)
        return false;
    memmove(w->rest + n, w->rest, rest + 1);
    memcpy(w->rest, target, (size_t)n);
    return true;
}

/* Opens the file at the path's end, which was no symlink a moment ago. */
static int walk_open_last(const struct walk *w, const char *name, bool slash)
{
    return openat(w->folders[w->depth - 1], name,
                  w->flags | O_NOFOLLOW | (slash ? O_DIRECTORY : 0));
}

/* Opens one name. Sets *fd to the descriptor of the file once the path is at its end. */
static bool walk_step(struct walk *w, const char *name, bool last, int *fd)
{
    bool slash = w->rest[0] != '\0' && w->rest[strspn(w->rest, "/")] == '\0';
    struct stat st;
    if (strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0)
        return walk_leave(w);
    int found = openat(w->folders[w->depth - 1], name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (found < 0)
        return false;
    if (fstat(found, &st) == 0 && S_ISLNK(st.st_mode))
        return walk_follow(w, found);
    if (!last && !slash)
        return walk_enter(w, found);
    close(found);
    *fd = walk_open_last(w, name, slash);
    return *fd >= 0;
}

int walk_open(int dir, const char *path, int flags, uint64_t resolve)
{
    struct walk w = {.resolve = resolve, .flags = flags};
    char name[NAME_MAX + 1];
    int more = 1, fd = -1;
    if (path[0] == '\0')
        return walk_fail(ENOENT);
    if (strlen(path) >= sizeof w.rest)
        return walk_fail(ENAMETOOLONG);
    strcpy(w.rest, path);
    if (!walk_enter(&w, path[0] == '/' ? open("/", O_PATH | O_CLOEXEC)
                                       : openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)))
        return -1;
    while (fd < 0 && (more = walk_next(&w, name)) > 0)
        if (!walk_step(&w, name, more == 1, &fd))
            break;
    if (more == 0) /* the path ends with a folder that is open already: "." or ".." */
        fd = openat(w.folders[w.depth - 1], ".", flags);
    walk_fini(&w);
    return fd;
}

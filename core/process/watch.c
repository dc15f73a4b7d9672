/*
 * watch - see watch.h.
 *
 * An event only says that something has happened on the way to a file; whether the file is another
 * one is asked of the file system. That is cheap, happens on a person's save, and is right for
 * links and mounts as well. Which folders are on the way is asked again each time: one may have
 * come.
 */
#include "process/watch.h"

#include "base/stamp.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS 4096
#define LINKS   40 /* in one path, as in Linux */
/* Of a folder in which a name counts; and of one further up, whose other names are no business of
 * ours. */
#define NAMES                                                                                      \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |            \
     IN_DELETE_SELF | IN_MOVE_SELF)
#define ITSELF (IN_DELETE_SELF | IN_MOVE_SELF)

struct file {
    char *path;
    char seen[STAMP_SIZE];
};

struct watch {
    int fd;
    struct file *files;
    unsigned file_count;
    int watches[FOLDERS];
    unsigned watch_count;
};

struct watch *watch_new(void)
{
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->fd >= 0)
        return w;
    free(w);
    return NULL;
}

static void forget_files(struct watch *w)
{
    for (unsigned i = 0; i < w->file_count; i++)
        free(w->files[i].path);
    free(w->files);
    w->files = NULL;
    w->file_count = 0;
}

void watch_free(struct watch *w)
{
    if (w == NULL)
        return;
    forget_files(w);
    close(w->fd);
    free(w);
}

/* --- folders --- */

static void add_folder(struct watch *w, const char *folder, uint32_t events)
{
    if (w->watch_count == FOLDERS)
        return;
    int id = inotify_add_watch(w->fd, folder[0] != '\0' ? folder : "/",
                               events | IN_MASK_ADD | IN_ONLYDIR);
    if (id < 0)
        return;
    for (unsigned i = 0; i < w->watch_count; i++)
        if (w->watches[i] == id)
            return;
    w->watches[w->watch_count++] = id;
}

static void leave_folder(char *at)
{
    char *slash = strrchr(at, '/');
    if (slash != NULL)
        *slash = '\0';
}

/* A path on the way: `at` is the part that has been gone, without links, `rest` what is left. */
struct way {
    char at[PATH_MAX], rest[PATH_MAX];
    unsigned links;
};

/* Puts a link's target in front of what is left. False: there is no end to it. */
static bool watch_follow(struct way *way, const char *link)
{
    char target[PATH_MAX], rest[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n < 0 || ++way->links > LINKS)
        return false;
    target[n] = '\0';
    memcpy(rest, way->rest, sizeof rest);
    if ((size_t)snprintf(way->rest, sizeof way->rest, "%s/%s", target, rest) >= sizeof way->rest)
        return false;
    if (target[0] == '/')
        way->at[0] = '\0';
    return true;
}

/* Nothing lies there: it may come again, and the folder in which it is missing may go as well,
 * which that one does not say itself while it is some process's current one. */
static void watch_wait_for(struct watch *w, struct way *way)
{
    add_folder(w, way->at, NAMES);
    leave_folder(way->at);
    add_folder(w, way->at, NAMES);
}

/* Goes on by one name. False: the way has come to its end. */
static bool watch_go(struct watch *w, struct way *way, const char *name, bool last)
{
    char next[PATH_MAX];
    struct stat st;
    if (strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0) {
        leave_folder(way->at);
        return true;
    }
    if ((size_t)snprintf(next, sizeof next, "%s/%s", way->at, name) >= sizeof next)
        return false;
    bool there = lstat(next, &st) == 0;
    if (last || !there || S_ISLNK(st.st_mode)) {
        add_folder(w, way->at, NAMES);
        there = lstat(next, &st) == 0; /* what has happened before is told by nobody */
    }
    if (!there) {
        watch_wait_for(w, way);
        return false;
    }
    if (S_ISLNK(st.st_mode))
        return watch_follow(way, next);
    if (!last)
        add_folder(w, next, ITSELF);
    memcpy(way->at, next, sizeof next);
    return true;
}

/* Every folder that the path goes through, as the kernel goes. */
static void add_way(struct watch *w, const char *path)
{
    struct way way = {.at = "", .links = 0};
    char name[NAME_MAX + 1];
    snprintf(way.rest, sizeof way.rest, "%s", path);
    for (;;) {
        const char *from = way.rest + strspn(way.rest, "/");
        size_t n = strcspn(from, "/");
        if (n == 0 || n >= sizeof name)
            return;
        memcpy(name, from, n);
        name[n] = '\0';
        from += n;
        from += strspn(from, "/");
        memmove(way.rest, from, strlen(from) + 1);
        if (!watch_go(w, &way, name, way.rest[0] == '\0'))
            return;
    }
}

/* Is it no link, and in the folder of the one before it? Then there is nothing new on its way. */
static bool watch_beside(const char *path, const char *before)
{
    struct stat st;
    size_t n = (size_t)(strrchr(path, '/') - path) + 1;
    return before != NULL && strncmp(path, before, n) == 0 && strchr(before + n, '/') == NULL &&
           (lstat(path, &st) != 0 || !S_ISLNK(st.st_mode));
}

static void add_ways(struct watch *w, unsigned first)
{
    for (unsigned i = first; i < w->file_count; i++)
        if (!watch_beside(w->files[i].path, i > first ? w->files[i - 1].path : NULL))
            add_way(w, w->files[i].path);
}

/* --- files --- */

static bool is_watched(const struct watch *w, const char *path)
{
    for (unsigned i = 0; i < w->file_count; i++)
        if (strcmp(w->files[i].path, path) == 0)
            return true;
    return false;
}

/* Looks at it. True: it is not what it was. */
static bool watch_look(struct file *f)
{
    char now[STAMP_SIZE];
    bool changed = strcmp(stamp_of(f->path, now), f->seen) != 0;
    memcpy(f->seen, now, sizeof now);
    return changed;
}

/* The same, where another user has looked before, who may see less or more. */
static bool look_first(struct file *f)
{
    bool known = strcmp(f->seen, STAMP_UNKNOWN) != 0;
    return watch_look(f) && known && strcmp(f->seen, STAMP_UNKNOWN) != 0;
}

static void add_file(struct watch *w, const char *text)
{
    const char *path = strchr(text, ' ');
    if (path == NULL || path[1] != '/' || is_watched(w, path + 1))
        return;
    struct file *f = &w->files[w->file_count++];
    f->path = strdup(path + 1);
    snprintf(f->seen, sizeof f->seen, "%.*s", (int)(path - text), text);
}

static int watch_compare(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

bool watch_add(struct watch *w, char *const *files, unsigned count)
{
    unsigned first = w->file_count;
    bool changed = false;
    struct file *list = realloc(w->files, (first + count + 1) * sizeof *list);
    if (list == NULL)
        abort();
    w->files = list;
    for (unsigned i = 0; i < count; i++)
        add_file(w, files[i]);
    qsort(list + first, w->file_count - first, sizeof *list, watch_compare); /* folder by folder */
    add_ways(w, first);
    for (unsigned i = first; i < w->file_count; i++)
        changed |= look_first(&w->files[i]);
    return changed;
}

bool watch_set(struct watch *w, char *const *files, unsigned count)
{
    for (unsigned i = 0; i < w->watch_count; i++)
        inotify_rm_watch(w->fd, w->watches[i]);
    w->watch_count = 0;
    forget_files(w);
    return watch_add(w, files, count);
}

int watch_fd(const struct watch *w)
{
    return w->fd;
}

bool watch_read(struct watch *w)
{
    char events[16384];
    bool changed = false;
    while (read(w->fd, events, sizeof events) > 0)
        ;
    add_ways(w, 0);
    for (unsigned i = 0; i < w->file_count; i++)
        changed |= watch_look(&w->files[i]);
    return changed;
}

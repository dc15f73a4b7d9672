/*
 * watch - see watch.h.
 *
 * An event only says that a folder has changed; whether one of the files has is asked of the file
 * system. That is cheap, happens on a person's save, and is right for links and mounts as well.
 */
#include "watch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS 4096
#define EVENTS                                                                                     \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB |            \
     IN_DELETE_SELF | IN_MOVE_SELF)

struct file {
    char *path;
    struct stat seen; /* zero: it was not there */
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

static void look(const char *path, struct stat *out)
{
    if (stat(path, out) != 0)
        memset(out, 0, sizeof *out);
}

static void add_folder(struct watch *w, const char *folder)
{
    int id = w->watch_count < FOLDERS ? inotify_add_watch(w->fd, folder, EVENTS) : -1;
    if (id < 0)
        return;
    for (unsigned i = 0; i < w->watch_count; i++)
        if (w->watches[i] == id)
            return;
    w->watches[w->watch_count++] = id;
}

/* The file's folder, and each folder above in which a link of its path lies. */
static void add_folders(struct watch *w, const char *path)
{
    char part[PATH_MAX];
    struct stat st;
    snprintf(part, sizeof part, "%s", path);
    bool first = true;
    for (char *slash; (slash = strrchr(part, '/')) != NULL; first = false) {
        bool link = lstat(part, &st) == 0 && S_ISLNK(st.st_mode);
        *slash = '\0';
        if (first || link)
            add_folder(w, slash == part ? "/" : part);
        if (slash == part)
            return;
    }
}

static bool is_watched(const struct watch *w, const char *path)
{
    for (unsigned i = 0; i < w->file_count; i++)
        if (strcmp(w->files[i].path, path) == 0)
            return true;
    return false;
}

void watch_add(struct watch *w, char *const *files, unsigned count)
{
    struct file *list = realloc(w->files, (w->file_count + count + 1) * sizeof *list);
    if (list == NULL)
        abort();
    w->files = list;
    for (unsigned i = 0; i < count; i++) {
        if (is_watched(w, files[i]))
            continue;
        struct file *f = &w->files[w->file_count++];
        f->path = strdup(files[i]);
        add_folders(w, files[i]);
        look(files[i], &f->seen);
    }
}

void watch_set(struct watch *w, char *const *files, unsigned count)
{
    for (unsigned i = 0; i < w->watch_count; i++)
        inotify_rm_watch(w->fd, w->watches[i]);
    w->watch_count = 0;
    forget_files(w);
    watch_add(w, files, count);
}

int watch_fd(const struct watch *w)
{
    return w->fd;
}

static bool same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_uid == b->st_uid;
}

bool watch_read(struct watch *w)
{
    char events[16384];
    bool changed = false;
    while (read(w->fd, events, sizeof events) > 0)
        ;
    for (unsigned i = 0; i < w->file_count; i++) {
        struct stat now;
        look(w->files[i].path, &now);
        changed |= !same(&now, &w->files[i].seen);
        w->files[i].seen = now;
    }
    return changed;
}

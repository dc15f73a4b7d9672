/* watch - see watch.h. */
#include "process/watch.h"

#include "base/stamp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct watch_file {
    char *path;
    char seen[STAMP_SIZE];
};

static bool watch_has(const struct watch *w, const char *path)
{
    for (unsigned i = 0; i < w->count; i++)
        if (strcmp(w->files[i].path, path) == 0)
            return true;
    return false;
}

/* Adds a file. A file that the loader or the master can't stat (their views of the file system may
 * differ) is not watched, since there is no stamp to compare. */
static void watch_add_file(struct watch *w, const char *text)
{
    char now[STAMP_SIZE];
    const char *path = strchr(text, ' ');
    if (path == NULL || path[1] != '/' || watch_has(w, path + 1))
        return;
    struct watch_file *f = &w->files[w->count++];
    f->path = strdup(path + 1);
    snprintf(f->seen, sizeof f->seen, "%.*s", (int)(path - text), text);
    if (strcmp(f->seen, STAMP_UNKNOWN) == 0 || strcmp(stamp_of(f->path, now), STAMP_UNKNOWN) == 0)
        stamp_of(f->path, f->seen);
}

void watch_add(struct watch *w, char *const *files, unsigned count)
{
    if (w->look_at == 0)
        return;
    w->files = realloc(w->files, (w->count + count + 1) * sizeof *w->files);
    if (w->files == NULL)
        abort();
    for (unsigned i = 0; i < count; i++)
        watch_add_file(w, files[i]);
}

void watch_set(struct watch *w, char *const *files, unsigned count, double now)
{
    watch_stop(w);
    w->look_at = now;
    watch_add(w, files, count);
}

void watch_stop(struct watch *w)
{
    for (unsigned i = 0; i < w->count; i++)
        free(w->files[i].path);
    free(w->files);
    *w = (struct watch){.files = NULL};
}

/* True: a file has changed since the last look. */
static bool watch_compare(struct watch *w)
{
    bool changed = false;
    for (unsigned i = 0; i < w->count; i++) {
        char now[STAMP_SIZE];
        changed |= strcmp(stamp_of(w->files[i].path, now), w->files[i].seen) != 0;
        memcpy(w->files[i].seen, now, sizeof now);
    }
    return changed;
}

void watch_renew(struct watch *w)
{
    watch_compare(w);
    w->changed = false;
}

bool watch_look(struct watch *w, double now)
{
    if (w->look_at == 0 || now < w->look_at)
        return false;
    bool changed = watch_compare(w), over = w->changed && !changed;
    w->changed = changed;
    w->look_at = now + WATCH_EVERY;
    return over;
}

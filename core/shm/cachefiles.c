/* cachefiles - see cachefiles.h. */
#include "shm/cachefiles.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define AT_ONCE 32 /* files that are removed without a thread */

/* Slots whose files are to be removed. A slot is in it once, so there is room for all. */
static struct {
    pthread_mutex_t lock;
    struct cache *index;
    int folder; /* a descriptor of its own, while the thread runs */
    bool runs;
    uint32_t *slots;
    unsigned count;
} removal = {.lock = PTHREAD_MUTEX_INITIALIZER};

void cachefiles_name_slot(char name[16], uint32_t slot)
{
    snprintf(name, 16, "%08x", slot);
}

void cachefiles_name_folder(char name[40], uint64_t instance)
{
    snprintf(name, 40, CACHEFILES_FOLDER "%016llx", (unsigned long long)instance);
}

/* Starts a thread that handles no signal. False: there is none. */
static bool cachefiles_start(void *(*run)(void *ctx), void *ctx)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, run, ctx) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

/* --- files of slots --- */

static void cachefiles_remove_one(struct cache *index, int folder, uint32_t slot)
{
    char name[16];
    cachefiles_name_slot(name, slot);
    unlinkat(folder, name, 0);
    cache_free(index, slot);
}

/* The thread, until nothing waits. */
static void *cachefiles_run(void *ctx)
{
    pthread_mutex_lock(&removal.lock);
    while (removal.count > 0) {
        struct cache *index = removal.index;
        uint32_t slot = removal.slots[--removal.count];
        pthread_mutex_unlock(&removal.lock);
        cachefiles_remove_one(index, removal.folder, slot);
        pthread_mutex_lock(&removal.lock);
    }
    close(removal.folder);
    removal.runs = false;
    pthread_mutex_unlock(&removal.lock);
    return ctx;
}

/* Called under the lock. False: the caller removes the files. */
static bool cachefiles_begin(struct cache *index, int folder)
{
    if (removal.runs)
        return removal.index == index;
    if (removal.slots == NULL) /* touched where it is used */
        removal.slots = malloc(CACHE_SLOTS * sizeof *removal.slots);
    if (removal.slots == NULL)
        abort();
    removal.index = index;
    removal.folder = fcntl(folder, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    removal.runs = removal.folder >= 0 && cachefiles_start(cachefiles_run, NULL);
    if (!removal.runs && removal.folder >= 0)
        close(removal.folder);
    return removal.runs;
}

void cachefiles_remove(struct cache *index, int folder, const struct cache_victims *victims)
{
    bool later = false;
    if (victims->count > AT_ONCE) {
        pthread_mutex_lock(&removal.lock);
        later = cachefiles_begin(index, folder);
        if (later) {
            memcpy(removal.slots + removal.count, victims->slots,
                   victims->count * sizeof *victims->slots);
            removal.count += victims->count;
        }
        pthread_mutex_unlock(&removal.lock);
    }
    for (unsigned i = 0; i < victims->count && !later; i++)
        cachefiles_remove_one(index, folder, victims->slots[i]);
}

void cachefiles_leave(void)
{
    pthread_mutex_lock(&removal.lock);
    removal.count = 0;
    pthread_mutex_unlock(&removal.lock);
}

/* --- folders --- */

/* Removes the files of a folder that has files alone, but for the lock. False: some are left. */
static bool cachefiles_empty(DIR *dir)
{
    struct dirent *e;
    bool all = true;
    while ((e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
            strcmp(e->d_name, CACHEFILES_LOCK) != 0)
            all &= unlinkat(dirfd(dir), e->d_name, 0) == 0;
    return all;
}

/* The folder of that name; NULL: there is none. */
static DIR *cachefiles_open(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL && fd >= 0)
        close(fd);
    return dir;
}

/* Without a lock another instance may just be making the folder. */
static bool cachefiles_may_remove(int folder, int lock)
{
    struct stat st;
    return lock >= 0 && fstat(folder, &st) == 0 && st.st_uid == geteuid() &&
           flock(lock, LOCK_EX | LOCK_NB) == 0;
}

/* The lock goes last: what a removal that was broken off has left can be removed by another one. */
void cachefiles_remove_folder(int parent, const char *name)
{
    DIR *dir = cachefiles_open(parent, name);
    if (dir == NULL)
        return;
    int folder = dirfd(dir);
    int lock = openat(folder, CACHEFILES_LOCK, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (cachefiles_may_remove(folder, lock)) {
        DIR *fills = cachefiles_open(folder, CACHEFILES_FILLS);
        bool all = fills == NULL || cachefiles_empty(fills);
        if (fills != NULL)
            closedir(fills);
        unlinkat(folder, CACHEFILES_FILLS, AT_REMOVEDIR);
        if (cachefiles_empty(dir) && all)
            unlinkat(folder, CACHEFILES_LOCK, 0);
        unlinkat(parent, name, AT_REMOVEDIR);
    }
    closedir(dir);
    if (lock >= 0)
        close(lock);
}

struct cachefiles_others {
    char path[CACHE_PATH], own[40];
};

static void *cachefiles_clear(void *ctx)
{
    struct cachefiles_others *others = ctx;
    DIR *dir = opendir(others->path);
    struct dirent *e;
    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (strncmp(e->d_name, CACHEFILES_FOLDER, sizeof CACHEFILES_FOLDER - 1) == 0 &&
            strcmp(e->d_name, others->own) != 0)
            cachefiles_remove_folder(dirfd(dir), e->d_name);
    if (dir != NULL)
        closedir(dir);
    free(others);
    return NULL;
}

void cachefiles_clear_others(const char *path, const char *own)
{
    struct cachefiles_others *others = malloc(sizeof *others);
    if (others == NULL)
        abort();
    snprintf(others->path, sizeof others->path, "%s", path);
    snprintf(others->own, sizeof others->own, "%s", own);
    if (!cachefiles_start(cachefiles_clear, others))
        free(others); /* the next instance removes them */
}

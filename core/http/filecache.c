/* filecache - see filecache.h. */
#include "http/filecache.h"

#include "base/date.h"
#include "base/finding.h"
#include "base/lookup.h"
#include "http/media.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CONTENT_MAX = 32768,   /* of one file */
    MEMORY_MAX = 16 << 20, /* of all entries */
    DESCRIPTORS_MAX = 64,
    BUCKETS = 4096,
};

struct entry {
    struct cached_file file; /* first member, so that a cached_file is an entry */
    struct identity identity;
    struct timespec mtime;
    uint64_t turn; /* the last turn of the loop in which it was found unchanged */
    bool kept;     /* the entry is in the table, which is one use */
    bool used;     /* since the last sweep */
    size_t memory;
    struct entry *next_in_bucket;
    struct entry *newer, *older; /* list of entries, ordered by their last use */
    struct place place;
    char modified[DATE_LENGTH + 1], tag[80];
};

static struct {
    struct entry *buckets[BUCKETS];
    struct entry *newest, *oldest;
    size_t memory;
    unsigned descriptors;
} cache;

/* --- entries --- */

static void filecache_entry_free(struct file_source *source)
{
    struct entry *e = (struct entry *)source;
    if (source->fd >= 0)
        close(source->fd);
    free((char *)e->file.real.p);
    free((char *)source->content);
    free(e);
}

/* An earlier mtime is one that a build tool has set (0, 1, ZIP's 1980, npm's 1985), not the time of
 * a change. */
#define FIRST_DATE 631152000 /* 1990-01-01 */

/* The tag is strong (RFC 9110 §8.8): a change of the content changes it. Where a build tool has set
 * the date, which is the same for all versions of the file, the tag is made of inode and ctime. A
 * date in the future is not sent as Last-Modified, either (§8.8.2.1). */
static void filecache_entry_describe(struct entry *e, const struct stat *st)
{
    long long size = st->st_size, modified = st->st_mtim.tv_sec;
    bool dated = modified >= FIRST_DATE;
    int n = dated ? snprintf(e->tag, sizeof e->tag, "\"%llx.%lx-%llx\"", modified,
                             st->st_mtim.tv_nsec, size)
                  : snprintf(e->tag, sizeof e->tag, "\"%llx-%llx.%lx-%llx\"", (long long)st->st_ino,
                             (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec, size);
    e->file.tag = (struct str){e->tag, (size_t)n};
    e->file.modified_at = dated && modified <= time(NULL) ? (time_t)modified : DATE_NONE;
    if (e->file.modified_at != DATE_NONE) {
        date_format(e->file.modified_at, e->modified);
        e->file.modified = (struct str){e->modified, DATE_LENGTH};
    }
}

/* Reads the content. stat was called before, so a change during the read shows in the next stat. */
static bool filecache_entry_read(struct entry *e, int fd)
{
    char *content = malloc(e->file.size > 0 ? e->file.size : 1);
    if (content == NULL)
        abort();
    e->file.source.content = content;
    ssize_t n = pread(fd, content, e->file.size, 0);
    if (n >= 0 && (uint64_t)n < e->file.size)
        errno = EBUSY; /* the file was truncated meanwhile */
    return n == (ssize_t)e->file.size;
}

/* Makes an entry with one use, the caller's. The entry owns the descriptor. */
static struct entry *filecache_entry_new(int fd, const struct stat *st, struct str path)
{
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        abort();
    e->file.source = (struct file_source){.fd = fd, .users = 1, .free = filecache_entry_free};
    e->file.size = (uint64_t)st->st_size;
    e->file.mode = st->st_mode;
    e->identity = identity_of(st);
    e->mtime = st->st_mtim;
    e->turn = lookup_turn;
    e->used = true;
    if (!S_ISREG(st->st_mode))
        return e;
    e->file.type = media_type(path);
    filecache_entry_describe(e, st);
    if (e->file.size > CONTENT_MAX)
        return e;
    bool whole = filecache_entry_read(e, fd);
    int saved = errno;
    e->file.source.fd = -1;
    close(fd);
    if (whole)
        return e;
    filecache_entry_free(&e->file.source);
    errno = saved;
    return NULL;
}

static bool filecache_entry_holds(const struct entry *e, const struct stat *st)
{
    struct identity now = identity_of(st);
    return identity_same(&e->identity, &now) && e->file.size == (uint64_t)st->st_size &&
           e->mtime.tv_sec == st->st_mtim.tv_sec && e->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

/* --- the table --- */

static struct entry **filecache_bucket_of(const struct place *place)
{
    return &cache.buckets[place->hash % BUCKETS];
}

static void filecache_list_remove(struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &cache.newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &cache.oldest) = e->newer;
}

static void filecache_list_add(struct entry *e)
{
    e->newer = NULL;
    e->older = cache.newest;
    *(e->older != NULL ? &e->older->newer : &cache.oldest) = e;
    cache.newest = e;
}

/* Removes an entry from the table. Requests that hold it continue to send it. */
static void filecache_remove(struct entry *e)
{
    struct entry **at = filecache_bucket_of(&e->place);
    while (*at != e)
        at = &(*at)->next_in_bucket;
    *at = e->next_in_bucket;
    filecache_list_remove(e);
    cache.memory -= e->memory;
    cache.descriptors -= e->file.source.fd >= 0;
    e->kept = false;
    file_source_drop(&e->file.source);
}

static void filecache_add(struct entry *e)
{
    struct entry **bucket = filecache_bucket_of(&e->place);
    e->next_in_bucket = *bucket;
    *bucket = e;
    filecache_list_add(e);
    e->kept = true;
    e->file.source.users++;
    e->memory = sizeof *e + e->file.real.n + (e->file.source.content != NULL ? e->file.size : 0);
    cache.memory += e->memory;
    cache.descriptors += e->file.source.fd >= 0;
    while (cache.memory > MEMORY_MAX)
        filecache_remove(cache.oldest);
    for (struct entry *old = cache.oldest, *newer; cache.descriptors > DESCRIPTORS_MAX;
         old = newer) {
        newer = old->newer;
        if (old->file.source.fd >= 0)
            filecache_remove(old);
    }
}

static struct entry *filecache_find_entry(const struct place *place)
{
    struct entry *e = *filecache_bucket_of(place);
    while (e != NULL && !place_same(&e->place, place))
        e = e->next_in_bucket;
    return e;
}

bool filecache_identify(const struct file_source *source, uint64_t name[FILECACHE_NAME])
{
    const struct entry *e = (const struct entry *)source;
    const struct identity *i = &e->identity;
    const uint64_t list[FILECACHE_NAME] = {
        i->device,
        i->inode,
        e->file.size,
        (uint64_t)e->mtime.tv_sec,
        (uint64_t)e->mtime.tv_nsec,
        (uint64_t)i->changed.tv_sec,
        (uint64_t)i->changed.tv_nsec,
    };
    memcpy(name, list, sizeof list);
    return e->kept; /* filecache_open keeps settled files alone */
}

bool filecache_is_unchanged(const struct file_source *source)
{
    const struct entry *e = (const struct entry *)source;
    struct stat st;
    return source->fd < 0 || (fstat(source->fd, &st) == 0 && filecache_entry_holds(e, &st));
}

bool filecache_is_older(const struct cached_file *a, const struct cached_file *b)
{
    const struct timespec *x = &((const struct entry *)a)->mtime;
    const struct timespec *y = &((const struct entry *)b)->mtime;
    return x->tv_sec != y->tv_sec ? x->tv_sec < y->tv_sec : x->tv_nsec < y->tv_nsec;
}

/* --- opening --- */

struct cached_file *filecache_find(struct str root, struct str path, const struct str *within,
                                   unsigned count)
{
    struct place place;
    struct stat st;
    if (cache.newest == NULL || !place_make(&place, root, path, within, count))
        return NULL;
    struct entry *e = filecache_find_entry(&place);
    if (e == NULL)
        return NULL;
    if (lookup_turn == 0 || e->turn != lookup_turn) {
        if (!lookup_has_found(&place, &e->identity)) {
            lookup_vouch_by_file(&place);
            if (!lookup_stat(root, path, &st) || !filecache_entry_holds(e, &st)) {
                filecache_remove(e);
                return NULL;
            }
        }
        e->turn = lookup_turn;
        filecache_list_remove(e);
        filecache_list_add(e);
    }
    e->used = true;
    e->file.source.users++;
    return &e->file;
}

struct cached_file *filecache_open(struct str root, struct str path, const struct str *within,
                                   unsigned count)
{
    char real[PATH_MAX];
    struct stat st;
    bool followed;
    /* O_NONBLOCK: a FIFO must not hold the worker. */
    int fd = lookup_open(root, path, within, count, O_RDONLY | O_NONBLOCK, &followed);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return NULL;
    }
    struct str target = followed ? lookup_real_part(fd, root, real) : STR_NONE;
    struct entry *e = filecache_entry_new(fd, &st, path);
    if (e == NULL)
        return NULL;
    e->file.followed = followed;
    if (target.p != NULL) {
        e->file.real = (struct str){strndup(target.p, target.n), target.n};
        if (e->file.real.p == NULL)
            abort();
    }
    if (S_ISREG(st.st_mode) && lookup_is_settled(&st) &&
        place_make(&e->place, root, path, within, count)) {
        struct entry *former = filecache_find_entry(&e->place);
        if (former != NULL)
            filecache_remove(former);
        filecache_add(e);
        lookup_vouch_by_file(&e->place);
    }
    return &e->file;
}

bool filecache_has_descriptors(void)
{
    return cache.descriptors > 0;
}

bool filecache_sweep(void)
{
    for (struct entry *e = cache.oldest, *newer; e != NULL && cache.descriptors > 0; e = newer) {
        newer = e->newer;
        if (e->file.source.fd >= 0 && !e->used)
            filecache_remove(e);
        else
            e->used = false;
    }
    return cache.descriptors > 0;
}

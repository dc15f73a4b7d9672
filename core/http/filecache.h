/*
 * filecache - a cache of files that were sent lately, with the headers of their replies.
 *
 * A file of up to 32 KB is kept with its content, a larger one with its descriptor; both with the
 * result of stat(2), and ETag, Last-Modified and media type as texts. Another request for the file
 * costs no system call within a turn of the loop (lookup.h), and one stat(2) in a later turn: a
 * file with the same device, inode, size, mtime and ctime is unchanged. A file that has changed
 * within the last second is read, but not kept. The process has one cache, of at most 16 MB of
 * content and 64 descriptors; the least recently used entries are removed first.
 *
 * Without the cache, opening, stat, reading and closing a file of 4 KB take five system calls and
 * two thirds of the cost of its reply (docs/performance.md).
 *
 * An open descriptor keeps the blocks of a removed file allocated. So filecache_sweep closes the
 * descriptors that no request has used since its last call.
 */
#ifndef MG_HTTP_FILECACHE_H
#define MG_HTTP_FILECACHE_H

#include "base/str.h"
#include "http/request.h"

#include <sys/stat.h>
#include <time.h>

/* A file as it was when it was opened. Texts and content belong to the entry, and are valid while
 * the caller holds a use of it. */
struct cached_file {
    struct file_source source; /* content or descriptor; counts its uses */
    uint64_t size;
    mode_t mode; /* only a regular file has content or descriptor */
    struct str type;
    struct str tag;      /* ETag, strong (RFC 9110 §8.8.3) */
    struct str modified; /* Last-Modified; n = 0: the file has no real date */
    time_t modified_at;  /* likewise; DATE_NONE */
    bool followed;       /* a symlink is, or may be, in the path; then `real` is */
    struct str real;     /* the real path, below the root if it lies there; STR_NONE: unknown */
    bool harmless;       /* set by the caller: path and real path may be served */
};

/* The file or folder at root + path; see lookup.h for `within`. Returns the entry with one more
 * use, which file_source_drop gives back, or NULL and errno, where EXDEV and ELOOP say that it lies
 * outside. Never waits, not for a FIFO either. */
struct cached_file *filecache_open(struct str root, struct str path, const struct str *within,
                                   unsigned count);

/* Finds a file in the cache alone; NULL: no unchanged entry. */
struct cached_file *filecache_find(struct str root, struct str path, const struct str *within,
                                   unsigned count);

/* What tells the content of a file from that of all others: device, inode, size, mtime and ctime.
 * `source`: of a file of this cache. False: the file has changed within the last second, and may
 * change once more without another mtime. */
#define FILECACHE_NAME 7
bool filecache_identify(const struct file_source *source, uint64_t name[FILECACHE_NAME]);
/* True when the content that is sent of it is still that of its name. */
bool filecache_is_unchanged(const struct file_source *source);

/* True when `a` was changed before `b`. */
bool filecache_is_older(const struct cached_file *a, const struct cached_file *b);

/* Closes the descriptors that no request has used since the last call. True: some are left, and the
 * caller calls again in a second. */
bool filecache_sweep(void);
/* Whether the cache has open descriptors. */
bool filecache_has_descriptors(void);

#endif

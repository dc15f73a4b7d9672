/*
 * filecache - files that were sent lately, with what a reply says of them.
 *
 * A file of up to 32 KB is kept with its content, a larger one with its descriptor; both with what
 * stat(2) said, ETag, Last-Modified and media type as texts. So a file that is asked for again
 * costs no system call within a turn of the loop (lookup.h), and one stat(2) in a later turn: where
 * device, inode, size, mtime and ctime are the same, the file is. What has changed within the last
 * second is read, and not kept. One cache for the process: at most 16 MB of content and 64
 * descriptors, those that have not been used for the longest time go first.
 *
 * Why: opening, looking at, reading and closing a file of 4 KB takes five system calls and two
 * thirds of what a reply with it costs (docs/performance.md).
 *
 * A kept descriptor keeps the blocks of a file that has been removed. So filecache_sweep closes
 * those that nobody has used since it was called last.
 */
#ifndef MG_HTTP_FILECACHE_H
#define MG_HTTP_FILECACHE_H

#include "base/str.h"
#include "http/request.h"

#include <sys/stat.h>
#include <time.h>

/* A file as it was when it was opened. Texts and content are the entry's own, and valid as long as
 * it is used. */
struct cached_file {
    struct file_source source; /* content or descriptor; counts who uses it */
    uint64_t size;
    mode_t mode; /* its type; of what is no regular file neither content nor descriptor is there */
    struct str type;
    struct str tag;      /* ETag, strong (RFC 9110 §8.8.3) */
    struct str modified; /* Last-Modified; n = 0: no date that says something */
    time_t modified_at;  /* likewise; DATE_NONE */
    bool followed;   /* a symlink was, or may have been, on the way; then this is its real path, */
    struct str real; /* below the root where it lies there; STR_NONE: it can't be known */
    bool harmless;   /* the caller's note: path and real path are such as may be served */
};

/* The file or folder at root + path; see lookup.h for `within`. Returns it with one more use, to be
 * given back by file_source_drop, or NULL and errno, where EXDEV and ELOOP say that it lies
 * outside. Never waits, not for a FIFO either. */
struct cached_file *filecache_open(struct str root, struct str path, const struct str *within,
                                   unsigned count);

/* The same of what is kept and still holds; else NULL. */
struct cached_file *filecache_find(struct str root, struct str path, const struct str *within,
                                   unsigned count);

/* Closes the descriptors that have not been used since the call before. Returns whether some are
 * left: then it is to be called again, in a second. */
bool filecache_sweep(void);
/* Are descriptors kept? */
bool filecache_has_descriptors(void);

#endif

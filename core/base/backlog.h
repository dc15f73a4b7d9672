/*
 * backlog - what a client has not taken yet: in memory up to a cap, beyond it in an unlinked file.
 *
 *     append -> [ memory | file | tail ] -> peek, consume
 *
 * First in, first out. While the file holds something it gets what comes; once it has been read to
 * its end it is emptied and memory is used again. The tail is memory for what the file could not
 * take (it has its own cap, the disk is full): it comes after the file and is moved into it when
 * there is room again. Space that was read is given back to the file system on the way, so that the
 * disk holds what waits and not what has passed.
 *
 * Part of a sender. Nothing is allocated before the first byte; what was is given back by and by:
 * memory when it is empty, the file by backlog_fini.
 */
#ifndef MG_BASE_BACKLOG_H
#define MG_BASE_BACKLOG_H

#include "base/buf.h"

struct backlog_file;

struct backlog {
    struct buf mem;
    struct backlog_file *file; /* NULL while memory has been enough */
    bool in_file;              /* the file holds bytes that wait */
};

/* Limits for memory and file. `dir` is used only when a file is begun. */
struct backlog_limits {
    size_t memory;
    uint64_t file; /* 0: memory only */
    const char *dir;
};

/* `max` is what memory may hold when the caller ignores backlog_room: bytes beyond it are lost, and
 * backlog_overflows says so. */
void backlog_init(struct backlog *b, size_t max);
/* Drops everything. The backlog stays usable. */
void backlog_fini(struct backlog *b);

/* Adds bytes. Bytes over the limits are kept in memory all the same, since they have been read: ask
 * backlog_room first. Returns NULL, or, in the words of errno, why the file could not hold some of
 * them; these are kept in memory, and limits->file should be 0 from now on. */
const char *backlog_append(struct backlog *b, const struct backlog_limits *limits,
                           struct str bytes);

/* The bytes that may be added within the limits. */
uint64_t backlog_room(const struct backlog *b, const struct backlog_limits *limits);

/* The next bytes, as many as are handy: a slice of memory, or read from the file into scratch.
 * n = 0: nothing waits. p = NULL: the file could not be read. Valid until the next call. */
struct str backlog_peek(struct backlog *b, char *scratch, size_t scratch_size);
/* n bytes of what peek returned have gone. */
void backlog_consume(struct backlog *b, size_t n);

static inline bool backlog_is_empty(const struct backlog *b)
{
    return buf_len(&b->mem) == 0 && !b->in_file;
}

/* True once bytes were lost. */
bool backlog_overflows(const struct backlog *b);

#endif

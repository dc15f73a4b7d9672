/*
 * backlog - bytes that wait to be sent to a client: in memory up to a limit, beyond it in an
 * unlinked file.
 *
 *     append -> [ memory | file | tail ] -> peek, consume
 *
 * First in, first out. While the file has bytes, further bytes are appended to it; once it has been
 * read to its end it is emptied, and memory is used again. The tail is memory for bytes that the
 * file could not take (its limit is reached, or the disk is full); it follows the file, and is
 * moved into it when there is room again. Space of bytes that were read is given back to the file
 * system on the way, so that the disk holds only bytes that wait.
 *
 * Part of a sender. Nothing is allocated before the first byte. Memory is freed when it is empty,
 * the file is closed by backlog_fini.
 */
#ifndef MG_BASE_BACKLOG_H
#define MG_BASE_BACKLOG_H

#include "base/buf.h"

struct backlog_file;

struct backlog {
    struct buf mem;
    struct backlog_file *file; /* NULL: no file was needed yet */
    bool in_file;              /* the file holds bytes that wait */
};

/* Limits for memory and file. `dir` is used only when a file is begun. */
struct backlog_limits {
    size_t memory;
    uint64_t file; /* 0: memory only */
    const char *dir;
};

/* `max` bounds the memory where the caller ignores backlog_room: bytes beyond it are lost, and
 * backlog_overflows returns true. */
void backlog_init(struct backlog *b, size_t max);
/* Drops everything. The backlog stays usable. */
void backlog_fini(struct backlog *b);

/* Adds bytes. The caller asks backlog_room first: bytes over the limits are kept in memory all the
 * same. Returns NULL, or the file's error as text; the bytes that the file did not take are kept in
 * memory, and the caller sets limits->file to 0 from then on. */
const char *backlog_append(struct backlog *b, const struct backlog_limits *limits,
                           struct str bytes);

/* The bytes that may be added within the limits. */
uint64_t backlog_room(const struct backlog *b, const struct backlog_limits *limits);

/* The next bytes, as many as are handy: a slice of memory, or read from the file into scratch.
 * n = 0: nothing waits. p = NULL: the file could not be read. Valid until the next call. */
struct str backlog_peek(struct backlog *b, char *scratch, size_t scratch_size);
/* Removes n bytes of those that backlog_peek returned. */
void backlog_consume(struct backlog *b, size_t n);

/* The bytes that wait. */
uint64_t backlog_size(const struct backlog *b);

static inline bool backlog_is_empty(const struct backlog *b)
{
    return buf_len(&b->mem) == 0 && !b->in_file;
}

/* True once bytes were lost. */
bool backlog_overflows(const struct backlog *b);

#endif

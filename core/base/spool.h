/*
 * spool - bytes of a body that wait to be sent: in memory up to a limit, beyond it in an unlinked
 * file.
 *
 * Written at the end, read from anywhere by position, so that a request's body can be sent again on
 * a second connection. Belongs to a request; nothing is allocated before the first byte. What came
 * whole with one read need not be copied: the spool has the buffer of that read then.
 */
#ifndef MG_BASE_SPOOL_H
#define MG_BASE_SPOOL_H

#include "base/buf.h"
#include "base/input.h"

/* A file without a name in `dir`, for reading and writing; its space is free again once it is
 * closed. -1 and errno: the file could not be made. */
int spool_unlinked(const char *dir);

struct spool {
    struct buf mem;
    uint64_t size;  /* bytes written */
    uint64_t limit; /* bytes allowed */
    size_t expected;
    struct input *input; /* the buffer that contains `mem`; NULL: `mem` is separate memory */
    struct inputs *inputs;
    const char *dir;
    int fd;     /* -1: no file was needed yet */
    bool named; /* the file has a name, for another program to open it by */
    char *path; /* name of the file; NULL without a file */
};

/* `memory` bytes stay in memory, `limit` bytes at most in all; dir must outlive the spool. */
void spool_init(struct spool *s, size_t memory, uint64_t limit, const char *dir);
/* The file of a spool with a name goes as well. */
void spool_fini(struct spool *s);

/* A spool whose bytes are all in a file with a name, of mode 0640: its group is that of the
 * process, or of `dir` where that is setgid. The process has a shared flock(2) of it. A process
 * that makes its first file in a folder removes those of its user there that nobody holds: they are
 * of processes that were killed. */
void spool_init_named(struct spool *s, uint64_t limit, const char *dir);
/* Moves what has been written to such a file. Returns NULL, or why not, as spool_write. */
const char *spool_name(struct spool *s, uint64_t limit, const char *dir);

/* The size is known: memory grows in one step. */
void spool_expect(struct spool *s, uint64_t size);

/* Appends bytes. Returns NULL, SPOOL_TOO_LARGE, or the file's error as text. */
const char *spool_write(struct spool *s, struct str bytes);
extern const char *const SPOOL_TOO_LARGE;
/* Appends bytes of a read. If they are all that is expected, the buffer of the read may be kept in
 * place of a copy, by `inputs`, which must outlive the spool. */
const char *spool_take(struct spool *s, struct inputs *inputs, struct str bytes);

/* The bytes from `at` on, as many as are handy: a slice of memory, or read from the file into
 * scratch. Nothing at the end (n = 0). p = NULL where the file could not be read. The slice is
 * valid until the next write or the next use of scratch. */
struct str spool_read(struct spool *s, uint64_t at, char *scratch, size_t scratch_size);

#endif

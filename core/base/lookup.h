/*
 * lookup - files by their path below a root, with no way out of it.
 *
 * The kernel does it (openat2), so neither a path nor a symlink leads outside, whatever somebody
 * changes meanwhile. Absolute symlinks count as leading outside, unless the real path lies in one
 * of the folders of `within`; with count 0 that is the root alone.
 *
 * What was found is kept. Within a turn of the loop it is the answer without a system call; in a
 * later turn one stat(2) says whether a file or folder is still the same one. "Not there" is kept
 * for the turn alone. So an answer is never older than the turn of the loop. A process that has no
 * turns (a command, a loader) asks each time.
 */
#ifndef MG_BASE_LOOKUP_H
#define MG_BASE_LOOKUP_H

#include "base/str.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/types.h>

/* The number of the turn; 0: none has begun. */
extern uint64_t lookup_turn;
/* What is found from now on is not older than this call: a turn of the loop begins, or something
 * has come that may be younger than the turn, such as a request whose head came in pieces. */
void lookup_begin_turn(void);

/* Opens root + path with these flags of open(2); of the name that it has *followed symlinks, or may
 * have. Returns a descriptor, or -1 and errno: EXDEV or ELOOP where it lies outside. */
int lookup_open(struct str root, struct str path, const struct str *within, unsigned count,
                int flags, bool *followed);

enum lookup_kind { LOOKUP_NONE, LOOKUP_FILE, LOOKUP_FOLDER, LOOKUP_OUTSIDE, LOOKUP_ERROR };

/* What lies at root + path, which needs not be readable. LOOKUP_NONE is also what is neither a
 * regular file nor a folder, or may not be looked at. LOOKUP_ERROR: nobody knows, and errno says
 * why, such as EMFILE; it must not be taken for "nothing".
 *
 * Costs no system call within a turn of the loop, and one stat(2) where nothing is there, or what
 * was there before. */
enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count);

/* The first bytes of the regular file at root + path; never waits. Returns how many, up to size, or
 * -1. */
ssize_t lookup_read_start(struct str root, struct str path, const struct str *within,
                          unsigned count, char *out, size_t size);

/* What a look is known by: root, path and `within`, each with a NUL. */
#define LOOKUP_PLACE_SIZE 212
struct lookup_place {
    size_t size;
    char text[LOOKUP_PLACE_SIZE];
};
/* False where that is too long to be kept. */
bool lookup_place(struct lookup_place *p, struct str root, struct str path,
                  const struct str *within, unsigned count);
uint32_t lookup_place_hash(const struct lookup_place *p);

/* Has this turn's look at the place found that file, with that ctime? Then nothing has happened to
 * it since it was found with it before. */
bool lookup_has_found(const struct lookup_place *p, dev_t device, ino_t inode,
                      const struct timespec *changed);

/* The real path of an open file: what of it stands behind the root's real path, or its name where
 * it lies elsewhere; STR_NONE where that can't be known, since /proc is not mounted. Lies in out.
 */
struct str lookup_real_part(int fd, struct str root, char out[PATH_MAX]);

/* stat(2) of root + path, whatever that leads to: only to see whether what lookup_open has found
 * there before is still the same. */
bool lookup_stat(struct str root, struct str path, struct stat *st);

/* Has the file not changed for a second? One that has may change again without another time of its
 * change, so nothing of it is kept beyond the turn. */
bool lookup_is_settled(const struct stat *st);

/* The folder with its symlinks resolved; as given where it does not exist. Kept as above, checked
 * by one stat(2) in each turn. The result is valid until the next call. */
struct str lookup_real_root(struct str root);

#endif

/*
 * lookup - files by their path below a root, with no way out of it.
 *
 * The kernel does it (openat2), so neither a path nor a symlink leads outside, whatever somebody
 * changes meanwhile. Absolute symlinks count as leading outside, unless the real path lies in one
 * of the folders of `within`; with count 0 that is the root alone.
 *
 * What was found is kept (finding), and within a turn of the loop it is the answer without a system
 * call. A process that has no turns (a command, a loader) asks each time. In a later turn one
 * stat(2) says whether it still holds:
 *
 * - A stat of the root vouches for the root's real path, and for its entries (names right below it)
 *   that are regular files, folders, or not there. While the root leads to the same inode with the
 *   same ctime, no entry was made, removed or replaced; that needs a file system where this is so.
 *   It vouches for no symlink, and for nothing below an entry, except that there is nothing below
 *   an entry that is not there. So one call is enough for a script in the root and for the root's
 *   real path, which the application is told.
 * - A stat of the path vouches for other files and folders: the path leads to the same inode, and
 *   nothing has happened to that. A symlink that is put into its place leads to another inode, a
 *   file that is moved has another ctime, as an inode that is used again. A folder on the way that
 *   is moved out, with a symlink to it left, leads to the file that lay inside, until it changes.
 *   What is not there holds for the turn alone.
 *
 * What has changed within the last second is kept for the turn alone: it may change again without
 * another ctime, since the kernel's clock has ticks of some milliseconds. The stat of the root
 * comes before the look at an entry and once more behind it, so the root that vouches is the one
 * that was looked into. Who can switch the root itself to and fro in between could let it lead
 * anywhere.
 */
#ifndef MG_BASE_LOOKUP_H
#define MG_BASE_LOOKUP_H

#include "base/finding.h"
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

/* From now on nothing outside of that folder is opened or found, whatever root and `within` say,
 * and where a link leads. False, and errno: it can't be, or another folder was named before. NULL:
 * the process has none, which can't be said behind a folder. */
bool lookup_confine(const char *folder);
/* The folder's real path; NULL: there is none. */
const char *lookup_confined(void);

enum lookup_kind { LOOKUP_NONE, LOOKUP_FILE, LOOKUP_FOLDER, LOOKUP_OUTSIDE, LOOKUP_ERROR };

/* What lies at root + path, which needs not be readable. LOOKUP_NONE is also what is neither a
 * regular file nor a folder, or may not be looked at. LOOKUP_ERROR: nobody knows, and errno says
 * why, such as EMFILE; it must not be taken for "nothing". */
enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count);

/* The first bytes of the regular file at root + path; never waits. Returns how many, up to size, or
 * -1. */
ssize_t lookup_read_start(struct str root, struct str path, const struct str *within,
                          unsigned count, char *out, size_t size);

/* Has this turn's look at the place found that file? Then nothing has happened to it since it was
 * found with that identity before. */
bool lookup_has_found(const struct place *p, const struct identity *file);

/* From now on a look at the place is one at the file, since its content is kept: the root vouches
 * for the name alone. */
void lookup_vouch_by_file(const struct place *p);

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

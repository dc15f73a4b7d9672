/*
 * lookup - opens and finds files by their path below a root, which no path or symlink can leave.
 *
 * The kernel enforces this (openat2; base/walk where that is refused), even while files and links
 * are changed. Absolute symlinks
 * count as leading outside, unless the real path lies in one of the folders of `within`; with count
 * 0 that is the root alone.
 *
 * Results are cached (finding); within a turn of the loop a cached result needs no system call. A
 * process without a loop (a command, a loader) asks the kernel each time. In a later turn one
 * stat(2) finds out whether the result is still valid:
 *
 * - A stat of the root vouches for the root's real path, and for its entries (names right below it)
 *   that are regular files, folders, or missing. While the root leads to the same inode with the
 *   same ctime, no entry was made, removed or replaced (on file systems with reliable ctimes). It
 *   does not vouch for symlinks, nor for files below an entry; but a missing entry has no files
 *   below it. So one call is enough for a script in the root and for the root's real path, which
 *   the application gets.
 * - A stat of the path vouches for other files and folders: the path leads to the same inode, which
 *   is unchanged. A symlink that is put into its place leads to another inode; a moved file has
 *   another ctime, and so has a reused inode. A folder in the path that is moved out, with a
 * symlink to it left, leads to the file that lay inside, until the file changes. A missing file is
 * missing for the turn alone.
 *
 * A file that has changed within the last second is cached for the turn alone: it may change again
 * without another ctime, since the kernel's clock has ticks of some milliseconds. The root is
 * stat'ed before and after the look at an entry, so the entry belongs to the root that vouches for
 * it. A user who can replace the root itself twice in between could defeat this, but could also let
 * the root lead anywhere.
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
/* Begins a turn: results from now on are not older than this call. It is called when a turn of the
 * loop begins, and for a request that may be younger than the turn, since its head came in pieces.
 */
void lookup_begin_turn(void);

/* Opens root + path with these flags of open(2); *followed: a symlink is, or may be, in the path.
 * Returns a descriptor, or -1 and errno: EXDEV or ELOOP where it lies outside. */
int lookup_open(struct str root, struct str path, const struct str *within, unsigned count,
                int flags, bool *followed);

/* From now on nothing outside of that folder is opened or found, whatever root and `within` say,
 * and where a link leads. False, and errno: it can't be, or another folder was named before. NULL:
 * the process has none, which can't be said behind a folder. */
bool lookup_confine(const char *folder);
/* The folder's real path; NULL: there is none. */
const char *lookup_confined(void);

enum lookup_kind { LOOKUP_NONE, LOOKUP_FILE, LOOKUP_FOLDER, LOOKUP_OUTSIDE, LOOKUP_ERROR };

/* The kind of file at root + path, which need not be readable. LOOKUP_NONE stands also for a file
 * that is neither regular nor a folder, or that this user may not stat. LOOKUP_ERROR: the kind is
 * unknown, for a reason in errno such as EMFILE; the caller must not take that for a missing file.
 */
enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count);

/* Reads the first bytes of the regular file at root + path; never waits. Returns their number, up
 * to size, or -1. */
ssize_t lookup_read_start(struct str root, struct str path, const struct str *within,
                          unsigned count, char *out, size_t size);

/* True when this turn's look at the place has found the file with that identity: it is unchanged
 * since it had that identity before. */
bool lookup_has_found(const struct place *p, const struct identity *file);

/* Makes later looks at the place stat the file itself, since the caller caches its content and the
 * root vouches for names alone. */
void lookup_vouch_by_file(const struct place *p);

/* The real path of an open file: the part below the root's real path, or the file's name where it
 * lies elsewhere; STR_NONE: unknown, since /proc is not mounted. The text lies in out. */
struct str lookup_real_part(int fd, struct str root, char out[PATH_MAX]);

/* stat(2) of root + path, which may leave the root: used only to check that a file which
 * lookup_open has found there is still the same. */
bool lookup_stat(struct str root, struct str path, struct stat *st);

/* True when the file has not changed for a second. A younger file may change again without another
 * ctime, so it is not cached beyond the turn. */
bool lookup_is_settled(const struct stat *st);

/* The real path of a root; as given where it does not exist. It is cached, and checked by one
 * stat(2) in each turn. The result is valid until the next call. */
struct str lookup_real_root(struct str root);

#endif

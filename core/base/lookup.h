/*
 * lookup - files by their path below a root, with no way out of it.
 *
 * The kernel does it (openat2), so neither a path nor a symlink leads outside, whatever somebody
 * changes meanwhile. Absolute symlinks count as leading outside, unless the real path lies in one
 * of the folders of `within`; with count 0 that is the root alone.
 */
#ifndef MG_BASE_LOOKUP_H
#define MG_BASE_LOOKUP_H

#include "base/str.h"

#include <sys/types.h>

/* Opens root + path with these flags of open(2); of the name that it has *followed symlinks, or may
 * have. Returns a descriptor, or -1 and errno: EXDEV or ELOOP where it lies outside. */
int lookup_open(struct str root, struct str path, const struct str *within, unsigned count,
                int flags, bool *followed);

enum lookup_kind { LOOKUP_NONE, LOOKUP_FILE, LOOKUP_FOLDER, LOOKUP_OUTSIDE, LOOKUP_ERROR };

/* What lies at root + path, which needs not be readable. LOOKUP_NONE is also what is neither a
 * regular file nor a folder, or may not be looked at. LOOKUP_ERROR: nobody knows, and errno says
 * why, such as EMFILE; it must not be taken for "nothing".
 *
 * Costs one stat(2) where nothing is there, and where the same file was there before. */
enum lookup_kind lookup_probe(struct str root, struct str path, const struct str *within,
                              unsigned count);

/* The first bytes of the regular file at root + path; never waits. Returns how many, up to size, or
 * -1. */
ssize_t lookup_read_start(struct str root, struct str path, const struct str *within,
                          unsigned count, char *out, size_t size);

/* The folder with its symlinks resolved, looked up at most once a second; as given where it does
 * not exist. The result is valid until the next call. */
struct str lookup_real_root(struct str root, double now);

#endif

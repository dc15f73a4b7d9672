/*
 * walk - opens a path below a folder, as openat2(2) does, for systems that refuse openat2 (a
 * container whose seccomp profile is older than the call, valgrind), and for a path that it does
 * not open because of renames elsewhere. Called by lookup.
 *
 * Each name of the path is opened in the folder before it, with O_NOFOLLOW, and a symlink is
 * resolved here; ".." leads to the descriptor of the folder before. So no change of files or links
 * meanwhile leads out. It takes some two system calls for each name, where openat2 takes one in
 * all.
 */
#ifndef MG_BASE_WALK_H
#define MG_BASE_WALK_H

#include <stdint.h>

/* The descriptor of the file, or -1 and errno, as openat2 with these flags of open(2) (one of them
 * O_CLOEXEC) and with `resolve`: RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH or both. An absolute path
 * needs RESOLVE_NO_SYMLINKS alone. ELOOP, too: the path is deeper than 256 folders. */
int walk_open(int dir, const char *path, int flags, uint64_t resolve);

#endif

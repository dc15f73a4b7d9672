/*
 * stamp - whether a file is still the one that it was: what the file system says of it, as a word.
 * The loader takes it before it reads a file, the master compares. No state.
 */
#ifndef MG_BASE_STAMP_H
#define MG_BASE_STAMP_H

enum { STAMP_SIZE = 160 };

#define STAMP_NONE    "-" /* there is no such file */
#define STAMP_UNKNOWN "?" /* it can't be looked at: another user may see more */

/* Writes the stamp of the file at the path, links followed. Returns out, a word without blanks. */
const char *stamp_of(const char *path, char out[STAMP_SIZE]);

#endif

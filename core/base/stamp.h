/*
 * stamp - the state of a file in the file system as a word, by which a change of the file is found.
 * The loader takes the stamp before it reads a file, and the master compares it. No state.
 */
#ifndef MG_BASE_STAMP_H
#define MG_BASE_STAMP_H

enum { STAMP_SIZE = 160 };

#define STAMP_NONE    "-" /* the file does not exist */
#define STAMP_UNKNOWN "?" /* stat has failed, which may succeed for another user */

/* Writes the stamp of the file at the path, links followed. Returns out, a word without blanks. */
const char *stamp_of(const char *path, char out[STAMP_SIZE]);

#endif

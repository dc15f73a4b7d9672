/*
 * undo - what takes a commit of LMDB back in whose middle its process was killed.
 *
 * LMDB changes no page that a committed transaction uses. Its last step writes one of the two pages
 * at the beginning of the data, which say where the tree begins: first the root, then the number of
 * the transaction. With MDB_WRITEMAP these are plain stores, and the compiler may put the number
 * before a part of the root (Debian's liblmdb 0.9.24 is such a build for amd64). A process that is
 * killed between the two leaves a tree of old and new pages, and the next writer aborts.
 *
 *     keep --> mdb_txn_commit --> forget
 *       \--> killed --> restore, by the next process that has the lock
 *
 * Called by shared.c, under the lock that stands before it in the same memory.
 */
#ifndef MG_SHM_UNDO_H
#define MG_SHM_UNDO_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define UNDO_PAGES 2   /* of LMDB, at the beginning of the data */
#define UNDO_BYTES 256 /* of each; LMDB uses 152 */

/* In memory that the processes share, all zero at first. */
struct undo {
    pthread_mutex_t lock; /* see shm/lock.h */
    uint32_t kept;        /* a commit is under way */
    uint32_t page_size;
    unsigned char bytes[UNDO_PAGES][UNDO_BYTES];
};

/* Copies the beginning of both pages, which are mapped at `pages` and have page_size bytes. */
void undo_keep(struct undo *u, const unsigned char *pages, size_t page_size);
/* The commit has come to its end. */
void undo_forget(struct undo *u);
/* Puts the copies back into the file of the data, where a commit has not come to its end. Returns 0
 * or an errno, with which the data is of no use. */
int undo_restore(struct undo *u, int fd);

#endif

/*
 * cachefiles - how files of the cache (shm/cachestore) go: those of slots, and the folders of
 * instances that have ended.
 *
 * A disk may take a millisecond for each, and a cache may have a hundred thousand. So where they
 * are many a thread removes them: the worker's loop does not wait. A slot stays taken until its
 * file is gone, so a slot of a worker that is killed meanwhile is given back as others are
 * (cache_join), and whoever takes it next replaces the file.
 */
#ifndef MG_SHM_CACHEFILES_H
#define MG_SHM_CACHEFILES_H

#include "shm/cache.h"

#define CACHEFILES_FOLDER "moongate-cache-" /* an instance's own begins so */
#define CACHEFILES_LOCK   "lock"            /* in it; its last file to go */
#define CACHEFILES_FILLS  "fill"            /* its only folder */

void cachefiles_name_slot(char name[16], uint32_t slot);
void cachefiles_name_folder(char name[40], uint64_t instance);

/* Removes the files of the slots in the folder, and gives the slots back; in a thread if there are
 * more than a few. */
void cachefiles_remove(struct cache *index, int folder, const struct cache_victims *victims);
/* The index and the folder are used no more, but for what the thread has just begun; slots that
 * wait for it stay taken. */
void cachefiles_leave(void);

/* Removes the folder of that name if no process has its lock. */
void cachefiles_remove_folder(int parent, const char *name);
/* Removes, in a thread, the folders below the path that no process has the lock of, but for `own`:
 * those of instances that were killed. */
void cachefiles_clear_others(const char *path, const char *own);

#endif

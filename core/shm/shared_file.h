/*
 * shared_file - where the shared dictionaries of an instance lie: two files without a name
 * (memfd_create), one for LMDB and one for the lock, made by the master.
 *
 *     make --> workers open what is in it (shm/shared.h) --> close
 *        \--> pass -- inherit: the binary that takes our place goes on with it
 *
 * Descriptors are the only way to the files, so no other user can open them, and the kernel frees
 * them with the last process of the instance, however it ends.
 */
#ifndef MG_SHM_SHARED_FILE_H
#define MG_SHM_SHARED_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct shared_file {
    int data, lock; /* descriptors; -1: there are none, see problem */
    size_t size;    /* that the data may take */
    char problem[256];
};

/* Takes over the files that MOONGATE_SHARED names: those of the instance whose place this one
 * takes. False: there are none, or they have another size or format. */
bool shared_file_inherit(struct shared_file *f, size_t size);
/* False: there is no room for them, f->problem says so. The memory itself is taken later, when a
 * process opens the dictionaries. */
bool shared_file_make(struct shared_file *f, size_t size);
/* In a child that will be another binary in our place, before it is. */
void shared_file_pass(const struct shared_file *f);
/* True: no process has opened the dictionaries yet. */
bool shared_file_is_empty(const struct shared_file *f);
void shared_file_close(struct shared_file *f);

#endif

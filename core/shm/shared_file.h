/*
 * shared_file - the memory of an instance's shared dictionaries: two files without a name
 * (memfd_create), one for LMDB and one for the lock, made by the master.
 *
 *     make --> workers open what is in it (shm/shared.h) --> close
 *        \--> pass -- inherit: the binary of an upgrade uses it from then on
 *
 * Descriptors are the only way to the files, so no other user can open them, and the kernel frees
 * them with the last process of the instance, however it ends.
 */
#ifndef MG_SHM_SHARED_FILE_H
#define MG_SHM_SHARED_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct shared_file {
    int data, lock; /* descriptors; -1: none, see problem */
    size_t size;    /* bytes of the data */
    char problem[256];
};

/* Takes over the files that MOONGATE_SHARED names: those of the instance that started this one in
 * an upgrade. False: the variable is missing, or the files have another size or format. */
bool shared_file_inherit(struct shared_file *f, size_t size);
/* Makes the files. False: the machine has not enough memory; f->problem is the reason. The memory
 * is allocated later, when a process opens the dictionaries. */
bool shared_file_make(struct shared_file *f, size_t size);
/* Passes the files to the binary of an upgrade. Called in the child before it executes that binary.
 */
void shared_file_pass(const struct shared_file *f);
/* True: no process has opened the dictionaries yet. */
bool shared_file_is_empty(const struct shared_file *f);
void shared_file_close(struct shared_file *f);

#endif

/*
 * shared_folder - where the shared dictionaries of an instance lie: a folder on a memory file
 * system, made by the master, owned by the workers' user, gone with the instance.
 *
 *     make --> workers open what is in it (shm/shared.h) --> leave
 *        \--> pass -- inherit: the binary that takes our place goes on with it
 *
 * A lock on the folder itself (flock) is held as long as a process of the instance lives: it is
 * inherited by workers and passed to a successor. So the folder of an instance that was killed can
 * be told from one in use, whatever process ids mean there, and the next master removes it.
 *
 * A master that is root makes and removes it in a child that is the user: what nobody else may
 * enter is closed to a root without CAP_DAC_OVERRIDE too, as under systemd, and nothing is to be
 * given away (CAP_CHOWN).
 */
#ifndef MG_SHM_SHARED_FOLDER_H
#define MG_SHM_SHARED_FOLDER_H

#include "base/user.h"

struct shared_folder {
    char path[512]; /* "": there is none, see problem */
    char problem[256];
    size_t size; /* of the memory */
    struct user user;
    int fd;
};

/* Takes over the folder that MOONGATE_SHARED names: that of the instance whose place this one
 * takes. False: there is none, or it has another owner, size or format. */
bool shared_folder_inherit(struct shared_folder *f, const struct user *user, size_t size);
/* Makes one in /dev/shm, or in TMPDIR or /tmp where that has no room; and removes what dead
 * instances of the user have left. False: there is no room anywhere, f->problem says so. */
bool shared_folder_make(struct shared_folder *f, const struct user *user, size_t size);
/* In a child that will be another binary in our place, before it is. */
void shared_folder_pass(const struct shared_folder *f);
/* All workers have ended: removes it, unless somebody else has it. */
void shared_folder_leave(struct shared_folder *f);

#endif

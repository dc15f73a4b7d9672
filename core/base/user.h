/*
 * user - the user that processes which run scripts change to, when the master was started as root.
 */
#ifndef MG_BASE_USER_H
#define MG_BASE_USER_H

#include "base/str.h"

#include <sys/types.h>

struct user {
    char name[64];
    uid_t uid;
    gid_t gid;
    bool ignored; /* a user was named, but only root can change to it */
};

/* The user of that name (NULL: www-data where it exists, else nobody) with the group of that name
 * (NULL: the user's own). A process that is not root keeps its user, whatever the names. Returns
 * NULL, or the error, which is valid until the next call. */
const char *user_find(const char *name, const char *group, struct user *out);
/* Changes the process to that user for good. Returns NULL, or the error. */
const char *user_become(const struct user *user);
/* Opens a file as that user where the process is root, else as its own user. Returns the
 * descriptor, or -1 and errno. For processes with one thread. */
int user_open(const struct user *user, const char *path, int flags, mode_t mode);

#endif

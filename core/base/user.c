/* user - see user.h. */
#include "base/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char message[256];

static void user_fill(struct user *out, const struct passwd *pw)
{
    snprintf(out->name, sizeof out->name, "%s", pw->pw_name);
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
}

const char *user_find(const char *name, const char *group, struct user *out)
{
    memset(out, 0, sizeof *out);
    if (geteuid() != 0) {
        struct passwd *me = getpwuid(geteuid());
        snprintf(out->name, sizeof out->name, "uid %u", (unsigned)geteuid());
        out->uid = geteuid();
        out->gid = getegid();
        if (me != NULL)
            user_fill(out, me);
        if (name != NULL && strcmp(name, out->name) != 0)
            out->ignored = true;
        return NULL;
    }
    struct passwd *pw = getpwnam(name != NULL ? name : "www-data");
    if (pw == NULL && name == NULL)
        pw = getpwnam("nobody");
    if (pw == NULL) {
        snprintf(message, sizeof message, "there is no user '%s' (getent passwd lists them)",
                 name != NULL ? name : "nobody");
        return message;
    }
    user_fill(out, pw);
    if (group != NULL) {
        struct group *gr = getgrnam(group);
        if (gr == NULL) {
            snprintf(message, sizeof message, "there is no group '%s' (getent group lists them)",
                     group);
            return message;
        }
        out->gid = gr->gr_gid;
    }
    return NULL;
}

const char *user_become(const struct user *user)
{
    if (geteuid() != 0)
        return NULL;
    if (initgroups(user->name, user->gid) != 0 || setgid(user->gid) != 0 ||
        setuid(user->uid) != 0) {
        snprintf(message, sizeof message, "can't become user '%s': %s", user->name,
                 strerror(errno));
        return message;
    }
    return NULL;
}

/* Changes back to root and its groups. On failure the process ends, since it would have the rights
 * of neither user. */
static void user_return_to_root(const gid_t *groups, int count, gid_t gid)
{
    if (seteuid(0) != 0 || setegid(gid) != 0 || setgroups((size_t)count, groups) != 0)
        abort();
}

int user_open(const struct user *user, const char *path, int flags, mode_t mode)
{
    gid_t groups[256], gid = getegid();
    if (geteuid() != 0 || user->uid == 0)
        return open(path, flags, mode);
    int count = getgroups(256, groups), fd = -1, err;
    if (count < 0)
        return -1;
    if (initgroups(user->name, user->gid) == 0 && setegid(user->gid) == 0 &&
        seteuid(user->uid) == 0)
        fd = open(path, flags, mode);
    err = errno;
    user_return_to_root(groups, count, gid);
    errno = err;
    return fd;
}

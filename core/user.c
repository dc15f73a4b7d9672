/* user - see user.h. */
#include "user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

static char message[256];

static void fill(struct user *out, const struct passwd *pw)
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
            fill(out, me);
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
    fill(out, pw);
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

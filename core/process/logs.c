/* logs - see logs.h. */
#include "process/logs.h"

#include "base/datagram.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_FOLDER "/var/log/"
#define LOG_FLAGS  (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* True when only root can change the folder and all folders above it. */
static bool logs_is_roots(char *folder)
{
    struct stat st;
    for (;;) {
        if (stat(folder, &st) != 0 || st.st_uid != 0 || (st.st_mode & 022) != 0)
            return false;
        char *slash = strrchr(folder, '/');
        if (slash == NULL || folder[1] == '\0')
            return slash != NULL;
        slash[slash == folder] = '\0';
    }
}

/* Opens a log as root, only in a folder that root alone can change, since the route chooses the
 * log's name and contents. -1 and errno. */
static int log_open_as_root(const char *path)
{
    char real[PATH_MAX], folder[PATH_MAX], whole[PATH_MAX + 256];
    struct stat st;
    const char *slash = strrchr(path, '/');
    errno = EACCES;
    if (slash == NULL || slash - path >= PATH_MAX)
        return -1;
    snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);
    bool good =
        realpath(folder, real) != NULL && strncmp(real, LOG_FOLDER, sizeof LOG_FOLDER - 1) == 0;
    if (good)
        snprintf(whole, sizeof whole, "%s/%.255s", real, slash + 1);
    if (!good || !logs_is_roots(real)) {
        errno = EACCES;
        return -1;
    }
    int fd = open(whole, LOG_FLAGS | O_NOFOLLOW, 0640);
    if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1))
        return fd;
    close(fd);
    errno = EACCES;
    return -1;
}

static int log_open(const struct user *user, const char *where)
{
    if (strcmp(where, "stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(where, "stderr") == 0 || where[0] == '\0')
        return STDERR_FILENO;
    struct datagram to;
    if (datagram_parse(where, &to))
        return datagram_open(&to);
    errno = EINVAL;
    if (where[0] != '/')
        return -1;
    int fd = user_open(user, where, LOG_FLAGS, 0640);
    return fd < 0 && errno == EACCES && geteuid() == 0 ? log_open_as_root(where) : fd;
}

const char *logs_open(struct logs *logs, const struct user *user, const char *error,
                      const char *access)
{
    static char message[512];
    *logs = LOGS_NONE;
    const char *where = error;
    logs->error = log_open(user, where);
    if (logs->error >= 0 && access[0] == '\0')
        return NULL;
    if (logs->error >= 0 && (logs->access = log_open(user, where = access)) >= 0)
        return NULL;
    bool refused = errno == EACCES && geteuid() == 0;
    snprintf(message, sizeof message, "can't open the log %.300s: %s%s%.60s%s", where,
             strerror(errno), refused ? "; it is opened as the user '" : "",
             refused ? user->name : "",
             refused ? "', or as root below " LOG_FOLDER " in a folder that only root can write to"
                     : "");
    logs_close(logs);
    return message;
}

void logs_close(struct logs *logs)
{
    if (logs->error > STDERR_FILENO)
        close(logs->error);
    if (logs->access > STDERR_FILENO)
        close(logs->access);
    *logs = LOGS_NONE;
}

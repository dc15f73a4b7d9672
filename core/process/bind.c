/* bind - see bind.h. */
#include "process/bind.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char message[512];

/* Whether two sockets without SO_REUSEPORT can't have these addresses at once. */
static bool bind_overlap(const struct addr *a, const struct addr *b)
{
    struct addr same = *b;
    if (a->sa.sa_family != b->sa.sa_family || b->sa.sa_family == AF_UNIX)
        return false;
    if (addr_is_wildcard(a) || addr_is_wildcard(b)) {
        same = *a;
        addr_set_port(&same, ntohs(b->in.sin_port)); /* at the same place in both families */
    }
    return addr_compare(a, &same) == 0;
}

/* Whether a socket of this process has the address. */
static bool bind_is_ours(const struct addr *addr)
{
    bool found = false;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return false;
    for (struct dirent *e; !found && (e = readdir(dir)) != NULL;) {
        struct addr held = {.len = sizeof held.un};
        if (isdigit((unsigned char)e->d_name[0]) &&
            getsockname(atoi(e->d_name), &held.sa, &held.len) == 0)
            found = bind_overlap(addr, &held);
    }
    closedir(dir);
    return found;
}

static const char *bind_describe(const struct listen_spec *spec, const struct addr *addr, int err)
{
    bool tcp = addr->sa.sa_family != AF_UNIX;
    const char *given = spec->address;
    if (err == EADDRINUSE && tcp && bind_is_ours(addr))
        snprintf(message, sizeof message,
                 "can't listen on %s beside a listener of this instance that is there already; "
                 "restart it",
                 given);
    else if (err == EADDRINUSE)
        snprintf(message, sizeof message,
                 "can't listen on %s: it is in use; 'ss -lnp' shows the process that holds it%s",
                 given, spec->control ? "" : "; 'listen' or --listen names another address");
    else
        snprintf(message, sizeof message, "can't listen on %s: %s%s", given, strerror(err),
                 err == EACCES && tcp ? " (ports below 1024 need root, or "
                                        "'sysctl net.ipv4.ip_unprivileged_port_start')"
                                      : "");
    return message;
}

/* With SO_REUSEPORT the kernel would let two servers of one user share a port unnoticed; so a plain
 * bind first finds out whether the port is free. Sockets of this process are no obstacle: another
 * listener on some of the port's addresses, or one that the current reload will close. */
static int bind_check_free(const struct addr *addr)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    int err = bind(fd, &addr->sa, addr->len) == 0 ? 0 : errno;
    close(fd);
    return err == EADDRINUSE && bind_is_ours(addr) ? 0 : err;
}

/* Whether a process has the socket of that name in the folder. 0: none. The call does not wait for
 * the connection: a process that does not accept has the socket all the same, and so has one of
 * another socket type. */
static int bind_check_held(int folder, const char *name)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int n = snprintf(un.sun_path, sizeof un.sun_path, "/proc/self/fd/%d/%s", folder, name);
    if (n >= (int)sizeof un.sun_path)
        return ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int err = connect(fd, (struct sockaddr *)&un, sizeof un) == 0 ? EADDRINUSE : errno;
    close(fd);
    if (err == EAGAIN || err == EPROTOTYPE)
        return EADDRINUSE;
    return err == ECONNREFUSED || err == ENOENT ? 0 : err;
}

static int bind_clear_in(int folder, const char *name)
{
    struct stat st;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int err = bind_check_held(folder, name);
    if (err != 0)
        return err;
    return unlinkat(folder, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

/* Opens the folder of a path, which is split in place, and sets *name. A file is checked and
 * removed by the folder's descriptor, so that a user who renames the folder meanwhile can't make
 * root remove another file. -1 and errno. */
static int bind_open_folder(char *path, const char **name)
{
    char *slash = strrchr(path, '/');
    *name = slash != NULL ? slash + 1 : path;
    if (slash != NULL)
        *slash = '\0';
    const char *where = slash == NULL ? "." : slash == path ? "/" : path;
    return open(where, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Removes the socket file of a process that has crashed. A socket that a process listens on is an
 * error. */
static int bind_clear_stale(const struct addr *addr)
{
    char path[sizeof addr->un.sun_path + 1];
    const char *name;
    if (addr->un.sun_path[0] == '\0') /* the abstract namespace has no files */
        return 0;
    snprintf(path, sizeof path, "%.*s", (int)sizeof addr->un.sun_path, addr->un.sun_path);
    int folder = bind_open_folder(path, &name);
    if (folder < 0)
        return errno;
    int err = bind_clear_in(folder, name);
    close(folder);
    return err;
}

/* Binds a unix socket. Its mode lets all users connect, since web servers in front run as other
 * users; the folder's mode can restrict that. The control listener is for this process's user
 * alone. The umask gives the file its mode, since a chmod of the path could follow a link that was
 * put there; the process has one thread, so the umask concerns no other code. */
static int bind_local(int fd, const struct addr *addr, bool control)
{
    mode_t before = umask(control ? 0177 : 0111);
    int err = bind(fd, &addr->sa, addr->len) == 0 ? 0 : errno;
    umask(before);
    return err;
}

static int bind_one(const struct listen_spec *spec, const struct addr *addr, int *fd)
{
    int err = 0, family = addr->sa.sa_family;
    *fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    if (family != AF_UNIX) {
        setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
        setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    }
    if (family == AF_INET6)
        setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    if (family == AF_UNIX)
        err = bind_local(*fd, addr, spec->control);
    else if (bind(*fd, &addr->sa, addr->len) != 0)
        err = errno;
    if (err != 0)
        close(*fd);
    return err;
}

const char *bind_open(const struct listen_spec *spec, const struct addr *addr, int *fds,
                      unsigned count, bool more)
{
    bool local = addr->sa.sa_family == AF_UNIX;
    int err = more ? 0 : local ? bind_clear_stale(addr) : bind_check_free(addr);
    unsigned opened = 0;
    while (opened < count && err == 0)
        err = bind_one(spec, addr, &fds[opened++]);
    if (err == 0)
        return NULL;
    for (unsigned i = 0; i + 1 < opened; i++) /* the last one was not opened */
        close(fds[i]);
    return bind_describe(spec, addr, err);
}

const char *bind_listen(const struct listen_spec *spec, const struct addr *addr, int fd)
{
    return listen(fd, spec->backlog) == 0 ? NULL : bind_describe(spec, addr, errno);
}

const char *bind_make_folder(const char *address)
{
    char folder[sizeof((struct sockaddr_un *)NULL)->sun_path + 1];
    struct stat st;
    if (strncmp(address, "unix:", 5) != 0)
        return NULL;
    snprintf(folder, sizeof folder, "%s", address + 5);
    char *slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder)
        return NULL;
    *slash = '\0';
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        snprintf(message, sizeof message, "%s: %s", folder, strerror(errno));
        return message;
    }
    /* In /tmp another user may have made the folder before. */
    if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 022) != 0) {
        snprintf(message, sizeof message, "%s is no folder of ours that nobody else may write to",
                 folder);
        return message;
    }
    return NULL;
}

void bind_unlink(const struct listen_spec *spec)
{
    char path[sizeof((struct sockaddr_un *)NULL)->sun_path + 1];
    const char *name;
    struct stat st;
    if (strncmp(spec->address, "unix:", 5) != 0)
        return;
    snprintf(path, sizeof path, "%s", spec->address + 5);
    int folder = bind_open_folder(path, &name);
    if (folder < 0)
        return;
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
        unlinkat(folder, name, 0);
    close(folder);
}

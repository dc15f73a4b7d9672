/* shared_folder - see shared_folder.h. */
#include "shm/shared_folder.h"

#include "base/link.h"
#include "shm/shared.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PREFIX   "moongate-shared."
#define VARIABLE "MOONGATE_SHARED"
#define SWEEP    10000 /* entries of a folder that are looked at */
#define TRIES    10

static const char *base(int i)
{
    const char *temporary = getenv("TMPDIR");
    if (i == 0)
        return "/dev/shm";
    return temporary != NULL && temporary[0] == '/' ? temporary : "/tmp";
}

static int folder_open_folder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The descriptor is what the path names now. */
static bool is_at(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* Known names only: whoever owns the folder may have put anything into it, and we may be root. */
static void remove_unused(const char *path, uid_t user)
{
    struct stat st;
    int fd = folder_open_folder(path);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_uid == user && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        is_at(fd, path)) {
        unlinkat(fd, "data.mdb", 0);
        unlinkat(fd, "lock.mdb", 0);
        rmdir(path);
    }
    close(fd);
}

static void folder_sweep(const char *where, uid_t user)
{
    DIR *dir = opendir(where);
    int left = SWEEP;
    if (dir == NULL)
        return;
    for (struct dirent *e; left-- > 0 && (e = readdir(dir)) != NULL;) {
        char path[1024];
        if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", where, e->d_name);
        remove_unused(path, user);
    }
    closedir(dir);
}

static bool has_room(const char *where, size_t size)
{
    struct statvfs fs;
    if (statvfs(where, &fs) != 0)
        return false;
    /* A memory file system without a limit says that it has no blocks. */
    return fs.f_blocks == 0 || (double)fs.f_bavail * (double)fs.f_frsize >= (double)size;
}

/* 0, or an error; EAGAIN: somebody took it for one that nobody uses. */
static int make_in(struct shared_folder *f, const char *where)
{
    snprintf(f->path, sizeof f->path, "%.480s/" PREFIX "XXXXXX", where);
    if (mkdtemp(f->path) == NULL)
        return errno;
    f->fd = folder_open_folder(f->path);
    int rc = f->fd < 0 || flock(f->fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;
    if (rc == 0 && !is_at(f->fd, f->path))
        rc = EAGAIN;
    if (rc == 0)
        return 0;
    if (f->fd >= 0)
        close(f->fd);
    rmdir(f->path);
    return rc == EWOULDBLOCK ? EAGAIN : rc;
}

/* As the user. */
static bool folder_make(struct shared_folder *f)
{
    int rc = 0;
    folder_sweep(base(0), f->user.uid);
    folder_sweep(base(1), f->user.uid);
    for (int i = 0; i < 2; i++) {
        if (!has_room(base(i), f->size)) {
            rc = errno = ENOSPC;
            continue;
        }
        for (int tries = 0; tries < TRIES; tries++) {
            rc = make_in(f, base(i));
            if (rc == 0)
                return true;
            if (rc != EAGAIN)
                break;
        }
    }
    f->path[0] = '\0';
    f->fd = -1;
    snprintf(f->problem, sizeof f->problem,
             "there is no room for limits.shared (%zu bytes) in /dev/shm or %.100s: %s", f->size,
             base(1), strerror(rc));
    return false;
}

static bool is_somebody_else(const struct user *user)
{
    return geteuid() == 0 && user->uid != 0;
}

static void folder_wait_for(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* The path, and the locked folder; or what is wrong. */
__attribute__((noreturn)) static void make_and_say(struct shared_folder *f, int out)
{
    const char *bad = user_become(&f->user);
    if (bad == NULL && !folder_make(f))
        bad = f->problem;
    if (bad == NULL)
        link_send(out, LINK_READY, f->path, &f->fd, 1);
    else
        link_send(out, LINK_FAILED, bad, NULL, 0);
    _exit(0);
}

/* The child's only message waits in the socket when it has ended. */
static bool make_in_child(struct shared_folder *f)
{
    static struct link_message message;
    int ends[2];
    pid_t pid = -1;
    snprintf(f->problem, sizeof f->problem,
             "there is no process to make a place for limits.shared");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    pid = fork();
    if (pid == 0)
        make_and_say(f, ends[1]);
    close(ends[1]);
    if (pid > 0)
        folder_wait_for(pid);
    bool heard = pid > 0 && link_receive(ends[0], &message) == LINK_MESSAGE;
    close(ends[0]);
    if (heard && message.type == LINK_READY && message.fd_count == 1) {
        snprintf(f->path, sizeof f->path, "%.*s", (int)sizeof f->path - 1, message.text);
        f->fd = message.fds[0];
        return true;
    }
    if (heard)
        snprintf(f->problem, sizeof f->problem, "%.*s", (int)sizeof f->problem - 1, message.text);
    return false;
}

/* "FD SIZE FORMAT PATH", made by shared_folder_pass of the instance whose place we take. */
static bool folder_inherit(struct shared_folder *f)
{
    const char *text = getenv(VARIABLE);
    struct stat st;
    char format[32];
    size_t size;
    int fd, path = 0;
    if (text == NULL || sscanf(text, "%d %zu %31s %n", &fd, &size, format, &path) != 3 ||
        path == 0 || fd <= STDERR_FILENO || fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode))
        return false;
    if (st.st_uid != f->user.uid || (st.st_mode & 0777) != 0700 || size != f->size ||
        strcmp(format, shared_format()) != 0 || !is_at(fd, text + path)) {
        close(fd);
        return false;
    }
    snprintf(f->path, sizeof f->path, "%s", text + path);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    f->fd = fd;
    return true;
}

bool shared_folder_inherit(struct shared_folder *f, const struct user *user, size_t size)
{
    *f = (struct shared_folder){.size = size, .user = *user, .fd = -1};
    bool inherited = folder_inherit(f);
    unsetenv(VARIABLE);
    return inherited;
}

bool shared_folder_make(struct shared_folder *f, const struct user *user, size_t size)
{
    *f = (struct shared_folder){.size = size, .user = *user, .fd = -1};
    return is_somebody_else(user) ? make_in_child(f) : folder_make(f);
}

void shared_folder_pass(const struct shared_folder *f)
{
    char text[640];
    if (f->path[0] == '\0')
        return;
    snprintf(text, sizeof text, "%d %zu %s %s", f->fd, f->size, shared_format(), f->path);
    fcntl(f->fd, F_SETFD, 0);
    setenv(VARIABLE, text, 1);
}

void shared_folder_leave(struct shared_folder *f)
{
    if (f->path[0] == '\0')
        return;
    close(f->fd); /* a successor still has the lock */
    pid_t pid = is_somebody_else(&f->user) ? fork() : -1;
    if (pid <= 0 && (pid != 0 || user_become(&f->user) == NULL))
        remove_unused(f->path, f->user.uid);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        folder_wait_for(pid);
    f->path[0] = '\0';
    f->fd = -1;
}

/*
 * bind_test - a socket's file is removed from the folder that was looked into, whatever its owner
 * does to the folder meanwhile. Links bind and what it needs.
 */
#include "../test.h"
#include "process/bind.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATH_ROOM = 80 };

/* --- somebody who changes folders at the worst moment --- */

/* The owner of `folder` puts a link to `other` in its place as soon as a file in it has been looked
 * at. The C library is called here, since a program's own functions are found
 * before those of a library. */
static struct {
    bool armed;
    char folder[64], moved[64], other[64]; /* in a path of PATH_ROOM */
} owner;

static void swap_folders(void)
{
    if (!owner.armed)
        return;
    owner.armed = false;
    if (rename(owner.folder, owner.moved) != 0 || symlink(owner.other, owner.folder) != 0)
        abort();
}

static int look(int folder, const char *path, struct stat *st, int flags)
{
    struct statx x;
    if (statx(folder, path, flags, STATX_TYPE, &x) != 0)
        return -1;
    *st = (struct stat){.st_mode = x.stx_mode};
    swap_folders();
    return 0;
}

int fstatat(int folder, const char *path, struct stat *st, int flags)
{
    return look(folder, path, st, flags);
}

int lstat(const char *path, struct stat *st)
{
    return look(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

/* A socket's file that nobody listens on. */
static void leave_socket(const char *folder, char path[PATH_ROOM])
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(path, PATH_ROOM, "%s/x.sock", folder);
    snprintf(un.sun_path, sizeof un.sun_path, "%s/x.sock", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof un) != 0)
        abort();
    close(fd);
}

static void make_folders(const char *base)
{
    snprintf(owner.folder, sizeof owner.folder, "%s/folder", base);
    snprintf(owner.moved, sizeof owner.moved, "%s/moved", base);
    snprintf(owner.other, sizeof owner.other, "%s/other", base);
    if (mkdir(owner.folder, 0755) != 0 || mkdir(owner.other, 0755) != 0)
        abort();
}

static void remove_folders(void)
{
    unlink(owner.folder);
    if (rmdir(owner.moved) != 0 || rmdir(owner.other) != 0)
        abort();
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void test_unlink(const char *base)
{
    char address[PATH_ROOM + 8], path[PATH_ROOM], others[PATH_ROOM], moved[PATH_ROOM];
    struct listen_spec spec = {.address = address, .name = ""};

    test("the socket's file is removed from the folder that was looked into");
    make_folders(base);
    leave_socket(owner.folder, path);
    leave_socket(owner.other, others);
    snprintf(moved, sizeof moved, "%s/x.sock", owner.moved);
    snprintf(address, sizeof address, "unix:%s", path);
    owner.armed = true;
    bind_unlink(&spec);
    check(!owner.armed); /* the moment has come */
    check(is_there(others));
    check(!is_there(moved));
    unlink(moved);
    unlink(others);
    remove_folders();

    test("so is one that is left over, when another one shall take its place");
    make_folders(base);
    leave_socket(owner.folder, path);
    leave_socket(owner.other, others);
    snprintf(address, sizeof address, "unix:%s", path);
    owner.armed = true;
    int fd = -1;
    struct addr addr;
    check(addr_resolve(address, &addr) == NULL);
    const char *bad = bind_open(&spec, &addr, &fd, 1, false);
    check(!owner.armed);
    check(bad != NULL); /* the name is the other folder's now, and that socket is there */
    check(is_there(others));
    check(!is_there(moved));
    unlink(moved);
    unlink(others);
    remove_folders();

    test("what is no socket stays");
    make_folders(base);
    snprintf(path, sizeof path, "%s/x.sock", owner.folder);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    snprintf(address, sizeof address, "unix:%s", path);
    bind_unlink(&spec);
    check(unlink(path) == 0);
    rmdir(owner.folder);
    rmdir(owner.other);
}

int main(void)
{
    char base[] = "/tmp/mg.bind.XXXXXX";
    if (mkdtemp(base) == NULL)
        abort();
    test_unlink(base);
    rmdir(base);
    return test_report();
}

/*
 * walk_test - every path leads to the same file, or the same error, as by openat2 itself. Where the
 * kernel refuses openat2 only the results that are written here are checked. Links walk.
 */
#include "../test.h"
#include "base/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[256];
static int root = -1;

static void make_file(const char *name)
{
    int fd = openat(root, name, O_CREAT | O_WRONLY, 0644);
    check(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name));
    close(fd);
}

/* EAGAIN: another process has renamed something while a ".." was followed. */
static int kernel_open(int from, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)flags, .resolve = resolve};
    int fd, tries = 0;
    do
        fd = (int)syscall(SYS_openat2, from, path, &how, sizeof how);
    while (fd < 0 && errno == EAGAIN && ++tries < 100000);
    return fd;
}

/* 0, and the identity of the file behind the descriptor, which is closed; else the errno. */
static int identity(int fd, struct stat *st)
{
    int err = errno;
    memset(st, 0, sizeof *st);
    if (fd < 0)
        return err;
    check_int(fstat(fd, st), 0);
    close(fd);
    return 0;
}

static void compare(int from, const char *path, int flags, uint64_t resolve)
{
    struct stat ours, theirs;
    int expected = identity(kernel_open(from, path, flags, resolve), &theirs);
    int got = identity(walk_open(from, path, flags, resolve), &ours);
    if (expected == ENOSYS || expected == EPERM)
        return;
    if (got != expected || ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev)
        fprintf(stderr, "    %s, resolve %llx, flags %x\n", path, (unsigned long long)resolve,
                (unsigned)flags);
    check_int(got, expected);
    check(ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev);
}

static const char *const paths[] = {"a",
                                    "./a",
                                    "a/",
                                    "a/.",
                                    "a/b",
                                    ".",
                                    "./",
                                    "..",
                                    "../",
                                    "../a",
                                    "folder",
                                    "folder/",
                                    "folder/.",
                                    "folder/..",
                                    "folder/../a",
                                    "folder//b",
                                    "folder/b/",
                                    "folder/../../a",
                                    "folder/deep/../../a",
                                    "folder/deep/../../../etc/passwd",
                                    "to-a",
                                    "to-a/",
                                    "to-folder",
                                    "to-folder/",
                                    "to-folder/b",
                                    "to-folder/..",
                                    "to-folder/../a",
                                    "out",
                                    "out/x",
                                    "up",
                                    "up/a",
                                    "loop",
                                    "loop/x",
                                    "loop/..",
                                    "chain1",
                                    "chain1/",
                                    "absolute",
                                    "absolute/passwd",
                                    "self/a",
                                    "self/self/self/to-folder/b",
                                    "folder/back",
                                    "folder/back/",
                                    "nothing",
                                    "nothing/",
                                    "nothing/x",
                                    "nothing/..",
                                    "dangling",
                                    "fifo",
                                    "fifo/",
                                    "fifo/x"};

static void test_same(void)
{
    static const int flags[] = {O_PATH | O_CLOEXEC, O_RDONLY | O_CLOEXEC | O_NONBLOCK,
                                O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_DIRECTORY};
    static const uint64_t ways[] = {RESOLVE_BENEATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    char whole[600];
    test("the same as by openat2");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
            for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
                compare(root, paths[i], flags[f], ways[w]);
            snprintf(whole, sizeof whole, "%s/%s", dir, paths[i]);
            compare(AT_FDCWD, whole, flags[f], RESOLVE_NO_SYMLINKS);
        }
    compare(AT_FDCWD, "/", O_PATH | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
    compare(AT_FDCWD, "/..", O_PATH | O_CLOEXEC, RESOLVE_NO_SYMLINKS);
    compare(root, "", O_PATH | O_CLOEXEC, RESOLVE_BENEATH);
}

static void test_bounds(void)
{
    static char path[9000];
    struct stat st;
    test("long names and paths");
    memset(path, 'a', sizeof path - 1);
    compare(root, path, O_PATH | O_CLOEXEC, RESOLVE_BENEATH);
    path[300] = '\0';
    compare(root, path, O_PATH | O_CLOEXEC, RESOLVE_BENEATH);
    test("no more than 256 folders are open");
    for (int i = 0; i < 300; i++) {
        memcpy(path + 2 * i, "d/", 3);
        check_int(mkdirat(root, path, 0755), 0);
    }
    int before = dup(root);
    close(before);
    check_int(identity(walk_open(root, path, O_PATH | O_CLOEXEC, RESOLVE_BENEATH), &st), ELOOP);
    int after = dup(root);
    close(after);
    check_int(after, before);
}

/* A child's work until the names are gone. */
static void swap_names(void)
{
    while (syscall(SYS_renameat2, root, "swap", root, "spare", 2 /* RENAME_EXCHANGE */) == 0)
        continue;
    _exit(0);
}

/* A symlink is put into the place of a file and back while paths are opened: the walk fails or
 * opens the file, and never what lies outside. */
static void test_race(void)
{
    struct stat outside, st;
    int opened = 0; /* none as long as the child has not begun */
    test("a file that becomes a symlink to the outside and back");
    check_int(symlinkat("/etc/passwd", root, "swap"), 0);
    make_file("spare");
    check_int(stat("/etc/passwd", &outside), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        swap_names();
    for (int i = 0; i < 20000 || (opened == 0 && i < 20000000); i++)
        if (identity(walk_open(root, "swap", O_RDONLY | O_CLOEXEC, RESOLVE_BENEATH), &st) == 0) {
            opened++;
            check(st.st_ino != outside.st_ino || st.st_dev != outside.st_dev);
        }
    check(opened > 0);
    check_int(unlinkat(root, "swap", 0), 0);
    check_int(unlinkat(root, "spare", 0), 0);
    check_int(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/walk.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(dir) == NULL || (root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        abort();
    make_file("a");
    check_int(mkdirat(root, "folder", 0755), 0);
    check_int(mkdirat(root, "folder/deep", 0755), 0);
    make_file("folder/b");
    static const char *const links[][2] = {
        {"a", "to-a"},    {"folder/", "to-folder"},   {"../", "out"},      {"..", "up"},
        {"loop", "loop"}, {"chain2", "chain1"},       {"to-a", "chain2"},  {"/etc", "absolute"},
        {".", "self"},    {"../to-a", "folder/back"}, {"none", "dangling"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        check_int(symlinkat(links[i][0], root, links[i][1]), 0);
    check_int(mkfifoat(root, "fifo", 0600), 0);
    test_same();
    test_bounds();
    test_race();
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    check_int(system(command), 0);
    return test_report();
}

/*
 * spool_test - from memory to file, the limit, what the file system says no to. Links spool, input,
 * buf and str.
 */
#include "../test.h"
#include "base/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];

static unsigned char byte_at(uint64_t i)
{
    return (unsigned char)(i * 131 % 251);
}

/* Writes n bytes of the pattern behind what is there. */
static const char *write_some(struct spool *s, size_t n)
{
    char *bytes = malloc(n > 0 ? n : 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)byte_at(s->size + i);
    const char *err = spool_write(s, (struct str){bytes, n});
    free(bytes);
    return err;
}

/* Reads from `at` to the end and compares with the pattern. */
static bool read_all(struct spool *s, uint64_t at, size_t scratch_size)
{
    char *scratch = malloc(scratch_size);
    bool ok = true;
    while (ok && at < s->size) {
        struct str part = spool_read(s, at, scratch, scratch_size);
        ok = check(part.p != NULL) && check(part.n > 0) && check(part.n <= s->size - at);
        for (size_t i = 0; ok && i < part.n; i++)
            ok = check_int((unsigned char)part.p[i], byte_at(at + i));
        at += part.n;
    }
    struct str end = spool_read(s, at, scratch, scratch_size);
    ok = ok && check(end.p != NULL) && check_int((int64_t)end.n, 0);
    free(scratch);
    return ok;
}

static bool dir_is_empty(void)
{
    DIR *d = opendir(dir);
    int count = 0;
    if (d == NULL)
        return false;
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count == 2; /* . and .. */
}

static int count_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void test_memory(void)
{
    struct spool s;
    char scratch[16];
    test("nothing is allocated before the first byte");
    spool_init(&s, 1000, 5000, dir);
    check(s.mem.data == NULL && s.fd == -1 && s.size == 0);
    check_int((int64_t)spool_read(&s, 0, scratch, sizeof scratch).n, 0);
    check(spool_write(&s, STR("")) == NULL);
    check(s.fd == -1 && s.size == 0);

    test("up to `memory` bytes there is no file");
    check(write_some(&s, 400) == NULL && write_some(&s, 600) == NULL);
    check_int((int64_t)s.size, 1000);
    check_int(s.fd, -1);
    read_all(&s, 0, 64);

    test("one byte more begins it");
    check(write_some(&s, 1) == NULL);
    check(s.fd >= 0);
    check_int((int64_t)s.size, 1001);
    read_all(&s, 0, 64);
    spool_fini(&s);
    check(s.fd == -1 && s.size == 0);

    test("room for a known size is made in one step");
    spool_init(&s, 100000, 200000, dir);
    spool_expect(&s, 90000);
    check(s.mem.data == NULL);
    write_some(&s, 1000);
    const char *data = s.mem.data;
    check(s.mem.cap >= 90000);
    for (int i = 1; i < 90; i++)
        write_some(&s, 1000);
    check(s.mem.data == data);
    check_int(s.fd, -1);
    read_all(&s, 0, 64);
    spool_fini(&s);

    test("a size beyond memory makes no room");
    spool_init(&s, 1000, 1 << 30, dir);
    spool_expect(&s, 1 << 29);
    spool_expect(&s, UINT64_MAX);
    check(s.mem.cap <= 1024 && !s.mem.overflow);
    check(write_some(&s, 3000) == NULL);
    read_all(&s, 0, 1000);
    spool_fini(&s);
}

/* A read brings `before` bytes and then n of the pattern. */
static struct str read_some(struct inputs *inputs, size_t before, size_t n)
{
    char *room = inputs_room(inputs);
    for (size_t i = 0; i < n; i++)
        room[before + i] = (char)byte_at(i);
    inputs_filled(inputs, (ssize_t)(before + n));
    return (struct str){room + before, n};
}

static void test_input(void)
{
    struct inputs inputs;
    struct spool s;
    inputs_init(&inputs);
    test("what is expected stays in the buffer of its read");
    spool_init(&s, 20000, 30000, dir);
    spool_expect(&s, 16384);
    struct str bytes = read_some(&inputs, 300, 16384);
    check(spool_take(&s, &inputs, bytes) == NULL);
    check(s.mem.data == bytes.p && s.size == 16384);
    memset(inputs_room(&inputs), 0, INPUT_SIZE); /* the next read */
    read_all(&s, 0, 64);
    read_all(&s, 16383, 64);

    test("more than was expected moves it to memory of its own, then to the file");
    check(write_some(&s, 5) == NULL);
    check(s.mem.data != bytes.p && s.input == NULL && inputs.spare != NULL);
    read_all(&s, 0, 64);
    check(write_some(&s, 10000) == NULL);
    check(s.fd >= 0);
    read_all(&s, 0, 64);
    spool_fini(&s);

    test("the buffer is given back with the spool, which can be used again");
    spool_init(&s, 20000, 30000, dir);
    spool_expect(&s, 5000);
    bytes = read_some(&inputs, 0, 5000);
    check(spool_take(&s, &inputs, bytes) == NULL && s.mem.data == bytes.p);
    spool_fini(&s);
    check(s.input == NULL && s.mem.data == NULL && s.size == 0);
    check_int(inputs.count, 2);

    test("a part, an unknown size, and more than memory may hold are copied");
    static const struct {
        size_t memory, expect, n;
    } copied[] = {{20000, 16384, 16000}, {20000, 0, 16384}, {10000, 16384, 16384}};
    for (size_t i = 0; i < sizeof copied / sizeof *copied; i++) {
        spool_init(&s, copied[i].memory, 30000, dir);
        spool_expect(&s, copied[i].expect);
        bytes = read_some(&inputs, 10, copied[i].n);
        check(spool_take(&s, &inputs, bytes) == NULL && s.input == NULL);
        check(s.mem.data != bytes.p);
        read_all(&s, 0, 4096);
        spool_fini(&s);
    }

    test("the limit holds");
    spool_init(&s, 20000, 10000, dir);
    spool_expect(&s, 16384);
    check(spool_take(&s, &inputs, read_some(&inputs, 0, 16384)) == SPOOL_TOO_LARGE);
    check(s.size == 0 && s.input == NULL);
    spool_fini(&s);
    inputs_fini(&inputs);
}

static void test_border(void)
{
    static const size_t memories[] = {0, 1, 10, 511, 512, 513, 600, 1000};
    static const size_t pieces[] = {1, 3, 512, 700, 2500};
    test("any memory, any size of writes: the same bytes come back, from any position");
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) {
        for (size_t j = 0; j < sizeof pieces / sizeof *pieces; j++) {
            struct spool s;
            spool_init(&s, memories[i], 100000, dir);
            bool ok = true;
            while (ok && s.size < 2500)
                ok = check(write_some(&s, pieces[j]) == NULL);
            ok = ok && check(s.mem.tail <= memories[i]) && read_all(&s, 0, 100) &&
                 read_all(&s, memories[i], 7) && read_all(&s, memories[i] + 1, 4096) &&
                 read_all(&s, s.size - 1, 1) && check(s.fd >= 0);
            spool_fini(&s);
            if (!ok) {
                fprintf(stderr, "    memory %zu, pieces of %zu\n", memories[i], pieces[j]);
                return;
            }
        }
    }

    test("written and read in turn, as a body that is sent while it comes");
    struct spool s;
    spool_init(&s, 700, 100000, dir);
    uint64_t at = 0;
    char scratch[97];
    for (int i = 0; i < 400; i++) {
        write_some(&s, (size_t)(i * 37 % 113));
        struct str part = spool_read(&s, at, scratch, sizeof scratch);
        check(part.p != NULL);
        for (size_t k = 0; k < part.n; k++)
            if (!check_int((unsigned char)part.p[k], byte_at(at + k)))
                i = 400;
        at += part.n;
    }
    read_all(&s, 0, 333);
    check_int((int64_t)spool_read(&s, s.size, scratch, sizeof scratch).n, 0);
    check_int((int64_t)spool_read(&s, s.size + 1, scratch, sizeof scratch).n, 0);
    check_int((int64_t)spool_read(&s, UINT64_MAX, scratch, sizeof scratch).n, 0);
    spool_fini(&s);
}

static void test_named(void)
{
    struct spool s;
    struct stat st;
    test("a file with a name has all bytes, and goes with the spool");
    spool_init_named(&s, 100000, dir);
    check(s.path == NULL && dir_is_empty());
    check(write_some(&s, 10) == NULL && write_some(&s, 70000) == NULL);
    check(s.path != NULL && s.mem.tail == 0);
    check(stat(s.path, &st) == 0 && S_ISREG(st.st_mode));
    check_int(st.st_mode & 07777, 0640);
    check_int(st.st_size, 70010);
    read_all(&s, 0, 4096);
    spool_fini(&s);
    check(s.path == NULL && dir_is_empty());

    test("what was in memory, or in a file without a name, is moved to it");
    for (size_t size = 500; size <= 200000; size += 199500) {
        spool_init(&s, 1000, 300000, dir);
        write_some(&s, size);
        check(spool_name(&s, 300000, dir) == NULL);
        check(s.path != NULL && stat(s.path, &st) == 0);
        check_int(st.st_size, (int64_t)size);
        check(write_some(&s, 7) == NULL);
        read_all(&s, 0, 4096);
        spool_fini(&s);
        check(dir_is_empty());
    }

    test("where it can't be, what was kept is still there");
    spool_init(&s, 1000, 300000, dir);
    write_some(&s, 5000);
    check(spool_name(&s, 4000, dir) == SPOOL_TOO_LARGE);
    check(strcmp(spool_name(&s, 300000, "/no/such/folder"), strerror(ENOENT)) == 0);
    check(s.path == NULL && dir_is_empty());
    read_all(&s, 0, 4096);
    spool_fini(&s);
}

static void test_limit(void)
{
    struct spool s;
    test("the limit, to the byte, in memory and in the file");
    for (size_t memory = 50; memory <= 200; memory += 50) {
        spool_init(&s, memory, 100, dir);
        check(write_some(&s, 99) == NULL);
        check(write_some(&s, 2) == SPOOL_TOO_LARGE);
        check_int((int64_t)s.size, 99);
        check(write_some(&s, 1) == NULL);
        check(write_some(&s, 1) == SPOOL_TOO_LARGE);
        check(write_some(&s, 0) == NULL);
        check_int((int64_t)s.size, 100);
        read_all(&s, 0, 64);
        spool_fini(&s);
    }

    test("a write over the limit leaves no file behind");
    spool_init(&s, 10, 20, dir);
    check(write_some(&s, 21) == SPOOL_TOO_LARGE);
    check(s.size == 0 && s.fd == -1);
    spool_fini(&s);

    test("the largest limit does not wrap around");
    spool_init(&s, 10, UINT64_MAX, dir);
    check(write_some(&s, 10) == NULL && write_some(&s, 10) == NULL);
    read_all(&s, 0, 64);
    spool_fini(&s);
}

static void test_file(void)
{
    struct spool s;
    struct stat st;
    int before = count_fds();
    test("the file has no name, is nobody else's, and is closed at exec");
    spool_init(&s, 10, 1000, dir);
    check(write_some(&s, 500) == NULL);
    check(dir_is_empty());
    if (check(fstat(s.fd, &st) == 0)) {
        check_int(st.st_nlink, 0);
        check(S_ISREG(st.st_mode));
        check_int(st.st_mode & 077, 0);
        check_int(st.st_size, 490);
    }
    check(fcntl(s.fd, F_GETFD) & FD_CLOEXEC);
    check_int(count_fds(), before + 1);

    test("fini closes the file, twice does no harm, and the spool may be used again");
    spool_fini(&s);
    check_int(count_fds(), before);
    spool_fini(&s);
    check(write_some(&s, 700) == NULL);
    read_all(&s, 0, 64);
    spool_fini(&s);
    check_int(count_fds(), before);
}

/* Memory is filled, then comes a write that needs the file. */
static void check_bad_dir(const char *where, int want)
{
    struct spool s;
    spool_init(&s, 10, 1000, where);
    check(write_some(&s, 10) == NULL);
    const char *err = write_some(&s, 1);
    if (check(err != NULL && err != SPOOL_TOO_LARGE) && want != 0)
        check_str(str_of(err), strerror(want));
    check_int(s.fd, -1);
    check_int((int64_t)s.size, 10);
    read_all(&s, 0, 16);
    spool_fini(&s);
}

static void test_bad_dirs(void)
{
    char path[sizeof dir + 16];
    test("a folder that is not there");
    snprintf(path, sizeof path, "%s/missing", dir);
    check_bad_dir(path, ENOENT);

    test("a file where the folder should be");
    snprintf(path, sizeof path, "%s/file", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    check(fd >= 0);
    close(fd);
    check_bad_dir(path, ENOTDIR);
    unlink(path);

    test("a path that is too long");
    char *longer = malloc(6001);
    memset(longer, 'a', 6000);
    longer[0] = '/';
    longer[6000] = '\0';
    check_bad_dir(longer, ENAMETOOLONG);
    free(longer);

    test("a folder that may not be written to");
    bool root = geteuid() == 0; /* who may write everywhere */
    check(chmod(dir, 0555) == 0);
    if (root)
        check(seteuid(65534) == 0);
    check_bad_dir(dir, EACCES);
    if (root)
        check(seteuid(0) == 0);
    check(chmod(dir, 0700) == 0);
    check(dir_is_empty());
}

static void test_full_disk(void)
{
    struct spool s;
    struct rlimit old, tight;
    test("a file that can't grow is an error, and what was written before stays");
    signal(SIGXFSZ, SIG_IGN);
    check(getrlimit(RLIMIT_FSIZE, &old) == 0);
    tight = old;
    tight.rlim_cur = 4096;
    spool_init(&s, 10, 100000, dir);
    check(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    check(write_some(&s, 4000) == NULL);
    const char *err = write_some(&s, 4000);
    check(setrlimit(RLIMIT_FSIZE, &old) == 0);
    if (check(err != NULL))
        check_str(str_of(err), strerror(EFBIG));
    check(s.size >= 4000 && s.size <= 4096 + 10);
    read_all(&s, 0, 512);
    spool_fini(&s);

    test("a file that is shorter than it should be is no end of the body");
    char scratch[64];
    spool_init(&s, 10, 1000, dir);
    check(write_some(&s, 100) == NULL);
    check(ftruncate(s.fd, 20) == 0);
    check(spool_read(&s, 50, scratch, sizeof scratch).p == NULL);
    spool_fini(&s);
}

/* Makes an empty file in the folder `at`; a descriptor of it. */
static int touch(int at, const char *name)
{
    return openat(at, name, O_RDWR | O_CREAT | O_EXCL, 0600);
}

static bool is_there(int at, const char *name)
{
    struct stat st;
    return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_left(void)
{
    static const char *const stay[] = {"moongate-body-held00",
                                       "moongate-body-abc12",
                                       "moongate-body-abc12%",
                                       "moongate-body-abc1234",
                                       "moongate-body-link00",
                                       "moongate-body-folder",
                                       "target"};
    char folder[300];
    struct spool s, other;
    snprintf(folder, sizeof folder, "%s/left", dir);
    check(mkdir(folder, 0700) == 0);
    int at = open(folder, O_RDONLY | O_DIRECTORY);
    close(touch(at, "moongate-body-abc123"));
    close(touch(at, "moongate-body-ZZZZZZ"));
    int held = touch(at, stay[0]);
    for (size_t i = 1; i < 4; i++)
        close(touch(at, stay[i]));
    close(touch(at, "target"));
    check(flock(held, LOCK_SH) == 0);
    check(symlinkat("target", at, "moongate-body-link00") == 0);
    check(mkdirat(at, "moongate-body-folder", 0700) == 0);

    test("the first file in a folder ends those of this user that nobody holds");
    spool_init_named(&s, 100000, folder);
    spool_init_named(&other, 100000, folder);
    check(write_some(&s, 10) == NULL);
    check(!is_there(at, "moongate-body-abc123") && !is_there(at, "moongate-body-ZZZZZZ"));
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        check(is_there(at, stay[i]));

    test("a file that is in use is held by its process");
    int fd = open(s.path, O_RDONLY);
    check(flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK);
    check(flock(fd, LOCK_SH | LOCK_NB) == 0); /* an application may have a lock, too */
    close(fd);

    test("later ones in the folder look no more");
    close(touch(at, "moongate-body-abc123"));
    check(write_some(&other, 10) == NULL);
    check(is_there(at, "moongate-body-abc123"));

    spool_fini(&s);
    spool_fini(&other);
    close(held);
    unlinkat(at, "moongate-body-abc123", 0);
    for (size_t i = 0; i < sizeof stay / sizeof *stay; i++)
        unlinkat(at, stay[i], i == 5 ? AT_REMOVEDIR : 0);
    close(at);
    check(rmdir(folder) == 0);
}

int main(void)
{
    const char *folder = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/spool-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    test_memory();
    test_input();
    test_border();
    test_named();
    test_left();
    test_limit();
    test_file();
    test_bad_dirs();
    test_full_disk();
    rmdir(dir);
    return test_report();
}

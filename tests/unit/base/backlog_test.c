/*
 * backlog_test - first in, first out over memory, file and tail; the limits to the byte; what the
 * file system says no to. Links backlog, spool, buf and str.
 */
#include "../test.h"
#include "base/backlog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[256];

/* A stream of bytes of which the position tells the value. */
static uint64_t written, taken;

static unsigned char byte_at(uint64_t i)
{
    return (unsigned char)((i * 2654435761u) >> 13);
}

static void start(struct backlog *b)
{
    backlog_init(b, 1 << 30);
    written = taken = 0;
}

static const char *add(struct backlog *b, const struct backlog_limits *limits, size_t n)
{
    char *bytes = malloc(n > 0 ? n : 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)byte_at(written + i);
    const char *err = backlog_append(b, limits, (struct str){bytes, n});
    written += n;
    free(bytes);
    return err;
}

/* Takes up to n bytes, in pieces of `most`. */
static bool take(struct backlog *b, size_t n, size_t most)
{
    char scratch[4096];
    while (n > 0 && !backlog_is_empty(b)) {
        struct str s = backlog_peek(b, scratch, most < sizeof scratch ? most : sizeof scratch);
        if (!check(s.p != NULL) || !check(s.n > 0) || !check(s.n <= written - taken))
            return false;
        s.n = s.n < n ? s.n : n;
        s.n = s.n < most ? s.n : most;
        for (size_t i = 0; i < s.n; i++)
            if (!check_int((unsigned char)s.p[i], byte_at(taken + i)))
                return false;
        backlog_consume(b, s.n);
        taken += s.n;
        n -= s.n;
    }
    return true;
}

static bool read_all(struct backlog *b)
{
    char scratch[16];
    return take(b, SIZE_MAX, 3000) && check(backlog_is_empty(b)) && check(taken == written) &&
           check_int((int64_t)backlog_peek(b, scratch, sizeof scratch).n, 0) &&
           check(b->mem.data == NULL);
}

/* The descriptor of the file, found as the kernel sees it: the number that open would give next
 * before it was made. */
static int next_fd(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static uint64_t size_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

static uint64_t disk_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : UINT64_MAX;
}

static void test_limits(void)
{
    struct backlog_limits limits = {.memory = 1000, .file = 5000, .dir = dir};
    struct backlog b;
    int fd = next_fd();
    test("nothing is allocated before the first byte");
    start(&b);
    check(b.mem.data == NULL && b.file == NULL && backlog_is_empty(&b));
    check_int((int64_t)backlog_room(&b, &limits), 6000);

    test("memory is filled to the byte, then the file to the byte");
    check(add(&b, &limits, 999) == NULL && b.file == NULL);
    check(add(&b, &limits, 1) == NULL && b.file == NULL);
    check_int((int64_t)backlog_room(&b, &limits), 5000);
    check(add(&b, &limits, 1) == NULL && b.in_file);
    check_int((int64_t)buf_len(&b.mem), 1000);
    check_int((int64_t)size_of(fd), 1);
    check(add(&b, &limits, 4998) == NULL);
    check_int((int64_t)backlog_room(&b, &limits), 1);
    check(add(&b, &limits, 1) == NULL);
    check_int((int64_t)backlog_room(&b, &limits), 0);
    check_int((int64_t)size_of(fd), 5000);

    test("what comes all the same is kept behind, and the file does not grow");
    check(add(&b, &limits, 30) == NULL);
    check_int((int64_t)size_of(fd), 5000);
    check_int((int64_t)backlog_room(&b, &limits), 0);
    check(read_all(&b));

    test("a file that was read to its end is emptied, and memory is used again");
    check_int((int64_t)size_of(fd), 0);
    check_int((int64_t)backlog_room(&b, &limits), 6000);
    check(add(&b, &limits, 800) == NULL && !b.in_file);
    check(add(&b, &limits, 800) == NULL && b.in_file);
    check_int((int64_t)size_of(fd), 600);
    check(read_all(&b));

    test("fini closes the file and may come twice");
    backlog_fini(&b);
    check_int(next_fd(), fd);
    check(b.file == NULL);
    backlog_fini(&b);

    test("without a file there is memory, and its limit");
    limits.file = 0;
    start(&b);
    check(add(&b, &limits, 990) == NULL);
    check_int((int64_t)backlog_room(&b, &limits), 10);
    check(add(&b, &limits, 20) == NULL && b.file == NULL);
    check_int((int64_t)backlog_room(&b, &limits), 0);
    check(take(&b, 110, 110));
    check_int((int64_t)backlog_room(&b, &limits), 100);
    check(read_all(&b));
    backlog_fini(&b);

    test("more than memory may ever hold is noticed");
    backlog_init(&b, 100);
    written = taken = 0;
    add(&b, &limits, 100);
    check(!backlog_overflows(&b));
    add(&b, &limits, 1);
    check(backlog_overflows(&b));
    backlog_fini(&b);
}

static void test_order(void)
{
    static const size_t memories[] = {0, 1, 700, 5000}, files[] = {0, 1, 600, 4000, 1 << 20};
    uint32_t state = 1;
    test("any limits, any interleaving: the same bytes in the same order");
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) {
        for (size_t j = 0; j < sizeof files / sizeof *files; j++) {
            struct backlog_limits limits = {memories[i], files[j], dir};
            struct backlog b;
            start(&b);
            bool ok = true;
            for (int round = 0; ok && round < 3000; round++) {
                state = state * 1664525 + 1013904223;
                size_t n = (state >> 8) % 900 * (round % 7 == 0 ? 3 : 1);
                uint64_t room = backlog_room(&b, &limits);
                if (state >> 30 == 0) /* now and then more than there is room for */
                    room = n;
                ok = check(add(&b, &limits, n < room ? n : (size_t)room) == NULL) &&
                     take(&b, (state >> 16) % 1000, 1 + (state >> 4) % 700);
            }
            ok = ok && read_all(&b);
            backlog_fini(&b);
            if (!ok) {
                fprintf(stderr, "    memory %zu, file %zu\n", memories[i], files[j]);
                return;
            }
        }
    }
}

static void test_space(void)
{
    enum { MEGABYTE = 1 << 20 };
    struct backlog_limits limits = {.memory = 65536, .file = 4 * MEGABYTE, .dir = dir};
    struct backlog b;
    int fd = next_fd();
    test("a stream that never ends holds no more disk than what waits, and memory stays");
    start(&b);
    add(&b, &limits, 2 * MEGABYTE);
    uint64_t most = 0;
    for (int i = 0; i < 100; i++) {
        if (!check(take(&b, MEGABYTE / 2, SIZE_MAX)) ||
            !check(backlog_room(&b, &limits) >= MEGABYTE / 2))
            break;
        add(&b, &limits, MEGABYTE / 2);
        most = disk_of(fd) > most ? disk_of(fd) : most;
        if (!check(buf_len(&b.mem) <= 65536))
            break;
    }
    check(size_of(fd) > 40 * MEGABYTE); /* it was not empty in between */
    check(most <= 4 * MEGABYTE);
    check(read_all(&b));
    check_int((int64_t)disk_of(fd), 0);
    backlog_fini(&b);

    test("there is room again before all has been read");
    start(&b);
    add(&b, &limits, 65536 + 4 * MEGABYTE);
    check_int((int64_t)backlog_room(&b, &limits), 0);
    check(take(&b, 65536 + MEGABYTE, SIZE_MAX));
    check_int((int64_t)backlog_room(&b, &limits), MEGABYTE);
    check(read_all(&b));
    backlog_fini(&b);
}

static void test_refusals(void)
{
    struct backlog_limits limits = {.memory = 100, .file = 100000, .dir = "/nowhere/at/all"};
    struct backlog b;
    test("a folder that is not there: the reason, and every byte is kept");
    start(&b);
    check(add(&b, &limits, 100) == NULL);
    const char *err = add(&b, &limits, 50);
    if (check(err != NULL))
        check_str(str_of(err), strerror(ENOENT));
    check(b.file == NULL);
    limits.file = 0;
    check_int((int64_t)backlog_room(&b, &limits), 0);
    check(read_all(&b));
    backlog_fini(&b);

    test("a file that can't grow: its bytes, then those in memory, in order");
    struct rlimit old, tight;
    signal(SIGXFSZ, SIG_IGN);
    check(getrlimit(RLIMIT_FSIZE, &old) == 0);
    tight = old;
    tight.rlim_cur = 4096;
    limits = (struct backlog_limits){.memory = 100, .file = 100000, .dir = dir};
    start(&b);
    check(setrlimit(RLIMIT_FSIZE, &tight) == 0);
    check(add(&b, &limits, 3000) == NULL);
    err = add(&b, &limits, 3000);
    check(setrlimit(RLIMIT_FSIZE, &old) == 0);
    if (check(err != NULL))
        check_str(str_of(err), strerror(EFBIG));
    limits.file = 0;
    check_int((int64_t)backlog_room(&b, &limits), 0);
    check(add(&b, &limits, 500) == NULL);
    check(take(&b, 100 + 4096, SIZE_MAX));
    check(!b.in_file); /* what was behind the file is all that waits, in memory */
    check(take(&b, 2304 - 50, SIZE_MAX));
    check_int((int64_t)backlog_room(&b, &limits), 50);
    check(read_all(&b));
    backlog_fini(&b);

    test("a file that is shorter than it should be is no end");
    char scratch[64];
    int fd = next_fd();
    limits.file = 100000;
    start(&b);
    add(&b, &limits, 300);
    check(take(&b, 110, SIZE_MAX));
    check(ftruncate(fd, 5) == 0);
    check(backlog_peek(&b, scratch, sizeof scratch).p == NULL);
    backlog_fini(&b);
}

int main(void)
{
    const char *folder = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/backlog-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    test_limits();
    test_order();
    test_space();
    test_refusals();
    rmdir(dir);
    return test_report();
}

/*
 * filecache_test - what is kept of a file is what the file is, in the next turn at the latest; what
 * is kept has bounds. Links filecache, media, date, lookup, finding and str.
 */
#include "../test.h"
#include "base/lookup.h"
#include "http/filecache.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { LARGE = 40000, FULL = 32768, MANY = 600, DESCRIPTORS = 100 };

static char dir[256], bytes[LARGE];

static const char *in_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void make_file(const char *name, char byte, size_t size)
{
    int fd = open(in_dir(name), O_CREAT | O_WRONLY | O_TRUNC, 0644);
    memset(bytes, byte, size);
    check(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static void rename_to(const char *from, const char *to)
{
    char a[400];
    snprintf(a, sizeof a, "%s", in_dir(from));
    check(rename(a, in_dir(to)) == 0);
}

/* Until what has been made so far is old enough to be kept. */
static void wait_until_settled(void)
{
    struct timespec from, now, pause = {.tv_nsec = 50 * 1000 * 1000};
    clock_gettime(CLOCK_REALTIME, &from);
    do {
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_REALTIME, &now);
    } while (now.tv_sec < from.tv_sec + 3);
}

static struct cached_file *find(const char *path)
{
    return filecache_find(str_of(dir), str_of(path), NULL, 0);
}

/* As a request does it; the result stays in use. */
static struct cached_file *get(const char *path)
{
    struct cached_file *f = find(path);
    return f != NULL ? f : filecache_open(str_of(dir), str_of(path), NULL, 0);
}

static bool is_kept(const char *path)
{
    struct cached_file *f = find(path);
    if (f != NULL)
        file_source_drop(&f->source);
    return f != NULL;
}

/* The first byte of a file's content; 0 without one. */
static char byte_of(const char *path)
{
    struct cached_file *f = get(path);
    char byte = f != NULL && f->source.content != NULL && f->size > 0 ? f->source.content[0] : 0;
    if (f != NULL)
        file_source_drop(&f->source);
    return byte;
}

static void test_new(void)
{
    test("what has changed just now is read, and not kept");
    make_file("new.txt", 'n', 10);
    check_int(byte_of("/new.txt"), 'n');
    check(!is_kept("/new.txt"));
}

static void test_kept(void)
{
    test("content and texts of a head");
    struct cached_file *f = get("/a.css");
    check(f != NULL && f->source.fd == -1);
    check_int(f->size, 4096);
    check_str(f->type, "text/css; charset=utf-8");
    check_int(f->modified.n, 29);
    check(f->tag.n > 4 && f->tag.p[0] == '"' && f->tag.p[f->tag.n - 1] == '"');
    check(find("/a.css") == f);
    file_source_drop(&f->source);
    file_source_drop(&f->source);
    lookup_begin_turn();
    check(is_kept("/a.css"));
    test("of a large file the descriptor");
    f = get("/large.bin");
    check(f != NULL && f->source.content == NULL && f->source.fd >= 0);
    file_source_drop(&f->source);
    test("one of 32 KB has its content, an empty one, too");
    check_int(byte_of("/full.bin"), 'f');
    f = get("/empty.txt");
    check(f != NULL && f->source.content != NULL && f->size == 0);
    file_source_drop(&f->source);
    test("what is no file is not kept, and what is not there is said");
    f = get("/sub");
    check(f != NULL && S_ISDIR(f->mode));
    file_source_drop(&f->source);
    check(!is_kept("/sub"));
    errno = 0;
    check(get("/nothing") == NULL && errno == ENOENT);
    check(get("/../x") == NULL && errno == EXDEV);
    test("a symlink's real path");
    f = get("/link.css");
    check(f != NULL && f->followed);
    check_str(f->real, "/a.css");
    file_source_drop(&f->source);
}

static void test_changes(void)
{
    test("a change of the same size is seen in the next turn");
    check_int(byte_of("/a.css"), 'a');
    struct cached_file *used = get("/a.css");
    make_file("a.css", 'b', 4096);
    check_int(byte_of("/a.css"), 'a');
    lookup_begin_turn();
    check_int(byte_of("/a.css"), 'b');
    test("what this turn's look has found is not looked at again");
    lookup_begin_turn();
    check_int(lookup_probe(str_of(dir), STR("/c.css"), NULL, 0), LOOKUP_FILE);
    check_int(byte_of("/c.css"), 'c');
    lookup_begin_turn();
    check_int(lookup_probe(str_of(dir), STR("/c.css"), NULL, 0), LOOKUP_FILE);
    make_file("c.css", 'C', 10);
    check_int(byte_of("/c.css"), 'c');
    lookup_begin_turn();
    check_int(lookup_probe(str_of(dir), STR("/c.css"), NULL, 0), LOOKUP_FILE);
    check_int(byte_of("/c.css"), 'C');
    test("who sends the former one goes on");
    check_int(used->source.content[4095], 'a');
    file_source_drop(&used->source);
    test("replaced, removed, out of reach");
    check_int(byte_of("/b.css"), 'b');
    rename_to("c.css", "b.css");
    lookup_begin_turn();
    check_int(byte_of("/b.css"), 'C');
    check(unlink(in_dir("b.css")) == 0);
    lookup_begin_turn();
    check(get("/b.css") == NULL && errno == ENOENT);
    check_int(byte_of("/d.css"), 'd');
    check(unlink(in_dir("d.css")) == 0 && symlink("/etc/passwd", in_dir("d.css")) == 0);
    lookup_begin_turn();
    check(get("/d.css") == NULL && errno == EXDEV);
}

/* Descriptors of this process that are open. */
static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void test_bounds(void)
{
    char name[32];
    int kept = 0, before = open_descriptors();
    test("at most 16 MB of content");
    lookup_begin_turn();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "/full%d", i);
        check_int(byte_of(name), 'f');
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "/full%d", i);
        kept += is_kept(name);
    }
    check(kept < 512 && kept > 480);
    check(is_kept(name));
    check(!is_kept("/full0"));
    check_int(open_descriptors(), before - 1); /* of large.bin, which was the oldest */
    test("at most 64 descriptors, closed when nobody has used them between two sweeps");
    for (int i = 0; i < DESCRIPTORS; i++) {
        snprintf(name, sizeof name, "/large%d", i);
        struct cached_file *f = get(name);
        check(f != NULL && f->source.fd >= 0);
        file_source_drop(&f->source);
    }
    check_int(open_descriptors(), before - 1 + 64);
    check(filecache_sweep());
    check(is_kept(name));
    check(filecache_sweep());
    check_int(open_descriptors(), before);
    check(!filecache_sweep());
    check(!filecache_has_descriptors());
    check_int(open_descriptors(), before - 1);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    char name[32];
    snprintf(dir, sizeof dir, "%s/filecache-XXXXXX", tmp != NULL ? tmp : "/tmp");
    check(mkdtemp(dir) != NULL);
    lookup_begin_turn();
    make_file("a.css", 'a', 4096);
    make_file("b.css", 'b', 10);
    make_file("c.css", 'c', 10);
    make_file("d.css", 'd', 10);
    make_file("empty.txt", 'e', 0);
    make_file("full.bin", 'f', FULL);
    make_file("large.bin", 'l', LARGE);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "full%d", i);
        make_file(name, 'f', FULL);
    }
    for (int i = 0; i < DESCRIPTORS; i++) {
        snprintf(name, sizeof name, "large%d", i);
        make_file(name, 'l', LARGE);
    }
    check(mkdir(in_dir("sub"), 0755) == 0 && symlink("a.css", in_dir("link.css")) == 0);
    test_new();
    wait_until_settled();
    test_kept();
    test_changes();
    test_bounds();
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    check(system(command) == 0);
    return test_report();
}

/*
 * writer_test - bytes come in order through every size of buffer, to the descriptor that was set
 * when they were taken; errors count lines; a pipe that is full stands for a disk that is slow.
 * Links writer and str.
 */
#include "../test.h"

#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char bytes[200000];
static uint32_t used, written;
static struct writer_file file = {.bytes = bytes, .used = &used, .written = &written};

static void append(const char *text, size_t n)
{
    if (n > sizeof bytes - used)
        writer_make_room(&file);
    memcpy(bytes + used, text, n);
    __atomic_store_n(&used, used + (uint32_t)n, __ATOMIC_RELEASE);
}

static void test_order(void)
{
    char line[100], got[100];
    unsigned wrong = 0;
    test("lines come in their order");
    int fd = memfd_create("log", MFD_CLOEXEC);
    check(writer_set(&file, fd));
    for (unsigned i = 0; i < 20000; i++) {
        int n = snprintf(line, sizeof line, "this is line number %06u\n", i);
        append(line, (size_t)n);
        if (i % 100 == 0)
            writer_wake();
        if (sizeof bytes - used < 100)
            check(writer_drain(60));
    }
    writer_wake();
    check(writer_drain(60));
    for (unsigned i = 0; i < 20000; i++) {
        int n = snprintf(line, sizeof line, "this is line number %06u\n", i);
        wrong += pread(fd, got, (size_t)n, (off_t)i * n) != n || memcmp(got, line, (size_t)n) != 0;
    }
    check(wrong == 0);
    writer_make_room(&file);
    check(used == 0 && written == 0);
    close(fd);
}

/* Fills the pipe, so that the thread waits in its write. Returns the bytes that the pipe has. */
static size_t fill(const int pipe[2])
{
    static char much[4096];
    size_t all = 0;
    fcntl(pipe[1], F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = write(pipe[1], much, sizeof much)) > 0; all += (size_t)n)
        ;
    fcntl(pipe[1], F_SETFL, 0);
    return all;
}

static size_t drain(int fd)
{
    static char much[4096];
    size_t all = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (ssize_t n; (n = read(fd, much, sizeof much)) > 0; all += (size_t)n)
        ;
    return all;
}

static void test_slow(void)
{
    char got[100] = "";
    int pipes[2];
    test("bytes wait for a slow file, and those behind them may go to another one");
    check(pipe(pipes) == 0);
    size_t full = fill(pipes);
    check(writer_set(&file, pipes[1]));
    append("one\n", 4);
    writer_wake();
    check(!writer_drain(0.05));
    int fd = memfd_create("log", MFD_CLOEXEC);
    check(writer_set(&file, fd) && writer_set(&file, fd)); /* while the thread waits */
    append("two\n", 4);
    writer_make_room(&file); /* nothing is written yet */
    check(used == 8);
    size_t before = drain(pipes[0]);
    check(writer_drain(60));
    check(before + drain(pipes[0]) == full + 4);
    ssize_t n = pread(fd, got, sizeof got - 1, 0);
    check(n == 4 && memcmp(got, "two\n", 4) == 0);
    check(writer_take_back(&file, 1) == 0);
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
}

static void test_back(void)
{
    int pipes[2], reason;
    test("a buffer is taken back while the thread waits, and is the caller's");
    writer_make_room(&file);
    check(pipe(pipes) == 0);
    fill(pipes);
    check(writer_set(&file, pipes[1]));
    append("three\n", 6);
    writer_wake();
    check(!writer_drain(0.05));
    check(writer_take_back(&file, 0.05) == 6);
    used = written = 0;
    drain(pipes[0]);
    close(pipes[0]);
    close(pipes[1]);
    int fd = memfd_create("log", MFD_CLOEXEC);
    check(writer_set(&file, fd));
    append("four\n", 5);
    writer_wake();
    check(writer_drain(60) && lseek(fd, 0, SEEK_END) == 5);
    check(written == 5 && writer_lost(&file, &reason) == 0);
    close(fd);
}

static void test_errors(void)
{
    int reason = 0, fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    test("lines that can't be written are counted");
    if (fd < 0)
        return;
    check(writer_set(&file, fd));
    close(fd);
    append("a\nb\nc\n", 6);
    writer_wake();
    check(writer_drain(60));
    check(writer_lost(&file, &reason) == 3 && reason == ENOSPC);
    check(writer_lost(&file, &reason) == 0);
    check(!writer_set(&file, -1));
}

/* The pipe takes one write of the thread, and there is always another one. */
static void test_turns(void)
{
    static char slow_bytes[200000], much[65536];
    static uint32_t slow_used, slow_written;
    static struct writer_file slow = {
        .bytes = slow_bytes, .used = &slow_used, .written = &slow_written};
    char got[100] = "";
    int pipes[2];
    test("a file that is always behind keeps no other one waiting");
    writer_make_room(&file);
    check(pipe(pipes) == 0);
    size_t full = fill(pipes);
    int fd = memfd_create("log", MFD_CLOEXEC);
    check(writer_set(&file, fd));
    check(writer_set(&slow, pipes[1]));
    for (unsigned i = 0; i < sizeof slow_bytes; i++)
        slow_bytes[i] = i % 100 == 99 ? '\n' : 'x';
    __atomic_store_n(&slow_used, sizeof slow_bytes, __ATOMIC_RELEASE);
    writer_wake();
    check(!writer_drain(0.05)); /* the thread is in its first write to the pipe */
    append("other\n", 6);
    for (size_t n = 0; n < full;)
        n += (size_t)read(pipes[0], much, full - n < sizeof much ? full - n : sizeof much);
    check(writer_wait(&file, 60));
    check(pread(fd, got, sizeof got, 0) == 6 && memcmp(got, "other\n", 6) == 0);
    check(!writer_wait(&slow, 0.05));
    for (int i = 0; i < 6000 && !writer_wait(&slow, 0.01); i++)
        drain(pipes[0]);
    check(writer_take_back(&slow, 60) == 0);
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
}

/* What the child finds: no thread, no file, no descriptor of them; a thread of its own works. */
static int in_child(int fd, int its)
{
    if (writer_runs() || fcntl(its, F_GETFD) >= 0)
        return 1;
    writer_make_room(&file); /* the lock is free */
    used = written = 0;
    if (!writer_start() || !writer_set(&file, fd))
        return 2;
    append("child\n", 6);
    return writer_wait(&file, 60) && lseek(fd, 0, SEEK_END) == 6 ? 0 : 3;
}

static void test_fork(void)
{
    int pipes[2], status = -1, fd = memfd_create("log", MFD_CLOEXEC);
    test("a child has no thread, however busy its parent's is, and may start one");
    writer_make_room(&file);
    check(pipe(pipes) == 0);
    fill(pipes);
    check(writer_set(&file, pipes[1]));
    append("parent\n", 7);
    writer_wake();
    check(!writer_drain(0.05));
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_child(fd, file.fd));
    check(waitpid(pid, &status, 0) == pid && status == 0);
    drain(pipes[0]);
    check(writer_drain(60) && writer_take_back(&file, 1) == 0); /* the parent's goes on */
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
}

int main(void)
{
    check(!writer_runs());
    if (!writer_start())
        return 1;
    test_order();
    test_slow();
    test_back();
    test_turns();
    test_errors();
    test_fork();
    return test_report();
}

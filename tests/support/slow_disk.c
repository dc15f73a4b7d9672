/*
 * slow_disk - a library for LD_PRELOAD that makes a disk slow: a write to a regular file whose name
 * begins with SLOW_FILE waits as long as the file SLOW_WHILE exists. Calls of write by a program or
 * its libraries go through it, as far as they go through the C library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int slow_disk_is_meant(int fd)
{
    const char *name = getenv("SLOW_FILE");
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = name != NULL ? readlink(link, path, sizeof path - 1) : -1;
    if (n <= 0)
        return 0;
    path[n] = '\0';
    return strncmp(path, name, strlen(name)) == 0;
}

static ssize_t (*real)(int fd, const void *bytes, size_t n);

/* At the start, since a thread that holds the linker's lock would keep it locked in a child. */
__attribute__((constructor)) static void slow_disk_find(void)
{
    *(void **)&real = dlsym(RTLD_NEXT, "write");
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    const char *hold = getenv("SLOW_WHILE");
    if (real == NULL) /* called by another library's constructor */
        slow_disk_find();
    if (hold != NULL && slow_disk_is_meant(fd))
        while (access(hold, F_OK) == 0)
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    return real(fd, bytes, n);
}

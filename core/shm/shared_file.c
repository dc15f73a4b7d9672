/* shared_file - see shared_file.h. */
#include "shm/shared_file.h"

#include "shm/lock.h"
#include "shm/shared.h"
#include "shm/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define SHARED_FILE_VARIABLE "MOONGATE_SHARED"
#ifndef MFD_NOEXEC_SEAL
#    define MFD_NOEXEC_SEAL 8u
#endif

/* A hardened kernel (vm.memfd_noexec) requires MFD_NOEXEC_SEAL; a kernel before 6.3 does not know
 * the flag. */
static int shared_file_create(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC) : fd;
}

/* Makes the lock, with the undo. Each process that opens the dictionaries maps them anew. */
static bool shared_file_init_lock(int fd)
{
    if (ftruncate(fd, sizeof(struct undo)) != 0)
        return false;
    struct undo *undo = mmap(NULL, sizeof *undo, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (undo == MAP_FAILED)
        return false;
    lock_init(&undo->lock);
    munmap(undo, sizeof *undo);
    return true;
}

/* The kernel sets no limit for files without a name, so the usual limit of a tmpfs is used: half of
 * the machine's memory. */
static bool shared_file_has_room(size_t size)
{
    struct sysinfo machine;
    return sysinfo(&machine) != 0 || size / machine.mem_unit <= machine.totalram / 2;
}

bool shared_file_make(struct shared_file *f, size_t size)
{
    *f = (struct shared_file){.data = -1, .lock = -1, .size = size};
    if (!shared_file_has_room(size)) {
        snprintf(f->problem, sizeof f->problem,
                 "limits.shared (%zu bytes) is more than half of the machine's memory", size);
        return false;
    }
    f->data = shared_file_create("moongate-shared");
    f->lock = shared_file_create("moongate-shared-lock");
    if (f->data >= 0 && f->lock >= 0 && shared_file_init_lock(f->lock))
        return true;
    snprintf(f->problem, sizeof f->problem, "no file in memory for limits.shared: %s",
             strerror(errno));
    shared_file_close(f);
    return false;
}

static bool shared_file_is_good(int fd)
{
    struct stat st;
    return fd > STDERR_FILENO && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0;
}

/* MOONGATE_SHARED is "DATA LOCK SIZE FORMAT", made by shared_file_pass of the instance that started
 * this one. */
bool shared_file_inherit(struct shared_file *f, size_t size)
{
    const char *text = getenv(SHARED_FILE_VARIABLE);
    char format[32] = "";
    int fields = 0;
    *f = (struct shared_file){.data = -1, .lock = -1};
    if (text != NULL)
        fields = sscanf(text, "%d %d %zu %31s", &f->data, &f->lock, &f->size, format);
    unsetenv(SHARED_FILE_VARIABLE);
    if (!shared_file_is_good(f->data) || !shared_file_is_good(f->lock))
        return false;
    if (fields != 4 || f->size != size || strcmp(format, shared_format()) != 0) {
        shared_file_close(f);
        return false;
    }
    fcntl(f->data, F_SETFD, FD_CLOEXEC);
    fcntl(f->lock, F_SETFD, FD_CLOEXEC);
    return true;
}

void shared_file_pass(const struct shared_file *f)
{
    char text[128];
    if (f->data < 0)
        return;
    snprintf(text, sizeof text, "%d %d %zu %s", f->data, f->lock, f->size, shared_format());
    fcntl(f->data, F_SETFD, 0);
    fcntl(f->lock, F_SETFD, 0);
    setenv(SHARED_FILE_VARIABLE, text, 1);
}

bool shared_file_is_empty(const struct shared_file *f)
{
    struct stat st;
    return f->data >= 0 && fstat(f->data, &st) == 0 && st.st_size == 0;
}

void shared_file_close(struct shared_file *f)
{
    if (f->data >= 0)
        close(f->data);
    if (f->lock >= 0)
        close(f->lock);
    f->data = f->lock = -1;
}

/* stamp - see stamp.h. */
#include "base/stamp.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

const char *stamp_of(const char *path, char out[STAMP_SIZE])
{
    struct stat st;
    if (stat(path, &st) != 0)
        snprintf(out, STAMP_SIZE, "%s",
                 errno == ENOENT || errno == ENOTDIR ? STAMP_NONE : STAMP_UNKNOWN);
    else
        snprintf(out, STAMP_SIZE, "%llx.%llx.%llx.%x.%x.%llx.%lx", (unsigned long long)st.st_dev,
                 (unsigned long long)st.st_ino, (unsigned long long)st.st_size,
                 (unsigned)st.st_mode, (unsigned)st.st_uid, (unsigned long long)st.st_mtim.tv_sec,
                 (unsigned long)st.st_mtim.tv_nsec);
    return out;
}

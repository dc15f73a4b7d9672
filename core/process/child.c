/* child - see child.h. */
#include "process/child.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

pid_t child_fork(const int ends[2])
{
    fflush(NULL);
    pid_t pid = fork();
    int err = errno;
    if (pid != 0)
        close(ends[1]);
    if (pid <= 0)
        close(ends[0]);
    errno = err;
    return pid;
}

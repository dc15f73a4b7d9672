/* release - see release.h. */
#include "process/release.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

void release_init(struct release *r, unsigned generation, int kept)
{
    int fd =
        kept > 0 ? fcntl(kept, F_DUPFD_CLOEXEC, 3) : memfd_create("moongate-script", MFD_CLOEXEC);
    *r = (struct release){.generation = generation, .logs = LOGS_NONE, .snapshot = fd > 0 ? fd : 0};
}

void release_close(struct release *r)
{
    logs_close(&r->logs);
    if (r->snapshot > 0)
        close(r->snapshot);
    r->snapshot = 0;
    if (r->certificates > 0)
        close(r->certificates);
    r->certificates = 0;
}

void release_free(struct release *r)
{
    release_close(r);
    plan_free(&r->plan);
}

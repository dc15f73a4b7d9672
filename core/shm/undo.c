/* undo - see undo.h. */
#include "shm/undo.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* The order of stores that a signal finds, and so the one that a kill leaves. */
static void undo_set_kept(struct undo *u, uint32_t kept)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&u->kept, kept, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void undo_keep(struct undo *u, const unsigned char *pages, size_t page_size)
{
    for (size_t i = 0; i < UNDO_PAGES; i++)
        memcpy(u->bytes[i], pages + i * page_size, UNDO_BYTES);
    u->page_size = (uint32_t)page_size;
    undo_set_kept(u, 1);
}

void undo_forget(struct undo *u)
{
    undo_set_kept(u, 0);
}

/* Not through a mapping: who opens the data can't map it before its pages can be trusted. */
int undo_restore(struct undo *u, int fd)
{
    if (__atomic_load_n(&u->kept, __ATOMIC_ACQUIRE) == 0)
        return 0;
    for (size_t i = 0; i < UNDO_PAGES; i++)
        if (pwrite(fd, u->bytes[i], UNDO_BYTES, (off_t)(i * u->page_size)) != UNDO_BYTES)
            return errno != 0 ? errno : EIO;
    undo_set_kept(u, 0);
    return 0;
}

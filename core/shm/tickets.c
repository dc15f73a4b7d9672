/* tickets - see tickets.h. */
#include "shm/tickets.h"

#include "shm/mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Fills a key. Keys are never made of anything but the kernel's random bytes. */
static void tickets_make(struct ticket_key *key)
{
    char *at = (char *)key;
    for (size_t done = 0; done < sizeof *key;) {
        ssize_t n = getrandom(at + done, sizeof *key - done, 0);
        if (n < 0 && errno != EINTR)
            abort();
        done += n > 0 ? (size_t)n : 0;
    }
}

struct tickets *tickets_new(void)
{
    struct tickets *t = mapping_new(sizeof *t);
    if (t == NULL)
        return NULL;
    for (unsigned i = 0; i < TICKETS_KEYS; i++)
        tickets_make(&t->keys[i]);
    return t;
}

void tickets_free(struct tickets *t)
{
    if (t == NULL)
        return;
    explicit_bzero(t, sizeof *t);
    munmap(t, sizeof *t);
}

void tickets_rotate(struct tickets *t)
{
    struct ticket_key key;
    tickets_make(&key);
    __atomic_store_n(&t->version, t->version + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memmove(t->keys + 1, t->keys, (TICKETS_KEYS - 1) * sizeof *t->keys);
    t->keys[0] = key;
    __atomic_store_n(&t->version, t->version + 1, __ATOMIC_RELEASE);
    explicit_bzero(&key, sizeof key);
}

bool tickets_read(const struct tickets *t, struct ticket_key out[TICKETS_KEYS])
{
    /* A master that dies inside tickets_rotate leaves the version odd, so the looks are bounded. */
    for (unsigned looks = 0; looks < 1000; looks++) {
        uint32_t before = __atomic_load_n(&t->version, __ATOMIC_ACQUIRE);
        memcpy(out, t->keys, sizeof t->keys);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (before % 2 == 0 && __atomic_load_n(&t->version, __ATOMIC_RELAXED) == before)
            return true;
    }
    return false;
}

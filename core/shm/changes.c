/* changes - see changes.h. */
#include "shm/changes.h"

#include "shm/lock.h"
#include "shm/mapping.h"

struct changes {
    pthread_mutex_t lock;
    struct change_list all;
};

struct changes *changes_new(void)
{
    struct changes *c = mapping_new(sizeof *c);
    if (c != NULL)
        lock_init(&c->lock);
    return c;
}

bool changes_are_newer(const struct changes *c, const struct change_list *copy)
{
    return __atomic_load_n(&c->all.version, __ATOMIC_ACQUIRE) != copy->version;
}

/* A worker that died in the middle may have left one change twice, or one with the old weight:
 * nothing that a reader could fail at, since the count goes up last and down last. */
static void changes_enter(struct changes *c)
{
    lock_enter(&c->lock);
    if (c->all.count > CHANGES_MOST)
        c->all.count = CHANGES_MOST;
}

static void changes_leave(struct changes *c, bool changed)
{
    if (changed)
        __atomic_fetch_add(&c->all.version, 1, __ATOMIC_RELEASE);
    lock_leave(&c->lock);
}

void changes_read(struct changes *c, struct change_list *copy)
{
    changes_enter(c);
    copy->version = c->all.version;
    copy->count = c->all.count;
    memcpy(copy->list, c->all.list, copy->count * sizeof *copy->list);
    changes_leave(c, false);
}

static bool change_is_of(const struct change *change, struct str backend, struct str address)
{
    return str_eq(str_of(change->backend), backend) && str_eq(str_of(change->address), address);
}

const struct change *changes_find(const struct change_list *copy, struct str backend,
                                  struct str address)
{
    for (unsigned i = 0; i < copy->count; i++)
        if (change_is_of(&copy->list[i], backend, address))
            return &copy->list[i];
    return NULL;
}

bool changes_put(struct changes *c, const struct change *change)
{
    changes_enter(c);
    unsigned at = 0;
    while (at < c->all.count &&
           !change_is_of(&c->all.list[at], str_of(change->backend), str_of(change->address)))
        at++;
    bool has_place = at < CHANGES_MOST;
    if (has_place)
        c->all.list[at] = *change;
    if (has_place && at == c->all.count)
        c->all.count++;
    changes_leave(c, has_place);
    return has_place;
}

unsigned changes_forget(struct changes *c, struct str backend, struct str address)
{
    unsigned dropped = 0;
    changes_enter(c);
    for (unsigned i = c->all.count; i-- > 0;) {
        struct change *change = &c->all.list[i];
        if ((backend.n > 0 && !str_eq(str_of(change->backend), backend)) ||
            (address.n > 0 && !str_eq(str_of(change->address), address)))
            continue;
        for (unsigned j = i; j + 1 < c->all.count; j++)
            c->all.list[j] = c->all.list[j + 1];
        c->all.count--;
        dropped++;
    }
    changes_leave(c, dropped > 0);
    return dropped;
}

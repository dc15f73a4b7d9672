/* grants - see grants.h. */
#include "exchange/grants.h"

#include <stdlib.h>

/* The struct is followed by its bytes: the key, and each param. */
struct grant {
    double until;
    size_t key, size; /* bytes of the key, and in all */
    unsigned count;   /* of params */
    char bytes[];
};

struct grants {
    struct grant *places[GRANTS];
};

static uint64_t grant_hash(struct str key)
{
    uint64_t hash = 1469598103934665603u;
    for (size_t i = 0; i < key.n; i++)
        hash = (hash ^ (unsigned char)key.p[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

static char *grants_put_text(char *at, struct str text)
{
    memcpy(at, &text.n, sizeof text.n);
    if (text.n > 0)
        memcpy(at + sizeof text.n, text.p, text.n);
    return at + sizeof text.n + text.n;
}

static const char *grants_take_text(const char *at, struct arena *a, struct str *text)
{
    size_t n;
    memcpy(&n, at, sizeof n);
    *text = arena_copy(a, (struct str){at + sizeof n, n});
    return at + sizeof n + n;
}

void grants_keep(struct grants **all, struct str key, double until, const struct params *said)
{
    size_t size = key.n;
    for (unsigned i = 0; i < said->count; i++)
        size += said->list[i].name.n + said->list[i].value.n + 2 * sizeof(size_t);
    if (size > GRANT_SIZE)
        return;
    if (*all == NULL)
        *all = calloc(1, sizeof **all);
    struct grant *g = malloc(sizeof *g + size);
    if (*all == NULL || g == NULL)
        abort();
    *g = (struct grant){.until = until, .key = key.n, .size = size, .count = said->count};
    memcpy(g->bytes, key.p, key.n);
    char *at = g->bytes + key.n;
    for (unsigned i = 0; i < said->count; i++)
        at = grants_put_text(grants_put_text(at, said->list[i].name), said->list[i].value);
    struct grant **place = &(*all)->places[grant_hash(key) % GRANTS];
    free(*place);
    *place = g;
}

bool grants_find(const struct grants *all, struct arena *a, struct str key, double now,
                 struct params *said)
{
    const struct grant *g = all != NULL ? all->places[grant_hash(key) % GRANTS] : NULL;
    if (g == NULL || g->until <= now || !str_eq((struct str){g->bytes, g->key}, key))
        return false;
    const char *at = g->bytes + g->key;
    for (unsigned i = 0; i < g->count; i++) {
        struct str name, value;
        at = grants_take_text(grants_take_text(at, a, &name), a, &value);
        params_add(a, said, name, value);
    }
    return true;
}

void grants_free(struct grants *all)
{
    for (size_t i = 0; all != NULL && i < GRANTS; i++)
        free(all->places[i]);
    free(all);
}

/*
 * netset - see netset.h.
 *
 * A network is a range of keys: a byte for the family, then the address. Two networks are either
 * nested or apart. Sorted by their first keys, without the nested ones, at most one range can have
 * a key: the last one that begins at or before it.
 */
#include "base/netset.h"

#include <stdlib.h>

#define KEY_SIZE 17

struct netset_range {
    uint8_t first[KEY_SIZE], last[KEY_SIZE];
};

static void netset_set_key(uint8_t key[KEY_SIZE], const struct peer *peer)
{
    key[0] = peer->family;
    memcpy(key + 1, peer->ip, KEY_SIZE - 1);
}

/* All keys whose first `bits` bits of the address are those of the peer. */
static void netset_set_range(struct netset_range *range, const struct peer *peer, unsigned bits)
{
    netset_set_key(range->first, peer);
    netset_set_key(range->last, peer);
    for (unsigned i = 0; i < KEY_SIZE - 1; i++) {
        unsigned kept = bits > 8 * i ? bits - 8 * i : 0;
        uint8_t rest = kept >= 8 ? 0 : (uint8_t)(0xff >> kept);
        range->first[1 + i] &= (uint8_t)~rest;
        range->last[1 + i] |= rest;
    }
}

static bool netset_read_network(struct netset_range *range, struct str text)
{
    struct peer peer = {.family = AF_UNIX};
    struct str prefix = text, address = str_cut(&prefix, '/');
    uint64_t bits;
    if (str_eq(text, STR("unix:"))) {
        netset_set_range(range, &peer, 0);
        return true;
    }
    if (!peer_parse(&peer, address))
        return false;
    unsigned written = memchr(address.p, ':', address.n) != NULL ? 128 : 32;
    unsigned most = peer.family == AF_INET ? 32 : 128;
    if (prefix.p == NULL)
        bits = written;
    else if (prefix.n > 3 || !str_to_u64(prefix, &bits) || bits > written)
        return false;
    if (bits < written - most) /* "::ffff:0.0.0.0/90": a part of it is not IPv4 */
        return false;
    netset_set_range(range, &peer, (unsigned)bits - (written - most));
    return true;
}

/* Sorts ranges by their first keys; of two that begin alike the larger one comes first. */
static int netset_compare(const void *a, const void *b)
{
    const struct netset_range *x = a, *y = b;
    int order = memcmp(x->first, y->first, KEY_SIZE);
    return order != 0 ? order : memcmp(y->last, x->last, KEY_SIZE);
}

const struct str *netset_make(struct netset *set, const struct str *texts, unsigned count,
                              struct arena *arena)
{
    struct netset_range *list = arena_alloc(arena, (count + 1) * sizeof *list);
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++)
        if (!netset_read_network(&list[i], texts[i]))
            return &texts[i];
    qsort(list, count, sizeof *list, netset_compare);
    for (unsigned i = 0; i < count; i++)
        if (kept == 0 || memcmp(list[i].first, list[kept - 1].last, KEY_SIZE) > 0)
            list[kept++] = list[i];
    *set = (struct netset){.ranges = list, .count = kept};
    return NULL;
}

bool netset_has(const struct netset *set, const struct peer *peer)
{
    uint8_t key[KEY_SIZE];
    unsigned low = 0, high = set->count;
    netset_set_key(key, peer);
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (memcmp(set->ranges[middle].first, key, KEY_SIZE) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && memcmp(key, set->ranges[low - 1].last, KEY_SIZE) <= 0;
}

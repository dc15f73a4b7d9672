/*
 * census - see census.h.
 *
 *     [ header | worker 0: total, slots | worker 1: ... ]
 *
 * A slot is one word, with an address and its count, so that a reader never sees one without the
 * other. An address may lie in any slot of its window. Slots are never moved, so a slot is given up
 * by writing 0.
 *
 * A worker first writes its own count and then reads the counts of the others, both with seq_cst:
 * of two workers that count at once, at least one sees the other's.
 */
#include "shm/census.h"

#include "shm/mapping.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#define WINDOW     16 /* slots of a window: two cache lines */
#define COUNT_BITS 24
#define COUNT_MASK ((1ul << COUNT_BITS) - 1)
#define PAGE       4096

struct part {
    _Alignas(64) _Atomic uint32_t total;
    _Alignas(PAGE) _Atomic uint64_t slots[CENSUS_SLOTS];
};

struct census {
    unsigned workers;
    uint64_t seed[2];
    _Alignas(PAGE) struct part parts[];
};

struct census *census_new(unsigned workers)
{
    size_t size = sizeof(struct census) + workers * sizeof(struct part);
    struct census *c = mapping_new(size);
    if (c == NULL)
        return NULL;
    c->workers = workers;
    if (getrandom(c->seed, sizeof c->seed, 0) < 0)
        abort();
    return c;
}

void census_free(struct census *c)
{
    if (c != NULL)
        munmap(c, sizeof(struct census) + c->workers * sizeof(struct part));
}

/* --- addresses --- */

/* The finalizer of splitmix64: one to one, so that different addresses stay different. */
static uint64_t census_mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The hash of an address; 0 for a peer without an address. The seed keeps clients from choosing
 * addresses that share a window. */
static uint64_t census_hash_of(const struct census *c, const struct peer *peer)
{
    uint64_t prefix = 0;
    if (peer->family == AF_INET6)
        memcpy(&prefix, peer->ip, 8);
    else if (peer->family == AF_INET)
        memcpy(&prefix, peer->ip, 4);
    else
        return 0;
    uint64_t seed = peer->family == AF_INET6 ? c->seed[0] : c->seed[1];
    return census_mix(census_mix(prefix ^ seed) + c->seed[1]) | 1;
}

/* The 40 bits of the hash that identify the address in its slot; 16 others choose the window. */
static uint64_t census_name_of(uint64_t hash)
{
    return hash << COUNT_BITS;
}

static unsigned census_window_of(uint64_t hash)
{
    return (unsigned)(hash >> 48) % (CENSUS_SLOTS / WINDOW) * WINDOW;
}

static bool census_is_name(uint64_t slot, uint64_t name)
{
    return (slot & ~COUNT_MASK) == name;
}

/* The address's slot in a worker's part; NULL: the part does not have the address. */
static _Atomic uint64_t *census_find(struct part *part, uint64_t hash)
{
    _Atomic uint64_t *window = &part->slots[census_window_of(hash)];
    for (int i = 0; i < WINDOW; i++)
        if (census_is_name(atomic_load(&window[i]), census_name_of(hash)))
            return &window[i];
    return NULL;
}

static _Atomic uint64_t *census_find_or_claim(struct part *part, uint64_t hash)
{
    _Atomic uint64_t *slot = census_find(part, hash),
                     *window = &part->slots[census_window_of(hash)];
    for (int i = 0; slot == NULL && i < WINDOW; i++)
        if (atomic_load_explicit(&window[i], memory_order_relaxed) == 0)
            slot = &window[i];
    return slot;
}

/* --- counting --- */

static unsigned census_sum_of(const struct census *c, uint64_t hash)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < c->workers; i++) {
        const _Atomic uint64_t *slot = census_find((struct part *)&c->parts[i], hash);
        uint64_t value = slot != NULL ? atomic_load(slot) : 0;
        sum += census_is_name(value, census_name_of(hash)) ? value & COUNT_MASK : 0;
    }
    return sum < UINT32_MAX ? (unsigned)sum : UINT32_MAX;
}

unsigned census_total(const struct census *c)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < c->workers; i++)
        sum += atomic_load(&c->parts[i].total);
    return sum;
}

unsigned census_of(const struct census *c, const struct peer *peer)
{
    uint64_t hash = census_hash_of(c, peer);
    return hash != 0 ? census_sum_of(c, hash) : 0;
}

static void census_count_address(struct part *part, uint64_t hash)
{
    _Atomic uint64_t *slot = hash != 0 ? census_find_or_claim(part, hash) : NULL;
    if (slot == NULL)
        return;
    uint64_t value = atomic_load_explicit(slot, memory_order_relaxed);
    if ((value & COUNT_MASK) < COUNT_MASK)
        atomic_store(slot, census_name_of(hash) | ((value & COUNT_MASK) + 1));
}

static void census_uncount_address(struct part *part, uint64_t hash)
{
    _Atomic uint64_t *slot = hash != 0 ? census_find(part, hash) : NULL;
    if (slot == NULL)
        return;
    uint64_t left = (atomic_load_explicit(slot, memory_order_relaxed) & COUNT_MASK) - 1;
    atomic_store(slot, left > 0 ? census_name_of(hash) | left : 0);
}

enum census_answer census_enter(struct census *c, unsigned worker, const struct peer *peer,
                                unsigned connections, unsigned per_ip)
{
    struct part *part = &c->parts[worker];
    uint64_t hash = census_hash_of(c, peer);
    enum census_answer answer = CENSUS_WELCOME;
    atomic_fetch_add(&part->total, 1);
    census_count_address(part, hash);
    if (connections > 0 && census_total(c) > connections)
        answer = CENSUS_FULL;
    else if (per_ip > 0 && hash != 0 && census_sum_of(c, hash) > per_ip)
        answer = CENSUS_PER_IP;
    if (answer != CENSUS_WELCOME)
        census_leave(c, worker, peer);
    return answer;
}

bool census_count(struct census *c, unsigned worker, const struct peer *peer, unsigned per_ip)
{
    struct part *part = &c->parts[worker];
    uint64_t hash = census_hash_of(c, peer);
    census_count_address(part, hash);
    if (per_ip == 0 || hash == 0 || census_sum_of(c, hash) <= per_ip)
        return true;
    census_uncount_address(part, hash);
    return false;
}

void census_uncount(struct census *c, unsigned worker, const struct peer *peer)
{
    census_uncount_address(&c->parts[worker], census_hash_of(c, peer));
}

void census_leave(struct census *c, unsigned worker, const struct peer *peer)
{
    struct part *part = &c->parts[worker];
    census_uncount_address(part, census_hash_of(c, peer));
    atomic_fetch_sub(&part->total, 1); /* last, so that a part whose total is 0 has no addresses */
}

void census_worker_gone(struct census *c, unsigned worker)
{
    struct part *part = &c->parts[worker];
    if (atomic_load(&part->total) == 0)
        return;
    for (unsigned i = 0; i < CENSUS_SLOTS; i++)
        if (atomic_load_explicit(&part->slots[i], memory_order_relaxed) != 0)
            atomic_store(&part->slots[i], 0);
    atomic_store(&part->total, 0);
}

/* cache - see cache.h. */
#include "shm/cache.h"

#include "shm/lock.h"
#include "shm/mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define UNKEPT  4096 /* responses of which it is known that they are not kept */
#define FILLS   1024 /* responses that are made at a time, with others waiting */
#define PROBES  16   /* places in which a fill may be found, from its hash on */
#define ROUNDS  64   /* slots that get another round before one goes whatever it is */
#define USES    3    /* rounds that the most used ones get */
#define RECENT  1024 /* purges that are remembered for responses that are being made */
#define BLOCK   4096 /* of the disk: a file takes whole ones */
#define BUCKETS CACHE_SLOTS

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_USED };

/* What a hit reads and writes is one line of the processor's memory. */
struct slot {
    _Alignas(64) uint64_t hash;
    uint64_t id;
    double stored, fresh_until, stale_until, at_once_until;
    uint32_t next;         /* of the bucket, or of the free ones */
    uint32_t head_slot;    /* of a newer head, and 1; 0: there is none */
    uint16_t owner;        /* the place that has taken it */
    uint8_t state;         /* enum slot_state; written last */
    uint8_t used;          /* rounds that it has earned */
    bool coded;            /* a part of a response */
    uint32_t newer, older; /* of those that are used */
    uint64_t size, head;
    uint32_t tags[CACHE_TAGS], site;
    uint16_t text_size;
    char text[CACHE_TEXT];
};

struct fill {
    uint64_t hash;
    double since;
    uint16_t place;
    bool used;
    uint64_t waiting[CACHE_PLACES / 64];
};

struct unkept {
    uint64_t hash;
    double until;
};

struct purge {
    uint8_t kind;
    uint32_t tag, site; /* 0: none; all sites */
    uint16_t size;
    char text[CACHE_TEXT];
};

struct cache {
    pthread_mutex_t lock;
    unsigned places;
    uint64_t seed[2], instance;
    uint64_t limit, bytes, entries, coded, ids, stored, evicted, purged;
    uint64_t purges;
    char path[CACHE_PATH]; /* written once */
    struct purge recent[RECENT];
    uint32_t free, newest, oldest;
    uint32_t reached; /* slots beyond it have never been used: their memory is not touched */
    struct fill fills[FILLS];
    struct unkept unkept[UNKEPT]; /* by hash; a later one takes the place */
    int wake[CACHE_PLACES];
    uint32_t buckets[BUCKETS]; /* a slot and 1; 0: none */
    struct slot slots[CACHE_SLOTS];
};

static unsigned own; /* the place of this process */

/* --- the lists; called under the lock --- */

static uint64_t cache_blocks(uint64_t size)
{
    return (size + BLOCK - 1) / BLOCK * BLOCK;
}

static void cache_link(struct cache *c, uint32_t i)
{
    struct slot *s = &c->slots[i];
    uint32_t *bucket = &c->buckets[s->hash % BUCKETS];
    s->next = *bucket > 0 ? *bucket - 1 : CACHE_NONE;
    *bucket = i + 1;
    s->newer = CACHE_NONE;
    s->older = c->newest;
    *(s->older != CACHE_NONE ? &c->slots[s->older].newer : &c->oldest) = i;
    c->newest = i;
    c->bytes += cache_blocks(s->size);
    *(s->coded ? &c->coded : &c->entries) += 1;
}

static void cache_unlist(struct cache *c, struct slot *s)
{
    *(s->newer != CACHE_NONE ? &c->slots[s->newer].older : &c->newest) = s->older;
    *(s->older != CACHE_NONE ? &c->slots[s->older].newer : &c->oldest) = s->newer;
}

/* Takes a used slot out of the lists, for this process. */
static void cache_take(struct cache *c, uint32_t i)
{
    struct slot *s = &c->slots[i];
    uint32_t *bucket = &c->buckets[s->hash % BUCKETS], at = *bucket - 1;
    s->owner = (uint16_t)own;
    __atomic_store_n(&s->state, SLOT_TAKEN, __ATOMIC_RELEASE);
    if (at == i) {
        *bucket = s->next != CACHE_NONE ? s->next + 1 : 0;
    } else {
        while (c->slots[at].next != i)
            at = c->slots[at].next;
        c->slots[at].next = s->next;
    }
    cache_unlist(c, s);
    c->bytes -= cache_blocks(s->size);
    *(s->coded ? &c->coded : &c->entries) -= 1;
}

static void cache_release(struct cache *c, uint32_t i)
{
    struct slot *s = &c->slots[i];
    s->next = c->free;
    c->free = i;
    __atomic_store_n(&s->state, SLOT_FREE, __ATOMIC_RELEASE);
}

static void cache_rebuild(struct cache *c)
{
    memset(c->buckets, 0, sizeof c->buckets);
    c->free = c->newest = c->oldest = CACHE_NONE;
    c->bytes = c->entries = c->coded = 0;
    for (uint32_t i = 0; i < c->reached && i < CACHE_SLOTS; i++) {
        if (c->slots[i].state == SLOT_USED)
            cache_link(c, i);
        else if (c->slots[i].state == SLOT_FREE)
            cache_release(c, i);
    }
}

static void cache_enter(struct cache *c)
{
    if (lock_enter(&c->lock))
        cache_rebuild(c);
}

static void cache_leave(struct cache *c)
{
    lock_leave(&c->lock);
}

static uint32_t cache_look(const struct cache *c, uint64_t hash)
{
    uint32_t i = c->buckets[hash % BUCKETS];
    i = i > 0 ? i - 1 : CACHE_NONE;
    while (i != CACHE_NONE && c->slots[i].hash != hash)
        i = c->slots[i].next;
    return i;
}

/* --- hashing: SipHash-1-3 (Aumasson, Bernstein: SipHash, a fast short-input PRF) --- */

static uint64_t cache_rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void cache_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = cache_rotate(v[1], 13) ^ v[0];
    v[0] = cache_rotate(v[0], 32);
    v[2] += v[3];
    v[3] = cache_rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = cache_rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = cache_rotate(v[1], 17) ^ v[2];
    v[2] = cache_rotate(v[2], 32);
}

uint64_t cache_hash(const struct cache *c, struct str text)
{
    uint64_t v[4] = {c->seed[0] ^ 0x736f6d6570736575, c->seed[1] ^ 0x646f72616e646f6d,
                     c->seed[0] ^ 0x6c7967656e657261, c->seed[1] ^ 0x7465646279746573};
    uint64_t word, size = (uint64_t)text.n << 56;
    for (; text.n >= 8; text = str_skip(text, 8)) {
        memcpy(&word, text.p, 8);
        v[3] ^= word;
        cache_round(v);
        v[0] ^= word;
    }
    word = 0;
    if (text.n > 0)
        memcpy(&word, text.p, text.n);
    word |= size;
    v[3] ^= word;
    cache_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        cache_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t cache_coded_hash(const struct cache *c, uint64_t id, enum coding coding)
{
    const uint64_t both[] = {id, (uint64_t)coding};
    return cache_hash(c, (struct str){(const char *)both, sizeof both});
}

uint32_t cache_tag(const struct cache *c, struct str name)
{
    return (uint32_t)cache_hash(c, name) | 1;
}

/* --- beginning and end --- */

struct cache *cache_new(unsigned places)
{
    struct cache *c = mapping_new(sizeof *c);
    if (c == NULL)
        return NULL;
    lock_init(&c->lock);
    c->places = places < CACHE_PLACES ? places : CACHE_PLACES;
    c->free = c->newest = c->oldest = CACHE_NONE;
    for (unsigned i = 0; i < c->places; i++)
        c->wake[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if ((c->places > 0 && c->wake[c->places - 1] < 0) ||
        getrandom(c->seed, sizeof c->seed, 0) != sizeof c->seed ||
        getrandom(&c->instance, sizeof c->instance, 0) != sizeof c->instance)
        return NULL;
    return c;
}

uint64_t cache_instance(const struct cache *c)
{
    return c->instance;
}

static void cache_wake(const struct cache *c, const struct fill *f)
{
    const uint64_t one = 1;
    for (unsigned i = 0; i < c->places; i++)
        if (f->waiting[i / 64] >> (i % 64) & 1 && write(c->wake[i], &one, sizeof one) < 0)
            continue; /* full: it is readable already */
}

void cache_worker_gone(struct cache *c, unsigned place)
{
    cache_enter(c);
    for (unsigned i = 0; i < FILLS; i++) {
        struct fill *f = &c->fills[i];
        if (!f->used || f->place != place)
            continue;
        f->used = false;
        cache_wake(c, f);
    }
    cache_leave(c);
}

/* The file of a slot that is given back may lie there. Whoever takes the slot next replaces it. */
void cache_join(struct cache *c, unsigned place)
{
    own = place;
    cache_worker_gone(c, place);
    cache_enter(c);
    for (uint32_t i = 0; i < c->reached; i++)
        if (c->slots[i].state == SLOT_TAKEN && c->slots[i].owner == place)
            cache_release(c, i);
    cache_leave(c);
}

const char *cache_path(const struct cache *c)
{
    return c->path;
}

const char *cache_set_path(struct cache *c, struct str path)
{
    if (path.n == 0 || path.n >= CACHE_PATH)
        return NULL;
    cache_enter(c);
    if (c->path[0] == '\0')
        memcpy(c->path, path.p, path.n); /* zeros follow */
    cache_leave(c);
    return c->path;
}

void cache_set_limit(struct cache *c, uint64_t bytes)
{
    __atomic_store_n(&c->limit, bytes, __ATOMIC_RELAXED);
}

/* --- finding --- */

static void cache_note_use(struct slot *s)
{
    if (s->used < USES)
        s->used++;
}

bool cache_find(struct cache *c, uint64_t hash, double now, struct cache_found *found)
{
    bool is = false;
    cache_enter(c);
    uint32_t i = cache_look(c, hash);
    if (i != CACHE_NONE && c->slots[i].stale_until > now) {
        struct slot *s = &c->slots[i];
        cache_note_use(s);
        *found = (struct cache_found){.slot = i,
                                      .id = s->id,
                                      .stored = s->stored,
                                      .fresh_until = s->fresh_until,
                                      .stale_until = s->stale_until,
                                      .at_once_until = s->at_once_until};
        if (s->head_slot > 0) {
            found->head_slot = s->head_slot - 1;
            found->head = s->head;
            cache_note_use(&c->slots[found->head_slot]);
        }
        is = true;
    }
    cache_leave(c);
    return is;
}

bool cache_refresh(struct cache *c, const struct cache_found *found)
{
    struct slot *s = &c->slots[found->slot];
    cache_enter(c);
    bool is = s->state == SLOT_USED && s->id == found->id;
    if (is) {
        s->stored = found->stored;
        s->fresh_until = found->fresh_until;
        s->stale_until = found->stale_until;
        s->at_once_until = found->at_once_until;
    }
    cache_leave(c);
    return is;
}

/* --- room --- */

/* A response goes with its parts. */
#define VICTIM_SLOTS (1 + CODINGS)

static bool cache_has_room(const struct cache_victims *victims)
{
    return victims->count + VICTIM_SLOTS <= CACHE_VICTIMS;
}

static void cache_add_victim(struct cache *c, uint32_t i, struct cache_victims *victims)
{
    uint64_t id = c->slots[i].id;
    cache_take(c, i);
    victims->slots[victims->count++] = i;
    if (c->slots[i].coded)
        return;
    victims->responses++;
    for (unsigned coding = 0; coding < CODINGS; coding++) {
        uint32_t part = cache_look(c, cache_coded_hash(c, id, (enum coding)coding));
        if (part == CACHE_NONE || !c->slots[part].coded)
            continue;
        cache_take(c, part);
        victims->slots[victims->count++] = part;
    }
}

void cache_discard(struct cache *c, uint32_t slot, uint64_t id, struct cache_victims *victims)
{
    victims->count = victims->responses = 0;
    cache_enter(c);
    if (c->slots[slot].state == SLOT_USED && c->slots[slot].id == id)
        cache_add_victim(c, slot, victims);
    cache_leave(c);
}

/* Takes the slot that is worth least. */
static void cache_evict(struct cache *c, struct cache_victims *victims)
{
    for (unsigned rounds = 0; c->slots[c->oldest].used > 0 && rounds < ROUNDS; rounds++) {
        uint32_t i = c->oldest;
        struct slot *s = &c->slots[i];
        s->used--;
        cache_unlist(c, s);
        s->newer = CACHE_NONE;
        s->older = c->newest;
        *(s->older != CACHE_NONE ? &c->slots[s->older].newer : &c->oldest) = i;
        c->newest = i;
    }
    c->evicted += !c->slots[c->oldest].coded;
    cache_add_victim(c, c->oldest, victims);
}

static uint32_t cache_take_free(struct cache *c, struct cache_victims *victims)
{
    if (c->free == CACHE_NONE && c->reached == CACHE_SLOTS) {
        if (c->oldest == CACHE_NONE || !cache_has_room(victims))
            return CACHE_NONE;
        cache_evict(c, victims);
        return victims->slots[--victims->count]; /* its file is replaced */
    }
    uint32_t i = c->free;
    if (i != CACHE_NONE)
        c->free = c->slots[i].next;
    else
        i = c->reached++;
    return i;
}

uint32_t cache_reserve(struct cache *c, uint64_t size, uint64_t *id, struct cache_victims *victims)
{
    uint32_t i = CACHE_NONE;
    victims->count = victims->responses = 0;
    cache_enter(c);
    uint64_t blocks = cache_blocks(size), limit = c->limit;
    while (c->bytes + blocks > limit && c->oldest != CACHE_NONE && cache_has_room(victims))
        cache_evict(c, victims);
    if (c->bytes + blocks <= limit)
        i = cache_take_free(c, victims);
    if (i != CACHE_NONE) {
        *id = ++c->ids;
        c->slots[i].id = *id;
        c->slots[i].owner = (uint16_t)own;
        __atomic_store_n(&c->slots[i].state, SLOT_TAKEN, __ATOMIC_RELEASE);
    }
    cache_leave(c);
    return i;
}

void cache_relieve(struct cache *c, unsigned count, struct cache_victims *victims)
{
    victims->count = victims->responses = 0;
    cache_enter(c);
    while (victims->count < count && cache_has_room(victims) && c->oldest != CACHE_NONE)
        cache_evict(c, victims);
    cache_leave(c);
}

void cache_free(struct cache *c, uint32_t slot)
{
    cache_enter(c);
    cache_release(c, slot);
    cache_leave(c);
}

/* --- purges --- */

uint64_t cache_purges(const struct cache *c)
{
    return __atomic_load_n(&c->purges, __ATOMIC_ACQUIRE);
}

/* The texts of a site begin alike, so the last byte is compared first. */
static bool cache_begins(struct str text, struct str with)
{
    return with.n == 0 || (text.p[with.n - 1] == with.p[with.n - 1] && str_starts(text, with));
}

/* A text that was cut matches what it may match: a purge may take too much, never too little. A
 * part goes with its response; the body of a file only when all goes. */
static bool cache_matches(const struct slot *s, const struct purge *p)
{
    struct str text = {s->text, s->text_size}, what = {p->text, p->size};
    if (s->coded)
        return p->kind == CACHE_PURGE_ALL && p->site == 0;
    if (p->site != 0 && p->site != s->site)
        return false;
    switch (p->kind) {
    case CACHE_PURGE_TAG:
        for (unsigned i = 0; i < CACHE_TAGS; i++)
            if (s->tags[i] == p->tag)
                return true;
        return false;
    case CACHE_PURGE_KEY:
        return text.n == what.n && cache_begins(text, what);
    case CACHE_PURGE_PREFIX:
        return text.n >= what.n && cache_begins(text, what);
    default:
        return true;
    }
}

static struct purge cache_purge_of(const struct cache *c, const struct cache_order *order)
{
    struct str what = order->what;
    struct purge p = {.kind = (uint8_t)order->kind, .site = order->site};
    p.tag = order->kind == CACHE_PURGE_TAG ? cache_tag(c, what) : 0;
    p.size = (uint16_t)(what.n < CACHE_TEXT ? what.n : CACHE_TEXT);
    if (p.size > 0)
        memcpy(p.text, what.p, p.size);
    return p;
}

/* The purges of one call, with a bit for each tag that they name. */
struct purges {
    struct purge list[CACHE_ORDERS];
    unsigned count;
    uint64_t tags[16];
};

static void cache_read_orders(const struct cache *c, const struct cache_order *orders,
                              unsigned count, struct purges *out)
{
    out->count = count;
    memset(out->tags, 0, sizeof out->tags);
    for (unsigned i = 0; i < count; i++) {
        out->list[i] = cache_purge_of(c, &orders[i]);
        out->tags[out->list[i].tag / 64 % 16] |= 1ull << (out->list[i].tag % 64);
    }
}

static bool cache_matches_one(const struct slot *s, const struct purges *p)
{
    bool tagged = false;
    for (unsigned i = 0; i < CACHE_TAGS && !tagged; i++)
        tagged = s->tags[i] != 0 && p->tags[s->tags[i] / 64 % 16] >> (s->tags[i] % 64) & 1;
    for (unsigned i = 0; i < p->count; i++)
        if ((p->list[i].kind != CACHE_PURGE_TAG || tagged) && cache_matches(s, &p->list[i]))
            return true;
    return false;
}

bool cache_purge(struct cache *c, const struct cache_order *orders, unsigned count, uint32_t *from,
                 struct cache_victims *victims)
{
    static struct purges all;
    victims->count = victims->responses = 0;
    cache_read_orders(c, orders, count, &all);
    cache_enter(c);
    for (unsigned i = 0; *from == 0 && i < count; i++) {
        c->recent[c->purges % RECENT] = all.list[i];
        __atomic_store_n(&c->purges, c->purges + 1, __ATOMIC_RELEASE);
    }
    uint32_t end = *from + 8192 < c->reached ? *from + 8192 : c->reached;
    for (; *from < end && cache_has_room(victims); ++*from)
        if (c->slots[*from].state == SLOT_USED && cache_matches_one(&c->slots[*from], &all))
            cache_add_victim(c, *from, victims);
    c->purged += victims->responses;
    bool more = *from < c->reached;
    cache_leave(c);
    return more;
}

/* Whether one of the purges since then is about the slot. */
static bool cache_was_purged(const struct cache *c, const struct slot *s, uint64_t since)
{
    if (c->purges - since > RECENT)
        return true;
    for (uint64_t i = since; i < c->purges; i++)
        if (cache_matches(s, &c->recent[i % RECENT]))
            return true;
    return false;
}

static void cache_describe(struct slot *s, const struct cache_facts *facts)
{
    s->hash = facts->hash;
    s->size = facts->size;
    s->stored = facts->stored;
    s->fresh_until = facts->fresh_until;
    s->stale_until = facts->stale_until;
    s->at_once_until = facts->at_once_until;
    memcpy(s->tags, facts->tags, sizeof s->tags);
    s->site = facts->site;
    s->coded = facts->coded;
    s->head_slot = 0;
    s->used = 0;
    s->text_size = (uint16_t)(facts->text.n < CACHE_TEXT ? facts->text.n : CACHE_TEXT);
    if (s->text_size > 0)
        memcpy(s->text, facts->text.p, s->text_size);
}

/* Whether the response of a part is there. */
static bool cache_has_response(const struct cache *c, const struct cache_facts *facts)
{
    const struct slot *s = &c->slots[facts->of_slot];
    return facts->of == 0 || (s->state == SLOT_USED && s->id == facts->of);
}

bool cache_publish(struct cache *c, uint32_t slot, const struct cache_facts *facts, uint64_t since,
                   struct cache_victims *victims)
{
    struct slot *s = &c->slots[slot];
    victims->count = victims->responses = 0;
    cache_enter(c);
    cache_describe(s, facts);
    bool stays = !cache_was_purged(c, s, since) && cache_has_response(c, facts);
    uint32_t former = cache_look(c, facts->hash);
    if (former != CACHE_NONE)
        cache_add_victim(c, former, victims);
    if (stays) {
        cache_link(c, slot);
        __atomic_store_n(&s->state, SLOT_USED, __ATOMIC_RELEASE);
        c->stored += !facts->coded;
        if (facts->head) {
            c->slots[facts->of_slot].head_slot = slot + 1;
            c->slots[facts->of_slot].head = s->id;
        }
        if (c->unkept[facts->hash % UNKEPT].hash == facts->hash)
            c->unkept[facts->hash % UNKEPT].until = 0;
    } else {
        victims->slots[victims->count++] = slot;
    }
    cache_leave(c);
    return stays;
}

/* --- one makes it, others wait --- */

static struct fill *cache_fill_of(struct cache *c, uint64_t hash, struct fill **room)
{
    *room = NULL;
    for (unsigned i = 0; i < PROBES; i++) {
        struct fill *f = &c->fills[(hash + i) % FILLS];
        if (f->used && f->hash == hash)
            return f;
        if (!f->used && *room == NULL)
            *room = f;
    }
    return NULL;
}

enum cache_turn cache_begin_fill(struct cache *c, uint64_t hash, double now)
{
    struct fill *room;
    cache_enter(c);
    const struct unkept *u = &c->unkept[hash % UNKEPT];
    struct fill *f = cache_fill_of(c, hash, &room);
    if (u->hash == hash && u->until > now)
        f = room = NULL;
    else if (f != NULL && f->since + CACHE_PATIENCE <= now) {
        f->since = now;
        f->place = (uint16_t)own;
        room = f;
        f = NULL;
    } else if (f != NULL)
        f->waiting[own / 64] |= 1ull << (own % 64);
    else if (room != NULL)
        *room = (struct fill){.hash = hash, .since = now, .place = (uint16_t)own, .used = true};
    cache_leave(c);
    return f != NULL ? CACHE_OTHERS : room != NULL ? CACHE_YOURS : CACHE_CROWD;
}

void cache_end_fill(struct cache *c, uint64_t hash)
{
    struct fill *room;
    cache_enter(c);
    struct fill *f = cache_fill_of(c, hash, &room);
    if (f != NULL && f->place == own) {
        f->used = false;
        cache_wake(c, f);
    }
    cache_leave(c);
}

void cache_note_unkept(struct cache *c, uint64_t hash, double until)
{
    cache_enter(c);
    c->unkept[hash % UNKEPT] = (struct unkept){hash, until};
    cache_leave(c);
}

int cache_wake_fd(const struct cache *c)
{
    return c->wake[own];
}

void cache_count(struct cache *c, struct cache_counts *out)
{
    cache_enter(c);
    *out = (struct cache_counts){.entries = c->entries,
                                 .coded = c->coded,
                                 .bytes = c->bytes,
                                 .limit = c->limit,
                                 .stored = c->stored,
                                 .evicted = c->evicted,
                                 .purged = c->purged};
    cache_leave(c);
}

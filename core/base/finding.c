/* finding - see finding.h. */
#include "base/finding.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* --- places --- */

/* Adds a string, a NUL and the length, which tells apart texts that contain a NUL. False: no room.
 */
static bool finding_place_add(struct place *p, struct str s)
{
    if (p->size + s.n + 2 > sizeof p->text)
        return false;
    if (s.n > 0)
        memcpy(p->text + p->size, s.p, s.n);
    p->text[p->size + s.n] = '\0';
    p->text[p->size + s.n + 1] = (char)s.n;
    p->size = (uint16_t)(p->size + s.n + 2);
    return true;
}

/* Eight bytes at once; the constants are those of MurmurHash3's finalizer. */
static uint32_t finding_place_hash(const struct place *p)
{
    uint64_t hash = p->size, word;
    size_t i = 0;
    for (; i + sizeof word <= p->size; i += sizeof word) {
        memcpy(&word, p->text + i, sizeof word);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 33;
    }
    word = 0;
    memcpy(&word, p->text + i, p->size - i);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 33;
    return (uint32_t)(hash * 0xc4ceb9fe1a85ec53u >> 32);
}

bool place_make(struct place *p, struct str root, struct str path, const struct str *within,
                unsigned count)
{
    p->size = 0;
    bool fits = finding_place_add(p, root) && (path.p == NULL || finding_place_add(p, path));
    for (unsigned i = 0; i < count && fits; i++)
        fits = finding_place_add(p, within[i]);
    if (fits)
        p->hash = finding_place_hash(p);
    return fits;
}

bool place_same(const struct place *a, const struct place *b)
{
    return a->hash == b->hash && a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
}

/* --- identities --- */

struct identity identity_of(const struct stat *st)
{
    return (struct identity){st->st_dev, st->st_ino, st->st_ctim};
}

bool identity_same(const struct identity *a, const struct identity *b)
{
    return a->inode == b->inode && a->device == b->device &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* --- the table --- */

/* A set has eight slots, so that places in use do not drive each other out; their hashes lie side
 * by side in one line of the processor's cache. */
enum { WAYS = 8, SETS = 2048 };

static struct table {
    uint32_t hashes[SETS][WAYS];
    struct finding findings[SETS][WAYS];
} * table; /* 5 MB; memory of unused sets is not touched */

struct finding *finding_get(const struct place *p)
{
    if (table == NULL && (table = calloc(1, sizeof *table)) == NULL)
        abort();
    unsigned set = p->hash % SETS;
    for (unsigned i = 0; i < WAYS; i++)
        if (table->hashes[set][i] == p->hash && place_same(&table->findings[set][i].place, p))
            return &table->findings[set][i];
    return NULL;
}

struct finding *finding_slot(const struct place *p)
{
    struct finding *f = finding_get(p);
    if (f != NULL)
        return f;
    unsigned set = p->hash % SETS, oldest = 0;
    for (unsigned i = 1; i < WAYS; i++)
        if (table->findings[set][i].turn < table->findings[set][oldest].turn)
            oldest = i;
    f = &table->findings[set][oldest];
    table->hashes[set][oldest] = p->hash;
    memset(f, 0, offsetof(struct finding, place));
    f->place.hash = p->hash;
    f->place.size = p->size;
    memcpy(f->place.text, p->text, p->size);
    return f;
}

/* scripts - see scripts.h. */
#include "shm/scripts.h"

#define LEAST 1e-6 /* seconds that a request counts at least, so that many of them have a rank */

static uint64_t scripts_word(const char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

#define FACTOR_A 0x9e3779b97f4a7c15u
#define FACTOR_B 0xc2b2ae3d27d4eb4fu

/* Never 0. Names with one hash count as one script: a client that finds two could as well ask for
 * the other one. Sixteen bytes at a time; the last sixteen may have been seen in part. */
static uint64_t scripts_hash(struct str name)
{
    uint64_t hash = name.n;
    if (name.n < 8)
        return (hash ^ scripts_word(name.p, name.n)) * FACTOR_A | 1;
    const char *last = name.p + name.n - 8;
    if (name.n < 16)
        return (((hash ^ scripts_word(name.p, 8)) * FACTOR_A) ^ scripts_word(last, 8)) * FACTOR_B |
               1;
    for (const char *p = name.p; p < last - 8; p += 16)
        hash = (hash ^ scripts_word(p, 8)) * FACTOR_A + scripts_word(p + 8, 8) * FACTOR_B;
    hash = (hash ^ scripts_word(last - 8, 8)) * FACTOR_A + scripts_word(last, 8) * FACTOR_B;
    return (hash ^ hash >> 29) | 1;
}

static struct str scripts_end_of(struct str name)
{
    return name.n > SCRIPTS_NAME ? str_skip(name, name.n - SCRIPTS_NAME) : name;
}

static void scripts_add(struct scripts_counts *to, const struct scripts_counts *counts)
{
    to->requests += counts->requests;
    to->errors += counts->errors;
    to->messages += counts->messages;
    to->seconds += counts->seconds;
}

/* Gives the place of an entry to another script. */
static void scripts_replace(struct scripts_table *t, struct scripts_entry *e, struct str name,
                            uint64_t hash)
{
    struct str end = scripts_end_of(name);
    scripts_add(&t->others, &e->counts);
    e->counts = (struct scripts_counts){0};
    e->hash = hash;
    e->size = (uint16_t)(name.n < UINT16_MAX ? name.n : UINT16_MAX);
    memcpy(e->name, end.p, end.n);
}

static inline __attribute__((always_inline)) struct scripts_entry *
scripts_find(struct scripts_table *t, struct str name)
{
    uint64_t hash = scripts_hash(name);
    struct scripts_entry *set = &t->entry[(hash >> 32) % SCRIPTS_SETS * SCRIPTS_WAYS];
    struct scripts_entry *least = set;
    for (struct scripts_entry *e = set; e < set + SCRIPTS_WAYS; e++)
        if (e->hash == hash)
            return e;
    for (struct scripts_entry *e = set + 1; e < set + SCRIPTS_WAYS; e++)
        if (e->rank < least->rank)
            least = e;
    scripts_replace(t, least, name, hash);
    return least;
}

void scripts_count(struct scripts_table *t, struct str name, double seconds, bool failed)
{
    struct scripts_entry *e = scripts_find(t, name);
    seconds = seconds > LEAST ? seconds : LEAST;
    e->rank += seconds;
    e->counts.seconds += seconds;
    e->counts.requests++;
    e->counts.errors += failed;
}

void scripts_count_messages(struct scripts_table *t, struct str name, unsigned count)
{
    if (count > 0)
        scripts_find(t, name)->counts.messages += count;
}

struct str scripts_name(const struct scripts_entry *e, bool *cut)
{
    *cut = e->size > SCRIPTS_NAME;
    return (struct str){e->name, *cut ? SCRIPTS_NAME : e->size};
}

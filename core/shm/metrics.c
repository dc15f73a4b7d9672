/* metrics - see metrics.h. */
#include "shm/metrics.h"

#include "shm/lock.h"
#include "shm/mapping.h"

#include <stdlib.h>

#define PROBES 64 /* places of the index that a name may lie in, from its hash on */

const double metrics_bounds[METRICS_BUCKETS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

const char *const metrics_levels[METRICS_LEVELS] = {"fatal",  "parse",      "error", "warning",
                                                    "notice", "deprecated", "info"};

static const uint32_t most_of[METRICS_KINDS] = {
    [METRICS_BACKEND] = METRICS_BACKENDS,
    [METRICS_TENANT] = METRICS_TENANTS,
    [METRICS_FAMILY] = METRICS_FAMILIES,
    [METRICS_LABEL] = METRICS_LABELS,
};

static struct metrics_sheet nobodys; /* of a process that is no worker */
struct metrics_sheet *metrics_own = &nobodys;
static struct metrics_histogram no_turns, *turns = &no_turns;
static struct metrics *all; /* NULL: nothing has asked for it */

/* Pairs that this process has found lately. The first and the last bytes of a name are all of it up
 * to NEAR_SIZE; longer names are looked for in the table. */
#define NEAR_SIZE  16
#define NEAR_PAIRS 1024
static struct near {
    uint64_t first, last;
    uint32_t size_and_backend;
    uint32_t series;
} nearby[NEAR_PAIRS];

struct metrics *metrics_new(unsigned places)
{
    size_t size = sizeof(struct metrics) + places * sizeof(struct metrics_sheet);
    struct metrics *m = mapping_new(size);
    if (m == NULL)
        return NULL;
    m->places = places;
    m->used[METRICS_BACKEND] = METRICS_OTHER_BACKEND + 1;
    lock_init(&m->lock);
    return m;
}

void metrics_use(struct metrics *m, unsigned place, unsigned number)
{
    all = m;
    turns = &m->turns[number % METRICS_WORKERS];
    m->used_places[place] = true;
    metrics_own = &m->sheet[place];
    metrics_own->running = 0;
    memset(nearby, 0, sizeof nearby); /* a size of 0 is no name */
}

struct metrics *metrics_all(void)
{
    if (all == NULL)
        all = metrics_new(1);
    return all;
}

/* --- counting --- */

const uint8_t metrics_below[METRICS_CELLS] = {0,  1,  1,  2,  2,  3,  3,  4,  4,  5,  5,  5,
                                              6,  6,  7,  7,  8,  8,  8,  9,  9,  10, 10, 11,
                                              11, 12, 12, 13, 13, 14, 14, 14, 15, 15};

void metrics_turn(double seconds)
{
    metrics_observe(turns, seconds);
}

enum metrics_method metrics_method(struct str name)
{
    static const char names[][8] = {
        [METRICS_GET] = "GET",     [METRICS_HEAD] = "HEAD",     [METRICS_POST] = "POST",
        [METRICS_PUT] = "PUT",     [METRICS_DELETE] = "DELETE", [METRICS_OPTIONS] = "OPTIONS",
        [METRICS_PATCH] = "PATCH",
    };
    if (name.n == 0 || name.n >= sizeof names[0])
        return METRICS_OTHER_METHOD;
    for (unsigned i = 0; i < METRICS_OTHER_METHOD; i++)
        if (names[i][0] == name.p[0] && str_eq(str_of(names[i]), name))
            return i;
    return METRICS_OTHER_METHOD;
}

/* --- names --- */

static uint64_t metrics_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static uint32_t metrics_hash_of(enum metrics_kind kind, unsigned owner, struct str text)
{
    uint64_t hash = metrics_mix((uint64_t)kind << 32 | owner, text.n), word;
    for (; text.n >= sizeof word; text = str_skip(text, sizeof word)) {
        memcpy(&word, text.p, sizeof word);
        hash = metrics_mix(hash, word);
    }
    word = 0;
    for (size_t i = 0; i < text.n; i++)
        word = word << 8 | (unsigned char)text.p[i];
    hash = metrics_mix(hash, word);
    return (uint32_t)(hash >> 32);
}

/* The name's entry. NULL: there is none; *place: where it would be found, METRICS_INDEX: nowhere.
 */
static const struct metrics_name *metrics_name_find(const struct metrics *m, enum metrics_kind kind,
                                                    unsigned owner, struct str text, uint32_t hash,
                                                    unsigned *place)
{
    for (unsigned i = 0; i < PROBES; i++) {
        *place = (hash + i) & (METRICS_INDEX - 1);
        unsigned at = __atomic_load_n(&m->index[*place], __ATOMIC_ACQUIRE);
        if (at == 0)
            return NULL;
        const struct metrics_name *name = &m->name[(at - 1) % METRICS_NAMES];
        if (name->hash == hash && name->kind == kind && name->owner == owner &&
            name->size == text.n && memcmp(name->text, text.p, text.n) == 0)
            return name;
    }
    *place = METRICS_INDEX;
    return NULL;
}

/* Values for a new series of a family. -1: there is no room for it. */
static int metrics_values_take(struct metrics *m, unsigned family, unsigned count, unsigned most)
{
    uint32_t first = m->values;
    if (m->series[family] >= most || count > METRICS_VALUES || first > METRICS_VALUES - count)
        return -1;
    m->series[family]++;
    m->values = first + count;
    return (int)first;
}

/* Under the lock. */
static int metrics_name_add(struct metrics *m, const struct metrics_name *name, struct str text,
                            unsigned place, unsigned values, unsigned most)
{
    unsigned at = m->count;
    if (place == METRICS_INDEX || at >= METRICS_NAMES || m->used[name->kind] >= most_of[name->kind])
        return -1;
    int number = (int)m->used[name->kind];
    if (name->kind == METRICS_LABEL)
        number = metrics_values_take(m, name->owner, values, most);
    if (number < 0)
        return -1;
    m->used[name->kind]++;
    m->name[at] = *name;
    m->name[at].number = (uint16_t)number;
    memcpy(m->name[at].text, text.p, text.n);
    __atomic_store_n(&m->count, at + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&m->index[place], (uint16_t)(at + 1), __ATOMIC_RELEASE);
    return number;
}

/* The number of a name, which is added where there is room for it. -1: there is none. */
static int metrics_name_number(enum metrics_kind kind, unsigned owner, struct str text,
                               unsigned values, unsigned most)
{
    struct metrics *m = metrics_all();
    unsigned place;
    if (m == NULL)
        return -1;
    if (text.n > METRICS_TEXT)
        text.n = METRICS_TEXT;
    uint32_t hash = metrics_hash_of(kind, owner, text);
    const struct metrics_name *found = metrics_name_find(m, kind, owner, text, hash, &place);
    if (found != NULL)
        return found->number;
    if (place == METRICS_INDEX || m->used[kind] >= most_of[kind])
        return -1; /* without the lock, which clients could make workers wait for */
    lock_enter(&m->lock);
    found = metrics_name_find(m, kind, owner, text, hash, &place);
    const struct metrics_name name = {
        .hash = hash, .owner = (uint16_t)owner, .size = (uint16_t)text.n, .kind = (uint8_t)kind};
    int number =
        found != NULL ? found->number : metrics_name_add(m, &name, text, place, values, most);
    lock_leave(&m->lock);
    return number;
}

unsigned metrics_backend(struct str name)
{
    int number = metrics_name_number(METRICS_BACKEND, 0, name, 0, 0);
    return number > METRICS_OTHER_BACKEND && number < METRICS_BACKENDS ? (unsigned)number
                                                                       : METRICS_OTHER_BACKEND;
}

static uint64_t metrics_load(const char *p, size_t n)
{
    uint64_t word = 0;
    memcpy(&word, p, n);
    return word;
}

/* The first and the last bytes of a name of 1 to NEAR_SIZE bytes. */
static struct near metrics_near_of(unsigned backend, struct str name)
{
    struct near near = {.size_and_backend = (uint32_t)name.n << 16 | backend};
    if (name.n >= 8) {
        near.first = metrics_load(name.p, 8);
        near.last = metrics_load(name.p + name.n - 8, 8);
    } else if (name.n >= 4) {
        near.first = metrics_load(name.p, 4);
        near.last = metrics_load(name.p + name.n - 4, 4);
    } else {
        near.first = (unsigned char)name.p[0];
        near.last = metrics_load(name.p + name.n / 2, 1) << 8 | (unsigned char)name.p[name.n - 1];
    }
    return near;
}

static unsigned metrics_series_find(unsigned backend, struct str tenant)
{
    int number = metrics_name_number(METRICS_TENANT, backend, tenant, 0, 0);
    return number >= 0 && number < METRICS_TENANTS ? 2 * METRICS_BACKENDS + (unsigned)number
                                                   : METRICS_BACKENDS + backend;
}

unsigned metrics_series(unsigned backend, struct str tenant)
{
    if (tenant.n == 0)
        return backend;
    if (tenant.n > NEAR_SIZE)
        return metrics_series_find(backend, tenant);
    struct near near = metrics_near_of(backend, tenant);
    uint64_t hash = (near.first ^ near.size_and_backend) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32 ^ near.last) * 0x9e3779b97f4a7c15u;
    struct near *at = &nearby[hash >> 54];
    if (at->first == near.first && at->last == near.last &&
        at->size_and_backend == near.size_and_backend)
        return at->series;
    near.series = metrics_series_find(backend, tenant);
    *at = near;
    return near.series;
}

/* --- metrics of scripts --- */

int metrics_family(struct str description)
{
    int number = metrics_name_number(METRICS_FAMILY, 0, description, 0, 0);
    return number < METRICS_FAMILIES ? number : -1;
}

int metrics_label(unsigned family, struct str labels, unsigned count, unsigned most)
{
    return family < METRICS_FAMILIES
               ? metrics_name_number(METRICS_LABEL, family, labels, count, most)
               : -1;
}

static double metrics_double_of(uint64_t bits)
{
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static uint64_t metrics_bits_of(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

void metrics_value_add(struct metrics *m, unsigned value, double by)
{
    uint64_t before = __atomic_load_n(&m->value[value], __ATOMIC_RELAXED), after;
    do
        after = metrics_bits_of(metrics_double_of(before) + by);
    while (!__atomic_compare_exchange_n(&m->value[value], &before, after, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
}

void metrics_value_set(struct metrics *m, unsigned value, double to)
{
    __atomic_store_n(&m->value[value], metrics_bits_of(to), __ATOMIC_RELAXED);
}

double metrics_value(const struct metrics *m, unsigned value)
{
    return metrics_double_of(__atomic_load_n(&m->value[value], __ATOMIC_RELAXED));
}

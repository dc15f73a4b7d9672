/*
 * asked - see asked.h.
 *
 * A name is in one of three lists: `pairs` and `none` have what is known, the one that was used the
 * longest time ago first; `open` has what is asked, or is to be asked, the oldest first. A name is
 * in `open` while its call is under way, or a handshake waits for it.
 */
#include "tls/asked.h"

#include <stdlib.h>
#include <sys/random.h>

#define BUCKETS 8192

struct asked_list {
    struct asked_name *first, *last;
    unsigned count;
};

struct asked_name {
    struct asked_name *prev, *next; /* of the list */
    struct asked_name *chain;       /* of the bucket */
    struct asked_list *list;
    struct asked_wait *waits, **waits_end;
    struct certificate *certificate; /* the last answer; NULL: none */
    double until;                    /* it is good till then */
    unsigned generation;             /* who has said so, or is asked */
    bool called;                     /* the script is asked */
    bool failed;                     /* it had no answer the last time */
    uint64_t hash;
    char text[];
};

static struct {
    struct asked_source source;
    struct asked_list pairs, none, open;
    struct asked_wait *ready, **ready_end; /* handshakes that go on */
    unsigned waiting, calls;
    uint64_t seed;
    struct asked_name *buckets[BUCKETS];
} asked;

/* --- names --- */

/* Copies a name in lower case, without the dot of the root. False: no host has such a name. */
static bool asked_read_name(const char *name, char out[ASKED_NAME + 1])
{
    size_t n = strlen(name);
    char before = '.';
    if (n > 0 && name[n - 1] == '.')
        n--;
    if (n == 0 || n > ASKED_NAME)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = char_lower(name[i]);
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                    (c == '.' && before != '.');
        if (!good)
            return false;
        out[i] = before = c;
    }
    out[n] = '\0';
    return true;
}

/* Of names that clients choose, so it begins with a number that they don't know. */
static uint64_t asked_hash(const char *text)
{
    uint64_t hash = asked.seed;
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    return hash;
}

static struct asked_name *asked_find(const char *text, uint64_t hash)
{
    struct asked_name *name = asked.buckets[hash % BUCKETS];
    while (name != NULL && (name->hash != hash || strcmp(name->text, text) != 0))
        name = name->chain;
    return name;
}

/* --- lists --- */

static void asked_unlist(struct asked_name *name)
{
    struct asked_list *list = name->list;
    if (list == NULL)
        return;
    *(name->prev != NULL ? &name->prev->next : &list->first) = name->next;
    *(name->next != NULL ? &name->next->prev : &list->last) = name->prev;
    list->count--;
    name->list = NULL;
}

static void asked_list(struct asked_name *name, struct asked_list *list)
{
    asked_unlist(name);
    name->prev = list->last;
    name->next = NULL;
    *(name->prev != NULL ? &name->prev->next : &list->first) = name;
    list->last = name;
    list->count++;
    name->list = list;
}

static void asked_forget(struct asked_name *name)
{
    struct asked_name **at = &asked.buckets[name->hash % BUCKETS];
    while (*at != name)
        at = &(*at)->chain;
    *at = name->chain;
    asked_unlist(name);
    certificate_drop(name->certificate);
    free(name);
}

static struct asked_name *asked_add(const char *text, uint64_t hash)
{
    size_t size = strlen(text) + 1;
    struct asked_name *name = calloc(1, sizeof *name + size);
    if (name == NULL)
        abort();
    name->waits_end = &name->waits;
    name->hash = hash;
    memcpy(name->text, text, size);
    name->chain = asked.buckets[hash % BUCKETS];
    asked.buckets[hash % BUCKETS] = name;
    return name;
}

/* Lists a name that is known, in place of one that was not used for long. Where a reload has made
 * the bound smaller, two go for each that comes, so that no handshake pays for all of them. */
static void asked_keep(struct asked_name *name)
{
    struct asked_list *list = name->certificate != NULL ? &asked.pairs : &asked.none;
    unsigned most =
        list == &asked.pairs ? asked.source.most(asked.source.ctx) : (unsigned)ASKED_NONE;
    asked_list(name, list);
    for (unsigned i = 0; i < 2 && list->count > most; i++)
        asked_forget(list->first);
}

/* --- life --- */

void asked_use(const struct asked_source *source)
{
    asked.source = *source;
    asked.ready_end = &asked.ready;
    if (getrandom(&asked.seed, sizeof asked.seed, 0) != sizeof asked.seed)
        abort();
}

void asked_end(void)
{
    struct asked_list *lists[] = {&asked.pairs, &asked.none, &asked.open};
    for (unsigned i = 0; i < 3; i++)
        while (lists[i]->first != NULL)
            asked_forget(lists[i]->first);
    asked.source = (struct asked_source){.ask = NULL};
}

/* --- calls --- */

static bool asked_is_known(const struct asked_name *name)
{
    return name->list != &asked.open &&
           name->generation == asked.source.generation(asked.source.ctx) &&
           asked.source.clock(asked.source.ctx) < name->until;
}

static void asked_call(struct asked_name *name)
{
    name->called = true;
    name->generation = asked.source.generation(asked.source.ctx);
    asked.calls++;
    asked.source.ask(asked.source.ctx, name, name->text);
}

/* Handshakes that wait for the name go on with what is known of it. `missed`: they count against
 * their clients where that is nothing. */
static void asked_release(struct asked_name *name, bool missed)
{
    for (struct asked_wait *w = name->waits; w != NULL; w = w->next) {
        w->name = NULL;
        w->answered = true;
        w->certificate = name->certificate != NULL ? certificate_hold(name->certificate) : NULL;
        asked.waiting--;
        if (w->certificate == NULL && missed)
            asked.source.missed(asked.source.ctx, w);
    }
    if (name->waits == NULL)
        return;
    *asked.ready_end = name->waits;
    name->waits->back = asked.ready_end;
    asked.ready_end = name->waits_end;
    name->waits = NULL;
    name->waits_end = &name->waits;
}

/* The call is over. */
static void asked_settle(struct asked_name *name, double seconds, bool failed)
{
    name->called = false;
    name->failed = failed;
    name->until = asked.source.clock(asked.source.ctx) + seconds;
    asked.calls--;
    asked_release(name, !failed);
    asked_keep(name);
    if (asked.ready != NULL || asked.open.first != NULL)
        asked.source.ready(asked.source.ctx);
}

/* Nobody needs the answer: the name is not asked for, or not again. */
static void asked_close(struct asked_name *name)
{
    if (name->certificate != NULL)
        asked_keep(name);
    else
        asked_forget(name);
}

void asked_answer(struct asked_name *name, struct certificate *certificate, double seconds)
{
    certificate_drop(name->certificate);
    name->certificate = certificate;
    asked_settle(name, seconds, false);
}

void asked_fail(struct asked_name *name)
{
    asked_settle(name, ASKED_FAILED_LIFE, true);
}

/* --- handshakes --- */

static bool asked_take(struct asked_wait *w, struct asked_name *name)
{
    w->answered = true;
    w->certificate = name->certificate != NULL ? certificate_hold(name->certificate) : NULL;
    return true;
}

static bool asked_join(struct asked_wait *w, struct asked_name *name)
{
    w->name = name;
    w->next = NULL;
    w->back = name->waits_end;
    *name->waits_end = w;
    name->waits_end = &w->next;
    asked.waiting++;
    return false;
}

bool asked_begin(struct asked_wait *w, const char *asked_for)
{
    char text[ASKED_NAME + 1];
    w->answered = true; /* with none */
    if (asked.source.ask == NULL || !asked_read_name(asked_for, text))
        return true;
    uint64_t hash = asked_hash(text);
    struct asked_name *name = asked_find(text, hash);
    if (name != NULL && asked_is_known(name)) {
        asked_list(name, name->list);
        return asked_take(w, name);
    }
    bool open = name != NULL && name->list == &asked.open;
    if (asked.waiting >= ASKED_WAITING || (!open && !asked.source.may_ask(asked.source.ctx, w)))
        return name != NULL ? asked_take(w, name) : true;
    if (!open) {
        name = name != NULL ? name : asked_add(text, hash);
        asked_list(name, &asked.open);
        if (asked.calls < ASKED_CALLS)
            asked_call(name);
    }
    if (name->list == &asked.open) {
        w->answered = false;
        return asked_join(w, name);
    }
    if (name->certificate == NULL && !name->failed)
        asked.source.missed(asked.source.ctx, w);
    return asked_take(w, name);
}

/* Takes a handshake out of the list in which it is. */
static void asked_remove(struct asked_wait *w)
{
    struct asked_wait ***end = w->name != NULL ? &w->name->waits_end : &asked.ready_end;
    *w->back = w->next;
    if (w->next != NULL)
        w->next->back = w->back;
    else
        *end = w->back;
    w->back = NULL;
}

void asked_leave(struct asked_wait *w)
{
    struct asked_name *name = w->name;
    if (w->back != NULL)
        asked_remove(w);
    if (name != NULL) {
        asked.waiting--;
        w->name = NULL;
        if (name->waits == NULL && !name->called)
            asked_close(name);
    }
    certificate_drop(w->certificate);
    w->certificate = NULL;
}

/* The first name that is to be asked. */
static struct asked_name *asked_first_open(void)
{
    struct asked_name *name = asked.open.first;
    while (name != NULL && name->called)
        name = name->next;
    return name;
}

/* Whether one of those who wait for the name may have it asked for, still: the names before it may
 * have been too many. */
static bool asked_is_wanted(const struct asked_name *name)
{
    const struct asked_wait *w = name->waits;
    while (w != NULL && !asked.source.may_ask(asked.source.ctx, w))
        w = w->next;
    return w != NULL;
}

struct asked_wait *asked_next(void)
{
    struct asked_name *name;
    while (asked.ready == NULL && asked.calls < ASKED_CALLS &&
           (name = asked_first_open()) != NULL) {
        if (asked_is_wanted(name)) {
            asked_call(name);
        } else {
            asked_release(name, false);
            asked_close(name);
        }
    }
    struct asked_wait *w = asked.ready;
    if (w != NULL)
        asked_remove(w);
    return w;
}

unsigned asked_waiting(void)
{
    return asked.waiting;
}

unsigned asked_kept(bool with_certificate)
{
    return with_certificate ? asked.pairs.count : asked.none.count;
}

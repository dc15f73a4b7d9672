/* recent - see recent.h. */
#include "shm/recent.h"

#include "shm/mapping.h"

#include <time.h>

static struct {
    const struct recent *all;
    struct recent_table *own; /* NULL: nothing is noted */
} recent;

struct recent *recent_new(unsigned places)
{
    size_t size = sizeof(struct recent) + places * sizeof(struct recent_table);
    struct recent *r = mapping_new(size);
    if (r != NULL)
        r->places = places;
    return r;
}

void recent_use(struct recent *r, unsigned place)
{
    recent.all = r;
    recent.own = place < r->places ? &r->table[place] : NULL;
}

const struct recent *recent_all(void)
{
    return recent.all;
}

/* Copies the beginning; the last byte of `out` is always NUL, also while this goes on. */
static void recent_copy(char *out, size_t size, struct str text)
{
    size_t n = text.n < size - 1 ? text.n : size - 1;
    while (n > 0 && n < text.n && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--; /* not in the middle of a character */
    memcpy(out, text.p, n);
    out[n] = '\0';
}

static bool recent_is(const char *kept, size_t size, struct str text)
{
    char copy[480];
    recent_copy(copy, size, text);
    return strcmp(kept, copy) == 0;
}

/* The entry of the same thing, or the one that is to give its place to it. */
static struct recent_entry *recent_place(struct recent_entry *list, unsigned count, struct str what,
                                         const struct str *text)
{
    struct recent_entry *oldest = &list[0];
    for (unsigned i = 0; i < count; i++) {
        struct recent_entry *e = &list[i];
        if (e->count > 0 && recent_is(e->what, sizeof e->what, what) &&
            (text == NULL || recent_is(e->text, sizeof e->text, *text)))
            return e;
        if (e->last < oldest->last)
            oldest = e;
    }
    *oldest = (struct recent_entry){.count = 0};
    return oldest;
}

static void recent_note(struct recent_entry *e, struct str what, struct str text,
                        unsigned generation)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    e->last = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    if (e->count++ == 0) {
        e->first = e->last;
        recent_copy(e->what, sizeof e->what, what);
    }
    recent_copy(e->text, sizeof e->text, text);
    e->generation = generation;
}

void recent_error(struct str what, struct str text, unsigned generation)
{
    const char *end = text.n > 0 ? memchr(text.p, '\n', text.n) : NULL;
    if (recent.own == NULL)
        return;
    if (end != NULL)
        text.n = (size_t)(end - text.p);
    struct recent_entry *e = recent_place(recent.own->errors, RECENT_ERRORS, what, &text);
    recent_note(e, what, text, generation);
}

void recent_message(struct str script, struct str text, unsigned generation)
{
    if (recent.own == NULL)
        return;
    struct recent_entry *e = recent_place(recent.own->messages, RECENT_MESSAGES, script, NULL);
    recent_note(e, script, text, generation);
}

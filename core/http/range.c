/* range - see range.h. */
#include "http/range.h"

enum spec { SPEC_GOOD, SPEC_OUTSIDE, SPEC_BAD };

/* Reads digits of any length; a number beyond 64 bits becomes the largest. */
static bool range_read_number(struct str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
        if (digit > 9)
            return false;
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    *out = value;
    return true;
}

/* "first-last", "first-" or "-suffix". */
static enum spec range_read_spec(struct str text, uint64_t size, struct range *out)
{
    const char *dash = memchr(text.p, '-', text.n);
    uint64_t number, last = UINT64_MAX;
    if (dash == NULL)
        return SPEC_BAD;
    struct str before = {text.p, (size_t)(dash - text.p)};
    struct str after = str_skip(text, before.n + 1);
    if (before.n == 0) {
        if (!range_read_number(after, &number))
            return SPEC_BAD;
        if (number == 0 || size == 0)
            return SPEC_OUTSIDE;
        *out = (struct range){number < size ? size - number : 0, size - 1};
        return SPEC_GOOD;
    }
    if (!range_read_number(before, &number) || (after.n > 0 && !range_read_number(after, &last)) ||
        last < number)
        return SPEC_BAD;
    if (number >= size)
        return SPEC_OUTSIDE;
    *out = (struct range){number, last < size ? last : size - 1};
    return SPEC_GOOD;
}

/* Keeps the list in order of `first`. */
static void range_insert(struct range *list, unsigned count, struct range r)
{
    while (count > 0 && list[count - 1].first > r.first) {
        list[count] = list[count - 1];
        count--;
    }
    list[count] = r;
}

/* Joins what overlaps or touches; returns how many are left. */
static unsigned range_merge(struct range *list, unsigned count)
{
    unsigned kept = 0;
    for (unsigned i = 1; i < count; i++) {
        if (list[i].first > list[kept].last + 1)
            list[++kept] = list[i];
        else if (list[i].last > list[kept].last)
            list[kept].last = list[i].last;
    }
    return kept + 1;
}

enum range_answer range_parse(struct str header, uint64_t size, struct range out[RANGE_MAX],
                              unsigned *count)
{
    struct range list[RANGE_SPECS];
    unsigned good = 0, specs = 0;
    struct str rest = header, unit = str_trim(str_cut(&rest, '='));
    if (rest.p == NULL || !str_ieq(unit, STR("bytes")))
        return RANGE_WHOLE;
    while (rest.p != NULL) {
        struct str text = str_trim(str_cut(&rest, ','));
        struct range r;
        if (text.n == 0)
            continue; /* an empty element of a list says nothing (RFC 9110 §5.6.1.2) */
        if (++specs > RANGE_SPECS)
            return RANGE_WHOLE;
        enum spec spec = range_read_spec(text, size, &r);
        if (spec == SPEC_BAD)
            return RANGE_WHOLE;
        if (spec == SPEC_GOOD)
            range_insert(list, good++, r);
    }
    if (specs == 0)
        return RANGE_WHOLE;
    if (good == 0)
        return RANGE_NONE;
    *count = range_merge(list, good);
    if (*count > RANGE_MAX)
        return RANGE_WHOLE;
    memcpy(out, list, *count * sizeof *out);
    return RANGE_SOME;
}

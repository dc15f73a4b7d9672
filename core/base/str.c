/* str - see str.h. */
#include "base/str.h"

/* Eight bytes with the ASCII letters among them in lower case: bit 7 of each byte of `upper` says
 * that it is one of A to Z. No byte carries into its neighbour. */
static inline uint64_t str_lower_eight(uint64_t word)
{
    uint64_t low = word & 0x7f7f7f7f7f7f7f7fu;
    uint64_t from_a = low + 0x3f3f3f3f3f3f3f3fu, behind_z = low + 0x2525252525252525u;
    uint64_t upper = from_a & ~behind_z & ~word & 0x8080808080808080u;
    return word | upper >> 2;
}

/* The n bytes at p, of which there are four to eight, as one word: the first four and the last
 * four, which overlap where there are fewer than eight. */
static inline uint64_t str_word(const char *p, size_t n)
{
    uint32_t first, last;
    memcpy(&first, p, sizeof first);
    memcpy(&last, p + n - sizeof last, sizeof last);
    return (uint64_t)first << 32 | last;
}

static inline bool str_same_words(uint64_t x, uint64_t y)
{
    return x == y || str_lower_eight(x) == str_lower_eight(y);
}

bool str_same_letters(const char *a, const char *b, size_t n)
{
    for (; n > 8; a += 8, b += 8, n -= 8)
        if (!str_same_words(str_word(a, 8), str_word(b, 8)))
            return false;
    if (n >= 4)
        return str_same_words(str_word(a, n), str_word(b, n));
    for (size_t i = 0; i < n; i++)
        if (char_lower(a[i]) != char_lower(b[i]))
            return false;
    return true;
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_skip(s, 1);
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

struct str str_cut(struct str *rest, char sep)
{
    struct str whole = *rest;
    const char *at = whole.n > 0 ? memchr(whole.p, sep, whole.n) : NULL;
    if (at == NULL) {
        *rest = STR_NONE;
        return whole;
    }
    size_t before = (size_t)(at - whole.p);
    *rest = str_skip(whole, before + 1);
    return (struct str){whole.p, before};
}

size_t str_from_u64(uint64_t value, char out[STR_U64_SIZE])
{
    size_t n = 1;
    for (uint64_t rest = value; rest > 9; rest /= 10)
        n++;
    for (size_t i = n; i > 0; value /= 10)
        out[--i] = (char)('0' + value % 10);
    return n;
}

bool str_to_u64(struct str s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* tchar of RFC 9110 §5.6.2, one bit a byte. */
static const uint32_t token_bits[8] = {0x00000000, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0};

bool str_is_token(struct str s)
{
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!(token_bits[c >> 5] >> (c & 31) & 1))
            return false;
    }
    return true;
}

/* True when none of eight bytes is a control byte. It may be false for a byte above 0x7f after a
 * control byte; the caller then checks the bytes one by one. */
static inline bool str_are_plain(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t below_blank = (word - 0x2020202020202020u) & ~word;
    uint64_t del = word ^ 0x7f7f7f7f7f7f7f7fu;
    del = (del - 0x0101010101010101u) & ~del;
    return ((below_blank | del) & 0x8080808080808080u) == 0;
}

bool str_is_field_value(struct str s)
{
    size_t i = 0;
    while (s.n - i >= 8 && str_are_plain(s.p + i))
        i += 8;
    for (; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The bytes that follow a first byte of UTF-8, and the least character that needs so many. */
static size_t str_following(unsigned char first, uint32_t *character, uint32_t *least)
{
    size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    static const uint32_t from[] = {0, 0x80, 0x800, 0x10000};
    *character = first & (0x3fu >> more);
    *least = from[more];
    return more;
}

size_t str_shown(const char *p, size_t n)
{
    uint32_t character, least;
    unsigned char first = n > 0 ? (unsigned char)p[0] : 0;
    if (first < 0x80)
        return first >= 0x20 && first != 0x7f;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t more = str_following(first, &character, &least);
    if (more >= n)
        return 0;
    for (size_t i = 1; i <= more; i++) {
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | ((unsigned char)p[i] & 0x3f);
    }
    bool good = character >= least && character >= 0xa0 && character <= 0x10ffff &&
                (character < 0xd800 || character > 0xdfff);
    return good ? more + 1 : 0;
}

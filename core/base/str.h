/*
 * str - slices of bytes that somebody else owns.
 *
 * A slice is valid as long as its owner says: parser slices die when the callback returns, slices
 * into a request's arena live as long as the request. Nothing here allocates.
 */
#ifndef MG_BASE_STR_H
#define MG_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NONE     ((struct str){NULL, 0})
/* For printf's "%.*s". */
#define STR_FMT(s) (int)(s).n, (s).p

static inline struct str str_of(const char *text)
{
    return (struct str){text, strlen(text)};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

static inline struct str str_skip(struct str s, size_t n)
{
    return (struct str){s.p + n, s.n - n};
}

/* ASCII only, whatever the locale: header names and methods are ASCII (RFC 9110 §5.1). */
static inline char char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* True when n bytes are the same but for the case of ASCII letters. */
bool str_same_letters(const char *a, const char *b, size_t n);
/* Likewise for all of a and b. */
static inline bool str_ieq(struct str a, struct str b)
{
    return a.n == b.n &&
           (a.n == 0 || (((a.p[0] ^ b.p[0]) & 0xdf) == 0 && str_same_letters(a.p, b.p, a.n)));
}

/* Without spaces and tabs at both ends (OWS of RFC 9110 §5.6.3). */
struct str str_trim(struct str s);

/* Takes the part before `sep` off the front of *rest and returns it; all of it when there is no
 * `sep` (then *rest becomes STR_NONE, whose p is NULL: the loop's end). */
struct str str_cut(struct str *rest, char sep);

enum { STR_U64_SIZE = 20 };
/* Writes value in decimal, without a NUL; returns the digits. */
size_t str_from_u64(uint64_t value, char out[STR_U64_SIZE]);

/* Digits only, no sign, no overflow. Returns false when s is not such a number. */
bool str_to_u64(struct str s, uint64_t *out);

/* True when s is a token: 1*tchar (RFC 9110 §5.6.2). */
bool str_is_token(struct str s);

/* True when no byte of s is a control byte; a tab is allowed (field-value, RFC 9110 §5.5). */
bool str_is_field_value(struct str s);

/* The bytes of the character that p begins with, if a terminal may be shown it as it is: printable
 * ASCII, or a character of UTF-8 (RFC 3629 §4). 0: a control byte, one of C1 (U+0080 to U+009F)
 * too, since terminals take U+009B for the beginning of an escape sequence; or no UTF-8. */
size_t str_shown(const char *p, size_t n);

#endif

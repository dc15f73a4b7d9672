/*
 * str - slices of bytes, which do not own them.
 *
 * A slice is valid as long as the memory that it points into: a parser's slice until the callback
 * returns, a slice of a request's arena until the request ends. No function here allocates.
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
/* Compares a and b without regard to the case of ASCII letters. */
static inline bool str_ieq(struct str a, struct str b)
{
    return a.n == b.n &&
           (a.n == 0 || (((a.p[0] ^ b.p[0]) & 0xdf) == 0 && str_same_letters(a.p, b.p, a.n)));
}

/* Without spaces and tabs at both ends (OWS of RFC 9110 §5.6.3). */
struct str str_trim(struct str s);

/* Cuts the part before `sep` off the front of *rest and returns it. Without `sep` it returns all of
 * *rest, which becomes STR_NONE (p == NULL), the end of a loop. */
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

/* The size of the character at p, if it is safe to show on a terminal: printable ASCII, or a
 * character of UTF-8 (RFC 3629 §4). 0: invalid UTF-8, or a control character, C1 (U+0080 to U+009F)
 * included, since terminals take U+009B for the beginning of an escape sequence. */
size_t str_shown(const char *p, size_t n);

#endif

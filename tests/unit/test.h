/*
 * test - a tiny harness for the unit tests: a named test is what stands between one test() and the
 * next, and it has passed when no check in it failed. Each failure is printed with its place, what
 * was expected, and what came. The last line is "N passed, N failed".
 *
 * Used by every tests/unit/<module>_test.c, each a program of its own.
 */
#ifndef MG_TEST_H
#define MG_TEST_H

#include "base/str.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
    const char *name; /* of the test at hand; NULL: none is open */
    bool bad;
    int passed, failed;
} test_state;

static inline void test_close(void)
{
    if (test_state.name == NULL)
        return;
    if (test_state.bad)
        test_state.failed++;
    else
        test_state.passed++;
    test_state.name = NULL;
}

/* Begins a test. The name must live until the next one. */
static inline void test(const char *name)
{
    test_close();
    test_state.name = name;
    test_state.bad = false;
}

static inline void test_escape(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            fputs("\\n", stderr);
        else if (c == '\r')
            fputs("\\r", stderr);
        else if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            fprintf(stderr, "\\x%02x", c);
        else
            fputc(c, stderr);
    }
}

/* Bytes as a C string, cut when they are many. */
static inline void test_print(const char *label, struct str s)
{
    fprintf(stderr, "    %s (%zu bytes): \"", label, s.n);
    test_escape((struct str){s.p, s.n < 600 ? s.n : 600});
    fputs(s.n > 600 ? "\"...\n" : "\"\n", stderr);
}

static inline void test_failed(const char *file, int line, const char *what)
{
    test_state.bad = true;
    fprintf(stderr, "%s:%d: ", file, line);
    test_escape(str_of(test_state.name));
    fprintf(stderr, "\n    expected: %s\n", what);
}

static inline bool test_str(const char *file, int line, const char *what, struct str got,
                            struct str want)
{
    if (got.n == want.n && (got.n == 0 || memcmp(got.p, want.p, got.n) == 0))
        return true;
    test_failed(file, line, what);
    test_print("want", want);
    test_print("got", got);
    return false;
}

static inline bool test_int(const char *file, int line, const char *what, int64_t got, int64_t want)
{
    if (got == want)
        return true;
    test_failed(file, line, what);
    fprintf(stderr, "    want: %" PRId64 "\n    got: %" PRId64 "\n", want, got);
    return false;
}

/* All are true when the check passed, so that a loop can stop at the first failure. */
#define check(expr)          ((expr) ? true : (test_failed(__FILE__, __LINE__, #expr), false))
#define check_int(got, want) test_int(__FILE__, __LINE__, #got " == " #want, (got), (want))
/* got is a struct str, want is text. */
#define check_str(got, want) test_str(__FILE__, __LINE__, #got " is " #want, (got), str_of(want))

/* A copy of exactly n bytes, so that a sanitizer sees the first byte read beyond them. */
static inline char *test_copy(const char *bytes, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);
    if (copy == NULL)
        abort();
    if (n > 0)
        memcpy(copy, bytes, n);
    return copy;
}

/* The program's exit status. */
static inline int test_report(void)
{
    test_close();
    fflush(stderr);
    printf("%d passed, %d failed\n", test_state.passed, test_state.failed);
    return test_state.failed > 0 || test_state.passed == 0;
}

#endif

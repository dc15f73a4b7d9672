/* arena_test - memory that is dropped whole. Links arena and str. */
#include "../test.h"
#include "base/arena.h"

static void test_first_block(void)
{
    char memory[256];
    struct arena a;
    test("a small request asks malloc for nothing");
    arena_init(&a, memory, sizeof memory);
    char *p = arena_bytes(&a, 100);
    check(p >= memory && p + 100 <= memory + sizeof memory);
    struct str s = arena_copy(&a, STR("hello"));
    check(s.p >= memory && s.p + 6 <= memory + sizeof memory);
    check_str(s, "hello");
    check_int(s.p[5], '\0');
    check(a.blocks == NULL);

    test("the first block may be used to its last byte");
    size_t left = (size_t)(a.end - a.at);
    p = arena_bytes(&a, left);
    memset(p, 'x', left);
    check(a.blocks == NULL && a.at == a.end);
    p = arena_bytes(&a, 1);
    *p = 'y';
    check(a.blocks != NULL);
    check_str(s, "hello");
    arena_fini(&a);

    test("after fini it may be initialised again");
    arena_init(&a, memory, sizeof memory);
    check_str(arena_copy(&a, STR("again")), "again");
    arena_fini(&a);
}

static void test_alloc(void)
{
    char memory[300];
    struct arena a;
    test("arena_alloc is aligned for any type, wherever the block begins and whatever came before");
    for (size_t offset = 0; offset < 16; offset++) {
        arena_init(&a, memory + offset, 200);
        for (size_t n = 1; n < 80; n++) {
            arena_bytes(&a, n % 5);
            char *p = arena_alloc(&a, n);
            memset(p, (int)n, n);
            if (!check_int((int64_t)((uintptr_t)p % _Alignof(max_align_t)), 0))
                break;
        }
        arena_fini(&a);
    }

    test("pieces never overlap, large ones included");
    static const size_t sizes[] = {1, 8191, 8192, 8193, 100000, 3, 8000, 500, 16, 0, 1};
    unsigned char *pieces[sizeof sizes / sizeof *sizes];
    arena_init(&a, memory, sizeof memory);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        pieces[i] = arena_alloc(&a, sizes[i]);
        check(pieces[i] != NULL);
        memset(pieces[i], (int)i, sizes[i]);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            if (!check_int(pieces[i][j], (int64_t)i))
                break;
    arena_fini(&a);

    test("an arena whose first block is empty");
    arena_init(&a, memory, 0);
    check_str(arena_copy(&a, STR("hello")), "hello");
    arena_fini(&a);
}

static void test_append(void)
{
    char memory[64];
    struct arena a;
    test("the newest string grows in place");
    arena_init(&a, memory, sizeof memory);
    struct str s = arena_append(&a, STR_NONE, STR("ab"));
    struct str t = arena_append(&a, s, STR("cd"));
    check(t.p == s.p);
    check_str(t, "abcd");
    check_int(t.p[4], '\0');

    test("another string in between makes it move, and leaves both whole");
    struct str other = arena_copy(&a, STR("other"));
    t = arena_append(&a, t, STR("ef"));
    check_str(t, "abcdef");
    check_str(other, "other");
    check_int(t.p[6], '\0');

    test("nothing appended, nothing there");
    check_str(arena_append(&a, t, STR("")), "abcdef");
    check_str(arena_append(&a, STR_NONE, STR("")), "");
    check_str(arena_append(&a, t, STR_NONE), "abcdef");
    arena_fini(&a);

    test("byte by byte over the borders of blocks");
    for (size_t first = 0; first < 40; first++) {
        arena_init(&a, memory, first);
        s = STR_NONE;
        for (size_t i = 0; i < 40000; i++) {
            char c = (char)('a' + i % 26);
            s = arena_append(&a, s, (struct str){&c, 1});
        }
        bool ok = check_int((int64_t)s.n, 40000) && check_int(s.p[s.n], '\0');
        for (size_t i = 0; ok && i < s.n; i++)
            ok = check_int(s.p[i], (int64_t)('a' + i % 26));
        arena_fini(&a);
        if (!ok)
            return;
    }

    test("two strings that grow in turn stay apart");
    arena_init(&a, memory, sizeof memory);
    struct str x = STR_NONE, y = STR_NONE;
    for (int i = 0; i < 1000; i++) {
        x = arena_append(&a, x, STR("x"));
        y = arena_append(&a, y, STR("y"));
    }
    check_int((int64_t)x.n, 1000);
    check_int((int64_t)y.n, 1000);
    check(memchr(x.p, 'y', x.n) == NULL && memchr(y.p, 'x', y.n) == NULL);
    arena_fini(&a);
}

static void test_printf(void)
{
    char memory[8];
    struct arena a;
    test("arena_printf, longer than the block");
    arena_init(&a, memory, sizeof memory);
    struct str s = arena_printf(&a, "%s-%d", "a longer text than that", 7);
    check_str(s, "a longer text than that-7");
    check_int(s.p[s.n], '\0');
    check_str(arena_printf(&a, "%s", ""), "");
    char *big = malloc(20001);
    memset(big, 'b', 20000);
    big[20000] = '\0';
    s = arena_printf(&a, "%s", big);
    check_str(s, big);
    free(big);
    arena_fini(&a);
}

int main(void)
{
    test_first_block();
    test_alloc();
    test_append();
    test_printf();
    return test_report();
}

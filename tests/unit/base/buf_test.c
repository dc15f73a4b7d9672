/* buf_test - growth, the ceiling, what stays where. Links buf and str. */
#include "../test.h"
#include "base/buf.h"

static void test_basic(void)
{
    struct buf b;
    test("an empty buf owns no memory");
    buf_init(&b, 100);
    check(b.data == NULL && b.cap == 0 && buf_len(&b) == 0);
    buf_append(&b, "", 0);
    check(b.data == NULL && !b.overflow);
    buf_fini(&b);

    test("append, peek, consume");
    buf_append(&b, "hello ", 6);
    buf_append_str(&b, STR("world"));
    check_str(buf_peek(&b), "hello world");
    buf_consume(&b, 6);
    check_str(buf_peek(&b), "world");
    buf_printf(&b, " %d%s", 42, "!");
    check_str(buf_peek(&b), "world 42!");
    buf_consume(&b, 9);
    check_int((int64_t)buf_len(&b), 0);
    check(b.head == 0 && b.tail == 0);

    test("reserve and commit");
    char *room = buf_reserve(&b, 3);
    if (check(room != NULL)) {
        memcpy(room, "abc", 3);
        check_int((int64_t)buf_len(&b), 0);
        buf_commit(&b, 2);
        check_str(buf_peek(&b), "ab");
    }

    test("fini gives the memory back and leaves the buf usable, with its ceiling");
    buf_fini(&b);
    check(b.data == NULL && b.cap == 0 && b.max == 100 && !b.overflow);
    buf_append(&b, "again", 5);
    check_str(buf_peek(&b), "again");
    buf_fini(&b);
}

static void test_growth(void)
{
    struct buf b;
    uint64_t written = 0, read = 0;
    test("a long run of appends and consumes keeps every byte in order");
    buf_init(&b, 1 << 16);
    for (int i = 0; i < 20000; i++) {
        unsigned char chunk[37];
        size_t n = 1 + (size_t)(i * 7919) % sizeof chunk;
        for (size_t j = 0; j < n; j++)
            chunk[j] = (unsigned char)(written++ * 31 % 251);
        buf_append(&b, chunk, n);
        size_t take = (size_t)(i * 104729) % 41;
        if (take > buf_len(&b))
            take = buf_len(&b);
        struct str s = buf_peek(&b);
        for (size_t j = 0; j < take; j++)
            if (!check_int((unsigned char)s.p[j], (int64_t)(read++ * 31 % 251)))
                goto out;
        buf_consume(&b, take);
    }
    check(!b.overflow);
    check_int((int64_t)buf_len(&b), (int64_t)(written - read));
    check(b.cap <= 1 << 16);
out:
    buf_fini(&b);
}

/* Fills a buf of that ceiling with pieces of that size; it must stop exactly at the ceiling. */
static bool fills_to(size_t max, size_t piece)
{
    struct buf b;
    char bytes[2048];
    bool ok = true;
    memset(bytes, 'x', sizeof bytes);
    buf_init(&b, max);
    while (ok && !b.overflow) {
        size_t before = buf_len(&b);
        buf_append(&b, bytes, piece);
        if (before + piece <= max)
            ok = check(!b.overflow) && check_int((int64_t)buf_len(&b), (int64_t)(before + piece));
        else
            ok = check(b.overflow) && check_int((int64_t)buf_len(&b), (int64_t)before);
    }
    if (!ok)
        fprintf(stderr, "    max %zu, pieces of %zu\n", max, piece);
    buf_fini(&b);
    return ok;
}

static void test_ceiling(void)
{
    static const size_t maxes[] = {0,    1,    10,   511,  512,  513, 600,
                                   1000, 1023, 1024, 1025, 1500, 5000};
    static const size_t pieces[] = {1, 7, 100, 512, 513, 1000, 2000};
    test("max bytes at most, whatever the capacity has grown to");
    for (size_t i = 0; i < sizeof maxes / sizeof *maxes; i++)
        for (size_t j = 0; j < sizeof pieces / sizeof *pieces; j++)
            if (!fills_to(maxes[i], pieces[j]))
                return;
}

static void test_overflow(void)
{
    struct buf b;
    test("an append beyond max drops its bytes whole and is remembered");
    buf_init(&b, 8);
    buf_append(&b, "12345", 5);
    buf_append(&b, "6789", 4);
    check(b.overflow);
    check_str(buf_peek(&b), "12345");
    buf_append(&b, "678", 3);
    check_str(buf_peek(&b), "12345678");
    check(b.overflow);
    buf_fini(&b);
    check(!b.overflow);

    test("what was read makes room below max");
    buf_append(&b, "12345678", 8);
    buf_consume(&b, 3);
    buf_append(&b, "abc", 3);
    check(!b.overflow);
    check_str(buf_peek(&b), "45678abc");
    buf_fini(&b);

    test("printf beyond max overflows and writes nothing");
    buf_printf(&b, "%s", "123456789");
    check(b.overflow);
    check_int((int64_t)buf_len(&b), 0);
    buf_fini(&b);

    test("a size near SIZE_MAX does not wrap around");
    buf_append(&b, "abc", 3);
    check(buf_reserve(&b, SIZE_MAX) == NULL && b.overflow);
    check(buf_reserve(&b, SIZE_MAX - 2) == NULL);
    check_str(buf_peek(&b), "abc");
    buf_fini(&b);
}

int main(void)
{
    test_basic();
    test_growth();
    test_ceiling();
    test_overflow();
    return test_report();
}

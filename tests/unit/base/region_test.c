/* region_test - memory that is packed while nothing uses it. Links region. */
#include "../test.h"
#include "base/region.h"

#include <sys/mman.h>
#include <unistd.h>

enum { PIECES = 64 };

/* Pages of the region that are in memory. */
static int resident(const struct region *r)
{
    unsigned char pages[REGION_SIZE / 4096 + 1] = {0};
    int count = 0;
    if (mincore(r->base, REGION_SIZE, pages) != 0)
        return -1;
    for (long i = 0; i < REGION_SIZE / sysconf(_SC_PAGESIZE); i++)
        count += pages[i] & 1;
    return count;
}

static bool inside(const struct region *r, const void *p)
{
    return (const char *)p >= r->base && (const char *)p < r->base + REGION_SIZE;
}

static bool is_filled(const char *p, int byte, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != (char)byte)
            return false;
    return true;
}

static void test_pieces(void)
{
    struct region r;
    char *p[PIECES];
    region_init(&r);

    test("pieces of all sizes are aligned and do not touch each other");
    for (int i = 0; i < PIECES; i++) {
        p[i] = region_alloc(&r, (size_t)i * 9 + 1);
        check_int((int64_t)((uintptr_t)p[i] % _Alignof(max_align_t)), 0);
        check(inside(&r, p[i]));
        memset(p[i], i + 1, (size_t)i * 9 + 1);
    }
    for (int i = 0; i < PIECES; i++)
        check(is_filled(p[i], i + 1, (size_t)i * 9 + 1));

    test("a free piece is used again for the same size, the last one first");
    region_free(&r, p[3]);
    region_free(&r, p[4]);
    check(region_alloc(&r, 40) == p[4]);
    check(region_alloc(&r, 40) == p[3]);
    region_free(&r, NULL);

    test("an array is cleared, also in a piece that was used");
    memset(p[50], 'x', 451);
    region_free(&r, p[50]);
    char *again = region_alloc_array(&r, 11, 41);
    check(again == p[50]);
    check(is_filled(again, 0, 451));

    test("resizing keeps the bytes");
    char *text = region_resize(&r, NULL, 10);
    memcpy(text, "0123456789", 10);
    check(region_resize(&r, text, 12) == text);
    text = region_resize(&r, text, 3000);
    check_str(((struct str){text, 10}), "0123456789");
    text = region_resize(&r, text, REGION_SIZE);
    check(!inside(&r, text));
    check_str(((struct str){text, 10}), "0123456789");
    text = region_resize(&r, text, 2 * REGION_SIZE);
    check_str(((struct str){text, 10}), "0123456789");
    region_free(&r, text);
    region_fini(&r);
}

static void test_full(void)
{
    struct region r;
    char *p[100];
    bool outside = false;
    region_init(&r);
    test("what does not fit comes from malloc");
    for (int i = 0; i < 100; i++) {
        p[i] = region_alloc(&r, 1000);
        memset(p[i], i, 1000);
        outside |= !inside(&r, p[i]);
    }
    check(inside(&r, p[40]));
    check(outside);
    region_pack(&r);
    region_unpack(&r);
    for (int i = 0; i < 100; i++) {
        check(is_filled(p[i], i, 1000));
        region_free(&r, p[i]);
    }
    for (int i = 0; i < 40; i++)
        check(inside(&r, region_alloc(&r, 1000)));
    region_fini(&r);
}

static void test_pack(void)
{
    struct region r;
    region_init(&r);
    region_pack(&r);
    region_fini(&r);
    region_init(&r); /* the same one, without what others have left in it */
    char *table = region_alloc_array(&r, 256, 16), *text = region_alloc(&r, 100),
         *large = region_alloc(&r, 16394), *gone = region_alloc(&r, 700),
         *last = region_alloc_array(&r, 1, 32);
    memset(table + 1000, 'a', 8);
    memset(text, 'b', 100);
    memset(large, 0, 16394);
    memset(gone, 'c', 700);
    last[31] = 'd';
    region_free(&r, gone);

    test("a packed region has no page, and no zero and no free piece in its memory");
    check(resident(&r) > 2);
    region_pack(&r);
    check(region_is_packed(&r));
    check_int(resident(&r), 0);
    check(r.packed_size > 100 && r.packed_size < 700);

    test("unpacked it is what it was, and goes on");
    region_unpack(&r);
    check(!region_is_packed(&r));
    check(is_filled(table, 0, 1000) && is_filled(table + 1000, 'a', 8));
    check(is_filled(table + 1008, 0, 4096 - 1008));
    check(is_filled(text, 'b', 100));
    check(is_filled(large, 0, 16394));
    check(is_filled(last, 0, 31) && last[31] == 'd');
    check(region_alloc(&r, 700) == gone);
    check(is_filled(region_alloc_array(&r, 20, 100), 0, 2000));

    test("again and again");
    for (int i = 0; i < 10; i++) {
        region_pack(&r);
        region_unpack(&r);
    }
    check(is_filled(text, 'b', 100));

    test("a packed region may be given up");
    region_pack(&r);
    region_fini(&r);
}

/* Random calls, beside what each piece must hold. */
static void test_random(void)
{
    struct region r;
    struct {
        char *p;
        size_t n;
        int byte;
    } has[PIECES] = {0};
    uint32_t dice = 1;
    region_init(&r);
    test("any order of calls, with packing in between");
    for (int i = 0; i < 20000; i++) {
        dice = dice * 1664525 + 1013904223;
        unsigned at = dice >> 26, what = dice >> 20 & 7;
        size_t n = (dice >> 4 & 0x3ff) * (what == 0 ? 40 : 1) + 1;
        if (!check(is_filled(has[at].p, has[at].byte, has[at].n)))
            break;
        if (what < 4) {
            region_free(&r, has[at].p);
            has[at].p = what < 2 ? region_alloc_array(&r, n, 1) : region_alloc(&r, n);
            if (!check(what >= 2 || is_filled(has[at].p, 0, n)))
                break;
        } else {
            has[at].p = region_resize(&r, has[at].p, n);
            if (!check(is_filled(has[at].p, has[at].byte, has[at].n < n ? has[at].n : n)))
                break;
        }
        has[at].n = n;
        has[at].byte = i % 3 == 0 ? 0 : i;
        memset(has[at].p, has[at].byte, n);
        if (i % 7 == 0) {
            region_pack(&r);
            region_unpack(&r);
        }
    }
    for (int i = 0; i < PIECES; i++)
        region_free(&r, has[i].p);
    region_fini(&r);
}

static void test_many(void)
{
    static struct region many[300];
    test("regions of others are not touched, and are clean whoever had them before");
    for (int round = 0; round < 3; round++) {
        char *p[300];
        for (int i = 0; i < 300; i++) {
            region_init(&many[i]);
            p[i] = region_alloc_array(&many[i], 1, 20000);
            if (!check(is_filled(p[i], 0, 20000)))
                return;
            memset(p[i], i | 1, 20000);
            if (i % 3 == round)
                region_pack(&many[i]);
        }
        for (int i = 0; i < 300; i++) {
            if (region_is_packed(&many[i]) && i % 2 == 0)
                region_unpack(&many[i]);
            if (!region_is_packed(&many[i]) && !check(is_filled(p[i], i | 1, 20000)))
                return;
            region_fini(&many[i]);
        }
    }
}

int main(void)
{
    test_pieces();
    test_full();
    test_pack();
    test_random();
    test_many();
    return test_report();
}

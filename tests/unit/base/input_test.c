/*
 * input_test - which bytes of a read are kept in its buffer, and how many buffers there are. Links
 * input and str.
 */
#include "../test.h"
#include "base/input.h"

static struct inputs all;

/* As a read that brings n bytes, each of which is `c`. */
static char *read_some(char c, size_t n)
{
    char *room = inputs_room(&all);
    memset(room, c, n);
    inputs_filled(&all, (ssize_t)n);
    return room;
}

static bool is_filled_with(const char *bytes, char c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != c)
            return false;
    return true;
}

static void test_keeping(void)
{
    test("the end of what was read is kept, and the next read does not touch it");
    inputs_init(&all);
    char *room = read_some('a', 10000);
    struct str body = {room + 400, 9600};
    struct input *kept = input_keep(&all, body);
    check(kept != NULL && inputs_room(&all) != room);
    char *next = read_some('b', INPUT_SIZE);
    check(is_filled_with(body.p, 'a', body.n) && is_filled_with(next, 'b', INPUT_SIZE));

    test("a buffer that was given back is used again");
    input_give_back(&all, kept);
    kept = input_keep(&all, (struct str){next, INPUT_SIZE});
    check(kept != NULL && inputs_room(&all) == room);
    input_give_back(&all, kept);
    check_int(all.count, 2);

    test("a part can be kept twice, and its buffer is used again when both are given back");
    room = read_some('c', 10000);
    kept = input_keep(&all, (struct str){room + 100, 9000});
    check(kept != NULL && input_keep(&all, (struct str){room + 4000, 5000}) == kept);
    input_give_back(&all, kept);
    next = read_some('d', INPUT_SIZE);
    check(next != room && is_filled_with(room, 'c', 10000));
    input_give_back(&all, kept);
    kept = input_keep(&all, (struct str){next, INPUT_SIZE});
    check(inputs_room(&all) == room);
    input_give_back(&all, kept);
    check_int(all.count, 2);

    test("the rest of a read is not kept when its buffer was given back");
    room = read_some('e', 20000);
    kept = input_keep(&all, (struct str){room, 9000});
    input_give_back(&all, kept);
    check(kept != NULL && input_keep(&all, (struct str){room + 10000, 9000}) == NULL);
    next = read_some('f', INPUT_SIZE);
    kept = input_keep(&all, (struct str){next, INPUT_SIZE});
    check(inputs_room(&all) == room);
    input_give_back(&all, kept);
    check_int(all.count, 2);

    test("what lies elsewhere, was not read, or is little is not kept");
    static char elsewhere[10000];
    room = read_some('c', 10000);
    check(input_keep(&all, (struct str){elsewhere, 10000}) == NULL);
    check(input_keep(&all, (struct str){room, 10001}) == NULL);
    check(input_keep(&all, (struct str){room + 10000 - 4095, 4095}) == NULL);
    inputs_filled(&all, -1);
    check(input_keep(&all, (struct str){room, 10000}) == NULL);
    inputs_fini(&all);
}

static void test_holding(void)
{
    char *first, *second, *third;
    test("reads that wait stand one behind the other, from line to line of the processor's cache");
    inputs_init(&all);
    first = read_some('a', 100);
    check(inputs_hold(&all));
    second = read_some('b', 6000);
    check(second == first + 128 && inputs_hold(&all));

    test("what is kept of them stays when all were handled, and the others stay until then");
    struct input *kept = input_keep(&all, (struct str){second + 1000, 5000});
    third = read_some('c', INPUT_SIZE);
    check(kept != NULL && inputs_hold(&all));
    memset(inputs_room(&all), 'd', INPUT_SIZE);
    check(is_filled_with(first, 'a', 100) && is_filled_with(second, 'b', 6000));
    check(is_filled_with(third, 'c', INPUT_SIZE));
    inputs_release(&all);
    for (unsigned i = 0; i < 3; i++) {
        char *room = read_some('e', INPUT_SIZE);
        check(room != first && input_keep(&all, (struct str){room, INPUT_SIZE}) != NULL);
    }
    check(is_filled_with(second + 1000, 'b', 5000));
    input_give_back(&all, kept);
    read_some('f', INPUT_SIZE);
    check(input_keep(&all, (struct str){inputs_room(&all), INPUT_SIZE}) != NULL);
    check(inputs_room(&all) == first);
    inputs_fini(&all);

    test("no read waits where no buffer is left to read into");
    inputs_init(&all);
    for (unsigned i = 0; i < INPUTS_MAX - 1; i++)
        input_keep(&all, (struct str){read_some('g', 5000), 5000});
    for (unsigned i = 0; i < INPUT_HELD / 32768; i++) {
        read_some('h', 32768);
        check(inputs_hold(&all));
    }
    first = read_some('i', 32768);
    check(!inputs_hold(&all) && inputs_room(&all) == first);
    inputs_release(&all);
    check(inputs_room(&all) == first - INPUT_HELD);
    inputs_fini(&all);
}

static void test_number(void)
{
    struct input *kept[INPUTS_MAX];
    unsigned count = 0;
    test("one buffer is left to read into when all others are kept");
    inputs_init(&all);
    for (unsigned i = 0; i < INPUTS_MAX; i++) {
        struct str body = {read_some('d', 5000), 5000};
        kept[i] = input_keep(&all, body);
        count += kept[i] != NULL;
    }
    check_int(count, INPUTS_MAX - 1);
    check(kept[INPUTS_MAX - 1] == NULL);
    check_int(all.count, INPUTS_MAX);
    check(is_filled_with(read_some('e', 5000), 'e', 5000));

    test("when one is given back there is one again");
    input_give_back(&all, kept[3]);
    kept[3] = input_keep(&all, (struct str){inputs_room(&all), 5000});
    check(kept[3] != NULL);
    for (unsigned i = 0; i < INPUTS_MAX - 1; i++)
        input_give_back(&all, kept[i]);
    check_int(all.count, INPUTS_MAX);
    inputs_fini(&all);
}

int main(void)
{
    test_keeping();
    test_holding();
    test_number();
    return test_report();
}

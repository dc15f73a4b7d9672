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

    test("what is followed by other bytes is not kept");
    room = read_some('c', 10000);
    check(input_keep(&all, (struct str){room + 100, 9000}) == NULL);
    check(inputs_room(&all) == room);

    test("what lies elsewhere, was not read, or is little is not kept");
    static char elsewhere[10000];
    check(input_keep(&all, (struct str){elsewhere, 10000}) == NULL);
    check(input_keep(&all, (struct str){room, 10001}) == NULL);
    check(input_keep(&all, (struct str){room + 10000 - 4095, 4095}) == NULL);
    inputs_filled(&all, -1);
    check(input_keep(&all, (struct str){room, 10000}) == NULL);
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
    test_number();
    return test_report();
}

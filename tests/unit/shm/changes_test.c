/*
 * changes_test - the list of what operators change about servers, as several workers see it. Links
 * changes and what it needs.
 */
#include "../test.h"
#include "shm/changes.h"

static struct change change_of(const char *backend, const char *address, enum change_kind kind,
                               double weight)
{
    struct change c = {.kind = kind, .weight = weight};
    snprintf(c.backend, sizeof c.backend, "%s", backend);
    snprintf(c.address, sizeof c.address, "%s", address);
    return c;
}

static bool put(struct changes *c, const char *backend, const char *address, enum change_kind kind,
                double weight)
{
    struct change change = change_of(backend, address, kind, weight);
    return changes_put(c, &change);
}

static void test_copies(struct changes *c)
{
    static struct change_list copy;
    test("a copy is of a version");
    changes_read(c, &copy);
    check_int(copy.count, 0);
    check(!changes_are_newer(c, &copy));
    check(put(c, "app", "127.0.0.1:1", CHANGE_WEIGHT, 3));
    check(changes_are_newer(c, &copy));
    check_int(copy.count, 0);
    changes_read(c, &copy);
    check(!changes_are_newer(c, &copy));
    check_int(copy.count, 1);
    check_int((int)changes_find(&copy, STR("app"), STR("127.0.0.1:1"))->weight, 3);
    check(changes_find(&copy, STR("other"), STR("127.0.0.1:1")) == NULL);
    check(changes_find(&copy, STR("app"), STR("127.0.0.1:2")) == NULL);
}

static void test_replaced(struct changes *c)
{
    static struct change_list copy;
    test("a server has one change, the last");
    check(put(c, "app", "127.0.0.1:1", CHANGE_REMOVE, 0));
    changes_read(c, &copy);
    check_int(copy.count, 1);
    check_int(changes_find(&copy, STR("app"), STR("127.0.0.1:1"))->kind, CHANGE_REMOVE);
}

static void test_forget(struct changes *c)
{
    static struct change_list copy;
    test("changes are dropped: of a server, of a backend, all");
    put(c, "app", "127.0.0.1:2", CHANGE_ADD, 1);
    put(c, "app", "127.0.0.1:3", CHANGE_ADD, 1);
    put(c, "other", "127.0.0.1:2", CHANGE_ADD, 1);
    check_int(changes_forget(c, STR("app"), STR("127.0.0.1:2")), 1);
    changes_read(c, &copy);
    check_int(copy.count, 3);
    check(changes_find(&copy, STR("app"), STR("127.0.0.1:3")) != NULL);
    check(changes_find(&copy, STR("other"), STR("127.0.0.1:2")) != NULL);
    check_int(changes_forget(c, STR("app"), STR("127.0.0.1:2")), 0);
    check(!changes_are_newer(c, &copy)); /* nothing was dropped */
    check_int(changes_forget(c, STR("app"), STR("")), 2);
    put(c, "app", "127.0.0.1:2", CHANGE_ADD, 1);
    check_int(changes_forget(c, STR(""), STR("")), 2);
}

static void test_bound(struct changes *c)
{
    char address[32];
    test("there is a bound, and what is there may change beyond it");
    for (int i = 0; i < CHANGES_MOST; i++) {
        snprintf(address, sizeof address, "127.0.0.1:%d", i + 1);
        check(put(c, "app", address, CHANGE_ADD, 1));
    }
    check(!put(c, "app", "127.0.0.2:1", CHANGE_ADD, 1));
    check(put(c, "app", "127.0.0.1:1", CHANGE_ADD, 2));
    check_int(changes_forget(c, STR(""), STR("")), CHANGES_MOST);
    check(put(c, "app", "127.0.0.2:1", CHANGE_ADD, 1));
}

int main(void)
{
    struct changes *c = changes_new();
    if (c == NULL)
        abort();
    test_copies(c);
    test_replaced(c);
    test_forget(c);
    test_bound(c);
    return test_report();
}

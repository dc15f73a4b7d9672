/*
 * settings_test - a backend is found by its name, however many there are. Links settings, arena and
 * str.
 */
#include "../test.h"
#include "http/settings.h"

#define MANY 4000

static void check_names(unsigned count)
{
    static struct backend_settings list[MANY];
    static char names[MANY][16];
    struct settings s = {.backends = list, .backend_count = count};
    unsigned wrong = 0;
    arena_init(&s.arena, NULL, 0);
    for (unsigned i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "app%u", i);
        list[i].name = str_of(names[i]);
    }
    settings_index_backends(&s);
    for (unsigned i = 0; i < count; i++)
        wrong += settings_find_backend(&s, str_of(names[i])) != (int)i;
    check_int(wrong, 0);
    check_int(settings_find_backend(&s, STR("ap")), -1);
    check_int(settings_find_backend(&s, STR("app4000")), -1);
    check_int(settings_find_backend(&s, STR("")), -1);
    arena_fini(&s.arena);
}

int main(void)
{
    test("no backend");
    check_names(0);
    test("one backend");
    check_names(1);
    test("thousands of backends");
    check_names(MANY);
    return test_report();
}

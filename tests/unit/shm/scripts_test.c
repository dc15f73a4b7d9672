/*
 * scripts_test - scripts by time: the busy ones are known whatever names come beside them, and
 * nothing that was counted is lost. Links scripts and str.
 */
#include "../test.h"
#include "shm/scripts.h"

#include <stdio.h>
#include <string.h>

static struct scripts_table table;

static const struct scripts_entry *find(struct str name)
{
    for (unsigned i = 0; i < SCRIPTS_MOST; i++) {
        bool cut;
        const struct scripts_entry *e = &table.entry[i];
        if (e->hash != 0 && str_eq(scripts_name(e, &cut), name))
            return e;
    }
    return NULL;
}

static struct scripts_counts sums(void)
{
    struct scripts_counts all = table.others;
    for (unsigned i = 0; i < SCRIPTS_MOST; i++) {
        const struct scripts_counts *c = &table.entry[i].counts;
        all.requests += c->requests;
        all.errors += c->errors;
        all.messages += c->messages;
        all.seconds += c->seconds;
    }
    return all;
}

static void test_counts(void)
{
    test("requests, errors, messages and time add up");
    memset(&table, 0, sizeof table);
    scripts_count(&table, STR("/srv/a.php"), 0.5, false);
    scripts_count(&table, STR("/srv/a.php"), 0.25, true);
    scripts_count_messages(&table, STR("/srv/a.php"), 3);
    scripts_count(&table, STR("/srv/b.php"), 1, false);
    scripts_count_messages(&table, STR("/srv/none.php"), 0);
    const struct scripts_entry *a = find(STR("/srv/a.php")), *b = find(STR("/srv/b.php"));
    check(a != NULL && a->counts.requests == 2 && a->counts.errors == 1);
    check(a != NULL && a->counts.messages == 3 && a->counts.seconds == 0.75);
    check(b != NULL && b->counts.requests == 1 && b->counts.errors == 0);
    check(find(STR("/srv/none.php")) == NULL);
}

static void test_long_names(void)
{
    char one[400], other[400];
    bool cut;
    test("of a long name the end is shown, and the whole tells it apart");
    memset(&table, 0, sizeof table);
    memset(one, 'x', sizeof one);
    memset(other, 'x', sizeof other);
    other[0] = 'y';
    scripts_count(&table, (struct str){one, sizeof one}, 1, false);
    scripts_count(&table, (struct str){other, sizeof other}, 1, false);
    check_int(sums().requests, 2);
    for (unsigned i = 0, n = 0; i < SCRIPTS_MOST; i++) {
        const struct scripts_entry *e = &table.entry[i];
        if (e->hash == 0)
            continue;
        check(++n <= 2 && e->counts.requests == 1);
        check_int(scripts_name(e, &cut).n, SCRIPTS_NAME);
        check(cut);
    }
    test("a name of more bytes than its size has room for");
    static char huge[100000];
    memset(huge, 'z', sizeof huge);
    scripts_count(&table, (struct str){huge, sizeof huge}, 1, false);
    scripts_count(&table, (struct str){huge, sizeof huge}, 1, false);
    check_int(sums().requests, 4);
}

/* A scanner asks for 100,000 names; five scripts are slow, one of them from the middle on. */
static void test_flood(void)
{
    char name[64];
    test("busy scripts keep their places, and a late one gets one, in a flood of names");
    memset(&table, 0, sizeof table);
    for (unsigned i = 0; i < 100000; i++) {
        int n = snprintf(name, sizeof name, "/srv/scan-%u.php", i);
        scripts_count(&table, (struct str){name, (size_t)n}, 0.001, true);
        if (i % 10 != 0)
            continue;
        for (unsigned j = 0; j < (i > 50000 ? 5 : 4); j++) {
            n = snprintf(name, sizeof name, "/srv/busy-%u.php", j);
            scripts_count(&table, (struct str){name, (size_t)n}, 0.5, false);
        }
    }
    for (unsigned j = 0; j < 5; j++) {
        int n = snprintf(name, sizeof name, "/srv/busy-%u.php", j);
        const struct scripts_entry *e = find((struct str){name, (size_t)n});
        check(e != NULL && e->counts.requests > (j < 4 ? 9900 : 4900));
    }
    struct scripts_counts all = sums();
    check_int(all.errors, 100000);
    check_int(all.requests, 100000 + 4 * 10000 + 4999);
}

int main(void)
{
    test_counts();
    test_long_names();
    test_flood();
    return test_report();
}

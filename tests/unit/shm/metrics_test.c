/*
 * metrics_test - names have bounds and are found again, times fall into their buckets, numbers of
 * scripts add up over processes. Links metrics, lock and str.
 */
#include "../test.h"
#include "shm/metrics.h"

#include <sys/wait.h>
#include <unistd.h>

static struct metrics *m;

static unsigned bucket_of(double seconds)
{
    struct metrics_histogram h = {.sum = 0};
    metrics_observe(&h, seconds);
    for (unsigned i = 0; i <= METRICS_BUCKETS; i++)
        if (h.bucket[i] == 1)
            return i;
    return METRICS_BUCKETS + 1;
}

static void test_buckets(void)
{
    test("a time is in the first bucket whose bound it does not exceed");
    for (unsigned i = 0; i < METRICS_BUCKETS; i++) {
        check_int(bucket_of(metrics_bounds[i]), i);
        check_int(bucket_of(metrics_bounds[i] * 1.0001), i + 1);
    }
    check_int(bucket_of(0), 0);
    check_int(bucket_of(1e-300), 0);
    check_int(bucket_of(1e9), METRICS_BUCKETS);
    check_int(bucket_of(1e300), METRICS_BUCKETS);

    test("by all times from a microsecond to a quarter of an hour");
    for (double seconds = 1e-6; seconds < 900; seconds *= 1.0007) {
        unsigned bucket = 0;
        while (bucket < METRICS_BUCKETS && metrics_bounds[bucket] < seconds)
            bucket++;
        check_int(bucket_of(seconds), bucket);
    }

    test("a clock that was set back takes nothing away");
    struct metrics_histogram h = {.sum = 0};
    metrics_observe(&h, -5);
    check_int(h.bucket[0], 1);
    check(h.sum == 0);
}

static void test_methods(void)
{
    test("methods without a name of their own are others");
    check_int(metrics_method(STR("POST")), METRICS_POST);
    check_int(metrics_method((struct str){NULL, 0}), METRICS_OTHER_METHOD);
    check_int(metrics_method(STR("PATCH")), METRICS_PATCH);
    check_int(metrics_method(STR("OPTIONS")), METRICS_OPTIONS);
    check_int(metrics_method(STR("POSTS")), METRICS_OTHER_METHOD);
    check_int(metrics_method(STR("PO")), METRICS_OTHER_METHOD);
    check_int(metrics_method(STR("post")), METRICS_OTHER_METHOD);
    check_int(metrics_method(STR("PROPPATCH")), METRICS_OTHER_METHOD);
    check_int(metrics_method(STR("")), METRICS_OTHER_METHOD);
}

static struct str nth(const char *what, unsigned i)
{
    static char text[40];
    return (struct str){text, (size_t)snprintf(text, sizeof text, "%s%u", what, i)};
}

static void test_names(void)
{
    test("backends have numbers, which stay");
    unsigned app = metrics_backend(STR("app"));
    check(app > METRICS_OTHER_BACKEND);
    check_int(metrics_backend(STR("app")), app);
    check(metrics_backend(STR("api")) != app);

    test("what is too much is others");
    for (unsigned i = 0; i < 2 * METRICS_BACKENDS; i++)
        metrics_backend(nth("b", i));
    check_int(metrics_backend(STR("late")), METRICS_OTHER_BACKEND);
    check_int(metrics_backend(STR("app")), app);

    test("tenants of two backends are two series");
    unsigned shop = metrics_series(app, STR("shop"));
    check(shop >= 2 * METRICS_BACKENDS && shop < METRICS_SERIES);
    check(metrics_series(METRICS_NO_BACKEND, STR("shop")) != shop);
    check_int(metrics_series(app, STR("shop")), shop);
    check_int(metrics_series(app, STR("")), app);

    test("tenants have a bound; those that are known stay so");
    for (unsigned i = 0; i < 2 * METRICS_TENANTS; i++)
        metrics_series(app, nth("t", i));
    check_int(metrics_series(app, STR("late")), METRICS_BACKENDS + app);
    check_int(metrics_series(app, STR("shop")), shop);
    check_int(m->used[METRICS_TENANT], METRICS_TENANTS);

    test("names of all lengths are told apart by each of their bytes");
    metrics_use(metrics_new(1), 0, 0);
    char name[24];
    for (size_t size = 1; size <= 20; size++) {
        memset(name, 'a', sizeof name);
        unsigned plain = metrics_series(app, (struct str){name, size});
        for (size_t i = 0; i < size; i++) {
            name[i] = 'b';
            unsigned other = metrics_series(app, (struct str){name, size});
            check(other != plain && other >= 2 * METRICS_BACKENDS);
            name[i] = 'a';
        }
        check_int(metrics_series(app, (struct str){name, size}), plain);
    }
    metrics_use(m, 1, 0);

    test("a long name is cut");
    char text[2 * METRICS_TEXT];
    memset(text, 'x', sizeof text);
    check_int(metrics_family((struct str){text, sizeof text}),
              metrics_family((struct str){text, METRICS_TEXT}));
}

static void test_scripts(void)
{
    test("a family has at most so many series");
    int family = metrics_family(STR("counter logins"));
    check(family >= 0);
    int first = metrics_label((unsigned)family, STR("a"), 3, 2);
    int second = metrics_label((unsigned)family, STR("b"), 3, 2);
    check_int(second, first + 3);
    check_int(metrics_label((unsigned)family, STR("c"), 3, 2), -1);
    check_int(metrics_label((unsigned)family, STR("a"), 3, 2), first);

    test("processes add to the same value");
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int j = 0; j < 10000; j++)
                metrics_value_add(m, (unsigned)first, 0.5);
            _exit(0);
        }
    }
    while (wait(NULL) > 0)
        ;
    check(metrics_value(m, (unsigned)first) == 20000);
    metrics_value_set(m, (unsigned)first, -1);
    check(metrics_value(m, (unsigned)first) == -1);

    test("there are only so many values");
    int last = metrics_family(STR("histogram huge"));
    check_int(metrics_label((unsigned)last, STR("a"), METRICS_VALUES - 6, 9), first + 6);
    check_int(metrics_label((unsigned)last, STR("b"), 1, 9), -1);
    check_int(metrics_label(METRICS_FAMILIES, STR("b"), 1, 9), -1);
}

int main(void)
{
    m = metrics_new(2);
    metrics_use(m, 1, 0);
    test_buckets();
    test_methods();
    test_names();
    test_scripts();
    return test_report();
}

/*
 * trace_test - orders end by themselves, filters match, records come in order and no more than
 * wanted, and what an earlier order left is not taken for the next one's. Links trace and str.
 */
#include "../test.h"

#include "shm/trace.h"

#include <string.h>

static char out[TRACE_RECORD * 3];

static bool finds(const char *host, const char *path, const char *method)
{
    struct trace_match match;
    return trace_find(100, str_of(host), str_of(path), str_of(method), &match);
}

/* Ends a request with a text as its description. False: nobody wants it. */
static bool describe(const struct trace_match *match, unsigned status, const char *text)
{
    struct trace_record record;
    bool taken = false;
    for (unsigned i = 0; i < TRACE_ORDERS; i++) {
        if (!trace_take(match, i, status, &record))
            continue;
        memcpy(record.room, text, strlen(text));
        trace_put(&record, strlen(text));
        taken = true;
    }
    return taken;
}

static bool reads(uint64_t id, const char *text, struct trace_progress *progress)
{
    size_t used;
    return trace_read(id, 100, out, sizeof out, &used, progress) && used == strlen(text) &&
           memcmp(out, text, used) == 0;
}

static void test_end(void)
{
    struct trace_filter any = {.status = 0};
    struct trace_progress progress;
    size_t used;
    test("an order ends by itself, and when it is told to");
    check(!trace_is_wanted(100));
    uint64_t id = trace_order(&any, 1, 100);
    check(id > 0 && trace_is_wanted(100) && trace_is_wanted(100 + TRACE_TIME - 1));
    check(!trace_is_wanted(100 + TRACE_TIME));
    check(!trace_read(id, 100 + TRACE_TIME, out, sizeof out, &used, &progress));
    check(trace_read(id, 105, out, sizeof out, &used, &progress));
    check(trace_is_wanted(105 + TRACE_TIME - 1) && progress.left == 1);
    trace_end(id);
    check(!trace_is_wanted(105) && !trace_read(id, 105, out, sizeof out, &used, &progress));
    trace_end(id);
    trace_end(0);
    trace_end(UINT64_MAX);
}

static void test_filters(void)
{
    test("filters match host, path and method");
    struct trace_filter filter = {
        .host = STR("*.shop.test"), .path = STR("/a/*"), .method = STR("POST")};
    uint64_t id = trace_order(&filter, 1, 100);
    check(finds("www.shop.test", "/a/b", "POST") && finds("x.y.shop.test", "/a/", "POST"));
    check(!finds("shop.test", "/a/b", "POST") && !finds("xshop.test", "/a/b", "POST"));
    check(!finds("www.shop.test", "/a", "POST") && !finds("www.shop.test", "/a/b", "GET"));
    check(!finds("", "", ""));
    trace_end(id);
    filter = (struct trace_filter){.host = STR("shop.test"), .path = STR("/a")};
    id = trace_order(&filter, 1, 100);
    check(finds("shop.test", "/a", "X") && !finds("shop.test", "/ab", "X") &&
          !finds("www.shop.test", "/a", "X"));
    trace_end(id);
    check(!finds("shop.test", "/a", "X"));
}

static void test_count(void)
{
    struct trace_filter filter = {.status = 5};
    struct trace_progress progress;
    struct trace_match match;
    test("an order gets as many requests as it wants, of its status, in their order");
    uint64_t id = trace_order(&filter, 2, 100);
    check(trace_find(100, STR(""), STR("/"), STR("GET"), &match));
    check(!describe(&match, 200, "no") && describe(&match, 502, "one"));
    check(trace_is_wanted(100));
    check(describe(&match, 500, "two") && !trace_is_wanted(100));
    check(!describe(&match, 503, "three"));
    check(reads(id, "one\ntwo\n", &progress) && progress.left == 0 && progress.missed == 0);
    check(reads(id, "", &progress));
    trace_end(id);
}

static void test_missed(void)
{
    struct trace_filter any = {.status = 0};
    struct trace_progress progress;
    struct trace_match match;
    size_t used;
    test("requests that find no free record are counted, and wanted still");
    uint64_t id = trace_order(&any, 20, 100);
    trace_find(100, STR(""), STR("/"), STR("GET"), &match);
    for (unsigned i = 0; i < TRACE_KEPT + 3; i++)
        check(describe(&match, 200, "x") == (i < TRACE_KEPT));
    check(trace_read(id, 100, out, 5, &used, &progress) && used == 4); /* two fit */
    check(progress.left == 20 - TRACE_KEPT && progress.missed == 3);
    check(describe(&match, 200, "y"));
    trace_end(id);
}

static void test_next(void)
{
    struct trace_filter any = {.status = 0};
    struct trace_progress progress;
    struct trace_match match;
    struct trace_record late;
    uint64_t ids[TRACE_ORDERS];
    test("what a request of an earlier order leaves is not the next one's");
    ids[0] = trace_order(&any, 1, 100);
    trace_find(100, STR(""), STR("/"), STR("GET"), &match);
    check(trace_take(&match, 0, 200, &late));
    trace_end(ids[0]);
    for (unsigned i = 0; i < TRACE_ORDERS; i++) {
        ids[i] = trace_order(&any, 1, 100);
        check(ids[i] > 0);
    }
    check(trace_order(&any, 1, 100) == 0); /* all are taken */
    trace_put(&late, 4);
    check(!describe(&match, 200, "old")); /* matched before */
    for (unsigned i = 0; i < TRACE_ORDERS; i++) {
        check(reads(ids[i], "", &progress) && progress.left == 1);
        trace_end(ids[i]);
    }
    struct trace_filter large = {.host = {out, TRACE_HOST + 1}};
    check(trace_order(&large, 1, 100) == 0);
}

int main(void)
{
    if (!trace_new())
        return 1;
    test_end();
    test_filters();
    test_count();
    test_missed();
    test_next();
    return test_report();
}

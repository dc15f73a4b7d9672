/*
 * asked_test - names that a script is asked for: one call at a time, what is kept and for how long,
 * who waits, what has a bound. The script is a table of this test's own. Links asked and what
 * certificates need.
 */
#include "../test.h"
#include "make.h"
#include "tls/asked.h"

enum { PAIRS = 4096 }; /* names with a certificate that are kept */

static struct {
    struct asked_name *name; /* of the last call that is not answered */
    char text[ASKED_NAME + 1];
    unsigned calls, missed, ready, generation;
    unsigned most; /* 0: PAIRS */
    bool at_once, may_not;
    double now;
    struct certificate *answer; /* of a call that is answered at once */
} script;

static void ask(void *ctx, struct asked_name *name, const char *text)
{
    (void)ctx;
    script.calls++;
    snprintf(script.text, sizeof script.text, "%s", text);
    script.name = name;
    if (script.at_once)
        asked_answer(name, script.answer != NULL ? certificate_hold(script.answer) : NULL, 100);
}

static bool may_ask(void *ctx, const struct asked_wait *w)
{
    (void)ctx;
    (void)w;
    return !script.may_not;
}

static void missed(void *ctx, const struct asked_wait *w)
{
    (void)ctx;
    (void)w;
    script.missed++;
}

static void ready(void *ctx)
{
    (void)ctx;
    script.ready++;
}

static unsigned generation(void *ctx)
{
    (void)ctx;
    return script.generation;
}

static unsigned most(void *ctx)
{
    (void)ctx;
    return script.most > 0 ? script.most : PAIRS;
}

static double now(void *ctx)
{
    (void)ctx;
    return script.now;
}

static void begin(bool at_once, struct certificate *answer)
{
    static const struct asked_source source = {.ask = ask,
                                               .may_ask = may_ask,
                                               .missed = missed,
                                               .ready = ready,
                                               .generation = generation,
                                               .most = most,
                                               .clock = now};
    memset(&script, 0, sizeof script);
    script.at_once = at_once;
    script.answer = answer;
    asked_use(&source);
}

/* Whether a name is answered at once, and by which certificate. */
static bool gets(const char *name, const struct certificate *wanted)
{
    struct asked_wait w = {.answered = false};
    bool good = asked_begin(&w, name) && w.answered && w.certificate == wanted;
    asked_leave(&w);
    return good;
}

static struct certificate *pair;

static void test_names(void)
{
    test("a name is asked for in lower case, and what is no name is not");
    begin(true, pair);
    check(gets("Shop.Example.", pair));
    check_str(str_of(script.text), "shop.example");
    check_int(script.calls, 1);
    char most[ASKED_NAME + 2];
    memset(most, 'a', sizeof most);
    most[ASKED_NAME] = '\0';
    check(gets(most, pair));
    check_int(script.calls, 2);
    most[ASKED_NAME] = 'a';
    most[ASKED_NAME + 1] = '\0';
    const char *const bad[] = {"",    ".",    "..",    ".a",  "a..b", "a b",
                               "a/b", "a\nb", "a\x80", "*.a", "a:b",  most};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        check(gets(bad[i], NULL));
    check_int(script.calls, 2);
    asked_end();
}

static void test_time(void)
{
    test("an answer is kept for its time");
    begin(true, pair);
    check(gets("a", pair) && gets("a", pair));
    check_int(script.calls, 1);
    script.now = 99;
    check(gets("a", pair));
    check_int(script.calls, 1);
    script.now = 101;
    check(gets("a", pair));
    check_int(script.calls, 2);

    test("so is that there is none, and each time is counted against the client");
    script.answer = NULL;
    script.now = 1000;
    check(gets("none", NULL) && gets("none", NULL));
    check_int(script.calls, 3);
    check_int(script.missed, 1);
    check_int(asked_kept(false), 1);
    check_int(asked_kept(true), 1);

    test("another generation is asked again");
    script.answer = pair;
    script.generation = 2;
    check(gets("none", pair));
    check_int(script.calls, 4);
    check_int(asked_kept(false), 0);
    asked_end();
    check_int(asked_kept(true), 0);

    test("without a script there are no certificates");
    check(gets("a", NULL));
}

static void test_waiting(void)
{
    struct asked_wait w[4] = {{.answered = false}};
    test("handshakes for a name wait for one call, and go on in their order");
    begin(false, NULL);
    for (unsigned i = 0; i < 4; i++)
        check(!asked_begin(&w[i], "a") && !w[i].answered);
    check_int(script.calls, 1);
    check_int(asked_waiting(), 4);
    asked_leave(&w[1]); /* its client has left */
    check_int(asked_waiting(), 3);
    check(asked_next() == NULL);
    asked_answer(script.name, certificate_hold(pair), 100);
    check_int(asked_waiting(), 0);
    check_int(script.ready, 1);
    check(w[0].answered && w[0].certificate == pair);
    asked_leave(&w[2]); /* before it has gone on */
    check(asked_next() == &w[0] && asked_next() == &w[3] && asked_next() == NULL);
    asked_leave(&w[0]);
    asked_leave(&w[3]);
    check(gets("a", pair));
    check_int(script.calls, 1);

    test("a call whose clients have all left is kept");
    check(!asked_begin(&w[0], "b"));
    asked_leave(&w[0]);
    asked_answer(script.name, certificate_hold(pair), 100);
    check(gets("b", pair));
    check_int(script.calls, 2);

    test("handshakes that wait for none are counted against their clients");
    for (unsigned i = 0; i < 3; i++)
        check(!asked_begin(&w[i], "c"));
    asked_answer(script.name, NULL, 10);
    check_int(script.missed, 3);
    for (unsigned i = 0; i < 3; i++) {
        check(asked_next() == &w[i] && w[i].certificate == NULL);
        asked_leave(&w[i]);
    }
    asked_end();
}

static void test_failures(void)
{
    struct asked_wait w = {.answered = false};
    test("a failure is no answer, is not counted, and is tried again soon");
    begin(false, NULL);
    check(!asked_begin(&w, "a"));
    asked_fail(script.name);
    check(asked_next() == &w && w.answered && w.certificate == NULL);
    asked_leave(&w);
    check_int(script.missed, 0);
    check(gets("a", NULL));
    check_int(script.calls, 1);
    script.now = ASKED_FAILED_LIFE + 1;
    check(!asked_begin(&w, "a"));
    check_int(script.calls, 2);

    test("after a failure the last certificate is used on");
    asked_answer(script.name, certificate_hold(pair), 100);
    check(asked_next() == &w);
    asked_leave(&w);
    script.now = 1000;
    check(!asked_begin(&w, "a"));
    asked_fail(script.name);
    check(asked_next() == &w && w.certificate == pair);
    asked_leave(&w);
    check(gets("a", pair));
    check_int(script.calls, 3);

    test("who may not ask gets what is known, or nothing");
    script.now = 2000;
    script.may_not = true;
    check(gets("a", pair) && gets("b", NULL));
    check_int(script.calls, 3);
    asked_end();
}

static void test_calls(void)
{
    static struct asked_wait w[ASKED_CALLS + 2];
    static struct asked_name *called[ASKED_CALLS];
    char name[32];
    test("so many calls are under way, and others wait for their turn");
    begin(false, NULL);
    for (unsigned i = 0; i < ASKED_CALLS + 2; i++) {
        w[i] = (struct asked_wait){.answered = false};
        snprintf(name, sizeof name, "n%u", i);
        check(!asked_begin(&w[i], name));
        if (i < ASKED_CALLS)
            called[i] = script.name;
    }
    check_int(script.calls, ASKED_CALLS);
    asked_leave(&w[ASKED_CALLS]); /* it is never asked for */
    asked_answer(called[0], NULL, 1);
    check(asked_next() == &w[0]);
    check(asked_next() == NULL);
    check_int(script.calls, ASKED_CALLS + 1);
    check_str(str_of(script.text), "n65");
    asked_answer(script.name, NULL, 1);
    for (unsigned i = 1; i < ASKED_CALLS; i++)
        asked_answer(called[i], NULL, 1);
    unsigned count = 0;
    while (asked_next() != NULL)
        count++;
    check_int(count, ASKED_CALLS);
    for (unsigned i = 0; i < ASKED_CALLS + 2; i++)
        asked_leave(&w[i]);
    asked_end();

    test("one whose clients may not ask any more, when its turn comes, is not asked for");
    begin(false, NULL);
    for (unsigned i = 0; i < ASKED_CALLS + 2; i++) {
        w[i] = (struct asked_wait){.answered = false};
        snprintf(name, sizeof name, "n%u", i);
        check(!asked_begin(&w[i], name));
        if (i < ASKED_CALLS)
            called[i] = script.name;
    }
    script.may_not = true;
    asked_answer(called[0], NULL, 1);
    check_int(script.missed, 1);
    check(asked_next() == &w[0]);
    for (unsigned i = ASKED_CALLS; i < ASKED_CALLS + 2; i++) {
        check(asked_next() == &w[i] && w[i].answered && w[i].certificate == NULL);
    }
    check(asked_next() == NULL);
    check_int(script.calls, ASKED_CALLS);
    check_int(script.missed, 1);
    check_int(asked_kept(false), 1);
    for (unsigned i = 1; i < ASKED_CALLS; i++)
        asked_answer(called[i], NULL, 1);
    while (asked_next() != NULL)
        continue;
    check_int(asked_waiting(), 0);
    for (unsigned i = 0; i < ASKED_CALLS + 2; i++)
        asked_leave(&w[i]);
    asked_end();

    test("one that waits for its turn is answered with the others of its name");
    begin(true, pair);
    script.at_once = false;
    for (unsigned i = 0; i < ASKED_CALLS; i++) {
        w[i] = (struct asked_wait){.answered = false};
        snprintf(name, sizeof name, "n%u", i);
        check(!asked_begin(&w[i], name));
        called[i] = script.name;
    }
    struct asked_wait late[2] = {{.answered = false}};
    check(!asked_begin(&late[0], "late") && !asked_begin(&late[1], "late"));
    script.at_once = true;
    asked_answer(called[0], NULL, 1);
    check(asked_next() == &w[0]);
    check(asked_next() == &late[0] && late[0].certificate == pair);
    check(asked_next() == &late[1] && late[1].certificate == pair);
    asked_leave(&late[0]);
    asked_leave(&late[1]);
    for (unsigned i = 1; i < ASKED_CALLS; i++)
        asked_answer(called[i], NULL, 1);
    for (unsigned i = 0; i < ASKED_CALLS; i++)
        asked_leave(&w[i]);
    asked_end();
}

static void test_bounds(void)
{
    static struct asked_wait w[ASKED_WAITING];
    char name[32];
    test("so many handshakes wait, and further ones get nothing");
    begin(false, NULL);
    for (unsigned i = 0; i < ASKED_WAITING; i++)
        check(!asked_begin(&w[i], "a"));
    check(gets("a", NULL) && gets("b", NULL));
    check_int(script.calls, 1);
    for (unsigned i = 0; i < ASKED_WAITING; i++)
        asked_leave(&w[i]);
    check_int(asked_waiting(), 0);
    asked_answer(script.name, NULL, 1);
    asked_end();

    test("so many names are kept: those that were used last");
    begin(true, pair);
    for (unsigned i = 0; i < PAIRS; i++) {
        snprintf(name, sizeof name, "pair%u", i);
        check(gets(name, pair));
    }
    check(gets("pair0", pair));
    check_int(script.calls, PAIRS);
    check(gets("another", pair));
    check_int(asked_kept(true), PAIRS);
    check(gets("pair0", pair));
    check_int(script.calls, PAIRS + 1);
    check(gets("pair1", pair)); /* it was driven out */
    check_int(script.calls, PAIRS + 2);

    test("a smaller bound is reached by two at a time");
    script.most = PAIRS - 10;
    for (unsigned i = 0; i < 10; i++) {
        check_int(asked_kept(true), PAIRS - i);
        snprintf(name, sizeof name, "new%u", i);
        check(gets(name, pair));
    }
    check_int(asked_kept(true), PAIRS - 10);
    check(gets("newest", pair));
    check_int(asked_kept(true), PAIRS - 10);
    check(gets("newest", pair) && gets("new0", pair) && gets("pair0", pair));
    check_int(script.calls, PAIRS + 13);

    test("names without a certificate are as many, and drive out no other");
    script.answer = NULL;
    for (unsigned i = 0; i < ASKED_NONE + 100; i++) {
        snprintf(name, sizeof name, "none%u", i);
        check(gets(name, NULL));
    }
    check_int(asked_kept(false), ASKED_NONE);
    check_int(asked_kept(true), PAIRS - 10);
    check(gets("pair0", pair));
    asked_end();
}

int main(void)
{
    static struct pem cert, key;
    const char *err;
    struct made m = make(&(struct make){.common = "a.test"});
    pem_add(&cert, &m);
    pem_add_key(&key, &m, NULL);
    pair = certificate_new(pem_str(&cert), pem_str(&key), "a", "a", &err);
    if (pair == NULL)
        abort();
    test_names();
    test_time();
    test_waiting();
    test_failures();
    test_calls();
    test_bounds();
    test("every holder has given the certificate back");
    check_int(pair->users, 1);
    certificate_drop(pair);
    made_free(&m);
    return test_report();
}

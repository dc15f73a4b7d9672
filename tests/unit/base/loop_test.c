/*
 * loop_test - the queues of a loop: arrivals, steps, and work that is deferred to the end of a
 * turn. Links loop and input.
 */
#include "../test.h"
#include "base/loop.h"

static struct loop loop;
static char order[256];
static size_t count;

/* Work that writes its letter, and what it may do then. */
struct work {
    struct deferred d;
    char letter;
    struct deferred *queues, *defers, *takes_back;
};

static void work_run(struct deferred *d)
{
    struct work *w = (struct work *)((char *)d - offsetof(struct work, d));
    order[count++] = w->letter;
    if (w->queues != NULL)
        loop_step(&loop, w->queues);
    if (w->defers != NULL)
        loop_defer(&loop, w->defers);
    if (w->takes_back != NULL)
        loop_undefer(w->takes_back);
}

static struct str ran(void)
{
    struct str s = {order, count};
    count = 0;
    return s;
}

static void never_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
}

/* A read from a server that brings n bytes. */
static char *server_sends(struct deferred *d, size_t n)
{
    char *room = loop_room(&loop);
    memset(room, 'x', n);
    return loop_server_arrival(&loop, d, n) ? room : NULL;
}

static char *client_sends(struct deferred *d, size_t n)
{
    char *room = inputs_room(&loop.inputs);
    memset(room, 'y', n);
    inputs_filled(&loop.inputs, (ssize_t)n);
    return loop_client_arrival(&loop, d, n) ? room : NULL;
}

static void test_arrivals(void)
{
    struct work a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'}, s = {.letter = 's'};
    a.d.run = b.d.run = c.d.run = s.d.run = work_run;

    test("arrivals of servers run before those of clients, and then what these queue");
    a.queues = &s.d;
    char *one = client_sends(&a.d, 100), *two = client_sends(&b.d, 100);
    char *three = server_sends(&c.d, 100);
    check(one != NULL && two == one + 128 && three != NULL && loop_room(&loop) == three + 128);
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_str(ran(), "cabs");
    check(loop_room(&loop) == three && inputs_room(&loop.inputs) == one);
    a.queues = NULL;

    test("an arrival that is taken back does not run");
    check(client_sends(&a.d, 1) != NULL && server_sends(&b.d, 1) != NULL);
    loop_undefer(&a.d);
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_str(ran(), "b");

    test("a large read does not wait");
    check(client_sends(&a.d, LOOP_REQUEST_MAX + 1) == NULL);
    check(server_sends(&a.d, LOOP_ARRIVAL_MAX + 1) == NULL);
    check(!loop_is_queued(&a.d));

    test("clients' reads wait as far as there is room, and leave room for a whole read");
    enum { IN_ONE = INPUT_HELD / LOOP_REQUEST_MAX + 1, ALL = INPUTS_MAX * IN_ONE };
    struct work many[ALL];
    for (size_t i = 0; i < ALL; i++) {
        many[i] = (struct work){.letter = 'm', .d.run = work_run};
        check((client_sends(&many[i].d, LOOP_REQUEST_MAX) != NULL) == (i < ALL - 1));
    }
    memset(inputs_room(&loop.inputs), 'z', INPUT_SIZE);
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_int((long)ran().n, ALL - 1);

    test("a full stage runs before the turn ends");
    struct work full[LOOP_ARRIVALS_MAX];
    for (size_t i = 0; i < LOOP_ARRIVALS_MAX; i++) {
        loop_run_full_stage(&loop);
        check_int((long)ran().n, 0);
        full[i] = (struct work){.letter = 'f', .d.run = work_run};
        check(server_sends(&full[i].d, LOOP_ARRIVAL_MAX) != NULL);
    }
    memset(loop_room(&loop), 'z', LOOP_READ_SIZE);
    full[0].queues = &s.d; /* a decision, which queues what carries it out */
    s.queues = &c.d;
    loop_run_full_stage(&loop);
    struct str all = ran();
    check_int((long)all.n, LOOP_ARRIVALS_MAX + 2);
    check_str(str_skip(all, LOOP_ARRIVALS_MAX), "sc");
}

int main(void)
{
    struct work a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'};
    ev_timer never; /* the loop has something to wait for */
    loop_init(&loop, ev_default_loop(0));
    ev_timer_init(&never, never_cb, 3600, 0);
    ev_timer_start(loop.ev, &never);
    a.d.run = b.d.run = c.d.run = work_run;

    test("steps run in the order in which they were queued, each once");
    loop_step(&loop, &b.d);
    loop_step(&loop, &a.d);
    loop_step(&loop, &b.d);
    check(loop_is_queued(&a.d));
    loop_run_steps(&loop);
    check_str(ran(), "ba");
    check(!loop_is_queued(&a.d));
    loop_run_steps(&loop);
    check_str(ran(), "");

    test("a step that queues itself, or another one, waits for the next call");
    a.queues = &a.d;
    b.queues = &c.d;
    loop_step(&loop, &a.d);
    loop_step(&loop, &b.d);
    loop_run_steps(&loop);
    check_str(ran(), "ab");
    a.queues = b.queues = NULL;
    loop_run_steps(&loop);
    check_str(ran(), "ac");

    test("a step takes another one back");
    a.takes_back = &b.d;
    loop_step(&loop, &a.d);
    loop_step(&loop, &b.d);
    loop_step(&loop, &c.d);
    loop_run_steps(&loop);
    check_str(ran(), "ac");
    a.takes_back = NULL;

    test("deferred work comes behind the steps of the turn; what it queues has the next one");
    b.queues = &c.d;
    b.defers = &b.d;
    loop_defer(&loop, &b.d);
    loop_step(&loop, &a.d);
    ev_run(loop.ev, EVRUN_ONCE); /* the loop does not sleep while something waits */
    check_str(ran(), "ab");
    b.queues = b.defers = NULL;
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_str(ran(), "cb");

    test_arrivals();
    ev_timer_stop(loop.ev, &never);
    loop_fini(&loop);
    return test_report();
}

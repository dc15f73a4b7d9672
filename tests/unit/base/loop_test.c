/*
 * loop_test - the two queues of a loop: steps, and work that is deferred to the end of a turn.
 * Links loop alone.
 */
#include "../test.h"
#include "base/loop.h"

static struct loop loop;
static char order[64];
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

    ev_timer_stop(loop.ev, &never);
    loop_fini(&loop);
    return test_report();
}

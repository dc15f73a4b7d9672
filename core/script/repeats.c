/* repeats - see repeats.h. */
#include "script/repeats.h"

#include "base/log.h"

#include <ev.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KINDS 8  /* different errors that are remembered */
#define QUIET 10 /* seconds in which the same one is only counted */

static struct repeated {
    char text[256]; /* where two begin alike for so long, they are the same */
    const char *what;
    double said;
    unsigned count;
} errors[KINDS];
static unsigned oldest;
static struct ev_loop *loop;
static ev_timer timer; /* runs while there are counts to say */

static double repeats_seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void say_count(struct repeated *e, double now)
{
    if (e->count > 0)
        log_error("%s: an error came %u more times in %.0f seconds: %.*s", e->what, e->count,
                  now - e->said, (int)strcspn(e->text, "\n"), e->text); /* no traceback again */
    e->count = 0;
    e->said = now;
}

/* Counts of QUIET seconds; the others wait for the next time. */
static void repeats_timer_cb(struct ev_loop *ev, ev_timer *t, int events)
{
    double now = repeats_seconds_now();
    bool more = false;
    (void)events;
    for (struct repeated *e = errors; e < errors + KINDS; e++) {
        if (e->count > 0 && now - e->said >= QUIET)
            say_count(e, now);
        more = more || e->count > 0;
    }
    if (more) {
        ev_timer_set(t, 1, 0);
        ev_timer_start(ev, t);
    }
}

void script_repeats_use(struct ev_loop *ev)
{
    if (loop == ev)
        return;
    loop = ev;
    ev_timer_init(&timer, repeats_timer_cb, 0, 0);
}

static void repeats_count(struct repeated *e)
{
    e->count++;
    if (loop == NULL || ev_is_active(&timer))
        return;
    ev_timer_set(&timer, QUIET, 0);
    ev_timer_start(loop, &timer);
}

bool script_is_repeated(const char *what, const char *text)
{
    double now = repeats_seconds_now();
    unsigned i = 0;
    while (i < KINDS && strncmp(errors[i].text, text, sizeof errors[i].text - 1) != 0)
        i++;
    if (i < KINDS && now - errors[i].said < QUIET) {
        repeats_count(&errors[i]);
        return true;
    }
    if (i == KINDS)
        i = oldest++ % KINDS;
    say_count(&errors[i], now);
    snprintf(errors[i].text, sizeof errors[i].text, "%s", text);
    errors[i].what = what;
    return false;
}

void script_repeats_end(void)
{
    double now = repeats_seconds_now();
    for (struct repeated *e = errors; e < errors + KINDS; e++)
        say_count(e, now);
    if (loop != NULL)
        ev_timer_stop(loop, &timer);
    loop = NULL;
}

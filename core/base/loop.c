/* loop - see loop.h. */
#include "base/loop.h"

#include "base/date.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define KEEP_BLOCKS     256
#define PROGRESS_EVENTS 64 /* events of one epoll_wait */
#define CLOCK_LASTS     1e9

struct loop_block {
    struct loop_block *next;
};

static void loop_add(struct loop_queue *q, struct deferred *d)
{
    if (d->prev != NULL)
        return;
    d->next = &q->end;
    d->prev = q->end.prev;
    d->prev->next = d;
    q->end.prev = d;
}

static bool loop_is_empty(const struct loop_queue *q)
{
    return q->end.next == &q->end;
}

/* Runs the work that is queued now, but none that is queued meanwhile. */
static void loop_drain(struct loop_queue *q)
{
    struct deferred *d;
    if (loop_is_empty(q))
        return;
    loop_add(q, &q->mark);
    while ((d = q->end.next) != &q->mark) {
        loop_undefer(d);
        d->run(d);
    }
    loop_undefer(&q->mark);
}

void loop_run_steps(struct loop *loop)
{
    loop_drain(&loop->steps);
}

/* Runs the steps, and then those that these have queued: a request is decided about, and then
 * carried out. */
static void loop_run_last_steps(struct loop *loop)
{
    loop_drain(&loop->steps);
    loop_drain(&loop->steps);
}

static void loop_run_arrivals(struct loop *loop)
{
    if (loop->arrived == 0)
        return;
    loop_drain(&loop->from_servers);
    loop_drain(&loop->from_clients);
    loop_run_last_steps(loop);
    loop->arrived = 0;
    loop->in_held = 0;
    inputs_release(&loop->inputs);
}

static void loop_before_sleep_cb(struct ev_loop *ev, ev_prepare *prepare, int events)
{
    struct loop *loop = prepare->data;
    (void)events;
    loop_run_arrivals(loop);
    loop_run_last_steps(loop);
    loop_drain(&loop->deferred);
    if (!loop_is_empty(&loop->steps) || !loop_is_empty(&loop->deferred))
        ev_idle_start(ev, &loop->more);
    else
        ev_idle_stop(ev, &loop->more);
}

static void loop_more_cb(struct ev_loop *ev, ev_idle *idle, int events)
{
    (void)ev;
    (void)idle;
    (void)events;
}

static void loop_clock_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
}

static void loop_progress_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct epoll_event list[PROGRESS_EVENTS];
    (void)ev;
    (void)events;
    int count = epoll_wait(io->fd, list, PROGRESS_EVENTS, 0);
    /* only queues work: a callback here could free a later event's data */
    for (int i = 0; i < count; i++)
        loop_defer(io->data, list[i].data.ptr);
}

/* A timer of 30 years, whose rest tells how late it is. */
static void loop_clock_init(struct loop *loop)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    loop->clock_end = (double)now.tv_sec + (double)now.tv_nsec / 1e9 + CLOCK_LASTS;
    ev_timer_init(&loop->clock, loop_clock_cb, CLOCK_LASTS, 0);
    ev_now_update(loop->ev);
    ev_timer_start(loop->ev, &loop->clock);
}

static void loop_queue_init(struct loop_queue *q)
{
    q->end.next = q->end.prev = &q->end;
}

void loop_init(struct loop *loop, struct ev_loop *ev)
{
    memset(loop, 0, sizeof *loop);
    loop->ev = ev;
    inputs_init(&loop->inputs);
    loop->in = malloc(LOOP_READ_SIZE + LOOP_ARRIVALS_MAX * LOOP_ARRIVAL_MAX);
    loop->scratch = malloc(LOOP_SCRATCH_SIZE);
    if (loop->in == NULL || loop->scratch == NULL ||
        getrandom(&loop->id_state, sizeof loop->id_state, 0) < 0)
        abort();
    loop_queue_init(&loop->from_servers);
    loop_queue_init(&loop->from_clients);
    loop_queue_init(&loop->steps);
    loop_queue_init(&loop->deferred);
    loop_clock_init(loop);
    ev_prepare_init(&loop->before_sleep, loop_before_sleep_cb);
    loop->before_sleep.data = loop;
    ev_prepare_start(ev, &loop->before_sleep);
    ev_io_init(&loop->progress, loop_progress_cb, -1, EV_READ);
    loop->progress.data = loop;
    ev_idle_init(&loop->more, loop_more_cb);
}

void loop_fini(struct loop *loop)
{
    ev_timer_stop(loop->ev, &loop->clock);
    ev_prepare_stop(loop->ev, &loop->before_sleep);
    ev_io_stop(loop->ev, &loop->progress);
    if (loop->progress.fd >= 0)
        close(loop->progress.fd);
    ev_idle_stop(loop->ev, &loop->more);
    while (loop->free_blocks != NULL) {
        struct loop_block *next = loop->free_blocks->next;
        free(loop->free_blocks);
        loop->free_blocks = next;
    }
    inputs_fini(&loop->inputs);
    free(loop->in);
    free(loop->scratch);
}

void *loop_block(struct loop *loop)
{
    struct loop_block *block = loop->free_blocks;
    if (block != NULL) {
        loop->free_blocks = block->next;
        loop->free_count--;
        return block;
    }
    block = malloc(LOOP_BLOCK_SIZE);
    if (block == NULL)
        abort();
    return block;
}

void loop_block_free(struct loop *loop, void *memory)
{
    struct loop_block *block = memory;
    if (loop->free_count >= KEEP_BLOCKS) {
        free(block);
        return;
    }
    block->next = loop->free_blocks;
    loop->free_blocks = block;
    loop->free_count++;
}

struct str loop_date(struct loop *loop)
{
    ev_tstamp now = ev_now(loop->ev);
    if (now >= loop->date_at + 1 || now < loop->date_at) {
        time_t seconds = (time_t)now;
        date_format(seconds, loop->date);
        loop->date_at = (ev_tstamp)seconds;
    }
    return (struct str){loop->date, DATE_LENGTH};
}

/* splitmix64 of Steele, Lea and Flood: a full period, seeded from the kernel. */
uint64_t loop_id(struct loop *loop)
{
    uint64_t z = loop->id_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* --- arrivals, steps and deferred work --- */

bool loop_server_arrival(struct loop *loop, struct deferred *d, size_t n)
{
    if (n > LOOP_ARRIVAL_MAX)
        return false;
    loop_add(&loop->from_servers, d);
    loop->in_held += INPUT_LINES(n);
    loop->arrived++;
    return true;
}

bool loop_client_arrival(struct loop *loop, struct deferred *d, size_t n)
{
    if (n > LOOP_REQUEST_MAX || !inputs_hold(&loop->inputs))
        return false;
    loop_add(&loop->from_clients, d);
    loop->arrived++;
    return true;
}

void loop_run_full_stage(struct loop *loop)
{
    if (loop->arrived >= LOOP_ARRIVALS_MAX)
        loop_run_arrivals(loop);
}

void loop_step(struct loop *loop, struct deferred *d)
{
    loop_add(&loop->steps, d);
}

void loop_defer(struct loop *loop, struct deferred *d)
{
    loop_add(&loop->deferred, d);
}

void loop_undefer(struct deferred *d)
{
    if (d->prev == NULL)
        return;
    d->prev->next = d->next;
    d->next->prev = d->prev;
    d->next = d->prev = NULL;
}

/* --- progress of the other side --- */

/* libev's epoll is level-triggered. An edge comes each time that the reader frees a piece of the
 * socket's queue (unix_write_space of the kernel), so these sockets are in an epoll of their own,
 * which libev's watches. */
static bool loop_open_progress(struct loop *loop)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0)
        return false;
    ev_io_set(&loop->progress, fd, EV_READ);
    ev_io_start(loop->ev, &loop->progress);
    return true;
}

bool loop_watch_progress(struct loop *loop, int fd, struct deferred *d)
{
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET, .data.ptr = d};
    if (loop->progress.fd < 0 && !loop_open_progress(loop))
        return false;
    return epoll_ctl(loop->progress.fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void loop_ignore_progress(struct loop *loop, int fd)
{
    epoll_ctl(loop->progress.fd, EPOLL_CTL_DEL, fd, &(struct epoll_event){0});
}

/* --- deadlines --- */

static void loop_arm(struct deadline *d, double after)
{
    ev_timer_stop(d->loop->ev, &d->timer);
    ev_timer_set(&d->timer, after > 0 ? after : 0, 0);
    ev_timer_start(d->loop->ev, &d->timer);
}

static void loop_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct deadline *d = timer->data;
    (void)ev;
    (void)events;
    if (d->at == 0)
        return;
    double left = d->at - loop_now(d->loop);
    if (left > 0) {
        loop_arm(d, left);
        return;
    }
    d->at = 0;
    d->on_missed(d);
}

void deadline_init(struct deadline *d, struct loop *loop, void (*on_missed)(struct deadline *d))
{
    ev_timer_init(&d->timer, loop_timer_cb, 0, 0);
    d->timer.data = d;
    d->at = 0;
    d->on_missed = on_missed;
    d->loop = loop;
}

void deadline_set(struct deadline *d, double seconds)
{
    if (seconds <= 0) {
        d->at = 0;
        return;
    }
    d->at = loop_now(d->loop) + seconds;
    if (!ev_is_active(&d->timer) || ev_timer_remaining(d->loop->ev, &d->timer) > seconds)
        loop_arm(d, seconds);
}

void deadline_fini(struct deadline *d)
{
    ev_timer_stop(d->loop->ev, &d->timer);
    d->at = 0;
}

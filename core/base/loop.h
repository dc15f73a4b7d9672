/*
 * loop - the event loop of a worker: libev's loop, the read buffer, the Date, blocks for requests,
 * and deadlines that cost nothing while they are not missed.
 *
 * A turn of the loop has stages, and each is done for all sockets before the next one begins:
 *
 *     read --> arrivals of servers --> arrivals of clients --> steps --> steps -----> deferred work
 *              replies                 heads                   decide    carry out    write
 *
 * The program that a request needs is several times as large as the processor's cache of
 * instructions, and so is that of the kernel: a stage at a time keeps it there. The gain is in
 * docs/performance.md.
 *
 * A worker has one loop. A pointer into a read buffer is valid only in the event that filled the
 * buffer, or while the arrivals of the turn run, unless the buffer is kept (base/input.h).
 */
#ifndef MG_BASE_LOOP_H
#define MG_BASE_LOOP_H

#include "base/input.h"

#include <ev.h>

enum {
    LOOP_READ_SIZE = 256 * 1024, /* one read takes a large reply in few calls */
    LOOP_SCRATCH_SIZE = 64 * 1024,
    /* Bytes of a read that may wait as an arrival, from a server and from a client, whose request
     * may have its body: more are worth a stage of their own. */
    LOOP_ARRIVAL_MAX = 4096,
    LOOP_REQUEST_MAX = 32 * 1024,
    /* Arrivals of one stage: more would not be faster, and their requests push each other out of
     * the processor's cache of data. */
    LOOP_ARRIVALS_MAX = 32,
    LOOP_BLOCK_SIZE = 8192, /* a request with its first arena block */
};

struct loop_block;

/*
 * Work that runs once, when no other callback is on the stack, and may then be queued again. A loop
 * has a queue for each stage of a turn. Arrivals handle what was read. Steps run at the end of an
 * event and act on the facts that its callbacks have noted. Deferred work runs just before the loop
 * sleeps, after all ready events: so the writes of a turn go out together, and the process that
 * they wake finds several requests, and does not take the processor in the middle of the turn.
 */
struct deferred {
    struct deferred *next, *prev; /* NULL while not waiting */
    void (*run)(struct deferred *d);
};

/* A ring of work in its order. */
struct loop_queue {
    struct deferred end;
    struct deferred mark; /* end of the work that was queued when the current run began */
};

struct loop {
    struct ev_loop *ev;
    struct inputs inputs; /* buffers of reads from clients */
    /* what servers send: arrivals, which wait in `in_held` bytes, and room for the next read */
    char *in;
    size_t in_held;
    unsigned arrived; /* arrivals that are queued */
    char
        *scratch; /* LOOP_SCRATCH_SIZE bytes of a file on their way: used up before the call ends */
    char date[30];
    ev_tstamp date_at;
    ev_timer clock; /* of loop_now: it never ends */
    double clock_end;
    struct loop_block *free_blocks;
    unsigned free_count;
    uint64_t id_state;
    ev_prepare before_sleep;
    struct loop_queue from_servers, from_clients, steps, deferred;
    ev_io progress; /* watches the epoll of loop_watch_progress; -1: not made yet */
    /* active while work is left for the next turn, so that the loop does not sleep */
    ev_idle more;
};

/* Makes a loop over `ev`, which the caller keeps. */
void loop_init(struct loop *loop, struct ev_loop *ev);
void loop_fini(struct loop *loop);

/* Seconds of CLOCK_MONOTONIC as this turn of the loop began: what lasts, waits or gets old is
 * measured with it, since a clock that is set (by NTP, after a virtual machine's pause) must not
 * end a request, or keep one for an hour. ev_now is for dates alone. */
static inline double loop_now(struct loop *loop)
{
    /* libev has this clock, and tells it by what a timer has left. */
    return loop->clock_end - ev_timer_remaining(loop->ev, &loop->clock);
}

/* LOOP_BLOCK_SIZE bytes, not cleared; give them back with loop_block_free. */
void *loop_block(struct loop *loop);
void loop_block_free(struct loop *loop, void *block);

/* The IMF-fixdate of now (RFC 9110 §5.6.7), 29 bytes, made once a second. */
struct str loop_date(struct loop *loop);
/* A random id for a request. Another request of this machine is unlikely to have it. It is no
 * secret. */
uint64_t loop_id(struct loop *loop);

/* Room for the next read from a server, LOOP_READ_SIZE bytes. */
static inline char *loop_room(const struct loop *loop)
{
    return loop->in + loop->in_held;
}
/* Queues d->run, which handles the n bytes that a read from a server has brought into loop_room.
 * They stay where they are until it has run, in this turn. Nothing happens where they are more than
 * LOOP_ARRIVAL_MAX, and false is returned: the caller handles them at once. */
bool loop_server_arrival(struct loop *loop, struct deferred *d, size_t n);
/* The same for a read from a client into inputs_room, of LOOP_REQUEST_MAX. */
bool loop_client_arrival(struct loop *loop, struct deferred *d, size_t n);
/* Runs the arrivals where there are as many as one stage may have. Called by the event that has
 * queued one, when nothing of it is used any more. Arrivals, steps and deferred work read no socket
 * that queues arrivals: an arrival that is queued while arrivals run would lose its bytes. */
void loop_run_full_stage(struct loop *loop);

/* Queues d->run to run once, at the next loop_run_steps, or at the latest before this turn's
 * deferred work. Does nothing when d is queued already. */
void loop_step(struct loop *loop, struct deferred *d);
/* Runs the queued steps; steps that these queue wait for the next call, so the call ends. Called at
 * the end of an event that has filled the read buffer, which is valid until then. */
void loop_run_steps(struct loop *loop);
/* Queues d->run to run once before the loop sleeps, or, if deferred work calls this, in the next
 * turn. Does nothing when d is queued already. */
void loop_defer(struct loop *loop, struct deferred *d);
/* Removes an arrival, a step or deferred work from its queue: before its memory is freed, or when
 * the work was done otherwise. */
void loop_undefer(struct deferred *d);
static inline bool loop_is_queued(const struct deferred *d)
{
    return d->prev != NULL;
}

/* Defers d whenever the other side of the unix socket has read something of what was written to it.
 * The socket is writable before and after, so libev has no event for this. Returns false where the
 * kernel has no memory. */
bool loop_watch_progress(struct loop *loop, int fd, struct deferred *d);
/* Ends the watch, before the socket is closed or d is freed. */
void loop_ignore_progress(struct loop *loop, int fd);

/*
 * A deadline is set with a store and checked by a timer that is armed at most as late as the
 * deadline and otherwise left alone, so moving it further into the future costs no heap operation
 * (libev manual, "Be smart about timeouts").
 */
struct deadline {
    ev_timer timer;
    double at; /* of loop_now; 0: none */
    void (*on_missed)(struct deadline *d);
    struct loop *loop;
};

void deadline_init(struct deadline *d, struct loop *loop, void (*on_missed)(struct deadline *d));
/* Sets the deadline to `seconds` from now; 0 or less clears it. */
void deadline_set(struct deadline *d, double seconds);
/* Reads the clock anew. The loop's time is that of the turn's beginning: a time-out that a script
 * sets begins when the script has set it, however long it has computed before. */
static inline void loop_update_time(struct loop *loop)
{
    ev_now_update(loop->ev);
}
static inline void deadline_clear(struct deadline *d)
{
    d->at = 0;
}
/* Stops the timer, before the memory is freed. */
void deadline_fini(struct deadline *d);

#endif

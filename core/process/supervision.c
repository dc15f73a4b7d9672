/* supervision - see supervision.h. */
#include "process/supervision.h"

#include "base/log.h"
#include "script/limit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* True when the counter has not changed since the last look; a change is noted. */
static bool supervision_counter_is_still(struct counter *c, uint64_t value, double now)
{
    bool still = value == c->seen;
    if (!still)
        *c = (struct counter){value, now};
    return still;
}

/* After `limit` the hook is stopped by a signal, which ends interpreted code. After twice that the
 * worker is killed, since a compiled loop sees no hook. */
static void supervision_watch_hook(struct supervision *s, pid_t pid, struct board_worker *board,
                                   double limit, double now)
{
    double runs = now - s->hook.since;
    if (!s->told && runs >= limit) {
        board->stuck[0] = '\0';
        s->told = true;
        kill(pid, SIGNAL_TOO_LONG);
    } else if (s->told && runs >= limit * 1.9) {
        kill(pid, SIGKILL);
    }
}

/* The state letter of /proc/PID/status ("D": the process waits for a disk), and whether a debugger
 * traces the process. */
static char supervision_process_state(pid_t pid, bool *traced)
{
    char path[40], text[2048], state = '?';
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *at = strstr(text, "\nState:\t"), *tracer = strstr(text, "\nTracerPid:\t");
    if (at != NULL)
        state = at[8];
    *traced = tracer != NULL && atoi(tracer + 12) != 0;
    return state;
}

/* Handles a loop that is stuck while no hook runs: a call blocks, or a signal has stopped the
 * process. The log gets a line after two limits. After four (at once while the worker loads a
 * script, which may take SCRIPT_LOADING) the worker is killed, unless it waits for a disk, which
 * another worker would have to wait for, too, or a debugger traces it. */
static void supervision_watch_turn(struct supervision *s, pid_t pid, double limit, bool loads,
                                   double still)
{
    bool traced = false;
    double first = 2 * limit, last = 4 * limit;
    if (loads)
        first = last = first < SCRIPT_LOADING ? SCRIPT_LOADING : first;
    if (still < first)
        s->warned = false;
    if (still < first || (s->warned && still < last))
        return;
    char state = supervision_process_state(pid, &traced);
    if (!s->warned)
        log_error("worker %d serves nobody: its loop has made no turn for %.1f s, and no hook runs "
                  "(%s)",
                  (int)pid, still,
                  traced              ? "a debugger holds it"
                  : s->stopped_at > 0 ? "a signal has stopped it"
                  : state == 'D'      ? "it waits for a disk"
                                      : "a call that blocks");
    s->warned = true;
    if (still >= last && !traced && state != 'D')
        kill(pid, SIGKILL);
}

void supervision_look(struct supervision *s, pid_t pid, struct board_worker *board, double limit,
                      bool loads, double now)
{
    uint64_t beat = __atomic_load_n(&board->beat, __ATOMIC_RELAXED);
    uint64_t turn = __atomic_load_n(&board->turn, __ATOMIC_RELAXED);
    bool hook_still = supervision_counter_is_still(&s->hook, beat, now);
    bool turn_still = supervision_counter_is_still(&s->turn, turn, now);
    bool in_hook = hook_still && (beat & 1) != 0, in_turn = turn_still && (turn & 1) != 0;
    double moved = s->hook.since > s->turn.since ? s->hook.since : s->turn.since;
    if (!in_hook)
        s->told = false;
    if (s->stopped_at > 0)
        supervision_watch_turn(s, pid, limit, loads, now - s->stopped_at);
    else if (in_hook)
        supervision_watch_hook(s, pid, board, limit, now);
    else if (in_turn)
        supervision_watch_turn(s, pid, limit, loads, now - moved);
    else
        s->warned = false;
}

void supervision_forgive(struct supervision *s, double away)
{
    s->hook.since += away;
    s->turn.since += away;
    if (s->stopped_at > 0)
        s->stopped_at += away;
}

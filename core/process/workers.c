/* workers - see workers.h. */
#include "process/workers.h"

#include "base/log.h"
#include "process/child.h"
#include "process/say.h"
#include "process/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORK_AGAIN  1.0  /* seconds until the next try */
#define PAUSE_FIRST 1.0  /* seconds after a worker that failed to serve, */
#define PAUSE_MOST  30.0 /* doubled for each in a row, up to that */
#define PAUSE_SHORT 0.1  /* after a worker that has served for less than that */

void workers_init(struct workers *w, unsigned count)
{
    w->count = count;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        w->place[i] = i;
        w->accepts[i] = NO_WORKER;
    }
}

/* --- processes --- */

/* The child's part of workers_start. It calls exit, not _exit, so that a sanitizer reports leaks.
 */
static void worker_begin(const struct workers *w, const struct release *release,
                         const struct worker_config *config)
{
    log_capture_streams();
    w->in_child(w->ctx, release);
    log_setup(release->logs.error, release->plan.error, release->plan.level, release->logs.access,
              release->plan.access);
    exit(worker_run(config));
}

static struct worker_config worker_configure(const struct workers *w, unsigned number,
                                             unsigned place, const struct release *release,
                                             bool reserve)
{
    const struct memory *m = w->memory;
    struct worker_config config = {
        .route = *w->route,
        .user = w->user,
        .workers = release->plan.workers,
        .index = place,
        .number = number,
        .reserve = reserve,
        .ledger = m->ledger,
        .census = m->census,
        .changes = m->changes,
        .recent = m->recent,
        .board = m->board,
        .underway = &m->underway[place],
        .metrics = m->metrics,
        .cache = m->cache,
        .quarantine = m->quarantine.shared,
        .shared = &m->dictionaries,
        .tickets = m->tickets,
        .certificates = release->certificates,
        .generation = release->generation,
        .error_log = release->logs.error,
        .access_log = release->logs.access,
        .signal = SIGNAL_TOO_LONG,
    };
    config.route.snapshot = release->snapshot;
    return config;
}

void workers_start(struct workers *w, unsigned number, unsigned place,
                   const struct release *release, bool reserve)
{
    struct worker_process *p = &w->list[place];
    struct board_worker *board = &w->memory->board->worker[place];
    int ends[2];
    pid_t pid = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
        pid = child_fork(ends);
        if (pid == 0) {
            struct worker_config config = worker_configure(w, number, place, release, reserve);
            config.master = ends[1];
            worker_begin(w, release, &config);
        }
    }
    if (pid < 0) {
        log_error("no process for a worker: %s", strerror(errno));
        *p = (struct worker_process){.restart_at = now_monotonic() + FORK_AGAIN,
                                     .unready = p->unready};
        return;
    }
    *p = (struct worker_process){.pid = pid,
                                 .socket = ends[0],
                                 .number = number,
                                 .started = now_monotonic(),
                                 .unready = p->unready,
                                 .loads = true,
                                 .reserve = reserve};
    board->pid = pid;
    board->number = number;
    board->leaving = false;
}

double workers_start_due(struct workers *w, const struct release *release, double now)
{
    double next = 0;
    for (unsigned i = 0; i < w->count; i++) {
        const struct worker_process *p = &w->list[w->place[i]];
        if (p->pid == 0 && p->restart_at <= now)
            workers_start(w, i, w->place[i], release, false);
        else if (p->pid == 0 && (next == 0 || p->restart_at < next))
            next = p->restart_at;
    }
    return next;
}

/* The first answer of a process is about its start, later ones are about reloads. */
static enum worker_fact workers_receive_answer(struct workers *w, unsigned place, bool good)
{
    struct worker_process *p = &w->list[place];
    if (p->ready)
        return WORKER_ANSWERS;
    p->loads = false;
    p->ready = w->memory->board->worker[place].ready = good;
    return good ? WORKER_SERVES : WORKER_FAILED;
}

enum worker_fact workers_receive(struct workers *w, unsigned place, const char **text)
{
    static struct link_message message;
    struct worker_process *p = &w->list[place];
    enum link_result result = p->socket > 0 ? link_receive(p->socket, &message) : LINK_NOTHING;
    *text = message.text;
    if (result == LINK_END) {
        close(p->socket);
        p->socket = 0;
    }
    if (result != LINK_MESSAGE)
        return WORKER_SILENT;
    link_close_fds(&message);
    switch (message.type) {
    case LINK_READY:
    case LINK_FAILED:
        return workers_receive_answer(w, place, message.type == LINK_READY);
    case LINK_RELOAD:
        return WORKER_ASKS_RELOAD;
    case LINK_STOP:
        return WORKER_ASKS_STOP;
    case LINK_KILL:
        return WORKER_ASKS_KILL;
    case LINK_CHANGES:
        return WORKER_CHANGES;
    default:
        p->switching = false;
        return WORKER_SWITCHED;
    }
}

void workers_ended(struct workers *w, unsigned place, int status, struct worker_end *end)
{
    struct worker_process *p = &w->list[place];
    struct board_worker *board = &w->memory->board->worker[place];
    end->was = *p;
    say_end(status, end->how, sizeof end->how);
    snprintf(end->stuck, sizeof end->stuck, "%.*s", (int)sizeof end->stuck - 1,
             p->supervision.told || WIFSIGNALED(status) ? board->stuck : "");
    board->stuck[0] = '\0';
    if (p->socket > 0)
        close(p->socket);
    *p = (struct worker_process){.unready = p->ready ? 0 : p->unready + 1};
}

/* A worker that dies again and again just after its start gets a short pause, so that other
 * processes run. */
void workers_restart_later(struct workers *w, unsigned place, const struct worker_end *end)
{
    struct worker_process *p = &w->list[place];
    double now = now_monotonic(), pause = PAUSE_FIRST;
    for (unsigned i = 1; i < p->unready && pause < PAUSE_MOST; i++)
        pause *= 2;
    if (end->was.ready)
        pause = now - end->was.started < PAUSE_SHORT ? PAUSE_SHORT : 0;
    p->restart_at = now + (pause < PAUSE_MOST ? pause : PAUSE_MOST);
}

bool workers_all_ready(const struct workers *w)
{
    for (unsigned i = 0; i < w->count; i++)
        if (!w->list[w->place[i]].ready)
            return false;
    return true;
}

bool workers_any(const struct workers *w)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (w->list[i].pid > 0)
            return true;
    return false;
}

bool workers_all_switched(const struct workers *w)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (w->list[i].switching)
            return false;
    return true;
}

void workers_end_switch(struct workers *w)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        w->list[i].switching = false;
}

/* --- slots --- */

bool worker_serves(const struct worker_process *p)
{
    return p->pid > 0 && p->socket > 0 && p->ready && !p->retired && !p->reserve;
}

bool workers_have_place(unsigned wanted, unsigned count, const unsigned *place)
{
    for (unsigned i = 0; i < count; i++)
        if (place[i] == wanted)
            return true;
    return false;
}

void workers_assign(const struct workers *w, unsigned count, const unsigned *place,
                    unsigned *accepts)
{
    for (unsigned slot = 0; slot < PLAN_WORKERS; slot++) {
        accepts[slot] = NO_WORKER;
        for (unsigned i = 0; i < count && accepts[slot] == NO_WORKER; i++)
            if (worker_serves(&w->list[place[(slot + i) % count]]))
                accepts[slot] = place[(slot + i) % count];
    }
}

static void workers_tell_sockets(struct workers *w, unsigned place)
{
    static char text[LINK_TEXT];
    int fds[LINK_FDS];
    unsigned count = sockets_of(w->sockets, w->accepts, place, false, fds, text, sizeof text);
    if (workers_tell(w, place, LINK_SOCKETS, text, fds, count))
        return;
    log_error("worker %d does not listen; it is replaced", (int)w->list[place].pid);
    kill(w->list[place].pid, SIGKILL);
}

void workers_share_out(struct workers *w)
{
    unsigned accepts[PLAN_WORKERS];
    bool changed[PLAN_WORKERS + 1] = {false}; /* the last one is NO_WORKER */
    if (!w->accepting)
        return;
    workers_assign(w, w->count, w->place, accepts);
    for (unsigned slot = 0; slot < PLAN_WORKERS; slot++)
        if (accepts[slot] != w->accepts[slot])
            changed[accepts[slot]] = changed[w->accepts[slot]] = true;
    memcpy(w->accepts, accepts, sizeof accepts);
    for (unsigned i = 0; i < w->count; i++)
        if (changed[w->place[i]] && worker_serves(&w->list[w->place[i]]))
            workers_tell_sockets(w, w->place[i]);
}

/* --- messages to workers --- */

bool workers_tell(struct workers *w, unsigned place, enum link_type type, const char *text,
                  const int *fds, unsigned count)
{
    struct worker_process *p = &w->list[place];
    if (p->socket <= 0 || !link_send(p->socket, type, text, fds, count))
        return false;
    p->loads = type == LINK_PREPARE || (p->loads && type != LINK_ABORT);
    p->switching |= type == LINK_SWITCH;
    return true;
}

void workers_kill_request(struct workers *w, const char *id)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (w->list[i].ready)
            workers_tell(w, i, LINK_KILL, id, NULL, 0);
}

void workers_prepared(struct workers *w, unsigned place)
{
    w->list[place].loads = false;
}

void workers_adopt(struct workers *w, unsigned count, const unsigned *place,
                   const unsigned *accepts)
{
    w->count = count;
    memcpy(w->place, place, sizeof w->place);
    memcpy(w->accepts, accepts, sizeof w->accepts);
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        w->list[i].reserve = false;
        w->list[i].unready = 0; /* failures of the old script don't count */
        w->list[i].restart_at = 0;
    }
}

/* A reserve whose on_start still runs gets SIGKILL, since it does not handle SIGTERM yet. */
void workers_end_reserves(struct workers *w)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct worker_process *p = &w->list[i];
        if (p->pid > 0 && p->reserve) {
            p->retired = true;
            p->reserve = false;
            kill(p->pid, p->ready ? SIGTERM : SIGKILL);
        }
    }
}

void workers_retire(struct workers *w, unsigned place)
{
    w->list[place].retired = true;
    if (!workers_tell(w, place, LINK_RETIRE, "", NULL, 0))
        kill(w->list[place].pid, SIGTERM);
}

void workers_hand_over(struct workers *w, unsigned place, unsigned to)
{
    struct worker_process *p = &w->list[place];
    int ends[2];
    bool told = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0) {
        told = p->socket > 0 && workers_tell(w, to, LINK_CLIENTS, "", &ends[0], 1) &&
               workers_tell(w, place, LINK_RETIRE, "", &ends[1], 1);
        close(ends[0]);
        close(ends[1]);
    }
    p->switching = told;
    p->retired = true;
    if (!told && !p->hands_over)
        workers_retire(w, place);
    p->hands_over |= told;
}

/* --- supervision --- */

void workers_supervise(struct workers *w, double limit, double now)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct worker_process *p = &w->list[i];
        if (p->pid > 0)
            supervision_look(&p->supervision, p->pid, &w->memory->board->worker[i], limit, p->loads,
                             now);
    }
}

void workers_forgive(struct workers *w, double away)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        supervision_forgive(&w->list[i].supervision, away);
}

void workers_leave(const struct workers *w)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (w->list[i].socket > 0)
            close(w->list[i].socket);
}

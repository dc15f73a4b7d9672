/*
 * workers - see master_inner.h. This file: what becomes a worker, and which worker accepts
 * from which slot.
 *
 * A slot has a worker of its own, its *home*. A client in a slot must never wait for a worker that
 * is not there, or may never be: so a worker gets its slot when it has said that it can serve, and
 * until then, and when it has ended, one of those that serve accepts from it.
 */
#include "process/master_inner.h"

#include "base/log.h"
#include "process/notify.h"
#include "process/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FORK_AGAIN 1.0 /* seconds until the next try */

/* --- slots --- */

/* It has said that it can serve, and is to. */
static bool worker_serves(const struct child *child)
{
    return child->pid > 0 && child->socket > 0 && child->ready && !child->surplus && !child->fresh;
}

/* The place of one of those that serve, to accept from a slot whose worker does not. */
static unsigned worker_substitute(const struct master *m, unsigned home, unsigned workers,
                                  const unsigned *place)
{
    unsigned serving = 0;
    for (unsigned i = 0; i < workers; i++)
        serving += worker_serves(&m->workers[place[i]]);
    if (serving == 0)
        return NOBODY;
    unsigned skip = home % serving, i = 0;
    while (!worker_serves(&m->workers[place[i]]) || skip-- > 0)
        i++;
    return place[i];
}

bool master_has_place(unsigned wanted, unsigned workers, const unsigned *place)
{
    for (unsigned i = 0; i < workers; i++)
        if (place[i] == wanted)
            return true;
    return false;
}

void master_assign(const struct master *m, unsigned workers, const unsigned *place,
                   const unsigned *before, unsigned *accepts)
{
    for (unsigned slot = 0; slot < PLAN_WORKERS; slot++) {
        unsigned home = slot % workers, now = before[slot];
        if (worker_serves(&m->workers[place[home]]))
            accepts[slot] = place[home];
        else if (now != NOBODY && master_has_place(now, workers, place) &&
                 worker_serves(&m->workers[now]))
            accepts[slot] = now;
        else
            accepts[slot] = worker_substitute(m, home, workers, place);
    }
}

static void tell_sockets(struct master *m, unsigned place)
{
    static char text[LINK_TEXT];
    const struct child *child = &m->workers[place];
    int fds[LINK_FDS];
    unsigned count = master_sockets_of(m, place, false, fds, text, sizeof text);
    if (link_send(child->socket, LINK_SOCKETS, text, fds, count))
        return;
    log_error("worker %d does not listen; it is replaced", (int)child->pid);
    kill(child->pid, SIGKILL);
}

void master_share_out(struct master *m)
{
    unsigned accepts[PLAN_WORKERS];
    bool changed[PLAN_WORKERS + 1] = {false}; /* the last one is NOBODY */
    if (m->stopping || (m->is_successor && !m->announced))
        return;
    master_assign(m, m->worker_count, m->place, m->accepts, accepts);
    for (unsigned slot = 0; slot < PLAN_WORKERS; slot++) {
        if (accepts[slot] != m->accepts[slot])
            changed[accepts[slot]] = changed[m->accepts[slot]] = true;
        m->accepts[slot] = accepts[slot];
    }
    for (unsigned i = 0; i < m->worker_count; i++)
        if (changed[m->place[i]] && worker_serves(&m->workers[m->place[i]]))
            tell_sockets(m, m->place[i]);
}

/* --- processes --- */

/* What a worker of that generation begins with. */
static struct worker_config worker_configure(const struct master *m, unsigned number,
                                             unsigned place, bool fresh)
{
    const struct reload *r = &m->reload;
    struct worker_config config = {
        .route = m->options->route,
        .user = &m->user,
        .workers = fresh ? r->plan.workers : m->worker_count,
        .index = place,
        .number = number,
        .fresh = fresh,
        .ledger = m->ledger,
        .census = m->census,
        .board = m->board,
        .underway = &m->underway[place],
        .quarantine = m->quarantine.shared,
        .shared = &m->shared,
        .generation = fresh ? m->generation + 1 : m->generation,
        .error_log = fresh ? r->error_log : m->error_log,
        .access_log = fresh ? r->access_log : m->access_log,
        .signal = MASTER_TOO_LONG,
    };
    config.route.snapshot = fresh ? r->snapshot : m->snapshot;
    return config;
}

/* The logs and the snapshot of the generation that is not the worker's. */
static void close_files(const struct master *m, bool fresh)
{
    const struct reload *r = &m->reload;
    int fds[] = {fresh ? m->error_log : r->error_log, fresh ? m->access_log : r->access_log,
                 fresh ? m->snapshot : r->snapshot};
    if (fresh)
        log_setup(r->error_log, r->plan.level, r->access_log);
    for (int i = 0; i < 3; i++)
        if (fds[i] > STDERR_FILENO)
            close(fds[i]);
}

static void run_worker(struct master *m, const struct worker_config *config)
{
    log_take_prints();
    master_child_signals(m);
    master_let_go(m);
    close_files(m, config->fresh);
    loader_forget(&m->reload.loader);
    int status = worker_run(config);
    master_free_listening(m);
    plan_free(&m->plan);
    plan_free(&m->reload.plan);
    /* exit, not _exit: it is here that a sanitizer reports what has leaked. */
    exit(status);
}

void master_start_worker(struct master *m, unsigned number, unsigned place, bool fresh)
{
    struct child *child = &m->workers[place];
    unsigned unready = child->unready;
    int ends[2] = {-1, -1};
    pid_t pid = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
        fflush(NULL);
        pid = fork();
    }
    if (pid == 0) {
        close(ends[0]);
        struct worker_config config = worker_configure(m, number, place, fresh);
        config.master = ends[1];
        run_worker(m, &config);
    }
    if (pid < 0) {
        log_error("no process for a worker: %s", strerror(errno));
        if (ends[0] >= 0)
            close(ends[0]);
        if (ends[1] >= 0)
            close(ends[1]);
        *child = (struct child){.restart_at = master_now() + FORK_AGAIN, .unready = unready};
        return;
    }
    close(ends[1]);
    *child = (struct child){.pid = pid,
                            .socket = ends[0],
                            .number = number,
                            .started = master_now(),
                            .unready = unready,
                            .fresh = fresh};
    struct board_worker *board = &m->board->worker[place];
    board->pid = pid;
    board->number = number;
    board->leaving = false;
}

void master_retire(struct child *child)
{
    if (child->socket <= 0 || !link_send(child->socket, LINK_RETIRE, "", NULL, 0))
        kill(child->pid, SIGTERM);
}

void master_replace(struct child *child, struct child *heir)
{
    int ends[2];
    bool told = false;
    if (heir->socket > 0 && child->socket > 0 &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0) {
        told = link_send(heir->socket, LINK_CLIENTS, "", &ends[0], 1) &&
               link_send(child->socket, LINK_RETIRE, "", &ends[1], 1);
        close(ends[0]);
        close(ends[1]);
    }
    child->switching = told;
    if (!told && !child->passes)
        master_retire(child);
    child->passes |= told;
}

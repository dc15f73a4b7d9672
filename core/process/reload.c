/*
 * reload - see master_inner.h. This file: a reload, in two phases over all workers.
 *
 *     idle --somebody wants it--> loading --report--> preparing --all are ready--> switching -->
 * idle
 *                                        \--error----\         \--one is not----> forgotten, idle
 *
 * Until the switch nothing of what serves is touched, so a script that is no good costs nothing.
 * The reload is over when every worker has switched: from then on no answer is the old script's.
 */
#include "process/master_inner.h"

#include "base/log.h"
#include "process/notify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOAD_TIMEOUT    60.0 /* of the loader, specs included */
#define NEWER           2.0  /* what a loader has left once another reload is asked for */
#define PREPARE_TIMEOUT 60.0
#define SWITCH_TIMEOUT  60.0 /* one that is stuck is replaced long before: supervise_turn */
#define REPLACED        2.0  /* seconds that a worker on its way is waited for */
#define LEAVING_MOST    8 /* workers that only finish their requests, for one more to be replaced */
#define WATCH_QUIET     0.1 /* changes that come together are one */

/* --- what asks for one --- */

static bool wants_watch(const struct master *m)
{
    return m->options->route.path != NULL &&
           (m->plan.watch > 0 || (m->plan.watch < 0 && isatty(STDERR_FILENO)));
}

/* A file is not what it was when it was loaded. A reload that is asked for already will see that.
 */
static void changed_meanwhile(struct master *m)
{
    if (!m->reload.wanted && m->watch_due == 0)
        m->watch_due = master_now() + WATCH_QUIET;
}

/* What could not be loaded, or started, may be mended by a change to any of its files. */
static void watch_failed(struct master *m)
{
    struct plan *plan = &m->reload.plan;
    if (m->watch != NULL && watch_add(m->watch, plan->files, plan->file_count))
        changed_meanwhile(m);
}

void master_watch(struct master *m)
{
    if (!wants_watch(m)) {
        watch_free(m->watch);
        m->watch = NULL;
        m->watch_due = 0;
        return;
    }
    if (m->watch == NULL)
        m->watch = watch_new();
    if (m->watch != NULL && watch_set(m->watch, m->plan.files, m->plan.file_count))
        changed_meanwhile(m);
}

void master_watch_heard(struct master *m)
{
    if (m->watch != NULL && watch_read(m->watch))
        m->watch_due = master_now() + WATCH_QUIET;
}

/* --- the end of it --- */

static void reload_copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

void master_show_error(struct master *m, const char *text)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    reload_copy(m->board->last_error, sizeof m->board->last_error, text);
    m->board->last_error_at = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void reload_answer(struct master *m, bool ok, const char *text)
{
    struct board *b = m->board;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    b->reload_ok = ok;
    b->reload_at = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    reload_copy(b->reload_error, sizeof b->reload_error, text);
    if (!ok)
        master_show_error(m, text);
    __atomic_store_n(&b->reload_done, m->reload.serving, __ATOMIC_RELEASE);
}

static void close_logs(const struct master *m, int error, int access)
{
    int fds[] = {error, access};
    for (int i = 0; i < 2; i++)
        if (fds[i] > STDERR_FILENO && fds[i] != m->error_log && fds[i] != m->access_log)
            close(fds[i]);
}

/* No worker has a part in what is being prepared. */
static void release_workers(struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct child *child = &m->workers[i];
        child->asked = child->prepared = child->fresh = child->leaves = false;
    }
}

static void reload_finish(struct master *m)
{
    struct reload *r = &m->reload;
    loader_free(&r->loader);
    plan_free(&r->plan);
    release_workers(m);
    r->state = RELOAD_IDLE;
    r->error_log = r->access_log = -1;
    r->logs_moved = false;
    if (r->snapshot > 0)
        close(r->snapshot);
    r->snapshot = 0;
    r->notes[0] = '\0';
    notify("READY=1");
    if (r->wanted)
        master_reload(m);
}

/* Those that were started for it, before others say what the ledger is to know. */
static void end_fresh_workers(struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct child *child = &m->workers[i];
        if (child->pid == 0 || !child->fresh)
            continue;
        child->surplus = true;
        kill(child->pid, child->ready ? SIGTERM : SIGKILL); /* on_start may hear nothing */
    }
}

/* The old generation goes on as if nothing had been. */
static void reload_fail(struct master *m, const char *text)
{
    struct reload *r = &m->reload;
    log_error("the reload failed, the old script goes on: %s", text);
    end_fresh_workers(m);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].socket > 0 && !m->workers[i].surplus && r->state == RELOAD_PREPARING)
            link_send(m->workers[i].socket, LINK_ABORT, "", NULL, 0);
    master_forget_sockets(m);
    close_logs(m, r->error_log, r->access_log);
    watch_failed(m);
    reload_answer(m, false, text);
    reload_finish(m);
}

/* --- loading --- */

/* Another one is asked for meanwhile. One that hangs must not keep it; but where requests come all
 * the time, one that is only slow gets to its end as well: each has twice as long as the last. */
static void reload_hurry(struct reload *r)
{
    double due = master_now() + NEWER * (double)(1u << r->given_up);
    bool first = !r->wanted;
    r->wanted = true; /* what comes meanwhile is served by one more, behind this one */
    if (first && r->state == RELOAD_LOADING && r->loader.pid > 0 && due < r->due)
        r->due = due;
}

/* The next one answers those who have asked for this. */
static void give_up(struct master *m)
{
    struct reload *r = &m->reload;
    log_warn("the script has been loading for %.1f s and a newer reload is asked for: that one is "
             "begun instead",
             master_now() - r->since);
    if (NEWER * (double)(1u << r->given_up) < LOAD_TIMEOUT)
        r->given_up++;
    reload_finish(m);
}

void master_reload(struct master *m)
{
    struct reload *r = &m->reload;
    if (m->stopping || !m->announced) {
        log_warn("no reload while %s", m->stopping ? "stopping" : "starting");
        r->serving = __atomic_load_n(&m->board->reload_requested, __ATOMIC_ACQUIRE);
        reload_answer(m, false, "no reload while starting or stopping");
        return;
    }
    if (r->state != RELOAD_IDLE) {
        reload_hurry(r);
        return;
    }
    r->wanted = false;
    r->serving = __atomic_load_n(&m->board->reload_requested, __ATOMIC_ACQUIRE);
    r->since = master_now();
    r->due = r->since + LOAD_TIMEOUT;
    r->state = RELOAD_LOADING;
    r->error_log = r->access_log = -1;
    notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(r->since * 1e6));
    r->snapshot = master_memory_file();
    const struct loader_config config = {.snapshot = r->snapshot,
                                         .ini = m->plan.ini,
                                         .route = &m->options->route,
                                         .user = &m->user,
                                         .trial = true,
                                         .generation = m->generation + 1,
                                         .shared = &m->shared,
                                         .child = master_loader_child,
                                         .ctx = m};
    if (!loader_start(&r->loader, &config))
        reload_fail(m, loader_error(&r->loader));
}

/* --- preparing --- */

static void reload_commit(struct master *m);

static void reload_note(struct reload *r, const char *text)
{
    size_t used = strlen(r->notes);
    snprintf(r->notes + used, sizeof r->notes - used, "%s%s", used > 0 ? "; " : "", text);
}

/* What stays as it is until a restart. */
static void keep_what_stays(struct master *m)
{
    struct reload *r = &m->reload;
    if (m->options->user == NULL && strcmp(r->plan.user, m->plan.user) != 0)
        reload_note(r, "'user' can't be changed by a reload: restart it");
    if (m->options->user == NULL && strcmp(r->plan.group, m->plan.group) != 0)
        reload_note(r, "'group' can't be changed by a reload: restart it");
    reload_copy(r->plan.user, sizeof r->plan.user, m->plan.user);
    reload_copy(r->plan.group, sizeof r->plan.group, m->plan.group);
    if (r->plan.shared != m->plan.shared) {
        reload_note(r, "'limits.shared' can't be changed by a reload: restart it");
        r->plan.shared = m->plan.shared;
    }
    if (strcmp(r->plan.control, m->plan.control) != 0) {
        reload_note(r, "'control' can't be changed by a reload: restart it");
        plan_keep_control(&r->plan, &m->plan);
    }
    if (r->plan.workers > m->capacity) {
        reload_note(r, "there is room for fewer workers until a restart");
        r->plan.workers = m->capacity;
    }
}

static bool prepare_worker(struct master *m, unsigned index)
{
    static char text[LINK_TEXT];
    const struct reload *r = &m->reload;
    int fds[LINK_FDS] = {r->error_log, r->access_log >= 0 ? r->access_log : r->error_log,
                         r->snapshot > 0 ? r->snapshot : r->error_log};
    /* A worker that is not needed any more still prepares: it serves until it has been told. */
    size_t used =
        (size_t)snprintf(text, sizeof text, "%u\t%u\t%d\t%d\t%u\n", m->generation + 1, r->attempt,
                         (int)r->plan.level, r->access_log >= 0, r->snapshot > 0);
    unsigned count = master_sockets_of(m, index, true, fds + 3, text + used, sizeof text - used);
    return link_send(m->workers[index].socket, LINK_PREPARE, text, fds, count + 3);
}

static bool is_to_prepare(const struct child *child)
{
    return child->pid > 0 && child->ready && !child->surplus && !child->fresh && !child->leaves;
}

/* A place that no number has, now or then, up to the number `given`; without a process, if there is
 * one. NOBODY: there is none. */
static unsigned free_place(const struct master *m, unsigned given)
{
    unsigned found = NOBODY;
    for (unsigned p = 0; p < m->capacity; p++) {
        if (master_has_place(p, m->worker_count, m->place) ||
            master_has_place(p, given, m->reload.place))
            continue;
        if (m->workers[p].pid == 0)
            return p;
        if (found == NOBODY)
            found = p;
    }
    return found;
}

/* The worker that serves, where all others do not; NULL: there are several or none. */
static struct child *find_only(struct master *m)
{
    struct child *only = NULL;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        if (!is_to_prepare(&m->workers[i]))
            continue;
        if (only != NULL)
            return NULL;
        only = &m->workers[i];
    }
    return only;
}

/* Who serves instead of one that leaves. */
static struct child *heir_of(struct master *m, const struct child *child)
{
    const struct reload *r = &m->reload;
    return &m->workers[r->place[child->number < r->plan.workers ? child->number : 0]];
}

/* A worker serves nobody while it loads a script. So where only one serves, another one is started
 * beside it, which takes its place. Where too many have not left yet, since their requests take
 * long, it loads the script itself. */
static void choose_places(struct master *m)
{
    struct reload *r = &m->reload;
    unsigned leaving = 0, count = r->plan.workers;
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        leaving += m->workers[i].pid > 0 && m->workers[i].surplus;
    for (unsigned i = 0; i < count; i++)
        r->place[i] = i < m->worker_count ? m->place[i] : free_place(m, i);
    struct child *only = find_only(m);
    if (only == NULL || leaving >= LEAVING_MOST)
        return;
    if (only->number < count) {
        unsigned place = free_place(m, count);
        if (place == NOBODY || m->workers[place].pid > 0)
            return;
        r->place[only->number] = place;
    }
    only->leaves = true;
}

/* Places that have no worker are to have one when the new plan serves: those that it has more of,
 * and those of workers that died. One that is not free yet gets its worker later. NULL, or what is
 * wrong. */
static const char *start_fresh_workers(struct master *m)
{
    const struct reload *r = &m->reload;
    for (unsigned i = 0; i < r->plan.workers; i++)
        if (m->workers[r->place[i]].pid == 0)
            master_start_worker(m, i, r->place[i], true);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].leaves && heir_of(m, &m->workers[i])->pid == 0)
            return "there is no process for the worker that is to serve it";
    return NULL;
}

/* A worker serves nobody while it loads a script: so half of them at most do so at a time. NULL, or
 * what is wrong. */
static const char *ask_workers(struct master *m)
{
    unsigned serving = 0, busy = 0;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        const struct child *child = &m->workers[i];
        serving += is_to_prepare(child);
        busy += is_to_prepare(child) && child->asked && !child->prepared;
    }
    unsigned most = serving > 1 ? serving / 2 : 1;
    for (unsigned i = 0; i < PLAN_WORKERS && busy < most; i++) {
        struct child *child = &m->workers[i];
        if (!is_to_prepare(child) || child->asked)
            continue;
        if (!prepare_worker(m, i))
            return "a worker can't be told of it";
        child->asked = true;
        busy++;
    }
    return NULL;
}

static bool all_prepared(const struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        const struct child *child = &m->workers[i];
        if (child->fresh ? !child->prepared : is_to_prepare(child) && !child->prepared)
            return false;
    }
    return true;
}

static void reload_prepare(struct master *m)
{
    struct reload *r = &m->reload;
    keep_what_stays(m);
    if (r->plan.note != NULL)
        reload_note(r, r->plan.note);
    for (unsigned i = 0; i < r->plan.warning_count; i++)
        reload_note(r, r->plan.warnings[i]);
    master_add_control(m, &r->plan);
    unsigned slots = r->plan.workers > m->worker_count ? r->plan.workers : m->worker_count;
    const char *err = listener_twice(r->plan.listen, r->plan.listen_count);
    if (err == NULL)
        err = master_open_sockets(m, &r->plan, slots);
    if (err == NULL)
        err = master_open_logs(m, &r->plan, &r->error_log, &r->access_log);
    r->state = RELOAD_PREPARING;
    r->attempt++;
    r->due = master_now() + PREPARE_TIMEOUT;
    choose_places(m);
    master_assign(m, r->plan.workers, r->place, m->accepts, r->accepts);
    if (err == NULL)
        err = start_fresh_workers(m);
    if (err == NULL)
        err = ask_workers(m);
    if (err != NULL)
        reload_fail(m, err);
    else if (all_prepared(m)) /* no process could be started: those who come begin with it */
        reload_commit(m);
}

void master_reload_heard(struct master *m)
{
    struct reload *r = &m->reload;
    switch (loader_read(&r->loader, &r->plan)) {
    case LOADER_MORE:
        break;
    case LOADER_FAILED:
        r->given_up = 0;
        reload_fail(m, loader_error(&r->loader));
        break;
    case LOADER_DONE:
        r->given_up = 0;
        r->due = master_now() + REPLACED; /* a worker may be on its way */
        if (master_all_ready(m))
            reload_prepare(m);
        break;
    }
}

/* --- the switch --- */

static void take_snapshot(struct master *m)
{
    if (m->snapshot > 0)
        close(m->snapshot);
    m->snapshot = m->reload.snapshot;
    m->reload.snapshot = 0;
}

static void take_logs(struct master *m)
{
    struct reload *r = &m->reload;
    int error = m->error_log, access = m->access_log;
    m->error_log = r->error_log;
    m->access_log = r->access_log;
    r->error_log = r->access_log = -1;
    log_setup(m->error_log, r->plan.level, m->access_log);
    close_logs(m, error, access);
}

static void tell_workers(struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct child *child = &m->workers[i];
        if (child->pid == 0 || child->surplus || child->fresh || child->leaves)
            continue;
        if (!child->ready) { /* it begins with the old script: again, with this one */
            kill(child->pid, SIGKILL);
            continue;
        }
        child->switching = link_send(child->socket, LINK_SWITCH, "", NULL, 0);
        if (!child->switching) {
            log_error("worker %d does not listen; it is replaced", (int)child->pid);
            kill(child->pid, SIGKILL);
        }
    }
}

/* It goes, and so do those that have not left yet to whom it was to pass their clients. */
static void replace_worker(struct master *m, struct child *child)
{
    struct child *heir = heir_of(m, child);
    m->board->worker[heir - m->workers].restarts = m->board->worker[child - m->workers].restarts;
    master_replace(child, heir);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].pid > 0 && m->workers[i].passes && &m->workers[i] != child)
            master_replace(&m->workers[i], heir);
}

static void retire_workers(struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct child *child = &m->workers[i];
        if (master_has_place(i, m->worker_count, m->place))
            continue;
        child->restart_at = 0;
        if (child->pid == 0 || child->surplus)
            continue;
        child->surplus = true;
        m->board->worker[i].leaving = child->leaves;
        if (child->leaves)
            replace_worker(m, child);
        else
            master_retire(child);
    }
}

static void reload_commit(struct master *m)
{
    struct reload *r = &m->reload;
    const char *err = master_let_in(m); /* now that it is sure to serve */
    if (err != NULL) {
        reload_fail(m, err);
        return;
    }
    m->generation++;
    quarantine_clear(&m->quarantine);
    tell_workers(m);
    take_logs(m);
    take_snapshot(m);
    master_take_sockets(m);
    plan_free(&m->plan);
    m->plan = r->plan;
    m->worker_count = m->plan.workers;
    memcpy(m->place, r->place, sizeof m->place);
    memcpy(m->accepts, r->accepts, sizeof m->accepts);
    for (unsigned i = 0; i < m->worker_count; i++) { /* the pause was for the old script */
        struct child *child = &m->workers[m->place[i]];
        child->unready = 0;
        child->restart_at = 0;
    }
    retire_workers(m);
    r->plan = (struct plan){.listen_count = 0};
    release_workers(m);
    if (r->logs_moved)
        master_reopen_logs(m);
    master_share_out(m);
    master_watch(m);
    m->board->workers = m->worker_count;
    master_show_listeners(m);
    r->state = RELOAD_SWITCHING;
    r->due = master_now() + SWITCH_TIMEOUT;
}

static bool all_switched(const struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].switching)
            return false;
    return true;
}

/* Whoever asked for it learns that it serves. */
static void end_switch(struct master *m)
{
    struct reload *r = &m->reload;
    if (!all_switched(m))
        log_error("a worker has not switched to generation %u within %.0f s", m->generation,
                  SWITCH_TIMEOUT);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        m->workers[i].switching = false;
    m->board->generation = m->generation;
    if (r->notes[0] != '\0')
        log_warn("generation %u: %s", m->generation, r->notes);
    log_info("generation %u serves (%.0f ms)", m->generation, (master_now() - r->since) * 1000);
    reload_answer(m, true, r->notes);
    reload_finish(m);
}

void master_reload_answer(struct master *m, struct child *child, const char *failure)
{
    if (m->reload.state != RELOAD_PREPARING)
        return;
    if (failure != NULL) {
        reload_fail(m, failure);
        return;
    }
    child->prepared = true;
    m->reload.due = master_now() + PREPARE_TIMEOUT; /* of the next ones */
    const char *err = ask_workers(m);
    if (err != NULL)
        reload_fail(m, err);
    else if (all_prepared(m))
        reload_commit(m);
}

void master_reload_take_answer(struct master *m, struct child *child, const char *text)
{
    char *failure;
    unsigned long attempt = strtoul(text, &failure, 10);
    if (*failure == '\t' && attempt == m->reload.attempt)
        master_reload_answer(m, child, failure[1] != '\0' ? failure + 1 : NULL);
}

void master_reload_joined(struct master *m, struct child *child)
{
    if (child->fresh)
        master_reload_answer(m, child, NULL);
    else if (!child->surplus && m->reload.state == RELOAD_PREPARING && ask_workers(m) != NULL)
        reload_fail(m, "a worker can't be told of it");
}

void master_reload_tick(struct master *m, double now)
{
    struct reload *r = &m->reload;
    if (r->state == RELOAD_LOADING && r->loader.pid == 0 && (master_all_ready(m) || now > r->due))
        reload_prepare(m);
    else if (r->state == RELOAD_LOADING && r->loader.pid > 0 && now > r->due && r->wanted)
        give_up(m);
    else if (r->state == RELOAD_LOADING && r->loader.pid > 0 && now > r->due)
        reload_fail(m, "the script could not be loaded within 60 s");
    else if (r->state == RELOAD_PREPARING && now > r->due)
        reload_fail(m, "a worker has not prepared the script within 60 s");
    if (r->state == RELOAD_SWITCHING && (all_switched(m) || now > r->due))
        end_switch(m);
}

/* --- logs --- */

void master_reopen_logs(struct master *m)
{
    int error, access, old_error = m->error_log, old_access = m->access_log;
    const char *err = master_open_logs(m, &m->plan, &error, &access);
    /* What a reload has opened already has been renamed as well. */
    m->reload.logs_moved = m->reload.state == RELOAD_PREPARING;
    if (err != NULL) {
        close_logs(m, error, access);
        log_error("%s; the old file is written on", err);
        return;
    }
    int fds[] = {error, access >= 0 ? access : error};
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].socket > 0 && !m->workers[i].fresh)
            link_send(m->workers[i].socket, LINK_LOGS, access >= 0 ? "1" : "0", fds, 2);
    m->error_log = error;
    m->access_log = access;
    log_setup(error, m->plan.level, access);
    close_logs(m, old_error, old_access);
    log_info("the logs are open again");
}

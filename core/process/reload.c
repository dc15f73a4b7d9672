/* reload - see reload.h. */
#include "process/reload.h"

#include "base/log.h"
#include "process/notify.h"
#include "process/say.h"
#include "process/watch.h"
#include "shm/underway.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOAD_TIMEOUT    60.0 /* seconds of a loader, specs included */
#define NEWER           2.0  /* seconds that a loader has left after another reload was asked for */
#define PREPARE_TIMEOUT 60.0
#define SWITCH_TIMEOUT  60.0 /* seconds; a stuck worker is replaced long before (supervision.h) */
#define REPLACED        2.0  /* seconds of waiting for a worker that is starting */
#define PLACE_PATIENCE  5.0  /* seconds of waiting for a free place */
#define RETIRED_MOST    16   /* most retired workers at which one more may be replaced */

/* --- the end of it --- */

/* "rollback to 3" */
static const char *reload_reason(const struct reload *r, char *out, size_t size)
{
    if (r->order.from == 0)
        return r->order.reason;
    snprintf(out, size, "%s %u", r->order.reason, r->order.from);
    return out;
}

static void reload_report(const struct reload *r, bool ok, const char *text)
{
    struct board *b = r->memory->board;
    char reason[sizeof b->reload_reason];
    snprintf(b->reload_reason, sizeof b->reload_reason, "%s",
             reload_reason(r, reason, sizeof reason));
    b->reload_ok = ok;
    b->reload_at = now_wall();
    if (ok)
        b->reloads++;
    else
        b->reloads_failed++;
    snprintf(b->reload_error, sizeof b->reload_error, "%s", text);
    if (!ok)
        memory_show_error(r->memory, text);
    __atomic_store_n(&b->reload_done, r->request, __ATOMIC_RELEASE);
}

static void reload_finish(struct reload *r)
{
    loader_free(&r->loader);
    release_free(&r->next);
    memset(r->part, 0, sizeof r->part);
    r->state = RELOAD_IDLE;
    notify("READY=1");
    if (r->wanted)
        reload_ask(r, r->wanted_order);
}

/* Into the list of what was loaded; `failure`: why that has come to nothing, or NULL. */
static void reload_note_load(struct reload *r, const struct release *release, const char *failure)
{
    char text[64];
    const struct history_of of = {.reason = reload_reason(r, text, sizeof text),
                                  .hash = release->plan.hash,
                                  .now = now_wall()};
    if (failure != NULL) {
        history_failed(&r->history, &of, failure);
        return;
    }
    history_serves(&r->history, &of, release->generation, release->snapshot);
    r->memory->board->kept_from = r->order.from;
}

void reload_note_start(struct reload *r, const char *reason)
{
    r->order = (struct reload_order){.reason = reason};
    certificates_watch_begin(&r->folders, &r->serving->plan, r->serving->folders, now_monotonic());
    reload_note_load(r, r->serving, NULL);
}

/* Ends a reload that has failed. The old generation continues to serve. The failed route's files
 * are watched, too, since a change to one of them may mend it. */
static void reload_fail(struct reload *r, const char *text)
{
    log_error("the reload failed, the old script goes on: %s", text);
    workers_end_reserves(r->workers);
    for (unsigned i = 0; i < PLAN_WORKERS && r->state == RELOAD_PREPARING; i++)
        if (!r->workers->list[i].retired)
            workers_tell(r->workers, i, LINK_ABORT, "", NULL, 0);
    sockets_forget(r->sockets);
    watch_add(r->watch, r->next.plan.files, r->next.plan.file_count);
    reload_note_load(r, &r->next, text);
    reload_report(r, false, text);
    reload_finish(r);
}

void reload_refuse(struct reload *r, const char *why)
{
    r->request = __atomic_load_n(&r->memory->board->reload_requested, __ATOMIC_ACQUIRE);
    reload_report(r, false, why);
}

void reload_cancel(struct reload *r)
{
    loader_free(&r->loader);
    r->state = RELOAD_IDLE;
}

/* --- loading --- */

/* Ends the loader. The next reload answers the requests for this one. */
static void reload_give_up(struct reload *r)
{
    log_warn("the script has been loading for %.1f s and a newer reload is asked for: that one is "
             "begun instead",
             now_monotonic() - r->since);
    if (NEWER * (double)(1u << r->given_up) < LOAD_TIMEOUT)
        r->given_up++;
    reload_note_load(r, &r->next, "given up for a newer reload: the script was still loading");
    reload_finish(r);
}

/* Chooses the files to load: those on the disk, or those of a generation. False: the generation's
 * files are not kept any more. */
static bool reload_choose_files(struct reload *r)
{
    const struct history_load *kept = history_find(&r->history, r->order.from);
    r->loaded = *r->route;
    release_init(&r->next, r->serving->generation + 1, kept != NULL ? kept->snapshot : 0);
    if (r->order.from == 0)
        return true;
    r->loaded.snapshot = r->next.snapshot;
    return r->loaded.snapshot > 0;
}

static void reload_start(struct reload *r)
{
    r->wanted = r->logs_moved = false;
    r->request = __atomic_load_n(&r->memory->board->reload_requested, __ATOMIC_ACQUIRE);
    r->since = now_monotonic();
    r->due = r->since + LOAD_TIMEOUT;
    r->state = RELOAD_LOADING;
    r->notes[0] = '\0';
    notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(r->since * 1e6));
    watch_renew(r->watch);
    if (!reload_choose_files(r)) {
        reload_fail(r, "the files of that generation are not kept; `moongate generations` lists "
                       "those that are");
        return;
    }
    const struct loader_config config = {.snapshot = r->order.from > 0 ? 0 : r->next.snapshot,
                                         .ini = r->serving->plan.ini,
                                         .route = &r->loaded,
                                         .user = r->user,
                                         .trial = true,
                                         .generation = r->next.generation,
                                         .shared = &r->memory->dictionaries,
                                         .child = r->in_child,
                                         .ctx = r->ctx};
    if (!loader_start(&r->loader, &config))
        reload_fail(r, loader_error(&r->loader));
}

/* A loader that hangs must not delay a newer reload. But each loader in a row has twice as long as
 * the last, so that a slow script is served even if requests for reloads come all the time. */
void reload_ask(struct reload *r, struct reload_order order)
{
    if (r->state == RELOAD_IDLE) {
        r->order = order;
        reload_start(r);
        return;
    }
    double due = now_monotonic() + NEWER * (double)(1u << r->given_up);
    if (!r->wanted && r->loader.pid > 0 && due < r->due)
        r->due = due;
    r->wanted = true;
    r->wanted_order = order;
}

/* --- preparing --- */

static void reload_commit(struct reload *r);

static void reload_note(struct reload *r, const char *text)
{
    size_t used = strlen(r->notes);
    snprintf(r->notes + used, sizeof r->notes - used, "%s%s", used > 0 ? "; " : "", text);
}

/* Keeps a setting's old text, which only a restart changes, and notes that. */
static void reload_keep(struct reload *r, const char *note, char *next, const char *serving,
                        size_t size)
{
    if (note != NULL && strcmp(next, serving) != 0)
        reload_note(r, note);
    snprintf(next, size, "%s", serving);
}

static void reload_keep_what_stays(struct reload *r)
{
    struct plan *next = &r->next.plan;
    const struct plan *serving = &r->serving->plan;
    bool named = r->user_is_given;
    reload_keep(r, named ? NULL : "'user' can't be changed by a reload: restart it", next->user,
                serving->user, sizeof next->user);
    reload_keep(r, named ? NULL : "'group' can't be changed by a reload: restart it", next->group,
                serving->group, sizeof next->group);
    if (next->shared != serving->shared)
        reload_note(r, "'limits.shared' can't be changed by a reload: restart it");
    next->shared = serving->shared;
    if (strcmp(next->control, serving->control) != 0) {
        reload_note(r, "'control' can't be changed by a reload: restart it");
        plan_keep_control(next, serving);
    }
    if (next->workers > r->memory->places) {
        reload_note(r, "there is room for fewer workers until a restart");
        next->workers = r->memory->places;
    }
}

/* True for a serving worker that loads the script itself. */
static bool reload_is_to_prepare(const struct reload *r, unsigned place)
{
    return worker_serves(&r->workers->list[place]) && r->part[place] != PART_LEAVES;
}

/* A place that no number has now, and no number below `given` after the switch; preferably one
 * without a process. NO_WORKER: none. */
static unsigned reload_free_place(const struct reload *r, unsigned given)
{
    const struct workers *w = r->workers;
    unsigned found = NO_WORKER;
    for (unsigned p = 0; p < r->memory->places; p++) {
        if (workers_have_place(p, w->count, w->place) || workers_have_place(p, given, r->place))
            continue;
        if (w->list[p].pid == 0)
            return p;
        if (found == NO_WORKER)
            found = p;
    }
    return found;
}

/* The place of the only worker that serves, and may be replaced; NO_WORKER: several serve, or none,
 * or it has connections of TLS. */
static unsigned reload_find_only(const struct reload *r)
{
    unsigned only = NO_WORKER;
    if (r->serving->plan.tls_count > 0) /* connections of TLS can't be passed to another process */
        return NO_WORKER;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        if (reload_is_to_prepare(r, i) && only != NO_WORKER)
            return NO_WORKER;
        if (reload_is_to_prepare(r, i))
            only = i;
    }
    return only;
}

/* The place that gets the clients of the worker that leaves `place`. */
static unsigned reload_replacement(const struct reload *r, unsigned place)
{
    unsigned number = r->workers->list[place].number;
    return r->place[number < r->next.plan.workers ? number : 0];
}

/* Keeps the places of existing numbers, and chooses places for new ones. */
static void reload_keep_places(struct reload *r)
{
    const struct workers *w = r->workers;
    for (unsigned i = 0; i < r->next.plan.workers; i++)
        r->place[i] = i < w->count ? w->place[i] : reload_free_place(r, i);
}

static unsigned reload_count_retired(const struct reload *r)
{
    unsigned retired = 0;
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        retired += r->workers->list[i].pid > 0 && r->workers->list[i].retired;
    return retired;
}

/* Whether the only serving worker can be replaced. It can't while too many retired workers have
 * long requests, or while each place has a process. */
static bool reload_has_room(const struct reload *r, unsigned only)
{
    if (reload_count_retired(r) >= RETIRED_MOST)
        return false;
    if (r->workers->list[only].number >= r->next.plan.workers)
        return true; /* a worker of another number takes over */
    unsigned place = reload_free_place(r, r->next.plan.workers);
    return place != NO_WORKER && r->workers->list[place].pid == 0;
}

/* A worker answers no request while it loads a script. So a reserve is started beside an only
 * worker, and takes over. Without room for a reserve the worker loads the script itself. */
static void reload_choose_places(struct reload *r)
{
    reload_keep_places(r);
    unsigned only = reload_find_only(r);
    if (only == NO_WORKER)
        return;
    if (!reload_has_room(r, only)) {
        log_warn(
            "the only worker loads the script itself, so its clients wait meanwhile: %u workers "
            "of earlier generations have not left yet, since their requests have not ended",
            reload_count_retired(r));
        return;
    }
    unsigned number = r->workers->list[only].number, count = r->next.plan.workers;
    if (number < count)
        r->place[number] = reload_free_place(r, count);
    r->part[only] = PART_LEAVES;
}

/* True when all workers are ready and an only worker has room for a reserve, or when the wait for
 * both is over. */
static bool reload_may_prepare(struct reload *r)
{
    double now = now_monotonic();
    if (!workers_all_ready(r->workers))
        return now > r->due;
    reload_keep_places(r);
    unsigned only = reload_find_only(r);
    return only == NO_WORKER || reload_has_room(r, only) || now > r->room_due;
}

/* Starts reserves at places without a worker: those that the new plan adds, and those of workers
 * that died. A place that is not free yet gets its worker later. NULL, or the error. */
static const char *reload_start_reserves(struct reload *r)
{
    struct workers *w = r->workers;
    for (unsigned i = 0; i < r->next.plan.workers; i++)
        if (w->list[r->place[i]].pid == 0)
            workers_start(w, i, r->place[i], &r->next, true);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (r->part[i] == PART_LEAVES && w->list[reload_replacement(r, i)].pid == 0)
            return "there is no process for the worker that is to serve it";
    return NULL;
}

/* Asks a worker to prepare. A worker that the new plan does not need prepares as well, since it
 * serves until the switch. */
static bool reload_tell_prepare(struct reload *r, unsigned place)
{
    static char text[LINK_TEXT];
    const struct release *next = &r->next;
    int error = next->logs.error;
    int fds[LINK_FDS] = {error, next->logs.access >= 0 ? next->logs.access : error,
                         next->snapshot > 0 ? next->snapshot : error,
                         next->certificates > 0 ? next->certificates : error};
    size_t used = (size_t)snprintf(text, sizeof text, "%u\t%u\t%d\t%u\t%u\t%d\t%s\t%s\n",
                                   next->generation, r->attempt, (int)next->plan.level,
                                   next->snapshot > 0, next->certificates > 0,
                                   next->logs.access >= 0, next->plan.error, next->plan.access);
    unsigned count =
        sockets_of(r->sockets, r->accepts, place, true, fds + 4, text + used, sizeof text - used);
    return workers_tell(r->workers, place, LINK_PREPARE, text, fds, count + 4);
}

/* A worker answers no request while it loads a script: so at most half of them load it at a time.
 * NULL, or the error. */
static const char *reload_ask_workers(struct reload *r)
{
    unsigned serving = 0, busy = 0;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        serving += reload_is_to_prepare(r, i);
        busy += reload_is_to_prepare(r, i) && r->part[i] == PART_ASKED;
    }
    unsigned most = serving > 1 ? serving / 2 : 1;
    for (unsigned i = 0; i < PLAN_WORKERS && busy < most; i++) {
        if (!reload_is_to_prepare(r, i) || r->part[i] != PART_NONE)
            continue;
        if (!reload_tell_prepare(r, i))
            return "a worker can't be told of it";
        r->part[i] = PART_ASKED;
        busy++;
    }
    return NULL;
}

/* Continues with the next workers or the switch; an error ends the reload. */
static void reload_advance(struct reload *r, const char *err)
{
    bool all = true;
    if (err == NULL)
        err = reload_ask_workers(r);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (r->workers->list[i].reserve || reload_is_to_prepare(r, i))
            all &= r->part[i] == PART_PREPARED;
    if (err != NULL)
        reload_fail(r, err);
    else if (all) /* even without a process: later ones begin with the new release */
        reload_commit(r);
}

static void reload_prepare(struct reload *r)
{
    struct plan *plan = &r->next.plan;
    const struct workers *w = r->workers;
    reload_keep_what_stays(r);
    if (plan->note != NULL)
        reload_note(r, plan->note);
    for (unsigned i = 0; i < plan->warning_count; i++)
        reload_note(r, plan->warnings[i]);
    const char *text;
    for (unsigned at = 0; (text = certificates_without_ktls(plan, &at)) != NULL;)
        reload_note(r, text);
    sockets_add_control(r->sockets, plan, r->control_default);
    unsigned slots = plan->workers > w->count ? plan->workers : w->count;
    const char *err = sockets_open(r->sockets, plan, slots);
    if (err == NULL)
        err = logs_open(&r->next.logs, r->user, plan->error, plan->access);
    if (err == NULL)
        err = certificates_open(plan, &r->next.certificates, &r->next.folders);
    r->state = RELOAD_PREPARING;
    r->attempt++;
    r->due = now_monotonic() + PREPARE_TIMEOUT;
    reload_choose_places(r);
    workers_assign(w, plan->workers, r->place, r->accepts);
    reload_advance(r, err != NULL ? err : reload_start_reserves(r));
}

void reload_read_loader(struct reload *r)
{
    enum loader_result result = loader_read(&r->loader, &r->next.plan);
    if (result == LOADER_MORE)
        return;
    r->given_up = 0;
    const struct history_load *kept = history_find(&r->history, r->order.from);
    if (kept != NULL)
        memcpy(r->next.plan.hash, kept->shown.hash, sizeof kept->shown.hash);
    r->due = now_monotonic() + REPLACED; /* a worker may be starting */
    r->room_due = now_monotonic() + PLACE_PATIENCE;
    if (result == LOADER_FAILED)
        reload_fail(r, loader_error(&r->loader));
    else if (reload_may_prepare(r))
        reload_prepare(r);
}

static void reload_prepared(struct reload *r, unsigned place)
{
    r->part[place] = PART_PREPARED;
    r->due = now_monotonic() + PREPARE_TIMEOUT; /* for the next workers */
    reload_advance(r, NULL);
}

void reload_answered(struct reload *r, unsigned place, const char *text)
{
    char *failure;
    unsigned long attempt = strtoul(text, &failure, 10);
    if (*failure != '\t' || attempt != r->attempt || r->state != RELOAD_PREPARING)
        return;
    workers_prepared(r->workers, place);
    if (failure[1] != '\0')
        reload_fail(r, failure + 1);
    else
        reload_prepared(r, place);
}

void reload_joined(struct reload *r, unsigned place)
{
    if (r->state != RELOAD_PREPARING || r->workers->list[place].retired)
        return;
    if (r->workers->list[place].reserve)
        reload_prepared(r, place);
    else
        reload_advance(r, NULL);
}

void reload_lost(struct reload *r, const char *text)
{
    if (r->state == RELOAD_PREPARING)
        reload_fail(r, text);
}

/* --- the switch --- */

static void reload_switch_workers(struct reload *r)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        const struct worker_process *p = &r->workers->list[i];
        if (p->pid == 0 || p->retired || p->reserve || r->part[i] == PART_LEAVES)
            continue;
        if (p->ready && workers_tell(r->workers, i, LINK_SWITCH, "", NULL, 0))
            continue;
        /* A worker that is not ready began with the old script, so it is started again with this
         * one. */
        if (p->ready)
            log_error("worker %d does not listen; it is replaced", (int)p->pid);
        kill(p->pid, SIGKILL);
    }
}

/* Makes the worker hand over to its replacement, as well as earlier retired workers that still have
 * clients. */
static void reload_replace(struct reload *r, unsigned place)
{
    struct workers *w = r->workers;
    struct board_worker *board = r->memory->board->worker;
    unsigned to = reload_replacement(r, place);
    board[to].restarts = board[place].restarts;
    board[place].leaving = true;
    workers_hand_over(w, place, to);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (w->list[i].pid > 0 && w->list[i].hands_over && i != place)
            workers_hand_over(w, i, to);
}

static void reload_retire_workers(struct reload *r)
{
    struct workers *w = r->workers;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct worker_process *p = &w->list[i];
        if (workers_have_place(i, w->count, w->place) || p->pid == 0 || p->retired)
            continue;
        if (r->part[i] == PART_LEAVES)
            reload_replace(r, i);
        else
            workers_retire(w, i);
    }
}

static void reload_commit(struct reload *r)
{
    struct workers *w = r->workers;
    /* all workers are prepared, so the new sockets may listen */
    const char *err = sockets_let_in(r->sockets);
    if (err != NULL) {
        reload_fail(r, err);
        return;
    }
    quarantine_clear(&r->memory->quarantine);
    reload_switch_workers(r);
    log_setup(r->next.logs.error, r->next.plan.error, r->next.plan.level, r->next.logs.access,
              r->next.plan.access);
    __atomic_store_n(&r->memory->board->log_level, 0, __ATOMIC_RELAXED);
    underway_set_format(r->next.plan.format);
    sockets_switch(r->sockets);
    release_free(r->serving);
    *r->serving = r->next;
    r->next = (struct release){.logs = LOGS_NONE};
    workers_adopt(w, r->serving->plan.workers, r->place, r->accepts);
    reload_retire_workers(r);
    if (r->logs_moved)
        reload_reopen_logs(r);
    workers_share_out(w);
    reload_watch(r);
    certificates_watch_begin(&r->folders, &r->serving->plan, r->serving->folders, now_monotonic());
    r->memory->board->workers = w->count;
    sockets_show(r->sockets, r->memory->board);
    r->state = RELOAD_SWITCHING;
    r->due = now_monotonic() + SWITCH_TIMEOUT;
}

/* The command that asked for the reload learns that the new script serves. */
static void reload_end_switch(struct reload *r)
{
    unsigned generation = r->serving->generation;
    if (!workers_all_switched(r->workers))
        log_error("a worker has not switched to generation %u within %.0f s", generation,
                  SWITCH_TIMEOUT);
    workers_end_switch(r->workers);
    r->memory->board->generation = generation;
    r->memory->board->generation_at = now_wall();
    if (r->notes[0] != '\0')
        log_warn("generation %u: %s", generation, r->notes);
    reload_note_load(r, r->serving, NULL);
    if (r->order.from > 0)
        log_warn("generation %u has the files that generation %u had, not those on the disk, until "
                 "the next reload",
                 generation, r->order.from);
    log_info("generation %u serves (%.0f ms)", generation, (now_monotonic() - r->since) * 1000);
    reload_report(r, true, r->notes);
    reload_finish(r);
}

void reload_tick(struct reload *r, double now)
{
    bool late = now > r->due;
    if (r->state == RELOAD_LOADING && r->loader.pid == 0 && reload_may_prepare(r))
        reload_prepare(r);
    else if (r->state == RELOAD_LOADING && r->loader.pid > 0 && late && r->wanted)
        reload_give_up(r);
    else if (r->state == RELOAD_LOADING && r->loader.pid > 0 && late)
        reload_fail(r, "the script could not be loaded within 60 s");
    else if (r->state == RELOAD_PREPARING && late)
        reload_fail(r, "a worker has not prepared the script within 60 s");
    else if (r->state == RELOAD_SWITCHING && (workers_all_switched(r->workers) || late))
        reload_end_switch(r);
}

/* --- the release that serves --- */

void reload_watch(struct reload *r)
{
    const struct plan *plan = &r->serving->plan;
    if (r->route->path == NULL || plan->watch == 0 || (plan->watch < 0 && !isatty(STDERR_FILENO)))
        watch_stop(r->watch);
    else if (r->order.from > 0 && r->watch->look_at > 0) /* what is on the disk may be mended */
        watch_add(r->watch, plan->files, plan->file_count);
    else
        watch_set(r->watch, plan->files, plan->file_count, now_monotonic());
}

void reload_reopen_logs(struct reload *r)
{
    const struct plan *plan = &r->serving->plan;
    struct logs *old = &r->serving->logs, logs;
    const char *err = logs_open(&logs, r->user, plan->error, plan->access);
    /* Logs that a reload has opened already were renamed, too. */
    r->logs_moved = r->state == RELOAD_PREPARING;
    if (err != NULL) {
        log_error("%s; the old file is written on", err);
        return;
    }
    int fds[] = {logs.error, logs.access >= 0 ? logs.access : logs.error};
    char text[sizeof plan->error + sizeof plan->access + 8];
    snprintf(text, sizeof text, "%d\t%s\t%s\n", logs.access >= 0, plan->error, plan->access);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (!r->workers->list[i].reserve)
            workers_tell(r->workers, i, LINK_LOGS, text, fds, 2);
    log_setup(logs.error, plan->error, plan->level, logs.access, plan->access);
    logs_close(old);
    *old = logs;
    log_info("the logs are open again");
}

/* Workers that load a script have the file of their generation already, and a reload reads the
 * folders itself, so the look waits for its end. */
double reload_certificates_due(struct reload *r, double now)
{
    struct release *serving = r->serving;
    int file;
    if (r->state != RELOAD_IDLE || !certificates_watch_look(&r->folders, &serving->plan, now))
        return r->folders.look_at;
    const char *err = certificates_open(&serving->plan, &file, &serving->folders);
    if (err != NULL) {
        log_error("%s; the certificates that were read before are served on", err);
        return r->folders.look_at;
    }
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        workers_tell(r->workers, i, LINK_CERTIFICATES, "", &file, 1);
    if (serving->certificates > 0)
        close(serving->certificates);
    serving->certificates = file;
    log_info("certificates have changed, and were read again");
    return r->folders.look_at;
}

/*
 * master - see master.h. The master connects the parts of this room: it waits for events, passes
 * each to the part that handles it, and acts on the results for the other parts.
 *
 *     signals, loader, workers, pipes --poll--> facts --> reload, workers, upgrade, companion,
 * watch
 *
 * There is no libev here: workers make their own loop after the fork.
 */
#include "process/master.h"

#include "base/log.h"
#include "process/certificates.h"
#include "process/companion.h"
#include "process/notify.h"
#include "process/reload.h"
#include "process/say.h"
#include "process/upgrade.h"
#include "process/watch.h"
#include "shm/underway.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define AWAY            0.5  /* seconds; the master did not run if a look comes so late */
#define LOG_AGAIN       0.2  /* seconds until a log without room is tried again */
#define LOAD_LIMIT      60.0 /* seconds of the first loader */
#define FAST_STOP       5.0  /* seconds that workers have for the end, after SIGINT */
#define STOP_MARGIN     5.0  /* seconds after stop_timeout until workers are killed */
#define COMPANION_AGAIN 1.0  /* seconds between two tries to start the companion */
#define ROOM            64   /* least number of places in shared memory */

struct master {
    const struct master_options *options;
    struct user user; /* of the workers */
    struct signals signals;
    struct release release; /* the release that serves */
    struct memory memory;
    struct sockets sockets;
    struct workers workers;
    struct reload reload;
    struct upgrade upgrade;
    struct companion companion;
    struct watch watch;
    double supervised_at, watchdog, watchdog_at;
    bool announced; /* the instance serves: all workers were ready once */
    bool stopping;
    bool failed;
    double stop_at; /* end of a graceful stop, when workers are killed */
};

/* --- children --- */

/* Closes the master's descriptors in each child that runs scripts. A child that kept them would
 * keep addresses in use, and hide the master's end from workers and from an upgrade. */
static void master_leave(struct master *m)
{
    signals_leave(&m->signals);
    sockets_close(&m->sockets);
    workers_leave(&m->workers);
    history_close(&m->reload.history);
    upgrade_leave(&m->upgrade);
    notify_close_rest();
}

static void master_in_loader(void *ctx)
{
    struct master *m = ctx;
    master_leave(m);
    if (m->release.certificates > 0)
        close(m->release.certificates);
}

static void master_in_worker(void *ctx, const struct release *release)
{
    struct master *m = ctx;
    master_leave(m);
    loader_forget(&m->reload.loader);
    release_close(release == &m->release ? &m->reload.next : &m->release);
}

/* --- stopping --- */

/* Stops the workers. They cut requests that are left after stop_timeout, so that clients see the
 * end; a worker that is stuck in a script handles no signal and is killed later. */
static void master_stop(struct master *m, int signal)
{
    double patience = signal == SIGINT ? FAST_STOP : m->release.plan.stop_timeout + STOP_MARGIN;
    double at = now_monotonic() + patience;
    if (!m->stopping || m->stop_at > at)
        m->stop_at = at;
    if (!m->stopping) {
        if (!m->upgrade.handed_over) /* systemd would take it for the successor's state */
            notify("STOPPING=1");
        sockets_close(&m->sockets);
        upgrade_cancel(&m->upgrade);
        /* A successor that has failed leaves the files to its predecessor. */
        if (!m->upgrade.handed_over && (m->announced || !m->upgrade.is_successor))
            sockets_unlink(&m->sockets);
        reload_cancel(&m->reload);
    }
    m->stopping = true;
    m->workers.accepting = false;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        if (m->workers.list[i].pid > 0 && m->upgrade.handed_over && signal == SIGTERM)
            workers_retire(&m->workers, i);
        else if (m->workers.list[i].pid > 0)
            kill(m->workers.list[i].pid, signal);
    }
}

/* Ends the start with an error, if the instance has not served yet and no signal has stopped it
 * before. */
static void master_fail(struct master *m)
{
    m->failed = true;
    master_stop(m, SIGTERM);
}

/* --- serving begins --- */

/* Writes the pid file over its old content, which is not truncated first: if the write fails, the
 * predecessor's pid stays there. */
static bool master_write_pid(const char *path)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0644);
    bool ok = fd >= 0 && write(fd, text, (size_t)n) == n &&
              (ftruncate(fd, n) == 0 || errno == EINVAL); /* /dev/null has no size */
    if (!ok)
        say("pid file %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

static void master_say_serving(const struct master *m)
{
    char text[1024];
    const struct plan *plan = &m->release.plan;
    unsigned count = m->workers.count;
    for (unsigned i = 0; i < plan->warning_count; i++)
        say("%s: warning: %s", m->options->route.path, plan->warnings[i]);
    sockets_describe(&m->sockets, text, sizeof text);
    say("serving %s (%u worker%s, pid %d)", text, count, count > 1 ? "s" : "", (int)getpid());
    if (m->options->banner != NULL)
        fputs(m->options->banner, stderr);
    notify("READY=1\nMAINPID=%d\nSTATUS=%u workers", (int)getpid(), count);
}

/* Called once, when all listeners are open and all workers serve. A failure here comes before the
 * predecessor is told, so the predecessor continues to serve. */
static void master_announce(struct master *m)
{
    if (m->announced || m->stopping || !workers_all_ready(&m->workers))
        return;
    if (m->options->pid_file != NULL && !master_write_pid(m->options->pid_file)) {
        master_fail(m);
        return;
    }
    const char *err = sockets_let_in(&m->sockets); /* a successor's sockets listen only now */
    if (err != NULL) {
        say("%s", err);
        master_fail(m);
        return;
    }
    m->announced = m->workers.accepting = true;
    notify_close_rest();
    workers_share_out(&m->workers);
    sockets_show(&m->sockets, m->memory.board);
    master_say_serving(m);
    upgrade_announce(&m->upgrade);
    reload_watch(&m->reload);
}

/* --- messages and ends of workers --- */

static void master_reload(struct master *m, struct reload_order order)
{
    if (m->announced && !m->stopping) {
        reload_ask(&m->reload, order);
        return;
    }
    log_warn("no reload while %s", m->stopping ? "stopping" : "starting");
    reload_refuse(&m->reload, "no reload while starting or stopping");
}

/* Handles a worker whose start failed. At the first start of the instance that ends the start;
 * later the worker is started again. */
static void master_worker_failed(struct master *m, const struct worker_process *p, const char *text)
{
    if (p->retired)
        return;
    if (p->reserve) {
        reload_lost(&m->reload, text);
    } else if (m->announced) {
        log_error("a new worker can't serve: %s", text);
        memory_show_error(&m->memory, text);
    } else if (!m->stopping) {
        fprintf(stderr, "%s\n", text);
        master_fail(m);
    }
}

static void master_read_worker(struct master *m, unsigned place)
{
    const struct worker_process *p = &m->workers.list[place];
    enum worker_fact fact;
    const char *text;
    while ((fact = workers_receive(&m->workers, place, &text)) != WORKER_SILENT) {
        if (fact == WORKER_SERVES) {
            master_announce(m);
            workers_share_out(&m->workers);
            reload_joined(&m->reload, place);
        } else if (fact == WORKER_FAILED) {
            master_worker_failed(m, p, text);
        } else if (fact == WORKER_ANSWERS && !p->retired) {
            reload_answered(&m->reload, place, text);
        } else if (fact == WORKER_ASKS_RELOAD) {
            unsigned from = (unsigned)strtoul(text, NULL, 10);
            master_reload(m, (struct reload_order){from > 0 ? "rollback to" : "reload", from});
        } else if (fact == WORKER_CHANGES) {
            for (unsigned i = 0; i < PLAN_WORKERS; i++)
                workers_tell(&m->workers, i, LINK_CHANGES, "", NULL, 0);
        } else if (fact == WORKER_ASKS_STOP) {
            log_info("told to stop by a command");
            master_stop(m, SIGTERM);
        } else if (fact == WORKER_ASKS_KILL) {
            workers_kill_request(&m->workers, text);
        }
    }
}

/* ", in the hook that it ran" */
static const char *master_where_stuck(const struct worker_end *end, char *out, size_t size)
{
    snprintf(out, size, "%s%s", end->stuck[0] != '\0' ? ", in " : "", end->stuck);
    return out;
}

/* Handles the end of a worker that served, or that prepared a reload. */
static void master_worker_lost(struct master *m, unsigned place, const struct worker_end *end)
{
    char where[BOARD_STUCK + 80], text[BOARD_STUCK + 400];
    master_where_stuck(end, where, sizeof where);
    snprintf(text, sizeof text, "a %sworker %s%s while %s prepared the script",
             end->was.reserve ? "new " : "", end->how, where,
             m->reload.part[place] == PART_LEAVES ? "another one" : "it");
    if (!end->was.reserve) {
        workers_share_out(&m->workers);
        workers_restart_later(&m->workers, place, end);
        m->memory.board->worker[place].restarts++;
        if (end->was.supervision.told)
            log_error("a worker %s: its script ran on after script_timeout, in %s; another one "
                      "takes its place",
                      end->how, end->stuck[0] != '\0' ? end->stuck : "an unknown hook");
        else
            log_error("a worker %s after %.1f s%s; another one takes its place", end->how,
                      now_monotonic() - end->was.started, where);
    }
    reload_lost(&m->reload, text);
}

/* Handles the end of a worker's process. Its claims and counts are given back before another worker
 * gets the place. */
static void master_worker_ended(struct master *m, unsigned place, int status)
{
    static struct worker_end end;
    char where[BOARD_STUCK + 80];
    struct worker_process *p = &m->workers.list[place];
    p->pid = 0;                   /* no signal is sent to the pid any more */
    master_read_worker(m, place); /* messages that the worker sent before its end */
    workers_ended(&m->workers, place, status, &end);
    const struct worker_process *was = &end.was;
    memory_reclaim(&m->memory, place, end.how, was->ready && !was->retired && !m->stopping);
    master_where_stuck(&end, where, sizeof where);
    if (m->stopping) {
        /* The end of a worker that did not serve has cost no request. */
        if (status != 0 && !m->failed && was->ready) {
            log_error("a worker %s while stopping", end.how);
            m->failed = true;
        }
    } else if (was->retired) {
        if (was->hands_over && status != 0)
            log_error("a worker of an earlier generation %s%s", end.how, where);
        /* the instance does not serve yet, so no request is lost */
    } else if (!m->announced && !was->ready) {
        say("a worker %s%s before it served", end.how, where);
        master_fail(m);
    } else {
        master_worker_lost(m, place, &end);
    }
}

/* Waits for children that have ended. The loader, and a successor that does not serve yet, are
 * waited for where their pipes are read. */
static void master_reap(struct master *m)
{
    char how[100];
    int status;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct worker_process *p = &m->workers.list[i];
        if (p->pid <= 0 || waitpid(p->pid, &status, WNOHANG | WUNTRACED | WCONTINUED) != p->pid)
            continue;
        if (WIFSTOPPED(status) || WIFCONTINUED(status))
            p->supervision.stopped_at = WIFSTOPPED(status) ? now_monotonic() : 0;
        else
            master_worker_ended(m, i, status);
    }
    if (companion_ended(&m->companion, &status) && !m->stopping)
        log_error("%s %s; it is started again", m->companion.argv[0],
                  say_end(status, how, sizeof how));
    if (m->upgrade.handed_over)
        waitpid(m->upgrade.successor, &status, WNOHANG);
}

/* --- signals --- */

static void master_upgrade(struct master *m)
{
    if (m->upgrade.successor != 0 || m->stopping || !m->announced || m->companion.argv != NULL)
        log_warn("no upgrade: %s", m->upgrade.successor != 0   ? "one is under way"
                                   : m->companion.argv != NULL ? "this instance runs a private PHP"
                                                               : "it is starting or stopping");
    else
        upgrade_start(&m->upgrade, m->options->binary, &m->signals, &m->sockets,
                      &m->memory.dictionaries);
}

static void master_read_signals(struct master *m)
{
    for (int signal; (signal = signals_next(&m->signals)) != 0;) {
        if (signal == SIGTERM || signal == SIGQUIT)
            master_stop(m, SIGTERM);
        else if (signal == SIGINT)
            master_stop(m, SIGINT);
        else if (signal == SIGCHLD)
            master_reap(m);
        else if (signal == SIGHUP)
            master_reload(m, (struct reload_order){.reason = "HUP"});
        else if (signal == SIGUSR1)
            reload_reopen_logs(&m->reload);
        else
            master_upgrade(m);
    }
}

/* --- the loop: what is due, then what comes --- */

static int master_milliseconds(double at, double now)
{
    return at == 0 ? -1 : at <= now ? 0 : (int)((at - now) * 1000) + 1;
}

/* The first of two times; 0 is none. */
static double master_sooner(double a, double b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

static double master_log_due(double now)
{
    if (log_waiting()) /* a log's reader is slow, or an ended worker has left lines */
        log_flush();
    log_say_left_out(false);
    return log_waiting() || log_left_out() ? now + LOG_AGAIN : 0;
}

static double master_supervision_due(struct master *m, double now)
{
    double period = m->release.plan.script_timeout / 4;
    if (now < m->supervised_at + period)
        return m->supervised_at + period;
    if (m->supervised_at > 0 && now - m->supervised_at > 2 * period + AWAY)
        workers_forgive(&m->workers, now - m->supervised_at - period);
    m->supervised_at = now;
    workers_supervise(&m->workers, m->release.plan.script_timeout, now);
    return now + period;
}

static double master_watchdog_due(struct master *m, double now)
{
    if (m->watchdog <= 0)
        return 0;
    if (now >= m->watchdog_at) {
        notify("WATCHDOG=1");
        m->watchdog_at = now + m->watchdog / 2;
    }
    return m->watchdog_at;
}

static double master_reload_due(struct master *m, double now)
{
    if (watch_look(&m->watch, now)) {
        log_info("a file of the script has changed");
        reload_ask(&m->reload, (struct reload_order){.reason = "watch"});
    }
    if (m->reload.state != RELOAD_IDLE)
        reload_tick(&m->reload, now);
    return m->reload.state != RELOAD_IDLE ? master_sooner(m->watch.look_at, now + 0.1)
                                          : m->watch.look_at;
}

static double master_companion_due(struct master *m, double now)
{
    bool missing = m->companion.argv != NULL && m->companion.pid == 0 && m->announced;
    return missing && !companion_start(&m->companion, &m->signals) ? now + COMPANION_AGAIN : 0;
}

static double master_stop_due(struct master *m, double now)
{
    if (now >= m->stop_at) {
        log_error("workers have not ended after stop_timeout; they are killed");
        master_stop(m, SIGKILL);
        m->stop_at = now + 1;
    }
    return m->stop_at;
}

/* Does the work that is due. Returns the milliseconds until more is due; -1: never. */
static int master_do_due(struct master *m)
{
    double now = now_monotonic(),
           next = master_sooner(master_log_due(now), master_watchdog_due(m, now));
    /* During a stop, too, so that a stuck hook is ended. */
    next = master_sooner(next, master_supervision_due(m, now));
    if (m->stopping)
        return master_milliseconds(master_sooner(next, master_stop_due(m, now)), now);
    /* While workers prepare a reload no worker is started, since all serving workers must have
     * answered. */
    if (m->reload.state != RELOAD_PREPARING)
        next = master_sooner(next, workers_start_due(&m->workers, &m->release, now));
    next = master_sooner(next, memory_tickets_due(&m->memory, now));
    if (m->announced)
        next = master_sooner(next, reload_certificates_due(&m->reload, now));
    next = master_sooner(next, quarantine_due(&m->memory.quarantine, now));
    next = master_sooner(next, master_reload_due(m, now));
    return master_milliseconds(master_sooner(next, master_companion_due(m, now)), now);
}

static struct pollfd master_poll_for(int fd)
{
    return (struct pollfd){.fd = fd > 0 ? fd : -1, .events = POLLIN};
}

static void master_wait(struct master *m, int timeout)
{
    enum { SIGNALS, LOADER, SUCCESSOR, STREAMS, WORKERS = STREAMS + 2 };
    static struct pollfd fds[WORKERS + PLAN_WORKERS];
    const struct loader *loader = &m->reload.loader;
    unsigned used = 0; /* poll refuses more places than there may be descriptors */
    fds[SIGNALS] = master_poll_for(m->signals.fd);
    fds[LOADER] = master_poll_for(loader->pid > 0 ? loader->fd : -1);
    fds[SUCCESSOR] = master_poll_for(m->upgrade.fd);
    for (int i = 0; i < 2; i++)
        fds[STREAMS + i] = master_poll_for(log_stream_pipe(i));
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        fds[WORKERS + i] = master_poll_for(m->workers.list[i].socket);
        if (m->workers.list[i].socket > 0)
            used = i + 1;
    }
    if (poll(fds, WORKERS + used, timeout) <= 0)
        return;
    for (int i = 0; i < 2; i++)
        if (fds[STREAMS + i].revents != 0)
            log_pass_stream(i);
    for (unsigned i = 0; i < used; i++)
        if (fds[WORKERS + i].revents != 0)
            master_read_worker(m, i);
    if (fds[LOADER].revents != 0 && loader->pid > 0)
        reload_read_loader(&m->reload);
    if (fds[SUCCESSOR].revents != 0 && m->upgrade.fd > 0 && upgrade_read(&m->upgrade))
        master_stop(m, SIGTERM);
    if (fds[SIGNALS].revents != 0)
        master_read_signals(m);
}

/* --- the start --- */

/* True when a signal asks to stop. A loader that hangs must not delay that. */
static bool master_is_told_to_stop(const struct master *m)
{
    bool stop = false;
    for (int signal; (signal = signals_next(&m->signals)) != 0;)
        stop |= signal == SIGTERM || signal == SIGINT || signal == SIGQUIT;
    return stop;
}

/* Runs the loader to its end. False: it failed and the reason was printed, or a signal has stopped
 * the start. */
static bool master_load_once(struct master *m)
{
    struct loader loader;
    release_free(&m->release);
    release_init(&m->release, 1, 0);
    const struct loader_config config = {.route = &m->options->route,
                                         .user = &m->user,
                                         .snapshot = m->release.snapshot,
                                         .child = master_in_loader,
                                         .ctx = m};
    enum loader_result result = LOADER_FAILED;
    double until = now_monotonic() + LOAD_LIMIT;
    if (loader_start(&loader, &config)) {
        struct pollfd fds[2] = {{.fd = loader.fd, .events = POLLIN},
                                {.fd = m->signals.fd, .events = POLLIN}};
        do {
            int count = poll(fds, 2, master_milliseconds(until, now_monotonic()));
            if (count == 0) {
                say("the script could not be loaded within %.0f s", LOAD_LIMIT);
                loader_free(&loader);
                return false;
            }
            if (count < 0)
                continue;
            if (fds[1].revents != 0 && master_is_told_to_stop(m))
                m->stopping = true;
            result = fds[0].revents != 0 ? loader_read(&loader, &m->release.plan) : LOADER_MORE;
        } while (result == LOADER_MORE && !m->stopping);
    }
    if (result == LOADER_FAILED && !m->stopping)
        fprintf(stderr, "%s\n", loader_error(&loader));
    loader_free(&loader);
    return result == LOADER_DONE;
}

/* Loads the route: as --user or the default user; and again as the script's own user, if it names
 * one, since that user must be able to read the script, too. */
static bool master_load(struct master *m)
{
    const struct master_options *o = m->options;
    const char *bad = user_find(o->user, o->group, &m->user);
    for (int pass = 0; bad == NULL; pass++) {
        if (!master_load_once(m))
            return false;
        const char *name = o->user != NULL ? o->user : m->release.plan.user;
        const char *group = o->user != NULL ? o->group : m->release.plan.group;
        struct user before = m->user;
        if (name[0] == '\0')
            return true;
        bad = user_find(name, group != NULL && group[0] != '\0' ? group : NULL, &m->user);
        if (bad == NULL && (pass > 0 || before.uid == m->user.uid))
            return true;
    }
    say("%s", bad);
    return false;
}

/* Opens the logs and the listening sockets. The sockets of a successor do not listen before it
 * serves, so clients reach the predecessor. NULL, or the error. */
static const char *master_open(struct master *m)
{
    struct plan *plan = &m->release.plan;
    struct logs *logs = &m->release.logs;
    const char *err = logs_open(logs, &m->user, plan->error, plan->access);
    if (err == NULL)
        err = certificates_open(plan, &m->release.certificates, &m->release.folders);
    if (err != NULL)
        return err;
    log_setup(logs->error, plan->error, plan->level, logs->access, plan->access);
    underway_set_format(plan->format);
    sockets_add_control(&m->sockets, plan, m->options->control_default);
    err = sockets_open(&m->sockets, plan, plan->workers);
    if (err == NULL && !m->upgrade.is_successor)
        err = sockets_let_in(&m->sockets);
    if (err == NULL)
        sockets_switch(&m->sockets);
    return err;
}

/* Makes the shared memory, and gives it to the parts that use it. */
static bool master_compose(struct master *m)
{
    const struct plan *plan = &m->release.plan;
    unsigned places = plan->workers > ROOM ? plan->workers : ROOM;
    if (!memory_init(&m->memory, &m->user, places, plan->shared)) {
        say("no memory that the workers can share: %s", strerror(errno));
        return false;
    }
    m->memory.board->workers = plan->workers;
    m->memory.board->generation = m->release.generation;
    m->memory.board->generation_at = now_wall();
    m->workers = (struct workers){.route = &m->options->route,
                                  .user = &m->user,
                                  .memory = &m->memory,
                                  .sockets = &m->sockets,
                                  .in_child = master_in_worker,
                                  .ctx = m,
                                  .accepting = !m->upgrade.is_successor};
    workers_init(&m->workers, plan->workers);
    m->reload = (struct reload){.route = &m->options->route,
                                .user = &m->user,
                                .control_default = m->options->control_default,
                                .user_is_given = m->options->user != NULL,
                                .serving = &m->release,
                                .memory = &m->memory,
                                .sockets = &m->sockets,
                                .workers = &m->workers,
                                .watch = &m->watch,
                                .history = {.board = m->memory.board},
                                .in_child = master_in_loader,
                                .ctx = m};
    reload_note_start(&m->reload, m->upgrade.is_successor ? "upgrade" : "start");
    m->companion =
        (struct companion){.argv = m->options->companion, .address = m->options->companion_address};
    return m->companion.argv == NULL || companion_start(&m->companion, &m->signals);
}

static bool master_start(struct master *m, const char **problem)
{
    const char *text;
    if (!master_load(m) || (*problem = master_open(m)) != NULL)
        return false;
    for (unsigned at = 0; (text = certificates_without_ktls(&m->release.plan, &at)) != NULL;)
        log_warn("%s", text);
    if (m->user.ignored)
        log_warn("'user' is ignored: only root can become another user");
    if (m->user.uid == 0)
        log_warn("scripts run as root: name another user with --user or in the script");
    return master_compose(m);
}

/* Raises the soft limit of descriptors to the hard one; the soft limit is for programs that use
 * select. */
static void master_raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* --- the end --- */

static int master_remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void master_end(struct master *m)
{
    for (int i = 0; i < 2; i++)
        log_pass_stream(i); /* output of a library that has not been logged */
    log_say_left_out(true);
    log_end();
    companion_stop(&m->companion);
    if (m->announced && m->options->pid_file != NULL && !m->upgrade.handed_over)
        unlink(m->options->pid_file);
    if (m->options->cleanup != NULL)
        nftw(m->options->cleanup, master_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    workers_leave(&m->workers);
    sockets_free(&m->sockets);
    memory_fini(&m->memory);
    watch_stop(&m->watch);
    loader_free(&m->reload.loader);
    history_close(&m->reload.history);
    plan_free(&m->reload.next.plan);
    plan_free(&m->release.plan);
    signals_fini(&m->signals);
}

int master_run(const struct master_options *options, const char **problem)
{
    log_own_streams();
    static struct master m; /* static, since it is large and workers inherit the stack */
    m = (struct master){.options = options};
    m.watchdog = notify_watchdog();
    notify_init();
    upgrade_init(&m.upgrade);
    master_raise_limits();
    signals_init(&m.signals);
    if (master_start(&m, problem)) {
        log_write_behind(); /* a log's disk that hangs must not keep workers from being replaced */
        while (!m.stopping || workers_any(&m.workers))
            master_wait(&m, master_do_due(&m));
    } else {
        m.failed = !m.stopping;
    }
    master_end(&m);
    return m.failed ? 1 : 0;
}

/*
 * master - see master.h. This file: workers, signals, the main loop. What else the master does is
 * in master_*.c.
 *
 * Signals come through a signalfd, so that everything happens in one place, in order, between two
 * polls; no libev here, workers make their own loop after the fork.
 */
#include "process/master_inner.h"

#include "base/log.h"
#include "process/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_FIRST     1.0  /* seconds after a worker that has not come to serve, */
#define PAUSE_MOST      30.0 /* doubled for each in a row, up to that */
#define PAUSE_SHORT     0.1  /* after one that has served for less than that */
#define SETTLE_MOST     5    /* seconds; it takes milliseconds */
#define AWAY            0.5  /* a look at the workers that comes so much too late: we did not run */
#define LOG_AGAIN       0.2  /* seconds until a log that has no room is tried again */
#define LOAD_LIMIT      60.0 /* seconds of the first loader */
#define FAST_STOP       2.0  /* after SIGINT */
#define STOP_MARGIN     1.0  /* seconds that workers have for the end, after stop_timeout */
#define COMPANION_AGAIN 1.0  /* seconds between two tries to start the companion */
#define ROOM            64   /* workers that the shared memory has room for, at least */

double master_now(void)
{
    return ledger_now();
}

void master_say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("moongate: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

int master_memory_file(void)
{
    int fd = memfd_create("moongate-script", MFD_CLOEXEC);
    return fd > 0 ? fd : 0;
}

/* --- the first load --- */

static int milliseconds_until(double at, double now)
{
    return at == 0 ? -1 : at <= now ? 0 : (int)((at - now) * 1000) + 1;
}

/* True when the administrator wants to stop; a loader that never comes to an end must not keep us.
 */
static bool told_to_stop(const struct master *m)
{
    struct signalfd_siginfo info;
    bool stop = false;
    while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info)
        stop |= info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT || info.ssi_signo == SIGQUIT;
    return stop;
}

/* Runs the loader to its end. False: it failed, which has been said, or we were told to stop. */
static bool load_once(struct master *m)
{
    struct loader loader;
    if (m->snapshot == 0)
        m->snapshot = master_memory_file();
    const struct loader_config config = {.route = &m->options->route,
                                         .user = &m->user,
                                         .snapshot = m->snapshot,
                                         .child = master_loader_child,
                                         .ctx = m};
    enum loader_result result = LOADER_FAILED;
    double until = master_now() + LOAD_LIMIT;
    if (loader_start(&loader, &config)) {
        struct pollfd fds[2] = {{.fd = loader.fd, .events = POLLIN},
                                {.fd = m->signals, .events = POLLIN}};
        do {
            int count = poll(fds, 2, milliseconds_until(until, master_now()));
            if (count == 0) {
                master_say("the script could not be loaded within %.0f s", LOAD_LIMIT);
                loader_free(&loader);
                return false;
            }
            if (count < 0)
                continue;
            if (fds[1].revents != 0 && told_to_stop(m))
                m->stopping = true;
            result = fds[0].revents != 0 ? loader_read(&loader, &m->plan) : LOADER_MORE;
        } while (result == LOADER_MORE && !m->stopping);
    }
    if (result == LOADER_FAILED && !m->stopping)
        fprintf(stderr, "%s\n", loader_error(&loader));
    loader_free(&loader);
    return result == LOADER_DONE;
}

/* Loads the route: as --user or the default user; and again where the script names another one,
 * since that one must be able to read it too. */
static bool master_load(struct master *m)
{
    const struct master_options *o = m->options;
    const char *bad = user_find(o->user, o->group, &m->user);
    for (int pass = 0; bad == NULL; pass++) {
        plan_free(&m->plan);
        if (!load_once(m))
            return false;
        const char *name = o->user != NULL ? o->user : m->plan.user;
        const char *group = o->user != NULL ? o->group : m->plan.group;
        struct user before = m->user;
        if (name[0] == '\0')
            return true;
        bad = user_find(name, group != NULL && group[0] != '\0' ? group : NULL, &m->user);
        if (bad == NULL && (pass > 0 || before.uid == m->user.uid))
            return true;
    }
    master_say("%s", bad);
    return false;
}

/* --- workers --- */

/* Until the place of a worker that has ended gets another one. One that has served is replaced at
 * once, whatever has killed it; only so that one which dies again and again just behind its start
 * leaves some time to others. */
static double pause_after(bool served, unsigned unready, double lived)
{
    double pause = PAUSE_FIRST;
    if (served)
        return lived < PAUSE_SHORT ? PAUSE_SHORT : 0;
    for (unsigned i = 1; i < unready && pause < PAUSE_MOST; i++)
        pause *= 2;
    return pause < PAUSE_MOST ? pause : PAUSE_MOST;
}

void master_stop(struct master *m, int signal)
{
    /* Workers cut what is left after stop_timeout, so that clients can tell; a worker that is stuck
     * in a script hears neither signal. */
    double patience = signal == SIGINT ? FAST_STOP : m->plan.stop_timeout + STOP_MARGIN;
    if (!m->stopping || m->stop_at > master_now() + patience)
        m->stop_at = master_now() + patience;
    if (!m->stopping) {
        if (!m->handed_over) /* else it would be said of the successor */
            notify("STOPPING=1");
        master_close_sockets(m);
        master_end_successor(m);
        /* A successor that has come to nothing leaves them to whose place it was to take. */
        if (!m->handed_over && (m->announced || !m->is_successor))
            master_unlink_sockets(m);
        loader_free(&m->reload.loader);
        m->reload.state = RELOAD_IDLE;
    }
    m->stopping = true;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        m->workers[i].restart_at = 0;
        if (m->workers[i].pid > 0 && m->handed_over && signal == SIGTERM)
            master_retire(&m->workers[i]);
        else if (m->workers[i].pid > 0)
            kill(m->workers[i].pid, signal);
    }
}

/* Written over, not emptied first: where that fails, the one whose place we take keeps what it has.
 */
static bool write_pid_file(const char *path)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0644);
    bool ok = fd >= 0 && write(fd, text, (size_t)n) == n &&
              (ftruncate(fd, n) == 0 || errno == EINVAL); /* /dev/null has no size */
    int err = errno;
    if (fd >= 0)
        close(fd);
    errno = err;
    return ok;
}

bool master_all_ready(const struct master *m)
{
    for (unsigned i = 0; i < m->worker_count; i++)
        if (!m->workers[m->place[i]].ready)
            return false;
    return true;
}

static void say_serving(const struct master *m)
{
    char text[1024] = "";
    size_t used = 0;
    for (unsigned i = 0; i < m->listening_count && used < sizeof text - 200; i++) {
        const struct listen_spec *spec = &m->listening[i]->spec;
        if (spec->control)
            continue;
        used += (size_t)snprintf(
            text + used, sizeof text - used, "%s%s%.160s", used > 0 ? ", " : "",
            strncmp(spec->address, "unix:", 5) == 0 ? "" : "http://", spec->address);
    }
    master_say("serving %s (%u worker%s, pid %d)", text, m->worker_count,
               m->worker_count > 1 ? "s" : "", (int)getpid());
    if (m->options->banner != NULL)
        fputs(m->options->banner, stderr);
}

/* Once, when every listener is open and every worker serves. */
static void master_announce(struct master *m)
{
    if (m->announced || m->stopping || !master_all_ready(m))
        return;
    if (m->options->pid_file != NULL && !write_pid_file(m->options->pid_file)) {
        master_say("pid file %s: %s", m->options->pid_file, strerror(errno));
        m->failed = true;
        master_stop(m, SIGTERM); /* before we are announced: a predecessor keeps its sockets */
        return;
    }
    const char *err = master_let_in(m); /* those of a successor: it has not failed */
    if (err != NULL) {
        master_say("%s", err);
        m->failed = true;
        master_stop(m, SIGTERM);
        return;
    }
    m->announced = true;
    notify_close_rest();
    master_share_out(m);
    master_show_listeners(m);
    for (unsigned i = 0; i < m->plan.warning_count; i++)
        master_say("%s: warning: %s", m->options->route.path, m->plan.warnings[i]);
    say_serving(m);
    notify("READY=1\nMAINPID=%d\nSTATUS=%u workers", (int)getpid(), m->worker_count);
    master_announce_successor();
    master_watch(m);
}

/* A worker that can't even begin: at start that is the end of all, later it is tried again. */
static void worker_failed(struct master *m, struct child *child, const char *text)
{
    if (child->surplus)
        return;
    if (child->ready) { /* it can't prepare what is to be loaded */
        master_reload_take_answer(m, child, text);
        return;
    }
    if (child->fresh) {
        master_reload_answer(m, child, text);
        return;
    }
    if (m->announced) {
        log_error("a new worker can't serve: %s", text);
        master_show_error(m, text);
        return;
    }
    if (m->stopping && !m->failed) /* whoever has told us to stop has been there first */
        return;
    if (!m->failed)
        fprintf(stderr, "%s\n", text);
    m->failed = true;
    master_stop(m, SIGTERM);
}

static void master_take_message(struct master *m, struct child *child, struct link_message *message)
{
    switch (message->type) {
    case LINK_READY:
        if (child->ready) {
            master_reload_take_answer(m, child, message->text);
            break;
        }
        child->ready = true;
        m->board->worker[child - m->workers].ready = true;
        master_announce(m);
        master_share_out(m);
        master_reload_joined(m, child);
        break;
    case LINK_FAILED:
        worker_failed(m, child, message->text);
        break;
    case LINK_SWITCHED:
        child->switching = false;
        break;
    case LINK_RELOAD:
        master_reload(m);
        break;
    case LINK_STOP:
        log_info("told to stop by a command");
        master_stop(m, SIGTERM);
        break;
    default:
        break;
    }
}

static void master_hear(struct master *m, struct child *child)
{
    static struct link_message message;
    enum link_result result;
    while (child->socket > 0 && (result = link_receive(child->socket, &message)) != LINK_NOTHING) {
        if (result == LINK_END) {
            close(child->socket);
            child->socket = 0;
            return;
        }
        link_close_fds(&message);
        master_take_message(m, child, &message);
    }
}

static const char *describe_end(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "ended with status %d", WEXITSTATUS(status));
    return out;
}

/* Gives back what a worker held of connections. Workers write into that memory as they like, so the
 * master follows no number in there: a process of the workers' user does, which may crash or find
 * no end for it. */
static void master_settle(const struct master *m, unsigned index)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_NAME, "mg-settle"); /* ps tells it from a worker */
        signal(SIGALRM, SIG_DFL);
        alarm(SETTLE_MOST);
        if (user_become(&m->user) != NULL)
            _exit(1);
        ledger_worker_gone(m->ledger, index);
        census_worker_gone(m->census, index);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0)
        log_error("the places that a worker held at backends could not be given back: %s",
                  pid < 0 ? "no process for it"
                          : "what workers share is damaged; restart the server");
}

/* The lines of the requests that it took down. */
static void rescue_requests(struct master *m, unsigned index, int status)
{
    char how[100], reason[130];
    struct timespec t;
    uint32_t beyond;
    clock_gettime(CLOCK_REALTIME, &t);
    snprintf(reason, sizeof reason, "its worker %s", describe_end(status, how, sizeof how));
    unsigned count = underway_rescue(&m->underway[index],
                                     (double)t.tv_sec + (double)t.tv_nsec / 1e9, reason, &beyond);
    if (count > 0 || beyond > 0)
        log_warn(
            "requests cut with the worker: %u, which the access log has with status 502, and %u "
            "beyond its table, which have no line",
            count, beyond);
}

/* A page may be to blame. */
static void look_for_cause(struct master *m, const struct child *child)
{
    struct underway_request request;
    if (child->ready && !child->surplus && !m->stopping &&
        underway_ran(&m->underway[child - m->workers], &request))
        quarantine_lost(&m->quarantine, &request, master_now());
}

/* What it held is given back before another one has its number. */
static void master_child_ended(struct master *m, struct child *child, int status)
{
    unsigned index = (unsigned)(child - m->workers);
    struct board_worker *board = &m->board->worker[index];
    master_settle(m, index);
    log_rescue(&m->board->lines[index]);
    look_for_cause(m, child);
    rescue_requests(m, index, status);
    board->pid = 0;
    board->beat = board->turn = 0; /* it may have died while a hook ran */
    board->ready = board->leaving = false;
    board->connections = 0;
    if (child->socket > 0)
        close(child->socket);
}

/* A worker that has not come to serve at the first start: nothing serves yet, so nothing is lost by
 * saying so. */
static void start_failed(struct master *m, const char *how, const char *what)
{
    if (!m->failed)
        master_say("a worker %s%s%s before it served", how, what[0] != '\0' ? ", in " : "", what);
    m->failed = true;
    master_stop(m, SIGTERM);
}

static void say_ended(const struct child *child, const char *how, const char *stuck, double lived)
{
    if (child->told)
        log_error("a worker %s: its script ran on after script_timeout, in %s; another one takes "
                  "its place",
                  how, stuck[0] != '\0' ? stuck : "an unknown hook");
    else
        log_error("a worker %s after %.1f s%s%s; another one takes its place", how, lived,
                  stuck[0] != '\0' ? ", in " : "", stuck);
}

static void worker_ended(struct master *m, struct child *ended, int status)
{
    char how[100], text[1400], stuck[sizeof m->board->worker[0].stuck];
    double now = master_now(), lived = now - ended->started;
    struct board_worker *board = &m->board->worker[ended - m->workers];
    ended->pid = 0;
    if (ended->socket > 0) /* what it said before it ended */
        master_hear(m, ended);
    master_child_ended(m, ended, status);
    const struct child was = *ended;
    bool starting = !was.ready; /* whatever ends it before it serves has done no harm */
    unsigned unready = starting ? was.unready + 1 : 0;
    snprintf(stuck, sizeof stuck, "%.*s", (int)sizeof stuck - 1,
             was.told || WIFSIGNALED(status) ? board->stuck : "");
    board->stuck[0] = '\0';
    *ended = (struct child){.unready = unready};
    describe_end(status, how, sizeof how);
    if (m->stopping) {
        if (status != 0 && !m->failed && !starting) {
            log_error("a worker %s while stopping", how);
            m->failed = true;
        }
        return;
    }
    if (was.surplus) {
        if (was.passes && status != 0)
            log_error("a worker of an earlier generation %s%s%s", how,
                      stuck[0] != '\0' ? ", in " : "", stuck);
        return;
    }
    if (!m->announced && starting) {
        start_failed(m, how, stuck);
        return;
    }
    snprintf(text, sizeof text, "a %sworker %s%s%s while %s prepared the script",
             was.fresh ? "new " : "", how, stuck[0] != '\0' ? ", in " : "", stuck,
             was.leaves ? "another one" : "it");
    if (was.fresh) {
        master_reload_answer(m, ended, text);
        return;
    }
    master_share_out(m);
    board->restarts++;
    say_ended(&was, how, stuck, lived);
    double pause = pause_after(!starting, unready, lived);
    ended->restart_at = now + pause;
    if (m->reload.state == RELOAD_PREPARING)
        master_reload_answer(m, ended, text);
}

static void reap_companion(struct master *m, pid_t pid, int status)
{
    char how[100];
    kill(-pid, SIGKILL); /* its children would keep the old socket */
    m->companion = 0;
    if (!m->stopping)
        log_error("%s %s; it is started again", m->options->companion[0],
                  describe_end(status, how, sizeof how));
}

static void worker_changed(struct master *m, struct child *child, int status)
{
    if (WIFSTOPPED(status))
        child->stopped_at = master_now();
    else if (WIFCONTINUED(status))
        child->stopped_at = 0;
    else
        worker_ended(m, child, status);
}

static void master_reap(struct master *m)
{
    int status;
    pid_t pid;
    /* The loader, and a successor until it serves, are waited for where their words are read. */
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        pid = m->workers[i].pid;
        if (pid > 0 && waitpid(pid, &status, WNOHANG | WUNTRACED | WCONTINUED) == pid)
            worker_changed(m, &m->workers[i], status);
    }
    if (m->companion > 0 && (pid = waitpid(m->companion, &status, WNOHANG)) == m->companion)
        reap_companion(m, pid, status);
    if (m->handed_over)
        waitpid(m->successor, &status, WNOHANG);
}

/* --- scripts that run too long, and loops that stand still --- */

/* The counter is what it was at the last look; if not, that is remembered. */
static bool is_still(struct pulse *p, uint64_t value, double now)
{
    bool still = value == p->seen;
    if (!still)
        *p = (struct pulse){value, now};
    return still;
}

/* A hook runs while the worker's beat is odd. One that stays the same for script_timeout is told to
 * stop, which ends interpreted code; for twice that, the worker is killed: a compiled loop hears
 * nothing. */
static void supervise_hook(const struct master *m, struct child *child, double now)
{
    double limit = m->plan.script_timeout, runs = now - child->hook.since;
    if (!child->told && runs >= limit) {
        m->board->worker[child - m->workers].stuck[0] = '\0';
        child->told = true;
        kill(child->pid, MASTER_TOO_LONG);
    } else if (child->told && runs >= limit * 1.9) {
        kill(child->pid, SIGKILL);
    }
}

/* A letter of /proc/PID/stat ("D": it waits for a disk), and whether a debugger holds it. */
static char state_of(pid_t pid, bool *traced)
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

/* How long a worker may be without a turn of its loop: it loads the script while it starts, or
 * prepares a reload. */
static double turn_limit(const struct master *m, bool loads)
{
    double limit = m->plan.script_timeout * 2;
    return loads && limit < SCRIPT_LOADING ? SCRIPT_LOADING : limit;
}

/* No hook runs, and yet the loop does not come to its end: a call that blocks, a signal that has
 * stopped the process. It is said; for twice as long the worker is killed (at once while it loads
 * a script), unless it waits for a disk, since that would be no faster for another one, or a
 * debugger holds it. */
static void supervise_turn(const struct master *m, struct child *child, double since, double now)
{
    bool traced = false;
    bool loads = !child->ready || (child->asked && !child->prepared);
    double still = now - since, limit = turn_limit(m, loads), last = loads ? limit : 2 * limit;
    if (still < limit) {
        child->warned = false;
        return;
    }
    if (child->warned && still < last)
        return;
    char state = state_of(child->pid, &traced);
    if (!child->warned)
        log_error("worker %d serves nobody: its loop has made no turn for %.1f s, and no hook runs "
                  "(%s)",
                  (int)child->pid, still,
                  traced                  ? "a debugger holds it"
                  : child->stopped_at > 0 ? "a signal has stopped it"
                  : state == 'D'          ? "it waits for a disk"
                                          : "a call that blocks");
    child->warned = true;
    if (still >= last && !traced && state != 'D')
        kill(child->pid, SIGKILL);
}

static void master_supervise(const struct master *m, struct child *child, double now)
{
    const struct board_worker *board = &m->board->worker[child - m->workers];
    uint64_t beat = __atomic_load_n(&board->beat, __ATOMIC_RELAXED);
    uint64_t turn = __atomic_load_n(&board->turn, __ATOMIC_RELAXED);
    bool hook_still = is_still(&child->hook, beat, now),
         turn_still = is_still(&child->turn, turn, now);
    bool in_hook = hook_still && (beat & 1) != 0, in_turn = turn_still && (turn & 1) != 0;
    if (!in_hook)
        child->told = false;
    if (child->stopped_at > 0)
        supervise_turn(m, child, child->stopped_at, now);
    else if (in_hook)
        supervise_hook(m, child, now);
    else if (in_turn)
        supervise_turn(
            m, child, child->hook.since > child->turn.since ? child->hook.since : child->turn.since,
            now);
    else
        child->warned = false;
}

/* We have been away ourselves, and most likely they as well: a terminal's Ctrl-Z, a machine that
 * slept. That time is nobody's fault. */
static void master_forgive(struct master *m, double away)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        struct child *child = &m->workers[i];
        child->hook.since += away;
        child->turn.since += away;
        if (child->stopped_at > 0)
            child->stopped_at += away;
    }
}

/* --- the loop --- */

static void on_signal(struct master *m, int signal)
{
    switch (signal) {
    case SIGTERM:
    case SIGQUIT:
        master_stop(m, SIGTERM);
        break;
    case SIGINT:
        master_stop(m, SIGINT);
        break;
    case SIGCHLD:
        master_reap(m);
        break;
    case SIGHUP:
        master_reload(m);
        break;
    case SIGUSR1:
        master_reopen_logs(m);
        break;
    case SIGUSR2:
        master_upgrade(m);
        break;
    default:
        break;
    }
}

static void read_signals(struct master *m)
{
    struct signalfd_siginfo info;
    while (read(m->signals, &info, sizeof info) == (ssize_t)sizeof info)
        on_signal(m, (int)info.ssi_signo);
}

static bool any_worker(const struct master *m)
{
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].pid > 0)
            return true;
    return false;
}

static double master_sooner(double a, double b)
{
    return a == 0 || (b > 0 && b < a) ? b : a;
}

/* Starts what is due; returns when the next worker is. Not while a reload is being prepared: all
 * that serve must have answered. */
static double start_due(struct master *m, double now)
{
    double next = 0;
    if (m->reload.state == RELOAD_PREPARING)
        return 0;
    for (unsigned i = 0; i < m->worker_count; i++) {
        struct child *child = &m->workers[m->place[i]];
        if (child->pid > 0)
            continue;
        if (child->restart_at <= now)
            master_start_worker(m, i, m->place[i], false);
        else
            next = master_sooner(next, child->restart_at);
    }
    return next;
}

/* Looks after the workers' scripts; returns when to look again. */
static double supervise_due(struct master *m, double now)
{
    double period = m->plan.script_timeout / 4;
    if (now < m->supervised_at + period)
        return m->supervised_at + period;
    if (m->supervised_at > 0 && now - m->supervised_at > 2 * period + AWAY)
        master_forgive(m, now - m->supervised_at - period);
    m->supervised_at = now;
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].pid > 0)
            master_supervise(m, &m->workers[i], now);
    return now + period;
}

static double watchdog_due(struct master *m, double now)
{
    if (m->watchdog <= 0)
        return 0;
    if (now >= m->watchdog_at) {
        notify("WATCHDOG=1");
        m->watchdog_at = now + m->watchdog / 2;
    }
    return m->watchdog_at;
}

/* Does what is due; returns the milliseconds until the next thing is, -1 for none. */
static int do_due(struct master *m)
{
    double now = master_now(), next;
    if (log_waiting()) /* nobody reads it, or a worker has left its lines */
        log_flush();
    log_say_left_out(false);
    double log_at = log_waiting() || log_left_out() ? now + LOG_AGAIN : 0;
    if (m->stopping) {
        if (now >= m->stop_at) {
            log_error("workers have not ended after stop_timeout; they are killed");
            master_stop(m, SIGKILL);
            m->stop_at = now + 1;
        }
        next = master_sooner(master_sooner(m->stop_at, log_at),
                             supervise_due(m, now)); /* a hook that is stuck ends, too */
        return milliseconds_until(master_sooner(next, watchdog_due(m, now)), now);
    }
    next = master_sooner(start_due(m, now), log_at);
    next = master_sooner(next, quarantine_due(&m->quarantine, now));
    next = master_sooner(next, supervise_due(m, now));
    next = master_sooner(next, watchdog_due(m, now));
    if (m->watch_due > 0 && now >= m->watch_due) {
        m->watch_due = 0;
        log_info("a file of the script has changed");
        master_reload(m);
    }
    next = master_sooner(next, m->watch_due);
    if (m->reload.state != RELOAD_IDLE) {
        master_reload_tick(m, now);
        next = master_sooner(next, now + 0.1);
    }
    if (m->options->companion != NULL && m->companion == 0 && m->announced &&
        !master_start_companion(m))
        next = master_sooner(next, now + COMPANION_AGAIN);
    return milliseconds_until(next, now);
}

enum {
    POLL_SIGNALS,
    POLL_LOADER,
    POLL_WATCH,
    POLL_SUCCESSOR,
    POLL_STREAMS,
    POLL_WORKERS = POLL_STREAMS + 2
};

static struct pollfd poll_for(int fd)
{
    return (struct pollfd){.fd = fd > 0 ? fd : -1, .events = POLLIN};
}

static void wait_for_news(struct master *m, int timeout)
{
    static struct pollfd fds[POLL_WORKERS + PLAN_WORKERS];
    fds[POLL_SIGNALS] = poll_for(m->signals);
    fds[POLL_LOADER] = poll_for(m->reload.loader.pid > 0 ? m->reload.loader.fd : -1);
    fds[POLL_WATCH] = poll_for(m->watch != NULL ? watch_fd(m->watch) : -1);
    fds[POLL_SUCCESSOR] = poll_for(m->successor_fd);
    for (int i = 0; i < 2; i++)
        fds[POLL_STREAMS + i] = poll_for(log_stream_pipe(i));
    unsigned used = 0; /* poll refuses more places than there may be descriptors */
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        fds[POLL_WORKERS + i] = poll_for(m->workers[i].socket);
        if (m->workers[i].socket > 0)
            used = i + 1;
    }
    if (poll(fds, POLL_WORKERS + used, timeout) <= 0)
        return;
    for (int i = 0; i < 2; i++)
        if (fds[POLL_STREAMS + i].revents != 0)
            log_pass_stream(i);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (fds[POLL_WORKERS + i].revents != 0 && m->workers[i].socket > 0)
            master_hear(m, &m->workers[i]);
    if (fds[POLL_LOADER].revents != 0 && m->reload.loader.pid > 0)
        master_reload_heard(m);
    if (fds[POLL_WATCH].revents != 0)
        master_watch_heard(m);
    if (fds[POLL_SUCCESSOR].revents != 0)
        master_successor_heard(m);
    if (fds[POLL_SIGNALS].revents != 0)
        read_signals(m);
}

static void master_serve(struct master *m)
{
    while (!m->stopping || any_worker(m))
        wait_for_news(m, do_due(m));
}

/* --- life --- */

static const int handled[] = {SIGTERM, SIGQUIT, SIGINT, SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2};

static void block_signals(struct master *m)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaddset(&set, handled[i]);
    sigprocmask(SIG_BLOCK, &set, &m->old_mask);
    signal(SIGPIPE, SIG_IGN);
    m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* As many descriptors as the administrator allows: the soft limit is for programs that use select.
 */
static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* What the workers know together. */
static bool master_share(struct master *m)
{
    m->worker_count = m->plan.workers;
    for (unsigned i = 0; i < PLAN_WORKERS; i++) {
        m->place[i] = i;
        m->accepts[i] = NOBODY;
    }
    m->capacity = m->worker_count > ROOM ? m->worker_count : ROOM;
    m->generation = 1;
    m->ledger = ledger_new(m->capacity);
    m->census = census_new(m->capacity);
    m->board = board_new();
    m->underway = underway_new(m->capacity);
    if (m->ledger == NULL || m->census == NULL || m->board == NULL || m->underway == NULL ||
        !quarantine_init(&m->quarantine)) {
        master_say("no memory that the workers can share: %s", strerror(errno));
        return false;
    }
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    m->board->started = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    m->board->master = getpid();
    m->board->workers = m->worker_count;
    m->board->generation = m->generation;
    if (!shared_folder_inherit(&m->shared, &m->user, m->plan.shared) &&
        !shared_folder_make(&m->shared, &m->user, m->plan.shared))
        log_warn("moongate.shared can't be used: %s", m->shared.problem);
    return true;
}

static bool master_prepare(struct master *m)
{
    if (!master_load(m))
        return false;
    const char *err = master_open_logs(m, &m->plan, &m->error_log, &m->access_log);
    if (err == NULL) {
        log_setup(m->error_log, m->plan.level, m->access_log);
        master_add_control(m, &m->plan);
        err = listener_twice(m->plan.listen, m->plan.listen_count);
    }
    if (err == NULL)
        err = master_open_sockets(m, &m->plan, m->plan.workers);
    /* A successor's clients go to whose place it takes, until it is sure to serve. */
    if (err == NULL && !m->is_successor)
        err = master_let_in(m);
    if (err != NULL) {
        master_say("%s", err);
        return false;
    }
    master_take_sockets(m);
    if (m->user.ignored)
        log_warn("'user' is ignored: only root can become another user");
    if (m->user.uid == 0)
        log_warn("scripts run as root: name another user with --user or in the script");
    return master_share(m) && (m->options->companion == NULL || master_start_companion(m));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void master_clean_up(struct master *m)
{
    for (int i = 0; i < 2; i++)
        log_pass_stream(i); /* the last words of a library */
    log_say_left_out(true);
    log_flush();
    master_stop_companion(m);
    if (m->announced && m->options->pid_file != NULL && !m->handed_over)
        unlink(m->options->pid_file);
    if (m->options->cleanup != NULL)
        nftw(m->options->cleanup, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].socket > 0)
            close(m->workers[i].socket);
    master_free_listening(m);
    board_free(m->board); /* the ledger and the census say themselves how large they are: left */
    shared_folder_leave(&m->shared);
    watch_free(m->watch);
    loader_free(&m->reload.loader);
    plan_free(&m->reload.plan);
    plan_free(&m->plan);
    close(m->signals);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        signal(handled[i], SIG_IGN); /* what came too late is not to kill us now */
    sigprocmask(SIG_SETMASK, &m->old_mask, NULL);
}

int master_run(const struct master_options *options)
{
    log_own_streams();
    static struct master m; /* large, and the worker's stack need not have it */
    m = (struct master){.options = options, .error_log = -1, .access_log = -1};
    m.watchdog = notify_watchdog();
    notify_init();
    m.is_successor = master_is_successor();
    raise_limits();
    block_signals(&m);
    if (master_prepare(&m))
        master_serve(&m);
    else
        m.failed = !m.stopping;
    master_clean_up(&m);
    return m.failed ? 1 : 0;
}

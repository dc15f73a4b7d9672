/*
 * master - see master.h.
 *
 * Signals come through a signalfd, so that everything happens in one place, in order, between two
 * polls; no libev here, workers make their own loop after the fork.
 */
#include "master.h"

#include "log.h"
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_LISTENERS  64
#define MAX_WORKERS    256
#define REPORT_MAX     65536
#define RESTART_PAUSE  1.0  /* after a worker that died young */
#define COMPANION_WAIT 10.0 /* seconds for its socket to appear */
#define COMPANION_STOP 5.0
#define FAST_STOP      2.0 /* after SIGINT */

/* What the loader reports of the script's settings. */
struct plan {
    struct listen_spec listen[MAX_LISTENERS];
    unsigned listen_count;
    unsigned workers;
    char user[64], group[64];
    char access[512], error[512];
    char control[256]; /* an ADDR, "off", or "": the default */
    enum log_level level;
    double stop_timeout;
};

struct child {
    pid_t pid; /* 0: none */
    int socket;
    bool ready;
    double started;
    double restart_at; /* 0: not waiting */
};

struct master {
    const struct master_options *options;
    struct plan plan;
    struct user user;
    int signals;
    sigset_t old_mask;
    int *fds; /* [worker][listener] */
    struct ledger *ledger;
    struct census *census;
    struct child workers[MAX_WORKERS];
    pid_t companion;
    bool stopping;
    bool announced;
    bool failed;
    double stop_at; /* when a graceful stop has taken long enough */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("moongate: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
}

/* What a child starts with: no signal of the master's own is blocked or handled. */
static void child_signals(const struct master *m)
{
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &m->old_mask, NULL);
}

/* --- the loader --- */

static void loader(const struct route *route, const struct user *user, int out)
{
    char *err = NULL;
    const char *bad = user_become(user);
    if (bad != NULL) {
        dprintf(out, "!%s", bad);
        _exit(1);
    }
    struct script *script = script_new(route, &err);
    char *report = script != NULL ? script_report(script) : NULL;
    if (report == NULL)
        dprintf(out, "!%s", err != NULL ? err : "the settings could not be read");
    else
        dprintf(out, "%s", report);
    free(report);
    free(err);
    script_free(script);
    _exit(0);
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

/* Collects what the loader says until it ends. False when we were told to stop meanwhile. */
static bool hear_loader(const struct master *m, int fd, char *text)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = m->signals, .events = POLLIN}};
    size_t used = 0;
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return true;
        if (fds[1].revents != 0 && told_to_stop(m))
            return false;
        if (fds[0].revents == 0)
            continue;
        ssize_t n = read(fd, text + used, REPORT_MAX - 1 - used);
        if (n <= 0)
            return true;
        used += (size_t)n;
    }
}

/* Runs the loader as that user. Returns malloc'd text, or NULL when we were told to stop. */
static char *run_loader(const struct master *m)
{
    int ends[2], status = 0;
    char *text = calloc(1, REPORT_MAX);
    if (text == NULL || pipe2(ends, O_CLOEXEC) != 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child_signals(m);
        loader(&m->options->route, &m->user, ends[1]);
    }
    close(ends[1]);
    bool heard = hear_loader(m, ends[0], text);
    close(ends[0]);
    if (!heard && pid > 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (heard && text[0] == '\0')
        snprintf(text, REPORT_MAX, "!the script ended the process that loaded it (status %d)",
                 status);
    if (!heard) {
        free(text);
        return NULL;
    }
    return text;
}

static void take_line(struct plan *plan, char *key, char *rest)
{
    char *fields[4] = {"", "", "", ""};
    for (int i = 0; i < 4 && rest != NULL; i++)
        fields[i] = strsep(&rest, "\t");
    if (strcmp(key, "listen") == 0 && plan->listen_count < MAX_LISTENERS) {
        struct listen_spec *spec = &plan->listen[plan->listen_count++];
        spec->address = strdup(fields[0]);
        spec->backlog = atoi(fields[2]);
        spec->name = strdup(fields[3]);
    } else if (strcmp(key, "workers") == 0) {
        plan->workers = (unsigned)atoi(fields[0]);
    } else if (strcmp(key, "user") == 0) {
        snprintf(plan->user, sizeof plan->user, "%s", fields[0]);
    } else if (strcmp(key, "group") == 0) {
        snprintf(plan->group, sizeof plan->group, "%s", fields[0]);
    } else if (strcmp(key, "control") == 0) {
        snprintf(plan->control, sizeof plan->control, "%s", fields[0]);
    } else if (strcmp(key, "access") == 0) {
        snprintf(plan->access, sizeof plan->access, "%s", fields[0]);
    } else if (strcmp(key, "error") == 0) {
        snprintf(plan->error, sizeof plan->error, "%s", fields[0]);
    } else if (strcmp(key, "level") == 0) {
        int level = log_level_parse(fields[0]);
        plan->level = level >= 0 ? (enum log_level)level : LOG_INFO;
    } else if (strcmp(key, "stop_timeout") == 0) {
        plan->stop_timeout = atof(fields[0]);
    }
}

static void read_plan(struct plan *plan, char *report)
{
    memset(plan, 0, sizeof *plan);
    plan->stop_timeout = 30;
    plan->level = LOG_INFO;
    for (char *line; (line = strsep(&report, "\n")) != NULL;) {
        char *key = strsep(&line, "\t");
        if (line != NULL)
            take_line(plan, key, line);
    }
    if (plan->workers == 0)
        plan->workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    if (plan->workers > MAX_WORKERS)
        plan->workers = MAX_WORKERS;
}

static void free_plan(struct plan *plan)
{
    for (unsigned i = 0; i < plan->listen_count; i++) {
        free(plan->listen[i].address);
        free(plan->listen[i].name);
    }
    plan->listen_count = 0;
}

/* Loads the route: as --user or the default user; and again where the script names another one,
 * since that one must be able to read it too. */
static bool load(struct master *m)
{
    const struct master_options *o = m->options;
    const char *bad = user_find(o->user, o->group, &m->user);
    for (int pass = 0; bad == NULL; pass++) {
        char *report = run_loader(m);
        if (report == NULL) {
            m->stopping = true;
            return false;
        }
        if (report[0] == '!') {
            fprintf(stderr, "%s\n", report + 1);
            free(report);
            return false;
        }
        free_plan(&m->plan);
        read_plan(&m->plan, report);
        free(report);
        const char *name = o->user != NULL ? o->user : m->plan.user;
        const char *group = o->user != NULL ? o->group : m->plan.group;
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

/* --- listeners and logs --- */

/* Where commands come in. The default place may be another instance's: that is said, and no reason
 * not to serve. */
static void add_control(struct master *m)
{
    struct plan *plan = &m->plan;
    const char *address = plan->control, *bad = NULL;
    int fd = -1;
    bool optional = address[0] == '\0';
    if (optional)
        address = m->options->control_default;
    if (address == NULL || strcmp(address, "off") == 0 || plan->listen_count == MAX_LISTENERS)
        return;
    struct listen_spec spec = {
        .address = strdup(address), .name = strdup("control"), .backlog = 64, .control = true};
    if (optional) {
        bad = listener_make_folder(address);
        if (bad == NULL && (bad = listener_open(&spec, &fd, 1)) == NULL && fd >= 0)
            close(fd); /* it is free: opened again with the others */
        if (bad != NULL)
            log_warn("no commands (moongate hold, status, ...) for this instance: %s; --control "
                     "ADDR gives it a place of its own",
                     bad);
    }
    if (bad == NULL) {
        plan->listen[plan->listen_count++] = spec;
        return;
    }
    free(spec.address);
    free(spec.name);
}

static bool open_listeners(struct master *m)
{
    add_control(m);
    unsigned count = m->plan.listen_count;
    m->fds = calloc(m->plan.workers * count + 1, sizeof *m->fds);
    int *row = calloc(m->plan.workers, sizeof *row);
    if (m->fds == NULL || row == NULL)
        abort();
    for (unsigned i = 0; i < count; i++) {
        const char *err = listener_open(&m->plan.listen[i], row, m->plan.workers);
        if (err != NULL) {
            say("%s", err);
            free(row);
            return false;
        }
        for (unsigned j = 0; j < m->plan.workers; j++)
            m->fds[j * count + i] = row[j];
    }
    free(row);
    return true;
}

/* Closes the sockets of all workers but one (`keep` < 0: of all). A unix socket is shared. */
static void close_listeners(struct master *m, int keep)
{
    unsigned count = m->plan.listen_count;
    for (unsigned j = 0; m->fds != NULL && j < m->plan.workers; j++) {
        for (unsigned i = 0; i < count && (int)j != keep; i++) {
            int fd = m->fds[j * count + i];
            bool shared = j > 0 && fd == m->fds[i];
            bool kept = keep >= 0 && fd == m->fds[(unsigned)keep * count + i];
            if (!shared && !kept)
                close(fd);
        }
    }
}

static int open_log(const char *where)
{
    if (strcmp(where, "stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(where, "stderr") == 0)
        return STDERR_FILENO;
    return open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
}

static bool open_logs(struct master *m)
{
    const struct plan *plan = &m->plan;
    int error = open_log(plan->error[0] != '\0' ? plan->error : "stderr");
    int access = plan->access[0] != '\0' ? open_log(plan->access) : -1;
    if (error < 0 || (access < 0 && plan->access[0] != '\0')) {
        say("can't open the log %s: %s", error < 0 ? plan->error : plan->access, strerror(errno));
        return false;
    }
    log_setup(error, plan->level, access);
    return true;
}

/* --- the companion --- */

/* A unix socket is looked at, not connected to: PHP-FPM would give a process to the connection. */
static bool companion_serves(const char *address)
{
    struct addr addr;
    if (strncmp(address, "unix:", 5) == 0)
        return access(address + 5, F_OK) == 0;
    if (addr_resolve(address, &addr) != NULL)
        return true;
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool serves = fd >= 0 && connect(fd, &addr.sa, addr.len) == 0;
    if (fd >= 0)
        close(fd);
    return serves;
}

static bool start_companion(struct master *m)
{
    pid_t parent = getpid();
    if (strncmp(m->options->companion_address, "unix:", 5) == 0)
        unlink(m->options->companion_address + 5); /* of one that ended before */
    m->companion = fork();
    if (m->companion == 0) {
        child_signals(m);
        setpgid(0, 0);                    /* the terminal's Ctrl-C is ours to pass on */
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* however we end, it ends */
        if (getppid() != parent)
            _exit(1);
        execv(m->options->companion[0], m->options->companion);
        say("can't start %s: %s", m->options->companion[0], strerror(errno));
        _exit(127);
    }
    const char *address = m->options->companion_address;
    double until = now() + COMPANION_WAIT;
    while (!companion_serves(address)) {
        int status;
        if (waitpid(m->companion, &status, WNOHANG) == m->companion) {
            m->companion = 0;
            say("%s ended at once (status %d); its messages are above", m->options->companion[0],
                WEXITSTATUS(status));
            return false;
        }
        if (now() > until) {
            say("%s has not opened %s within %.0f s", m->options->companion[0], address,
                COMPANION_WAIT);
            return false;
        }
        poll(NULL, 0, 10);
    }
    return true;
}

static void stop_companion(struct master *m)
{
    double until = now() + COMPANION_STOP;
    if (m->companion <= 0)
        return;
    kill(m->companion, SIGTERM);
    while (waitpid(m->companion, NULL, WNOHANG) == 0) {
        if (now() > until)
            kill(m->companion, SIGKILL);
        poll(NULL, 0, 10);
    }
    kill(-m->companion, SIGKILL); /* what it may have left of its group */
    m->companion = 0;
}

/* --- workers --- */

static void run_worker(struct master *m, unsigned index, int socket)
{
    struct worker_config config = {
        .route = m->options->route,
        .user = &m->user,
        .specs = m->plan.listen,
        .fds = m->fds + index * m->plan.listen_count,
        .spec_count = m->plan.listen_count,
        .workers = m->plan.workers,
        .index = index,
        .ledger = m->ledger,
        .census = m->census,
        .generation = 1,
        .master = socket,
    };
    child_signals(m);
    close(m->signals);
    close_listeners(m, (int)index);
    for (unsigned i = 0; i < m->plan.workers; i++)
        if (m->workers[i].socket > 0)
            close(m->workers[i].socket);
    int status = worker_run(&config);
    free(m->fds);
    free_plan(&m->plan);
    /* exit, not _exit: it is here that a sanitizer reports what has leaked. */
    exit(status);
}

static void start_worker(struct master *m, unsigned index)
{
    struct child *child = &m->workers[index];
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        log_error("no socket for a worker: %s", strerror(errno));
        child->restart_at = now() + RESTART_PAUSE;
        return;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        run_worker(m, index, ends[1]);
    }
    close(ends[1]);
    *child = (struct child){.pid = pid > 0 ? pid : 0, .socket = ends[0], .started = now()};
    if (pid < 0) {
        log_error("no process for a worker: %s", strerror(errno));
        close(ends[0]);
        *child = (struct child){.restart_at = now() + RESTART_PAUSE};
    }
}

static void stop(struct master *m, int signal)
{
    /* A worker that is stuck in a script hears neither signal. */
    double patience = signal == SIGINT ? FAST_STOP : m->plan.stop_timeout;
    if (!m->stopping || m->stop_at > now() + patience)
        m->stop_at = now() + patience;
    if (!m->stopping) {
        close_listeners(m, -1);
        for (unsigned i = 0; i < m->plan.listen_count; i++)
            listener_unlink(&m->plan.listen[i]);
    }
    m->stopping = true;
    for (unsigned i = 0; i < m->plan.workers; i++) {
        m->workers[i].restart_at = 0;
        if (m->workers[i].pid > 0)
            kill(m->workers[i].pid, signal);
    }
}

static bool write_pid_file(const struct master *m)
{
    const char *path = m->options->pid_file;
    FILE *f = path != NULL ? fopen(path, "we") : NULL;
    if (f != NULL) {
        fprintf(f, "%d\n", (int)getpid());
        fclose(f);
    }
    return path == NULL || f != NULL;
}

static bool all_ready(const struct master *m)
{
    for (unsigned i = 0; i < m->plan.workers; i++)
        if (!m->workers[i].ready)
            return false;
    return true;
}

/* Once, when every listener is open and every worker serves. */
static void announce(struct master *m)
{
    char text[1024] = "";
    size_t used = 0;
    if (m->announced || m->stopping || !all_ready(m))
        return;
    m->announced = true;
    if (!write_pid_file(m)) {
        say("pid file %s: %s", m->options->pid_file, strerror(errno));
        m->failed = true;
        stop(m, SIGTERM);
        return;
    }
    for (unsigned i = 0; i < m->plan.listen_count && used < sizeof text - 200; i++) {
        const char *address = m->plan.listen[i].address;
        if (m->plan.listen[i].control)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%.160s", i > 0 ? ", " : "",
                                 strncmp(address, "unix:", 5) == 0 ? "" : "http://", address);
    }
    say("serving %s (%u worker%s, pid %d)", text, m->plan.workers, m->plan.workers > 1 ? "s" : "",
        (int)getpid());
    if (m->options->banner != NULL)
        fputs(m->options->banner, stderr);
}

/* A worker that can't even begin: at start that is the end of all, later it is tried again. */
static void worker_failed(struct master *m, const char *text)
{
    if (m->announced) {
        log_error("a new worker can't serve: %s", text);
        return;
    }
    if (!m->failed)
        fprintf(stderr, "%s\n", text);
    m->failed = true;
    stop(m, SIGTERM);
}

static void hear(struct master *m, struct child *child)
{
    char message[4097];
    ssize_t n = recv(child->socket, message, sizeof message - 1, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            close(child->socket);
            child->socket = 0;
        }
        return;
    }
    message[n] = '\0';
    if (message[0] == WORKER_READY) {
        child->ready = true;
        announce(m);
    } else if (message[0] == WORKER_FAILED) {
        worker_failed(m, message + 1);
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

static void worker_ended(struct master *m, struct child *child, int status)
{
    char how[100];
    unsigned index = (unsigned)(child - m->workers);
    ledger_worker_gone(m->ledger, index); /* before another one has its number */
    census_worker_gone(m->census, index);
    double lived = now() - child->started;
    if (child->socket > 0) /* what it said before it ended */
        hear(m, child);
    if (child->socket > 0)
        close(child->socket);
    child->socket = 0;
    child->pid = 0;
    child->ready = false;
    if (m->stopping) {
        if (status != 0 && !m->failed) {
            log_error("a worker %s while stopping", describe_end(status, how, sizeof how));
            m->failed = true;
        }
        return;
    }
    log_error("a worker %s after %.1f s; another one takes its place",
              describe_end(status, how, sizeof how), lived);
    child->restart_at = now() + (lived < RESTART_PAUSE ? RESTART_PAUSE : 0);
}

static void reap(struct master *m)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == m->companion) {
            char how[100];
            kill(-pid, SIGKILL); /* its children would keep the old socket */
            m->companion = 0;
            if (!m->stopping)
                log_error("%s %s; it is started again", m->options->companion[0],
                          describe_end(status, how, sizeof how));
        }
        for (unsigned i = 0; i < m->plan.workers; i++)
            if (m->workers[i].pid == pid)
                worker_ended(m, &m->workers[i], status);
    }
}

/* --- the loop --- */

static void on_signal(struct master *m, int signal)
{
    switch (signal) {
    case SIGTERM:
    case SIGQUIT:
        stop(m, SIGTERM);
        break;
    case SIGINT:
        stop(m, SIGINT);
        break;
    case SIGCHLD:
        reap(m);
        break;
    case SIGHUP:
    case SIGUSR1:
    case SIGUSR2:
        log_warn("SIG%s: this version can't %s; stop it and start it again", sigabbrev_np(signal),
                 signal == SIGHUP    ? "reload"
                 : signal == SIGUSR1 ? "reopen its logs (rotate them with copytruncate)"
                                     : "be upgraded while it runs");
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
    for (unsigned i = 0; i < m->plan.workers; i++)
        if (m->workers[i].pid > 0)
            return true;
    return false;
}

/* Starts what is due; returns the milliseconds until the next thing is, -1 for none. */
static int do_due(struct master *m)
{
    double at = now(), next = 0;
    if (m->stopping) {
        if (at >= m->stop_at) {
            log_error("requests are still under way after stop_timeout; they are cut");
            stop(m, SIGKILL);
            m->stop_at = at + 1;
        }
        return (int)((m->stop_at - at) * 1000) + 1;
    }
    for (unsigned i = 0; i < m->plan.workers; i++) {
        struct child *child = &m->workers[i];
        if (child->pid > 0)
            continue;
        if (child->restart_at <= at)
            start_worker(m, i);
        else if (next == 0 || child->restart_at < next)
            next = child->restart_at;
    }
    if (m->options->companion != NULL && m->companion == 0 && m->announced && !start_companion(m))
        next = at + RESTART_PAUSE;
    return next > 0 ? (int)((next - at) * 1000) + 1 : -1;
}

static void serve(struct master *m)
{
    struct pollfd fds[MAX_WORKERS + 1];
    while (!m->stopping || any_worker(m)) {
        int wait = do_due(m);
        fds[0] = (struct pollfd){.fd = m->signals, .events = POLLIN};
        for (unsigned i = 0; i < m->plan.workers; i++)
            fds[i + 1] = (struct pollfd){.fd = m->workers[i].socket > 0 ? m->workers[i].socket : -1,
                                         .events = POLLIN};
        if (poll(fds, m->plan.workers + 1, wait) < 0 && errno != EINTR)
            break;
        for (unsigned i = 0; i < m->plan.workers; i++)
            if (fds[i + 1].fd >= 0 && fds[i + 1].revents != 0 && m->workers[i].socket > 0)
                hear(m, &m->workers[i]);
        read_signals(m);
    }
}

static void block_signals(struct master *m)
{
    sigset_t set;
    static const int signals[] = {SIGTERM, SIGQUIT, SIGINT, SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2};
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&set, signals[i]);
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
static bool share(struct master *m)
{
    m->ledger = ledger_new(m->plan.workers);
    m->census = census_new(m->plan.workers);
    if (m->ledger == NULL || m->census == NULL)
        say("no memory that the workers can share: %s", strerror(errno));
    return m->ledger != NULL && m->census != NULL;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int master_run(const struct master_options *options)
{
    struct master m = {.options = options};
    raise_limits();
    block_signals(&m);
    bool good = load(&m) && open_logs(&m) && open_listeners(&m) && share(&m);
    if (good && m.user.ignored)
        log_warn("'user' is ignored: only root can become another user");
    if (good && m.user.uid == 0)
        log_warn("scripts run as root: name another user with --user or in the script");
    if (good && (options->companion == NULL || start_companion(&m)))
        serve(&m);
    else
        m.failed = !m.stopping;
    stop_companion(&m);
    if (m.announced && options->pid_file != NULL)
        unlink(options->pid_file);
    if (options->cleanup != NULL)
        nftw(options->cleanup, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    for (unsigned i = 0; i < m.plan.workers; i++)
        if (m.workers[i].socket > 0)
            close(m.workers[i].socket);
    if (m.ledger != NULL)
        ledger_free(m.ledger);
    if (m.census != NULL)
        census_free(m.census);
    free(m.fds);
    free_plan(&m.plan);
    close(m.signals);
    sigprocmask(SIG_SETMASK, &m.old_mask, NULL);
    return m.failed ? 1 : 0;
}

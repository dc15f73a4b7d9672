/*
 * upgrade - see master_inner.h. This file: the companion (a private php-fpm) and the
 * successor, a new binary that takes our place on the same sockets.
 *
 * The successor is started with the listening sockets open and their numbers in MOONGATE_FDS. It
 * says over a pipe (MOONGATE_SUCCESSOR) that it serves; then we stop gracefully. If it ends before
 * that, we go on.
 */
#include "process/master_inner.h"

#include "base/log.h"
#include "process/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMPANION_WAIT    10.0 /* seconds for its socket to appear */
#define COMPANION_STOP    5.0
#define COMPANION_CONNECT 100 /* milliseconds of one try */

/* --- the companion --- */

/* A unix socket is looked at, not connected to: PHP-FPM would give a process to the connection. */
static bool companion_serves(const char *address)
{
    struct addr addr;
    if (strncmp(address, "unix:", 5) == 0)
        return access(address + 5, F_OK) == 0;
    if (addr_resolve(address, &addr) != NULL)
        return true;
    int fd = socket(addr.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool serves = fd >= 0 && connect(fd, &addr.sa, addr.len) == 0;
    if (fd >= 0 && !serves && errno == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int code = 0;
        socklen_t size = sizeof code;
        serves = poll(&p, 1, COMPANION_CONNECT) == 1 &&
                 getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code == 0;
    }
    if (fd >= 0)
        close(fd);
    return serves;
}

bool master_start_companion(struct master *m)
{
    pid_t parent = getpid();
    if (strncmp(m->options->companion_address, "unix:", 5) == 0)
        unlink(m->options->companion_address + 5); /* of one that ended before */
    m->companion = fork();
    if (m->companion == 0) {
        master_child_signals(m);
        setpgid(0, 0);                    /* the terminal's Ctrl-C is ours to pass on */
        prctl(PR_SET_PDEATHSIG, SIGTERM); /* however we end, it ends */
        if (getppid() != parent)
            _exit(1);
        log_give_streams_back();
        execv(m->options->companion[0], m->options->companion);
        master_say("can't start %s: %s", m->options->companion[0], strerror(errno));
        _exit(127);
    }
    const char *address = m->options->companion_address;
    double until = master_now() + COMPANION_WAIT;
    while (!companion_serves(address)) {
        int status;
        if (waitpid(m->companion, &status, WNOHANG) == m->companion) {
            m->companion = 0;
            master_say("%s ended at once (status %d); its messages are above",
                       m->options->companion[0], WEXITSTATUS(status));
            return false;
        }
        if (master_now() > until) {
            master_say("%s has not opened %s within %.0f s", m->options->companion[0], address,
                       COMPANION_WAIT);
            return false;
        }
        poll(NULL, 0, 10);
    }
    return true;
}

void master_stop_companion(struct master *m)
{
    double until = master_now() + COMPANION_STOP;
    if (m->companion <= 0)
        return;
    kill(m->companion, SIGTERM);
    while (waitpid(m->companion, NULL, WNOHANG) == 0) {
        if (master_now() > until)
            kill(m->companion, SIGKILL);
        poll(NULL, 0, 10);
    }
    kill(-m->companion, SIGKILL); /* what it may have left of its group */
    m->companion = 0;
}

/* --- the successor --- */

/* Our own command line, as it was given. */
static char **own_arguments(char *text, size_t size)
{
    static char *argv[256];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    unsigned count = 0;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return NULL;
    text[n] = '\0';
    for (char *at = text; at < text + n && count < 255; at += strlen(at) + 1)
        argv[count++] = at;
    argv[count] = NULL;
    return argv;
}

static void pass_sockets(const struct master *m)
{
    static char list[PLAN_LISTENERS * PLAN_WORKERS * 8];
    size_t used = 0;
    for (unsigned i = 0; i < m->listening_count; i++) {
        const struct listening *l = m->listening[i];
        for (unsigned j = 0; j < l->slots; j++) {
            fcntl(l->fds[j], F_SETFD, 0);
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%d%s", used > 0 ? "," : "",
                                     l->fds[j], l->handed ? "s" : "");
        }
    }
    setenv("MOONGATE_FDS", list, 1);
}

static void become_successor(const struct master *m, int pipe_end)
{
    static char text[65536];
    char number[16];
    char **argv = own_arguments(text, sizeof text);
    master_child_signals(m);
    pass_sockets(m);
    shared_folder_pass(&m->shared);
    fcntl(pipe_end, F_SETFD, 0);
    snprintf(number, sizeof number, "%d", pipe_end);
    setenv("MOONGATE_SUCCESSOR", number, 1);
    if (getenv("WATCHDOG_PID") != NULL) { /* its signs of life are wanted from now on */
        snprintf(number, sizeof number, "%d", (int)getpid());
        setenv("WATCHDOG_PID", number, 1);
    }
    if (argv != NULL)
        execv(m->options->binary, argv);
    log_error("can't start %s: %s", m->options->binary, strerror(errno));
    _exit(127);
}

void master_upgrade(struct master *m)
{
    int ends[2];
    if (m->successor != 0 || m->stopping || !m->announced || m->options->companion != NULL) {
        log_warn("no upgrade: %s", m->successor != 0 ? "one is under way"
                                   : m->options->companion != NULL
                                       ? "this instance runs a private PHP"
                                       : "it is starting or stopping");
        return;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        log_error("no upgrade: %s", strerror(errno));
        return;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        become_successor(m, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        log_error("no upgrade: %s", strerror(errno));
        close(ends[0]);
        return;
    }
    m->successor = pid;
    m->successor_fd = ends[0];
    log_warn("starting %s (pid %d) to take our place", m->options->binary, (int)pid);
}

void master_successor_heard(struct master *m)
{
    char byte;
    bool serves = read(m->successor_fd, &byte, 1) == 1;
    close(m->successor_fd);
    m->successor_fd = 0;
    if (!serves) {
        kill(m->successor, SIGKILL); /* one that has only closed its end would keep the sockets */
        while (waitpid(m->successor, NULL, 0) < 0 && errno == EINTR)
            ;
        log_error("the new binary has not come to serve (see its messages); this one goes on");
        m->successor = 0;
        return;
    }
    log_warn("pid %d serves in our place; this one finishes its requests", (int)m->successor);
    notify("MAINPID=%d", (int)m->successor);
    m->handed_over = true;
    master_stop(m, SIGTERM);
}

void master_end_successor(struct master *m)
{
    if (m->handed_over || m->successor == 0)
        return;
    kill(m->successor, SIGTERM);
    close(m->successor_fd);
    m->successor_fd = 0;
}

bool master_is_successor(void)
{
    const char *number = getenv("MOONGATE_SUCCESSOR");
    /* What a script starts is not to hold it: its end says that we have come to nothing. */
    if (number != NULL)
        fcntl(atoi(number), F_SETFD, FD_CLOEXEC);
    return number != NULL;
}

void master_leave_predecessor(void)
{
    const char *number = getenv("MOONGATE_SUCCESSOR");
    if (number != NULL && atoi(number) > STDERR_FILENO)
        close(atoi(number));
    unsetenv("MOONGATE_SUCCESSOR");
}

void master_announce_successor(void)
{
    const char *number = getenv("MOONGATE_SUCCESSOR");
    if (number == NULL)
        return;
    int fd = atoi(number);
    if (fd > STDERR_FILENO && write(fd, "R", 1) == 1)
        close(fd);
    unsetenv("MOONGATE_SUCCESSOR");
}

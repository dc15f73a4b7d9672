/* upgrade - see upgrade.h. */
#include "process/upgrade.h"

#include "base/log.h"
#include "process/child.h"
#include "process/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPE_NAME "MOONGATE_SUCCESSOR" /* environment variable with the descriptor's number */

/* --- in the process that is replaced --- */

/* The command line of this process, as it was given. */
static char **upgrade_own_arguments(char *text, size_t size)
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

static void upgrade_execute(const char *binary, int pipe_end, const struct sockets *sockets,
                            const struct shared_file *dictionaries)
{
    static char text[65536];
    char number[16];
    char **argv = upgrade_own_arguments(text, sizeof text);
    sockets_pass(sockets);
    shared_file_pass(dictionaries);
    fcntl(pipe_end, F_SETFD, 0);
    snprintf(number, sizeof number, "%d", pipe_end);
    setenv(PIPE_NAME, number, 1);
    if (getenv("WATCHDOG_PID") != NULL) { /* systemd expects WATCHDOG=1 from the successor */
        snprintf(number, sizeof number, "%d", (int)getpid());
        setenv("WATCHDOG_PID", number, 1);
    }
    if (argv != NULL)
        execv(binary, argv);
    log_error("can't start %s: %s", binary, strerror(errno));
    _exit(127);
}

void upgrade_start(struct upgrade *u, const char *binary, const struct signals *signals,
                   const struct sockets *sockets, const struct shared_file *dictionaries)
{
    int ends[2];
    pid_t pid = -1;
    if (pipe2(ends, O_CLOEXEC) == 0) {
        pid = child_fork(ends);
        if (pid == 0) {
            signals_leave(signals);
            upgrade_execute(binary, ends[1], sockets, dictionaries);
        }
    }
    if (pid < 0) {
        log_error("no upgrade: %s", strerror(errno));
        return;
    }
    u->successor = pid;
    u->fd = ends[0];
    log_warn("starting %s (pid %d) to take our place", binary, (int)pid);
}

bool upgrade_read(struct upgrade *u)
{
    char byte;
    u->handed_over = read(u->fd, &byte, 1) == 1;
    close(u->fd);
    u->fd = 0;
    if (u->handed_over) {
        log_warn("pid %d serves in our place; this one finishes its requests", (int)u->successor);
        notify("MAINPID=%d", (int)u->successor);
        return true;
    }
    /* a successor that has only closed its pipe would keep the sockets */
    kill(u->successor, SIGKILL);
    while (waitpid(u->successor, NULL, 0) < 0 && errno == EINTR)
        ;
    log_error("the new binary has not come to serve (see its messages); this one goes on");
    u->successor = 0;
    return false;
}

void upgrade_cancel(struct upgrade *u)
{
    if (u->fd <= 0)
        return;
    kill(u->successor, SIGTERM);
    close(u->fd);
    u->fd = 0;
}

/* --- in the successor --- */

void upgrade_init(struct upgrade *u)
{
    const char *number = getenv(PIPE_NAME);
    *u = (struct upgrade){.predecessor = number != NULL ? atoi(number) : 0};
    u->is_successor = number != NULL;
    unsetenv(PIPE_NAME);
    if (u->is_successor)
        fcntl(u->predecessor, F_SETFD, FD_CLOEXEC);
}

void upgrade_announce(struct upgrade *u)
{
    if (u->predecessor > STDERR_FILENO && write(u->predecessor, "R", 1) == 1)
        close(u->predecessor);
    u->predecessor = 0;
}

void upgrade_leave(const struct upgrade *u)
{
    if (u->fd > 0)
        close(u->fd);
    if (u->predecessor > STDERR_FILENO)
        close(u->predecessor);
}

/* companion - see companion.h. */
#include "process/companion.h"

#include "base/addr.h"
#include "base/log.h"
#include "process/say.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MOST   10.0 /* seconds for its socket to appear */
#define STOP_MOST    5.0
#define CONNECT_MOST 100 /* milliseconds of one try */

/* Whether the companion serves. A unix socket is only checked for existence, since a connection
 * would occupy a process of PHP-FPM. */
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
        serves = poll(&p, 1, CONNECT_MOST) == 1 &&
                 getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 && code == 0;
    }
    if (fd >= 0)
        close(fd);
    return serves;
}

bool companion_start(struct companion *c, const struct signals *signals)
{
    pid_t parent = getpid();
    if (strncmp(c->address, "unix:", 5) == 0)
        unlink(c->address + 5); /* the socket of an earlier companion */
    c->pid = fork();
    if (c->pid == 0) {
        signals_leave(signals);
        /* a group of its own, since the master passes Ctrl-C on */
        setpgid(0, 0);
        /* the companion ends with the master, even if that is killed */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(1);
        log_give_streams_back();
        execv(c->argv[0], c->argv);
        say("can't start %s: %s", c->argv[0], strerror(errno));
        _exit(127);
    }
    double until = now_monotonic() + START_MOST;
    while (!companion_serves(c->address)) {
        int status;
        if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
            c->pid = 0;
            say("%s ended at once (status %d); its messages are above", c->argv[0],
                WEXITSTATUS(status));
            return false;
        }
        if (now_monotonic() > until) {
            say("%s has not opened %s within %.0f s", c->argv[0], c->address, START_MOST);
            return false;
        }
        poll(NULL, 0, 10);
    }
    return true;
}

bool companion_ended(struct companion *c, int *status)
{
    if (c->pid <= 0 || waitpid(c->pid, status, WNOHANG) != c->pid)
        return false;
    kill(-c->pid, SIGKILL); /* its children would keep the old socket open */
    c->pid = 0;
    return true;
}

void companion_stop(struct companion *c)
{
    double until = now_monotonic() + STOP_MOST;
    if (c->pid <= 0)
        return;
    kill(c->pid, SIGTERM);
    while (waitpid(c->pid, NULL, WNOHANG) == 0) {
        if (now_monotonic() > until)
            kill(c->pid, SIGKILL);
        poll(NULL, 0, 10);
    }
    kill(-c->pid, SIGKILL); /* processes of its group that are left */
    c->pid = 0;
}

/* signals - see signals.h. */
#include "process/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

static const int handled[] = {SIGTERM, SIGQUIT, SIGINT, SIGCHLD, SIGHUP, SIGUSR1, SIGUSR2};

void signals_init(struct signals *s)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaddset(&set, handled[i]);
    sigprocmask(SIG_BLOCK, &set, &s->before);
    signal(SIGPIPE, SIG_IGN);
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int signals_next(const struct signals *s)
{
    struct signalfd_siginfo info;
    return read(s->fd, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

void signals_leave(const struct signals *s)
{
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
    close(s->fd);
}

void signals_fini(struct signals *s)
{
    close(s->fd);
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        signal(handled[i], SIG_IGN);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
}

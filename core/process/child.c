/* child - see master_inner.h. This file: what a child of ours begins with. */
#include "process/master_inner.h"

#include "process/notify.h"

#include <signal.h>
#include <unistd.h>

void master_child_signals(const struct master *m)
{
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &m->old_mask, NULL);
}

void master_let_go(struct master *m)
{
    close(m->signals);
    master_close_sockets(m);
    for (unsigned i = 0; i < PLAN_WORKERS; i++)
        if (m->workers[i].socket > 0)
            close(m->workers[i].socket);
    if (m->successor_fd > 0)
        close(m->successor_fd);
    master_leave_predecessor();
    notify_close_rest();
    watch_free(m->watch);
    m->watch = NULL;
}

/* A script that runs on in it, or what that has started, is not to keep addresses in use, workers
 * without a word that we have gone, or the shared folder. */
void master_loader_child(void *ctx)
{
    struct master *m = ctx;
    master_child_signals(m);
    master_let_go(m);
    if (m->shared.path[0] != '\0')
        close(m->shared.fd);
}

/* trial - see trial.h. */
#include "process/trial.h"

#include "exchange/control.h"
#include "script/core.h"
#include "script/shared.h"

#include <signal.h>
#include <stdlib.h>

struct trial {
    struct loop loop;
    struct backends backends;
    struct generation *generation;
    const char *failure;
    bool started;
};

/* Ignores signals as a worker does: a write to a closed connection returns an error. */
static void trial_ignore_signals(void)
{
    static const int ignored[] = {SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1, SIGUSR2};
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
}

struct trial *trial_new(const struct route *route, unsigned number,
                        const struct shared_file *shared, char **err)
{
    static struct trial t;
    static struct board board; /* no process reads what is written there */
    struct ev_loop *ev = ev_default_loop(EVFLAG_NOENV | EVBACKEND_EPOLL);
    struct ledger *ledger = ledger_new(1);
    if (ev == NULL || ledger == NULL) {
        *err = strdup("no memory or descriptors to try the script");
        return NULL;
    }
    trial_ignore_signals();
    loop_init(&t.loop, ev);
    backends_init(&t.backends, &t.loop, ledger, 0);
    control_init(&board, -1, &t.backends);
    script_shared_use(shared);
    script_set_worker(1);
    t.generation = generation_new(route, &t.backends, number, err);
    if (t.generation == NULL)
        return NULL;
    control_open(t.generation);
    return &t;
}

struct script *trial_script(const struct trial *t)
{
    return t->generation->script;
}

static void trial_started(void *ctx, struct generation *g, const char *err)
{
    struct trial *t = ctx;
    (void)g;
    t->failure = err;
    t->started = true;
    ev_break(t->loop.ev, EVBREAK_ALL);
}

const char *trial_start(struct trial *t)
{
    script_limit(t->generation->settings->script_timeout);
    generation_start(t->generation, trial_started, t);
    if (!t->started) /* on_start waits */
        ev_run(t->loop.ev, 0);
    return t->failure;
}

/* worker - see worker.h. */
#include "worker.h"

#include "log.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STOP_MARGIN 0.5
#define LOG_DELAY   0.2 /* seconds that an access log line may wait */

struct worker {
    struct loop loop;
    struct backends backends;
    struct generation *generation;
    struct clients clients;
    struct listener **listeners;
    unsigned listener_count;
    ev_io master;
    ev_signal term, quit, interrupt;
    ev_prepare before_wait;
    ev_timer log_timer;
    ev_timer stop_timer;
};

static void stop_listening(struct worker *w)
{
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_free(w->listeners[i]);
    w->listener_count = 0;
}

static void on_empty(void *ctx)
{
    struct worker *w = ctx;
    if (w->clients.stopping)
        ev_break(w->loop.ev, EVBREAK_ALL);
}

static void stop_gracefully(struct worker *w)
{
    if (w->clients.stopping)
        return;
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_drain(w->listeners[i]);
    stop_listening(w);
    clients_stop(&w->clients);
    if (w->clients.count == 0)
        ev_break(w->loop.ev, EVBREAK_ALL);
    /* A little before the master's patience ends: what is cut here is cut so that clients can tell.
     */
    double patience = w->generation->settings->stop_timeout - STOP_MARGIN;
    ev_timer_set(&w->stop_timer, patience > 0 ? patience : 0, 0);
    ev_timer_start(w->loop.ev, &w->stop_timer);
}

static void term_cb(struct ev_loop *ev, ev_signal *signal, int events)
{
    (void)ev;
    (void)events;
    stop_gracefully(signal->data);
}

static void interrupt_cb(struct ev_loop *ev, ev_signal *signal, int events)
{
    (void)signal;
    (void)events;
    ev_break(ev, EVBREAK_ALL);
}

/* The master never writes: its end of the socket closes when it has gone. */
static void master_cb(struct ev_loop *ev, ev_io *io, int events)
{
    char byte;
    (void)events;
    if (read(io->fd, &byte, 1) == 1)
        return;
    ev_io_stop(ev, io);
    log_error("the master has gone; this worker finishes its requests and ends");
    stop_gracefully(io->data);
}

static void stop_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct worker *w = timer->data;
    (void)events;
    log_error("%u connections are still busy after stop_timeout; they are cut", w->clients.count);
    ev_break(ev, EVBREAK_ALL);
}

static void log_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
    log_access_flush();
}

/* Lines are written together, but none waits long. */
static void before_wait_cb(struct ev_loop *ev, ev_prepare *prepare, int events)
{
    struct worker *w = prepare->data;
    (void)events;
    if (!log_access_waiting() || ev_is_active(&w->log_timer))
        return;
    ev_timer_set(&w->log_timer, LOG_DELAY, 0);
    ev_timer_start(ev, &w->log_timer);
}

static void watch_signal(struct worker *w, ev_signal *watcher, int number,
                         void (*cb)(struct ev_loop *, ev_signal *, int))
{
    ev_signal_init(watcher, cb, number);
    watcher->data = w;
    ev_signal_start(w->loop.ev, watcher);
}

static void watch(struct worker *w, const struct worker_config *config)
{
    watch_signal(w, &w->term, SIGTERM, term_cb);
    watch_signal(w, &w->quit, SIGQUIT, term_cb);
    watch_signal(w, &w->interrupt, SIGINT, interrupt_cb);
    ev_io_init(&w->master, master_cb, config->master, EV_READ);
    w->master.data = w;
    ev_io_start(w->loop.ev, &w->master);
    ev_prepare_init(&w->before_wait, before_wait_cb);
    w->before_wait.data = w;
    ev_set_priority(&w->before_wait, EV_MINPRI); /* behind what else is done before the wait */
    ev_prepare_start(w->loop.ev, &w->before_wait);
    ev_timer_init(&w->log_timer, log_timer_cb, LOG_DELAY, 0);
    ev_timer_init(&w->stop_timer, stop_timer_cb, 1, 0);
    w->stop_timer.data = w;
}

static void tell(int master, char what, const char *text)
{
    char message[4096];
    size_t n = strlen(text) < sizeof message - 1 ? strlen(text) : sizeof message - 1;
    message[0] = what;
    memcpy(message + 1, text, n);
    if (send(master, message, n + 1, MSG_NOSIGNAL) < 0)
        log_warn("the master does not listen");
}

static int fail(const struct worker_config *config, const char *text)
{
    tell(config->master, WORKER_FAILED, text);
    return 1;
}

static const char *start(struct worker *w, const struct worker_config *config, char **err)
{
    const char *bad = user_become(config->user);
    if (bad != NULL)
        return bad;
    struct ev_loop *ev = ev_default_loop(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (ev == NULL)
        return "no event loop: epoll is not available";
    loop_init(&w->loop, ev);
    backends_init(&w->backends, &w->loop, config->ledger, config->index);
    w->generation = generation_new(&config->route, &w->backends, config->generation, err);
    if (w->generation == NULL)
        return *err;
    clients_init(&w->clients, &w->loop, &w->generation);
    w->clients.on_empty = on_empty;
    w->clients.ctx = w;
    w->clients.census = config->census;
    w->clients.worker = config->index;
    watch(w, config);
    w->listeners = calloc(config->spec_count + 1, sizeof *w->listeners);
    if (w->listeners == NULL)
        abort();
    for (unsigned i = 0; i < config->spec_count; i++)
        w->listeners[w->listener_count++] =
            listener_new(&config->specs[i], config->fds[i], &w->clients);
    return NULL;
}

static void clean_up(struct worker *w)
{
    w->clients.on_empty = NULL;
    stop_listening(w);
    clients_close(&w->clients);
    clients_fini(&w->clients);
    log_access_flush();
    if (w->generation != NULL)
        generation_drop(w->generation);
    backends_fini(&w->backends);
    free(w->listeners);
    if (w->loop.ev != NULL) {
        loop_fini(&w->loop);
        ev_loop_destroy(w->loop.ev);
    }
}

int worker_run(const struct worker_config *config)
{
    struct worker w = {.listeners = NULL};
    char *err = NULL;
    /* Buffers come and go with requests: giving each one back to the kernel costs more than it
     * frees. */
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    signal(SIGPIPE, SIG_IGN);
    /* A spool file over RLIMIT_FSIZE is an error of its write, no more. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGHUP, SIG_IGN); /* signals of the master's that a terminal may send to all */
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    const char *bad = start(&w, config, &err);
    if (bad != NULL) {
        int status = fail(config, bad);
        clean_up(&w);
        free(err);
        return status;
    }
    tell(config->master, WORKER_READY, "");
    ev_run(w.loop.ev, 0);
    clean_up(&w);
    return 0;
}

/* worker - see worker.h. */
#include "process/worker.h"

#include "base/log.h"
#include "base/lookup.h"
#include "exchange/cached.h"
#include "exchange/control.h"
#include "exchange/exchange.h"
#include "front/certify.h"
#include "front/clients.h"
#include "front/handover.h"
#include "front/protocol.h"
#include "http/filecache.h"
#include "process/plan.h"
#include "process/renewal.h"
#include "script/core.h"
#include "script/shared.h"
#include "tls/store.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* first socket of LINK_PREPARE, after the logs, the snapshot and the certificates */
#define FIRST_SOCKET 4
#define LOG_DELAY    0.2 /* seconds that an access log line may wait */

/* Where the logs of a message go. */
struct targets {
    bool has_access;
    char error[PLAN_TARGET], access[PLAN_TARGET];
};

/* The first line of LINK_PREPARE. */
struct prepared {
    unsigned number, attempt;
    int level, has_snapshot, has_certificates;
    struct targets logs;
};

struct worker {
    struct loop loop;
    struct backends backends;
    struct generation *generation;
    const struct worker_config *config;
    struct generation *prepared;    /* generation of the current reload; NULL: none */
    struct tls_store *tls;          /* the certificates of the generation that serves, and */
    struct tls_store *prepared_tls; /* of w->prepared; NULL: none */
    struct prepared plan;           /* the first line of its LINK_PREPARE */
    struct link_message news;       /* the message with its sockets and logs */
    struct renewal renewal;         /* of a script that is worn */
    struct targets reopened;        /* of the last LINK_LOGS */
    struct clients clients;
    struct handover handover;
    struct listener *listeners[LINK_FDS];
    int error_log, access_log; /* closed by the worker, unless a standard stream */
    unsigned listener_count;
    ev_io master;
    ev_signal term, quit, interrupt;
    ev_prepare before_wait;
    ev_check after_wait;
    double shown_at;
    double woke_at; /* this turn of the loop began */
    bool serves;    /* the ledger has this generation's settings of backends */
    bool leaving;   /* the worker has handed over its sockets and idle clients */
    bool failed;    /* on_start has failed */
    ev_timer log_timer, count_timer;
    ev_timer file_timer; /* active while the file cache has descriptors */
    ev_timer show_timer; /* active while the board does not have all counts */
    ev_timer stop_timer;
};

/* A copy of a name that lives as long as the worker, since connections point to it; there are few
 * names. */
static char *worker_lasting(const char *text)
{
    static char *kept[4096];
    static unsigned count;
    for (unsigned i = 0; i < count; i++)
        if (strcmp(kept[i], text) == 0)
            return kept[i];
    char *copy = strdup(text);
    if (copy == NULL)
        abort();
    if (count < 4096)
        kept[count++] = copy;
    return copy;
}

static void worker_stop_listening(struct worker *w)
{
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_free(w->listeners[i]);
    w->listener_count = 0;
}

static void worker_on_empty(void *ctx)
{
    struct worker *w = ctx;
    if (w->clients.stopping)
        ev_break(w->loop.ev, EVBREAK_ALL);
}

static void worker_stop(struct worker *w, double idle_patience)
{
    if (w->clients.stopping)
        return;
    handover_stop(&w->handover);
    handover_end_receiving(&w->handover);
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_drain(w->listeners[i]);
    worker_stop_listening(w);
    clients_stop(&w->clients, idle_patience);
    if (w->clients.count == 0)
        ev_break(w->loop.ev, EVBREAK_ALL);
    ev_timer_set(&w->stop_timer, w->generation->settings->stop_timeout, 0);
    ev_timer_start(w->loop.ev, &w->stop_timer);
}

static void worker_term_cb(struct ev_loop *ev, ev_signal *signal, int events)
{
    (void)ev;
    (void)events;
    worker_stop(signal->data, 0);
}

static void worker_interrupt_cb(struct ev_loop *ev, ev_signal *signal, int events)
{
    (void)signal;
    (void)events;
    ev_break(ev, EVBREAK_ALL);
}

/* True while a worn script may be loaded again: neither a reload nor the end is under way. */
static bool worker_may_renew(void *ctx)
{
    const struct worker *w = ctx;
    return !w->clients.stopping && !w->leaving && w->prepared == NULL;
}

/* --- reloads --- */

static void worker_drop_prepared(struct worker *w)
{
    if (w->prepared != NULL)
        generation_reject(w->prepared);
    w->prepared = NULL;
    tls_store_free(w->prepared_tls);
    w->prepared_tls = NULL;
    link_close_fds(&w->news);
}

static void worker_tell(const struct worker *w, enum link_type type, const char *text)
{
    if (!link_send(w->master.fd, type, text, NULL, 0))
        log_warn("the master does not listen");
}

/* Answers an attempt of a reload. The master may be at a later attempt already, so the answer has
 * its number. */
static void worker_answer(const struct worker *w, const char *err)
{
    static char text[LINK_TEXT];
    snprintf(text, sizeof text, "%u\t%s", w->plan.attempt, err != NULL ? err : "");
    worker_tell(w, err == NULL ? LINK_READY : LINK_FAILED, text);
}

static void worker_on_prepared(void *ctx, struct generation *g, const char *err)
{
    (void)g;
    worker_answer(ctx, err);
}

/* Reads "1", the target of the error log and that of the access log, parted by tabs, from the
 * beginning of a line; "0": there is no access log. */
static void worker_read_targets(const char *text, struct targets *out)
{
    struct str line = {text, strcspn(text, "\n")};
    out->has_access = str_eq(str_cut(&line, '\t'), STR("1"));
    struct str error = str_cut(&line, '\t');
    snprintf(out->error, sizeof out->error, "%.*s", STR_FMT(error));
    snprintf(out->access, sizeof out->access, "%.*s", STR_FMT(line));
}

/* Reads LINK_PREPARE. Returns NULL, or the error: the kernel drops descriptors for which the
 * process has no room, without an error. */
static const char *worker_read_prepared(const struct link_message *news, struct prepared *p)
{
    unsigned lines = 0;
    for (const char *at = news->text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    int at = 0;
    if (sscanf(news->text, "%u\t%u\t%d\t%d\t%d\t%n", &p->number, &p->attempt, &p->level,
               &p->has_snapshot, &p->has_certificates, &at) != 5)
        return "the master's message can't be read";
    worker_read_targets(news->text + at, &p->logs);
    if (news->fd_count != FIRST_SOCKET + lines - 1)
        return "a worker has no file descriptors left for the listening sockets and logs "
               "('ulimit -n', LimitNOFILE)";
    return NULL;
}

static void worker_warn(const char *text)
{
    log_warn("%s", text);
}

/* Makes the TLS of listeners of the master's file (0: there is none). NULL and *err. */
static struct tls_store *worker_read_tls(const struct worker *w, int file, const char **err)
{
    return tls_store_new(file, w->config->tickets, w->tls, worker_warn, err);
}

/* Builds the new generation beside the one that serves. Its descriptors stay in w->news. */
static void worker_prepare(struct worker *w)
{
    struct prepared *p = &w->plan;
    char *err = NULL;
    const char *bad = worker_read_prepared(&w->news, p);
    if (bad == NULL)
        w->prepared_tls = worker_read_tls(w, p->has_certificates ? w->news.fds[3] : 0, &bad);
    if (bad != NULL) {
        worker_answer(w, bad);
        return;
    }
    struct route route = w->config->route;
    route.snapshot = p->has_snapshot ? w->news.fds[2] : 0;
    w->prepared = generation_new(&route, &w->backends, p->number, &err);
    if (w->prepared != NULL) {
        control_open(w->prepared);
        generation_start(w->prepared, worker_on_prepared, w);
    } else {
        worker_answer(w, err != NULL ? err : "the script could not be loaded");
    }
    free(err);
}

static void worker_begin_to_serve(struct worker *w)
{
    if (!w->serves)
        generation_serve(w->generation);
    w->serves = true;
}

/* `fds`: the error log, and the access log, which is another descriptor where there is none. */
static void worker_use_logs(struct worker *w, const int fds[2], const struct targets *to,
                            enum log_level level)
{
    int error = fds[0], access = to->has_access ? fds[1] : -1;
    if (!to->has_access)
        close(fds[1]);
    log_flush();
    log_setup(error, to->error, level, access, to->access);
    if (w->error_log > STDERR_FILENO)
        close(w->error_log);
    if (w->access_log > STDERR_FILENO)
        close(w->access_log);
    w->error_log = error;
    w->access_log = access;
}

static bool worker_is_same_socket(int a, int b)
{
    struct stat x, y;
    return a == b ||
           (fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static struct listener *worker_pick_listener(struct worker *w, int fd)
{
    for (unsigned i = 0; i < w->listener_count; i++) {
        struct listener *l = w->listeners[i];
        if (!worker_is_same_socket(listener_fd(l), fd))
            continue;
        w->listeners[i] = w->listeners[--w->listener_count];
        return l;
    }
    return NULL;
}

/* A line of LINK_PREPARE: "address TAB protocol TAB name TAB backlog TAB control TAB
 * proxy_protocol TAB h2c TAB tls". */
static bool worker_read_spec(char *line, struct listen_spec *spec)
{
    char *address = strsep(&line, "\t"), *protocol = strsep(&line, "\t");
    char *name = strsep(&line, "\t");
    char *backlog = strsep(&line, "\t"), *control = strsep(&line, "\t");
    char *proxy_protocol = strsep(&line, "\t"), *h2c = strsep(&line, "\t");
    char *tls = strsep(&line, "\t");
    if (tls == NULL)
        return false;
    *spec = (struct listen_spec){.address = worker_lasting(address),
                                 .protocol = protocol_find(protocol),
                                 .name = worker_lasting(name),
                                 .backlog = atoi(backlog),
                                 .control = atoi(control) != 0,
                                 .proxy_protocol = atoi(proxy_protocol) != 0,
                                 .h2c = atoi(h2c) != 0,
                                 .tls = (unsigned)atoi(tls)};
    return spec->protocol != NULL;
}

/* Replaces the listeners by those of the message: its descriptors from `fd` on, with a line for
 * each. A listener that goes first accepts the connections of its queue. */
static void worker_use_sockets(struct worker *w, const struct link_message *news, unsigned fd,
                               char *lines)
{
    struct listener *list[LINK_FDS] = {NULL};
    unsigned count = 0;
    for (char *line; lines != NULL && (line = strsep(&lines, "\n")) != NULL && *line != '\0';) {
        struct listen_spec spec;
        if (fd == news->fd_count || !worker_read_spec(line, &spec))
            break;
        int socket = news->fds[fd++];
        struct tls_server *tls = tls_store_server(w->tls, spec.tls);
        struct listener *l = worker_pick_listener(w, socket);
        if (l != NULL) {
            close(socket);
            listener_update(l, &spec, tls);
        }
        list[count++] = l != NULL ? l : listener_new(&spec, tls, socket, &w->clients);
    }
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_drain(w->listeners[i]);
    worker_stop_listening(w);
    memcpy(w->listeners, list, count * sizeof *list);
    w->listener_count = count;
}

static void worker_switch(struct worker *w)
{
    struct generation *old = w->generation;
    if (w->prepared == NULL)
        return;
    script_on_worn(old->script, NULL, NULL);
    w->generation = w->prepared;
    w->prepared = NULL;
    generation_replace(w->generation, old);
    worker_use_logs(w, w->news.fds, &w->plan.logs, (enum log_level)w->plan.level);
    if (!w->plan.has_snapshot)
        close(w->news.fds[2]);
    renewal_use(&w->renewal, w->plan.has_snapshot ? w->news.fds[2] : 0);
    close(w->news.fds[3]);
    tls_store_free(w->tls);
    w->tls = w->prepared_tls;
    w->prepared_tls = NULL;
    char *lines = w->news.text;
    strsep(&lines, "\n"); /* the first line is w->plan */
    worker_use_sockets(w, &w->news, FIRST_SOCKET, lines);
    w->news.fd_count = 0;
    generation_drop(old);
}

/* LINK_SOCKETS: the slots of this worker have changed, since another one has started or ended. */
static void worker_change_sockets(struct worker *w, struct link_message *message)
{
    unsigned lines = 0;
    worker_begin_to_serve(w);
    for (const char *at = message->text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    if (lines != message->fd_count) {
        log_error("no free descriptors for more listening sockets ('ulimit -n', LimitNOFILE)");
        return; /* keeps its sockets, since some of the new ones are missing */
    }
    worker_use_sockets(w, message, 0, message->text);
    message->fd_count = 0;
}

/* LINK_RETIRE with a socket: the worker at its other end accepts from this one's sockets and gets
 * its idle clients. Unlike in a stop no request is cut, however long it takes. */
static void worker_leave(struct worker *w, struct link_message *message)
{
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_drain(w->listeners[i]);
    worker_stop_listening(w);
    renewal_drop(&w->renewal);
    if (!w->leaving)
        generation_retire(w->generation);
    w->leaving = true;
    handover_start(&w->handover, message->fds[0]);
    message->fd_count = 0;
}

static void worker_on_passed(void *ctx, bool all)
{
    struct worker *w = ctx;
    worker_tell(w, LINK_SWITCHED, "");
    if (!all)
        worker_stop(w, w->generation->settings->stop_timeout / 3);
}

/* True for a worker that has handed over and has no request under way, so that it ends. */
static bool worker_has_left(const struct worker *w)
{
    return w->leaving && w->clients.count == 0 && w->handover.intakes == NULL &&
           generation_is_done(w->generation) && !backends_are_busy(&w->backends);
}

/* LINK_CERTIFICATES: clients that connect from now on get what the file has. */
static void worker_renew_certificates(struct worker *w, int file)
{
    const char *err;
    struct tls_store *tls = worker_read_tls(w, file, &err);
    if (tls == NULL) {
        log_error("%s; the certificates that were read before are served on", err);
        return;
    }
    for (unsigned i = 0; i < w->listener_count; i++)
        listener_renew_tls(w->listeners[i], tls_store_server(tls, listener_tls(w->listeners[i])));
    tls_store_free(w->tls);
    w->tls = tls;
}

static void worker_handle(struct worker *w, struct link_message *message)
{
    switch (message->type) {
    case LINK_PREPARE:
        worker_drop_prepared(w);
        renewal_drop(&w->renewal);
        memcpy(&w->news, message, sizeof *message);
        message->fd_count = 0;
        worker_prepare(w);
        break;
    case LINK_SWITCH:
        worker_switch(w);
        worker_tell(w, LINK_SWITCHED, "");
        break;
    case LINK_ABORT:
        worker_drop_prepared(w);
        generation_refresh(w->generation);
        break;
    case LINK_SOCKETS:
        worker_change_sockets(w, message);
        break;
    case LINK_RETIRE: /* an idle client may be sending a request just now */
        if (message->fd_count == 1)
            worker_leave(w, message);
        else
            worker_stop(w, w->generation->settings->stop_timeout / 3);
        break;
    case LINK_CLIENTS:
        if (message->fd_count == 1)
            handover_receive(&w->handover, message->fds[0]);
        message->fd_count = 0;
        break;
    case LINK_KILL:
        exchange_kill(strtoull(message->text, NULL, 16));
        break;
    case LINK_CERTIFICATES:
        if (message->fd_count == 1)
            worker_renew_certificates(w, message->fds[0]);
        break;
    case LINK_LOGS:
        if (message->fd_count != 2) {
            log_warn("no file descriptors left to open the logs again ('ulimit -n', LimitNOFILE)");
            break;
        }
        worker_read_targets(message->text, &w->reopened);
        worker_use_logs(w, message->fds, &w->reopened, log_level_set());
        message->fd_count = 0;
        break;
    default:
        break;
    }
    link_close_fds(message);
}

static void worker_master_cb(struct ev_loop *ev, ev_io *io, int events)
{
    static struct link_message message;
    struct worker *w = io->data;
    enum link_result result;
    (void)events;
    while ((result = link_receive(io->fd, &message)) == LINK_MESSAGE) {
        if (w->clients.stopping)
            link_close_fds(&message);
        else
            worker_handle(w, &message);
    }
    if (result == LINK_NOTHING)
        return;
    ev_io_stop(ev, io);
    log_error("the master has gone; this worker finishes its requests and ends");
    worker_stop(w, 0);
}

static void worker_stop_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct worker *w = timer->data;
    (void)events;
    log_error("%u connections are still busy after stop_timeout; they are cut", w->clients.count);
    ev_break(ev, EVBREAK_ALL);
}

static void worker_log_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
    log_flush();
}

static void worker_count_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
    log_say_left_out(false);
}

/* Writes the worker's counts to the board, once a second while the loop makes turns, and once more
 * before the worker sleeps. */
static void worker_show(struct worker *w)
{
    struct board_worker *board = &w->config->board->worker[w->config->index];
    w->shown_at = loop_now(&w->loop);
    board->connections = w->clients.count;
    board->active = w->clients.busy;
    board->requests = exchange_count();
    board->generations = generation_alive();
    board->lua_memory = script_memory(w->generation->script);
}

/* worker_before_wait_cb of this turn shows the counts. */
static void worker_show_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
}

static bool worker_is_shown(const struct worker *w)
{
    const struct board_worker *board = &w->config->board->worker[w->config->index];
    return board->connections == w->clients.count && board->active == w->clients.busy &&
           board->requests == exchange_count() && board->generations == generation_alive();
}

static void worker_file_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)timer;
    (void)events;
    cached_sweep();
    filecache_sweep(); /* worker_before_wait_cb starts the timer again while descriptors are left */
}

/* A timer that runs already stays as it is. */
static void worker_start_timer(struct ev_loop *ev, ev_timer *timer, double seconds)
{
    if (ev_is_active(timer))
        return;
    ev_timer_set(timer, seconds, 0);
    ev_timer_start(ev, timer);
}

/* Flushes the logs. Lines are written together, but none waits longer than LOG_DELAY. */
static void worker_before_wait_cb(struct ev_loop *ev, ev_prepare *prepare, int events)
{
    struct worker *w = prepare->data;
    (void)events;
    w->woke_at = loop_now(&w->loop);
    if (loop_now(&w->loop) >= w->shown_at + 1)
        worker_show(w);
    else if (!worker_is_shown(w))
        worker_start_timer(ev, &w->show_timer, 1);
    if (worker_has_left(w))
        ev_break(ev, EVBREAK_ALL);
    if (log_waiting())
        worker_start_timer(ev, &w->log_timer, LOG_DELAY);
    if (log_left_out())
        worker_start_timer(ev, &w->count_timer, 1);
    if (filecache_has_descriptors() || cached_has_descriptors())
        worker_start_timer(ev, &w->file_timer, 1);
}

/* An event of this turn may send a request to a server. LINK_CHANGES wakes a loop that sleeps. */
static void worker_after_wait_cb(struct ev_loop *ev, ev_check *check, int events)
{
    struct worker *w = check->data;
    (void)ev;
    (void)events;
    backends_heed(&w->backends);
}

static void worker_watch_signal(struct worker *w, ev_signal *watcher, int number,
                                void (*cb)(struct ev_loop *, ev_signal *, int))
{
    ev_signal_init(watcher, cb, number);
    watcher->data = w;
    ev_signal_start(w->loop.ev, watcher);
}

/* The counter of the loop's turns, which the master looks at: even while the loop sleeps. */
static void worker_note_turn(struct ev_loop *ev)
{
    const struct worker *w = ev_userdata(ev);
    uint64_t *turn = &w->config->board->worker[w->config->index].turn;
    __atomic_store_n(turn, *turn + 1, __ATOMIC_RELAXED);
}

/* libev has looked at the clock just before it sleeps; what it said before was the waking. */
static void worker_note_sleep(struct ev_loop *ev)
{
    struct worker *w = ev_userdata(ev);
    metrics_turn(loop_now(&w->loop) - w->woke_at);
    worker_note_turn(ev);
}

static void worker_note_waking(struct ev_loop *ev)
{
    worker_note_turn(ev);
    lookup_begin_turn();
    tls_begin_turn();
}

static void worker_watch(struct worker *w, const struct worker_config *config)
{
    ev_set_userdata(w->loop.ev, w);
    ev_set_loop_release_cb(w->loop.ev, worker_note_sleep, worker_note_waking);
    worker_watch_signal(w, &w->term, SIGTERM, worker_term_cb);
    worker_watch_signal(w, &w->quit, SIGQUIT, worker_term_cb);
    worker_watch_signal(w, &w->interrupt, SIGINT, worker_interrupt_cb);
    ev_io_init(&w->master, worker_master_cb, config->master, EV_READ);
    w->master.data = w;
    ev_io_start(w->loop.ev, &w->master);
    ev_prepare_init(&w->before_wait, worker_before_wait_cb);
    w->before_wait.data = w;
    ev_set_priority(&w->before_wait, EV_MINPRI); /* after all other work before the wait */
    ev_prepare_start(w->loop.ev, &w->before_wait);
    ev_check_init(&w->after_wait, worker_after_wait_cb);
    w->after_wait.data = w;
    ev_set_priority(&w->after_wait, EV_MAXPRI); /* before what the wait has brought */
    ev_check_start(w->loop.ev, &w->after_wait);
    ev_timer_init(&w->log_timer, worker_log_timer_cb, LOG_DELAY, 0);
    ev_timer_init(&w->count_timer, worker_count_timer_cb, 1, 0);
    ev_timer_init(&w->file_timer, worker_file_timer_cb, 1, 0);
    ev_timer_init(&w->show_timer, worker_show_timer_cb, 1, 0);
    ev_timer_init(&w->stop_timer, worker_stop_timer_cb, 1, 0);
    w->stop_timer.data = w;
}

/* Called when on_start of the first generation has ended: sends READY, which the master answers
 * with the sockets. */
static void worker_on_started(void *ctx, struct generation *g, const char *err)
{
    struct worker *w = ctx;
    (void)g;
    if (err != NULL) {
        worker_tell(w, LINK_FAILED, err);
        w->failed = true;
        ev_break(w->loop.ev, EVBREAK_ALL);
        return;
    }
    worker_tell(w, LINK_READY, "");
}

static const char *worker_start(struct worker *w, const struct worker_config *config, char **err)
{
    const char *bad = user_become(config->user);
    if (bad != NULL)
        return bad;
    struct ev_loop *ev = ev_default_loop(EVFLAG_NOENV | EVBACKEND_EPOLL);
    if (ev == NULL)
        return "no event loop: epoll is not available";
    loop_init(&w->loop, ev);
    clients_init(&w->clients, &w->loop, &w->generation);
    certify_use(&w->clients);
    script_shared_use(config->shared);
    cached_use(config->cache, config->index, &w->loop);
    backends_init(&w->backends, &w->loop, config->ledger, config->index);
    backends_use_changes(&w->backends, config->changes);
    w->renewal = (struct renewal){.loop = &w->loop,
                                  .backends = &w->backends,
                                  .board = config->board,
                                  .route = &config->route,
                                  .serving = &w->generation,
                                  .may = worker_may_renew,
                                  .ctx = w};
    renewal_init(&w->renewal);
    w->generation = generation_new(&config->route, &w->backends, config->generation, err);
    if (w->generation == NULL)
        return *err;
    renewal_use(&w->renewal, config->route.snapshot);
    w->tls = worker_read_tls(w, config->certificates, &bad);
    if (config->certificates > 0)
        close(config->certificates);
    if (w->tls == NULL)
        return bad;
    control_open(w->generation);
    if (!config->reserve)
        worker_begin_to_serve(w);
    w->clients.on_empty = worker_on_empty;
    w->clients.ctx = w;
    w->clients.census = config->census;
    w->clients.worker = config->index;
    worker_watch(w, config);
    return NULL;
}

static void worker_clean_up(struct worker *w)
{
    w->clients.on_empty = NULL;
    generation_send_spans(w->clients.stopping ? w->generation : NULL);
    worker_stop_listening(w);
    handover_stop(&w->handover);
    handover_end_receiving(&w->handover);
    worker_drop_prepared(w);
    renewal_drop(&w->renewal);
    clients_close(&w->clients);
    clients_fini(&w->clients);
    exchange_end_background();
    tls_store_free(w->tls);
    log_flush();
    generation_end_tasks();
    if (w->generation != NULL)
        generation_drop(w->generation);
    log_say_left_out(true);
    log_end();
    backends_fini(&w->backends);
    cached_end();
    script_shared_close();
    certify_end();
    if (w->loop.ev != NULL) {
        loop_fini(&w->loop);
        ev_loop_destroy(w->loop.ev);
    }
}

int worker_run(const struct worker_config *config)
{
    static struct worker w; /* large: it holds messages */
    char *err = NULL;
    w.config = config;
    w.handover = (struct handover){.clients = &w.clients,
                                   .find_protocol = protocol_find,
                                   .lasting = worker_lasting,
                                   .on_passed = worker_on_passed,
                                   .ctx = &w};
    w.master.fd = config->master;
    w.error_log = config->error_log;
    w.access_log = config->access_log;
    /* Keeps freed memory: buffers come and go with requests, and returning each to the kernel costs
     * system calls. */
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a write beyond the size limit of files returns an error */
    signal(SIGHUP, SIG_IGN);  /* handled by the master; a terminal sends it to all processes */
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    struct board_worker *board = &config->board->worker[config->index];
    board->turn = 1; /* awake */
    log_keep_in(&config->board->lines[config->index]);
    underway_use(config->underway);
    metrics_use(config->metrics, config->index, config->number);
    recent_use(config->recent, config->index);
    quarantine_use(config->quarantine);
    script_set_worker(config->number + 1);
    control_init(config->board, config->master, &w.backends);
    script_supervise(&board->beat, board->stuck, sizeof board->stuck, config->signal);
    const char *bad = worker_start(&w, config, &err);
    if (bad != NULL) {
        worker_tell(&w, LINK_FAILED, bad);
        if (w.loop.ev != NULL)
            worker_clean_up(&w);
        free(err);
        return 1;
    }
    log_write_behind();
    generation_start(w.generation, worker_on_started, &w);
    if (!w.failed)
        ev_run(w.loop.ev, 0);
    worker_clean_up(&w);
    return w.failed;
}

/* memory - see memory.h. */
#include "process/memory.h"

#include "base/log.h"
#include "base/user.h"
#include "process/say.h"
#include "shm/cachestore.h"
#include "shm/trace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECLAIM_MOST 5  /* seconds for a work of milliseconds */
#define REMOVE_MOST  60 /* seconds for the files of a cache on a slow disk */

bool memory_init(struct memory *m, const struct user *user, unsigned places, size_t dictionaries)
{
    *m = (struct memory){.user = user,
                         .places = places,
                         .ledger = ledger_new(places),
                         .census = census_new(places),
                         .changes = changes_new(),
                         .recent = recent_new(places),
                         .board = board_new(),
                         .underway = underway_new(places),
                         .metrics = metrics_new(places),
                         .tail = tail_new(),
                         .cache = cache_new(places),
                         .tickets = tickets_new()};
    if (m->ledger == NULL || m->census == NULL || m->changes == NULL || m->recent == NULL ||
        m->board == NULL || m->underway == NULL || m->metrics == NULL || m->tail == NULL ||
        m->cache == NULL || m->tickets == NULL || !trace_new() || !quarantine_init(&m->quarantine))
        return false;
    m->board->started = now_wall();
    m->board->master = getpid();
    log_heed(&m->board->log_level);
    if (!shared_file_inherit(&m->dictionaries, dictionaries) &&
        !shared_file_make(&m->dictionaries, dictionaries))
        log_warn("moongate.shared can't be used: %s", m->dictionaries.problem);
    return true;
}

/* Gives back claims and counts, in a child of the workers' user. A worker may have written anything
 * into that memory, so the child, not the master, follows its indexes: it may crash or loop without
 * harm. */
static void memory_reclaim_counts(const struct memory *m, unsigned place)
{
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_NAME, "mg-reclaim"); /* so that ps shows it apart from workers */
        signal(SIGALRM, SIG_DFL);
        alarm(RECLAIM_MOST);
        if (user_become(m->user) != NULL)
            _exit(1);
        ledger_worker_gone(m->ledger, place);
        census_worker_gone(m->census, place);
        cache_worker_gone(m->cache, place);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0)
        log_error("the places that a worker held at backends could not be given back: %s",
                  pid < 0 ? "no process for it"
                          : "what workers share is damaged; restart the server");
}

void memory_reclaim(struct memory *m, unsigned place, const char *how, bool blame)
{
    struct underway *table = &m->underway[place];
    struct board_worker *board = &m->board->worker[place];
    struct underway_request request;
    char reason[130];
    uint32_t beyond;
    memory_reclaim_counts(m, place);
    log_rescue(&m->board->lines[place]);
    if (blame && underway_ran(table, &request))
        quarantine_lost(&m->quarantine, &request, now_monotonic());
    snprintf(reason, sizeof reason, "its worker %s", how);
    unsigned count = underway_rescue(table, now_wall(), reason, &beyond);
    if (count > 0 || beyond > 0)
        log_warn(
            "requests cut with the worker: %u, which the access log has with status 502, and %u "
            "beyond its table, which have no line",
            count, beyond);
    board->pid = 0;
    board->beat = board->turn = 0; /* the worker may have died while a hook ran */
    board->ready = board->leaving = false;
    board->connections = board->active = 0;
}

void memory_show_error(const struct memory *m, const char *text)
{
    snprintf(m->board->last_error, sizeof m->board->last_error, "%s", text);
    m->board->last_error_at = now_wall();
}

double memory_tickets_due(struct memory *m, double now)
{
    if (m->tickets_at == 0)
        m->tickets_at = now + TICKETS_PERIOD;
    if (now >= m->tickets_at) {
        tickets_rotate(m->tickets);
        m->tickets_at = now + TICKETS_PERIOD;
    }
    return m->tickets_at;
}

/* Removes the files of the cache, in a child of the workers' user, since their path is one that
 * workers have written. */
static void memory_remove_cache(const struct memory *m)
{
    if (cache_path(m->cache)[0] == '\0')
        return;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(REMOVE_MOST);
        if (user_become(m->user) == NULL)
            cachestore_remove(m->cache);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void memory_fini(struct memory *m)
{
    if (m->cache != NULL)
        memory_remove_cache(m);
    /* the sizes of ledger and census are in their memory, which is not trusted: the kernel frees
     * them */
    log_heed(NULL);
    board_free(m->board);
    tickets_free(m->tickets);
    shared_file_close(&m->dictionaries);
}

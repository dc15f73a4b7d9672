/* sockets - see master_inner.h. This file: listening sockets and logs. */
#include "process/master_inner.h"

#include "base/log.h"
#include "process/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char message[512];

/* --- sockets --- */

static struct listening *socket_find(const struct master *m, const char *address)
{
    for (unsigned i = 0; i < m->listening_count; i++)
        if (strcmp(m->listening[i]->spec.address, address) == 0)
            return m->listening[i];
    return NULL;
}

static void close_all(struct listening *l)
{
    for (unsigned i = 0; i < l->bound; i++)
        close(l->fds[i]);
    l->slots = l->bound = 0;
}

static void socket_forget(struct listening *l)
{
    free(l->spec.address);
    free(l->spec.given);
    free(l->spec.name);
    free(l);
}

void master_free_listening(struct master *m)
{
    for (unsigned i = 0; i < m->listening_count; i++)
        socket_forget(m->listening[i]);
    m->listening_count = 0;
}

/* Sockets that were handed to us: by systemd one for all workers, by the one whose place we take
 * one for each of its workers. */
static void take_handed(struct listening *l)
{
    struct addr addr;
    bool systemd = false;
    int fd;
    if (addr_resolve(l->spec.address, &addr) != NULL)
        return;
    while (l->slots < PLAN_WORKERS && (fd = notify_take_fd(&addr, &systemd)) >= 0) {
        l->fds[l->slots++] = fd;
        l->bound = l->slots; /* they have clients already */
        l->handed = systemd;
        l->shared |= systemd;
    }
    l->shared |= l->slots > 0 && addr.sa.sa_family == AF_UNIX;
}

/* One socket for each slot that has none yet. */
static const char *open_slots(struct listening *l, unsigned slots)
{
    bool local = strncmp(l->spec.address, "unix:", 5) == 0;
    if (l->bound == 0)
        take_handed(l);
    if (l->bound > 0 && (l->shared || l->bound >= slots))
        return NULL;
    unsigned want = local ? 1 : slots - l->bound;
    const char *err = listener_open(&l->spec, l->fds + l->bound, want, l->bound > 0);
    if (err != NULL)
        return err;
    l->shared = local;
    l->bound += want;
    return NULL;
}

static const char *add(struct master *m, const struct listen_spec *spec, unsigned slots)
{
    struct listening *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->spec = *spec;
    l->spec.address = strdup(spec->address);
    l->spec.given = spec->given != NULL ? strdup(spec->given) : NULL;
    l->spec.name = strdup(spec->name);
    l->next = spec;
    const char *err = open_slots(l, slots);
    if (err != NULL) {
        close_all(l);
        socket_forget(l);
        return err;
    }
    m->listening[m->listening_count++] = l;
    return NULL;
}

static const char *keep(struct listening *l, const struct listen_spec *spec, unsigned slots)
{
    l->next = spec;
    return open_slots(l, slots);
}

/* A worker is told of all its sockets in one message. Where there were more workers than there
 * shall be, each has several of every listener. */
static const char *check_share(const struct master *m, unsigned workers)
{
    unsigned count = 0;
    for (unsigned i = 0; i < m->listening_count; i++) {
        const struct listening *l = m->listening[i];
        if (l->next != NULL)
            count += l->shared ? 1 : (l->bound + workers - 1) / workers;
    }
    if (count <= LINK_SOCKETS_MOST)
        return NULL;
    snprintf(message, sizeof message,
             "there were so many workers that each of %u would have %u listening sockets, of %u "
             "at most: keep more workers, or restart it",
             workers, count, (unsigned)LINK_SOCKETS_MOST);
    return message;
}

const char *master_open_sockets(struct master *m, struct plan *plan, unsigned slots)
{
    const char *err = NULL;
    for (unsigned i = 0; i < m->listening_count; i++)
        m->listening[i]->next = NULL;
    for (unsigned i = 0; i < plan->listen_count && err == NULL; i++) {
        const struct listen_spec *spec = &plan->listen[i];
        struct listening *l = socket_find(m, spec->address);
        err = l != NULL && l->spec.control == spec->control ? keep(l, spec, slots)
              : l != NULL                                   ? "an address is there twice"
                                                            : add(m, spec, slots);
    }
    return err != NULL ? err : check_share(m, plan->workers);
}

static void drop_where(struct master *m, bool (*unwanted)(const struct listening *l))
{
    unsigned kept = 0;
    for (unsigned i = 0; i < m->listening_count; i++) {
        struct listening *l = m->listening[i];
        if (!unwanted(l)) {
            m->listening[kept++] = l;
            continue;
        }
        close_all(l);
        if (!l->handed)
            listener_unlink(&l->spec);
        socket_forget(l);
    }
    m->listening_count = kept;
}

static bool is_added(const struct listening *l)
{
    return l->slots == 0;
}

static bool is_leaving(const struct listening *l)
{
    return l->next == NULL;
}

void master_forget_sockets(struct master *m)
{
    drop_where(m, is_added);
    for (unsigned i = 0; i < m->listening_count; i++) {
        struct listening *l = m->listening[i];
        while (l->bound > l->slots)
            close(l->fds[--l->bound]);
        l->next = NULL;
    }
}

const char *master_let_in(struct master *m)
{
    const char *err = NULL;
    for (unsigned i = 0; i < m->listening_count; i++) {
        const struct listening *l = m->listening[i];
        for (unsigned slot = l->slots; slot < l->bound && err == NULL; slot++)
            err = listener_let_in(l->next != NULL ? l->next : &l->spec, l->fds[slot]);
    }
    for (unsigned i = 0; i < m->listening_count && err == NULL; i++)
        m->listening[i]->slots = m->listening[i]->bound;
    return err;
}

static void socket_take(struct listening *l)
{
    char *name = strdup(l->next->name);
    free(l->spec.name);
    l->spec.name = name;
    for (unsigned i = 0; i < l->slots && l->next->backlog != l->spec.backlog; i++)
        if (listen(l->fds[i], l->next->backlog) != 0)
            log_warn("%s: its backlog can't be changed: %s", l->spec.address, strerror(errno));
    l->spec.backlog = l->next->backlog;
    l->spec.protocol = l->next->protocol;
    l->spec.proxy_protocol = l->next->proxy_protocol;
    l->next = NULL;
}

void master_take_sockets(struct master *m)
{
    drop_where(m, is_leaving);
    for (unsigned i = 0; i < m->listening_count; i++)
        socket_take(m->listening[i]);
}

unsigned master_sockets_of(const struct master *m, unsigned place, bool prepared, int *fds,
                           char *text, size_t size)
{
    const unsigned *accepts = prepared ? m->reload.accepts : m->accepts;
    unsigned count = 0;
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < m->listening_count; i++) {
        const struct listening *l = m->listening[i];
        const struct listen_spec *spec = prepared ? l->next : &l->spec;
        unsigned slots = spec == NULL ? 0 : l->shared ? 1 : prepared ? l->bound : l->slots;
        for (unsigned slot = 0; slot < slots && count < LINK_SOCKETS_MOST; slot++) {
            if (!l->shared && accepts[slot] != place)
                continue;
            fds[count++] = l->fds[slot];
            used += (size_t)snprintf(text + used, size - used, "%s\t%s\t%s\t%d\t%d\t%d\n",
                                     spec->address, spec->protocol->name, spec->name, spec->backlog,
                                     spec->control, spec->proxy_protocol);
            if (used >= size)
                return LINK_FDS + 1;
        }
    }
    return count;
}

void master_close_sockets(struct master *m)
{
    for (unsigned i = 0; i < m->listening_count; i++)
        for (unsigned j = 0; j < m->listening[i]->bound; j++)
            close(m->listening[i]->fds[j]);
}

void master_unlink_sockets(struct master *m)
{
    for (unsigned i = 0; i < m->listening_count; i++)
        if (!m->listening[i]->handed)
            listener_unlink(&m->listening[i]->spec);
}

void master_add_control(const struct master *m, struct plan *plan)
{
    const char *address = plan->control, *bad = NULL;
    struct listen_spec spec = {
        .protocol = protocol_find("http"), .backlog = 64, .name = "control", .control = true};
    bool optional = address[0] == '\0';
    int fd = -1;
    if (optional)
        address = m->options->control_default;
    if (address == NULL || strcmp(address, "off") == 0)
        return;
    spec.address = (char *)address;
    if (optional && socket_find(m, address) == NULL) {
        struct addr addr;
        /* The default place may be another instance's: that is said, and no reason not to serve. */
        bad = listener_make_folder(address);
        if (bad == NULL && addr_resolve(address, &addr) == NULL && !notify_has_fd(&addr)) {
            bad = listener_open(&spec, &fd, 1, false);
            if (bad == NULL)
                close(fd); /* it is free: opened again with the others */
        }
    }
    if (bad == NULL)
        plan_listen(plan, &spec);
    else
        log_warn("no commands (moongate hold, status, ...) for this instance: %s; --control ADDR "
                 "gives it a place of its own",
                 bad);
}

void master_show_listeners(struct master *m)
{
    size_t used = 0;
    m->board->listeners[0] = '\0';
    for (unsigned i = 0; i < m->listening_count; i++) {
        const struct listen_spec *spec = &m->listening[i]->spec;
        char line[512];
        int n = snprintf(line, sizeof line, "%.200s\t%.200s\t%s\n", spec->address, spec->name,
                         !spec->control        ? ""
                         : spec->given != NULL ? spec->given
                                               : spec->address);
        if (used + (size_t)n < sizeof m->board->listeners)
            used += (size_t)snprintf(m->board->listeners + used, sizeof m->board->listeners - used,
                                     "%s", line);
    }
}

/* --- logs --- */

#define LOG_FOLDER "/var/log/"
#define LOG_FLAGS  (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* Nobody but root can change the folder, nor one of those above it, whose names lead there. */
static bool is_roots(char *folder)
{
    struct stat st;
    for (;;) {
        if (stat(folder, &st) != 0 || st.st_uid != 0 || (st.st_mode & 022) != 0)
            return false;
        char *slash = strrchr(folder, '/');
        if (slash == NULL || folder[1] == '\0')
            return slash != NULL;
        slash[slash == folder] = '\0';
    }
}

/* As root: only where the system keeps logs, since the name is the route's, and so is what is
 * written there. -1 and errno. */
static int open_as_root(const char *path)
{
    char real[PATH_MAX], folder[PATH_MAX], whole[PATH_MAX + 256];
    struct stat st;
    const char *slash = strrchr(path, '/');
    errno = EACCES;
    if (slash == NULL || slash - path >= PATH_MAX)
        return -1;
    snprintf(folder, sizeof folder, "%.*s/", (int)(slash - path), path);
    bool good =
        realpath(folder, real) != NULL && strncmp(real, LOG_FOLDER, sizeof LOG_FOLDER - 1) == 0;
    if (good)
        snprintf(whole, sizeof whole, "%s/%.255s", real, slash + 1);
    if (!good || !is_roots(real)) {
        errno = EACCES;
        return -1;
    }
    int fd = open(whole, LOG_FLAGS | O_NOFOLLOW, 0640);
    if (fd < 0 || (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1))
        return fd;
    close(fd);
    errno = EACCES;
    return -1;
}

int master_open_log(const struct user *user, const char *where)
{
    if (strcmp(where, "stdout") == 0)
        return STDOUT_FILENO;
    if (strcmp(where, "stderr") == 0 || where[0] == '\0')
        return STDERR_FILENO;
    int fd = user_open(user, where, LOG_FLAGS, 0640);
    return fd < 0 && errno == EACCES && geteuid() == 0 ? open_as_root(where) : fd;
}

const char *master_open_logs(const struct master *m, const struct plan *plan, int *error,
                             int *access)
{
    *error = master_open_log(&m->user, plan->error);
    *access = plan->access[0] != '\0' && *error >= 0 ? master_open_log(&m->user, plan->access) : -1;
    if (*error >= 0 && (*access >= 0 || plan->access[0] == '\0'))
        return NULL;
    bool refused = errno == EACCES && geteuid() == 0;
    snprintf(message, sizeof message, "can't open the log %.300s: %s%s%.60s%s",
             *error < 0 ? plan->error : plan->access, strerror(errno),
             refused ? "; it is opened as the user '" : "", refused ? m->user.name : "",
             refused ? "', or as root below " LOG_FOLDER " in a folder that only root can write to"
                     : "");
    return message;
}

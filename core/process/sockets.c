/* sockets - see sockets.h. */
#include "process/sockets.h"

#include "base/link.h"
#include "base/log.h"
#include "process/notify.h"
#include "shm/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct listening {
    struct listen_spec spec;        /* its strings are ours */
    const struct listen_spec *next; /* in the plan of the reload under way; NULL: not in it */
    int fds[PLAN_WORKERS];
    unsigned slots; /* that clients can be in; 0: the address has just been added */
    unsigned bound; /* these, and those that nobody has been let into yet */
    bool shared;    /* fds[0] is for all slots */
    bool handed;    /* systemd's: the file of a unix socket is not ours to remove */
};

static char message[512];

static struct listening *sockets_find(const struct sockets *s, const char *address)
{
    for (unsigned i = 0; i < s->count; i++)
        if (strcmp(s->list[i]->spec.address, address) == 0)
            return s->list[i];
    return NULL;
}

static void listening_close(struct listening *l)
{
    for (unsigned i = 0; i < l->bound; i++)
        close(l->fds[i]);
    l->slots = l->bound = 0;
}

static void listening_free(struct listening *l)
{
    free(l->spec.address);
    free(l->spec.given);
    free(l->spec.name);
    free(l);
}

void sockets_free(struct sockets *s)
{
    for (unsigned i = 0; i < s->count; i++)
        listening_free(s->list[i]);
    s->count = 0;
}

/* Sockets that were handed to us: by systemd one for all workers, by the one whose place we take
 * one for each of its workers. */
static void listening_use_handed(struct listening *l)
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
static const char *listening_bind(struct listening *l, unsigned slots)
{
    bool local = strncmp(l->spec.address, "unix:", 5) == 0;
    if (l->bound == 0)
        listening_use_handed(l);
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

static const char *sockets_add(struct sockets *s, const struct listen_spec *spec, unsigned slots)
{
    struct listening *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->spec = *spec;
    l->spec.address = strdup(spec->address);
    l->spec.given = spec->given != NULL ? strdup(spec->given) : NULL;
    l->spec.name = strdup(spec->name);
    l->next = spec;
    const char *err = listening_bind(l, slots);
    if (err != NULL) {
        listening_close(l);
        listening_free(l);
        return err;
    }
    s->list[s->count++] = l;
    return NULL;
}

/* A worker is told of all its sockets in one message. Where there were more workers than there
 * shall be, each has several of every listener. */
static const char *sockets_check(const struct sockets *s, unsigned workers)
{
    unsigned count = 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct listening *l = s->list[i];
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

const char *sockets_open(struct sockets *s, const struct plan *plan, unsigned slots)
{
    const char *err = NULL;
    for (unsigned i = 0; i < s->count; i++)
        s->list[i]->next = NULL;
    for (unsigned i = 0; i < plan->listen_count && err == NULL; i++) {
        const struct listen_spec *spec = &plan->listen[i];
        struct listening *l = sockets_find(s, spec->address);
        if (l == NULL) {
            err = sockets_add(s, spec, slots);
        } else if (l->spec.control == spec->control) {
            l->next = spec;
            err = listening_bind(l, slots);
        } else {
            err = "an address is there twice";
        }
    }
    return err != NULL ? err : sockets_check(s, plan->workers);
}

static void sockets_drop(struct sockets *s, bool (*unwanted)(const struct listening *l))
{
    unsigned kept = 0;
    for (unsigned i = 0; i < s->count; i++) {
        struct listening *l = s->list[i];
        if (!unwanted(l)) {
            s->list[kept++] = l;
            continue;
        }
        listening_close(l);
        if (!l->handed)
            listener_unlink(&l->spec);
        listening_free(l);
    }
    s->count = kept;
}

static bool is_added(const struct listening *l)
{
    return l->slots == 0;
}

static bool is_leaving(const struct listening *l)
{
    return l->next == NULL;
}

void sockets_forget(struct sockets *s)
{
    sockets_drop(s, is_added);
    for (unsigned i = 0; i < s->count; i++) {
        struct listening *l = s->list[i];
        while (l->bound > l->slots)
            close(l->fds[--l->bound]);
        l->next = NULL;
    }
}

const char *sockets_let_in(struct sockets *s)
{
    const char *err = NULL;
    for (unsigned i = 0; i < s->count; i++) {
        const struct listening *l = s->list[i];
        for (unsigned slot = l->slots; slot < l->bound && err == NULL; slot++)
            err = listener_let_in(l->next != NULL ? l->next : &l->spec, l->fds[slot]);
    }
    for (unsigned i = 0; i < s->count && err == NULL; i++)
        s->list[i]->slots = s->list[i]->bound;
    return err;
}

static void listening_switch(struct listening *l)
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

void sockets_switch(struct sockets *s)
{
    sockets_drop(s, is_leaving);
    for (unsigned i = 0; i < s->count; i++)
        listening_switch(s->list[i]);
}

unsigned sockets_of(const struct sockets *s, const unsigned *accepts, unsigned place, bool prepared,
                    int *fds, char *text, size_t size)
{
    unsigned count = 0;
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < s->count; i++) {
        const struct listening *l = s->list[i];
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

void sockets_close(const struct sockets *s)
{
    for (unsigned i = 0; i < s->count; i++)
        for (unsigned j = 0; j < s->list[i]->bound; j++)
            close(s->list[i]->fds[j]);
}

void sockets_unlink(const struct sockets *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (!s->list[i]->handed)
            listener_unlink(&s->list[i]->spec);
}

void sockets_add_control(const struct sockets *s, struct plan *plan, const char *fallback)
{
    const char *address = plan->control, *bad = NULL;
    struct listen_spec spec = {
        .protocol = protocol_find("http"), .backlog = 64, .name = "control", .control = true};
    bool optional = address[0] == '\0';
    int fd = -1;
    if (optional)
        address = fallback;
    if (address == NULL || strcmp(address, "off") == 0)
        return;
    spec.address = (char *)address;
    if (optional && sockets_find(s, address) == NULL) {
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

void sockets_describe(const struct sockets *s, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < s->count && used + 200 < size; i++) {
        const struct listen_spec *spec = &s->list[i]->spec;
        if (spec->control)
            continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s%.160s", used > 0 ? ", " : "",
                                 strncmp(spec->address, "unix:", 5) == 0 ? "" : "http://",
                                 spec->address);
    }
}

void sockets_show(const struct sockets *s, struct board *board)
{
    size_t used = 0;
    board->listeners[0] = '\0';
    for (unsigned i = 0; i < s->count; i++) {
        const struct listen_spec *spec = &s->list[i]->spec;
        char line[512];
        int n = snprintf(line, sizeof line, "%.200s\t%.200s\t%s\n", spec->address, spec->name,
                         !spec->control        ? ""
                         : spec->given != NULL ? spec->given
                                               : spec->address);
        if (used + (size_t)n < sizeof board->listeners)
            used += (size_t)snprintf(board->listeners + used, sizeof board->listeners - used, "%s",
                                     line);
    }
}

void sockets_pass(const struct sockets *s)
{
    static char text[PLAN_LISTENERS * PLAN_WORKERS * 8];
    size_t used = 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct listening *l = s->list[i];
        for (unsigned j = 0; j < l->slots; j++) {
            fcntl(l->fds[j], F_SETFD, 0);
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%d%s", used > 0 ? "," : "",
                                     l->fds[j], l->handed ? "s" : "");
        }
    }
    setenv("MOONGATE_FDS", text, 1);
}

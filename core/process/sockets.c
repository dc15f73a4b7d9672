/* sockets - see sockets.h. */
#include "process/sockets.h"

#include "base/link.h"
#include "base/log.h"
#include "front/protocol.h"
#include "process/bind.h"
#include "process/notify.h"
#include "shm/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct listening {
    struct listen_spec spec;        /* the strings belong to the struct */
    struct addr addr;               /* the address by which it is found */
    const struct listen_spec *next; /* its entry in the plan of the current reload; NULL: none */
    int fds[PLAN_WORKERS];
    unsigned slots; /* slots whose sockets listen; 0: the address is new */
    unsigned bound; /* slots with a socket, listening or only bound */
    bool shared;    /* fds[0] serves all slots */
    bool handed;    /* opened by systemd, which owns the file of a unix socket */
};

static char message[512];

static struct listening *sockets_find(const struct sockets *s, const struct addr *addr)
{
    for (unsigned i = 0; i < s->count; i++)
        if (addr_compare(&s->list[i]->addr, addr) == 0)
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

/* Takes the sockets that were passed to this process: one for all workers from systemd, one for
 * each of its workers from a predecessor. */
static void listening_use_handed(struct listening *l)
{
    bool systemd = false;
    int fd;
    while (l->slots < PLAN_WORKERS && (fd = notify_take_fd(&l->addr, &systemd)) >= 0) {
        l->fds[l->slots++] = fd;
        l->bound = l->slots; /* these sockets listen already */
        l->handed = systemd;
        l->shared |= systemd;
    }
    l->shared |= l->slots > 0 && l->addr.sa.sa_family == AF_UNIX;
}

/* Binds a socket for each slot without one. */
static const char *listening_bind(struct listening *l, unsigned slots)
{
    bool local = l->addr.sa.sa_family == AF_UNIX;
    if (l->bound == 0)
        listening_use_handed(l);
    if (l->bound > 0 && (l->shared || l->bound >= slots))
        return NULL;
    unsigned want = local ? 1 : slots - l->bound;
    const char *err = bind_open(&l->spec, &l->addr, l->fds + l->bound, want, l->bound > 0);
    if (err != NULL)
        return err;
    l->shared = local;
    l->bound += want;
    return NULL;
}

static const char *sockets_add(struct sockets *s, const struct listen_spec *spec,
                               const struct addr *addr, unsigned slots)
{
    struct listening *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->addr = *addr;
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

/* The address as the script has written it. */
static const char *sockets_written(const struct listen_spec *spec)
{
    return spec->given != NULL ? spec->given : spec->address;
}

/* Checks that the sockets of each worker fit into one message. With fewer workers than before, each
 * worker has several sockets of each listener. */
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

/* Keeps the sockets of an address that the plan has, too. NULL, or the error: the plan has the
 * address twice, or it can't be bound. */
static const char *sockets_keep(struct listening *l, const struct listen_spec *spec, unsigned slots)
{
    if (l->next != NULL && strcmp(sockets_written(l->next), sockets_written(spec)) != 0) {
        snprintf(message, sizeof message,
                 "can't listen on both %.200s and %.200s: they are the same address",
                 sockets_written(l->next), sockets_written(spec));
        return message;
    }
    if (l->spec.control != spec->control)
        return "an address is there twice";
    l->next = spec;
    return listening_bind(l, slots);
}

const char *sockets_open(struct sockets *s, const struct plan *plan, unsigned slots)
{
    const char *err = NULL;
    for (unsigned i = 0; i < s->count; i++)
        s->list[i]->next = NULL;
    for (unsigned i = 0; i < plan->listen_count && err == NULL; i++) {
        const struct listen_spec *spec = &plan->listen[i];
        struct addr addr;
        const char *bad = addr_resolve(spec->address, &addr);
        if (bad != NULL) {
            snprintf(message, sizeof message, "can't listen on %.200s: %.200s", spec->address, bad);
            return message;
        }
        struct listening *l = sockets_find(s, &addr);
        err = l != NULL ? sockets_keep(l, spec, slots) : sockets_add(s, spec, &addr, slots);
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
            bind_unlink(&l->spec);
        listening_free(l);
    }
    s->count = kept;
}

static bool listening_is_added(const struct listening *l)
{
    return l->slots == 0;
}

static bool listening_is_leaving(const struct listening *l)
{
    return l->next == NULL;
}

void sockets_forget(struct sockets *s)
{
    sockets_drop(s, listening_is_added);
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
            err = bind_listen(l->next != NULL ? l->next : &l->spec, &l->addr, l->fds[slot]);
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
    l->spec.h2c = l->next->h2c;
    l->spec.tls = l->next->tls;
    l->next = NULL;
}

void sockets_switch(struct sockets *s)
{
    sockets_drop(s, listening_is_leaving);
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
            used += (size_t)snprintf(text + used, size - used, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%u\n",
                                     spec->address, spec->protocol->name, spec->name, spec->backlog,
                                     spec->control, spec->proxy_protocol, spec->h2c, spec->tls);
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
            bind_unlink(&s->list[i]->spec);
}

/* Tries the default address of the control listener. Another instance may have it: that is logged,
 * and the instance serves without commands. */
static const char *sockets_try_control(const struct sockets *s, const struct listen_spec *spec)
{
    struct addr addr;
    int fd;
    if (addr_resolve(spec->address, &addr) != NULL || sockets_find(s, &addr) != NULL ||
        notify_has_fd(&addr))
        return NULL;
    const char *bad = bind_make_folder(spec->address);
    if (bad == NULL)
        bad = bind_open(spec, &addr, &fd, 1, false);
    if (bad == NULL)
        close(fd); /* the address is free, and is opened with the others */
    return bad;
}

void sockets_add_control(const struct sockets *s, struct plan *plan, const char *fallback)
{
    bool given = plan->control[0] != '\0';
    const char *address = given ? plan->control : fallback;
    if (address == NULL || strcmp(address, "off") == 0)
        return;
    const struct listen_spec spec = {.address = (char *)address,
                                     .protocol = protocol_find("http"),
                                     .backlog = 64,
                                     .name = "control",
                                     .control = true};
    const char *bad = given ? NULL : sockets_try_control(s, &spec);
    if (bad == NULL)
        plan_listen(plan, &spec);
    else
        log_warn("no commands (moongate hold, status, ...) for this instance: %s; --control ADDR "
                 "gives it a place of its own",
                 bad);
}

/* The prefix of a listener's address on the terminal; "http://" makes it a link there. */
static const char *sockets_scheme(const struct listen_spec *spec)
{
    if (spec->protocol != protocol_find("http"))
        return "FastCGI on ";
    return strncmp(spec->address, "unix:", 5) == 0 ? "" : spec->tls > 0 ? "https://" : "http://";
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
                                 sockets_scheme(spec), spec->address);
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

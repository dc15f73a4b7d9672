/*
 * resolve - see resolve.h.
 *
 * c-ares can't cancel a single question, and its callbacks must not free it or ask it. So each
 * question has an `asking`, which c-ares points to until it has answered; a cancelled look-up is
 * only detached from it. Answers are written to the asking, and deferred work of the loop passes
 * them on.
 *
 *      struct lookup <--> struct asking <-- c-ares      freed when neither points to it any more
 */
#include "base/resolve.h"

#include "base/loop.h"

#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SYSTEM_CONF  "/etc/resolv.conf"
#define TRY_MS       2000
#define TRIES        2
#define TIMEOUT      10.0
#define NAME_MAX_LEN 255
#define NODES_MAX    4096 /* an answer of 64 KB holds fewer */

/* One socket of c-ares. */
struct watch {
    ev_io io;
    struct watch *next;
    struct resolver *resolver;
};

struct resolver {
    struct loop *loop;
    char *servers; /* list for c-ares, separated by commas; NULL: the system's */
    char *conf;
    struct stat conf_seen; /* stat of conf when the channel was made */
    uint16_t port;
    unsigned try_ms, tries;
    double timeout;
    ares_channel channel; /* NULL before the first look-up */
    bool freeing;
    ev_timer timer; /* next time-out of c-ares */
    struct watch *watches;
    struct asking *askings;
    unsigned asked; /* askings that c-ares points to */
};

struct asking {
    struct asking *next, **back;
    struct resolver *resolver;
    struct lookup *lookup; /* NULL: cancelled, or answered */
    bool asked;            /* c-ares points to it */
    uint16_t port;
    struct deadline deadline;
    struct deferred answer;
    unsigned count;
    struct addr list[LOOKUP_MAX_ADDRS];
    char host[NAME_MAX_LEN + 1];
    char err[NAME_MAX_LEN + 128]; /* "": no error */
};

static void *resolve_must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

/* --- c-ares on the loop --- */

static void resolve_arm_timer(struct resolver *r)
{
    struct timeval room, *left;
    ev_timer_stop(r->loop->ev, &r->timer);
    if (r->channel == NULL || (left = ares_timeout(r->channel, NULL, &room)) == NULL)
        return;
    double seconds = (double)left->tv_sec + (double)left->tv_usec / 1e6;
    /* Its clock and the loop's differ a little; the bound avoids timers that go off too early, in a
     * row. */
    ev_timer_set(&r->timer, seconds > 0.001 ? seconds : 0.001, 0);
    ev_timer_start(r->loop->ev, &r->timer);
}

static void resolve_io_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct watch *w = io->data;
    struct resolver *r = w->resolver;
    int fd = io->fd;
    (void)ev;
    /* This may close the socket and free w. */
    ares_process_fd(r->channel, events & EV_READ ? fd : ARES_SOCKET_BAD,
                    events & EV_WRITE ? fd : ARES_SOCKET_BAD);
    resolve_arm_timer(r);
}

static void resolve_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct resolver *r = timer->data;
    (void)ev;
    (void)events;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    resolve_arm_timer(r);
}

static void resolve_drop_watch(struct resolver *r, struct watch **at)
{
    struct watch *w = *at;
    *at = w->next;
    ev_io_stop(r->loop->ev, &w->io);
    free(w);
}

/* Callback of c-ares: sets the events of a socket that are watched; none: the socket will be
 * closed. */
static void resolve_socket_cb(void *user, ares_socket_t fd, int readable, int writable)
{
    struct resolver *r = user;
    int events = (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0);
    struct watch **at = &r->watches;
    while (*at != NULL && (*at)->io.fd != fd)
        at = &(*at)->next;
    if (events == 0) {
        if (*at != NULL)
            resolve_drop_watch(r, at);
        return;
    }
    if (*at == NULL) {
        *at = resolve_must(calloc(1, sizeof **at));
        (*at)->resolver = r;
        (*at)->io.data = *at;
        ev_io_init(&(*at)->io, resolve_io_cb, fd, events);
    }
    ev_io_stop(r->loop->ev, &(*at)->io);
    ev_io_set(&(*at)->io, fd, events);
    ev_io_start(r->loop->ev, &(*at)->io);
}

/* --- the channel --- */

static bool resolve_conf_changed(const struct resolver *r, struct stat *now)
{
    if (stat(r->conf, now) < 0)
        memset(now, 0, sizeof *now);
    return now->st_ino != r->conf_seen.st_ino || now->st_dev != r->conf_seen.st_dev ||
           now->st_size != r->conf_seen.st_size ||
           now->st_mtim.tv_sec != r->conf_seen.st_mtim.tv_sec ||
           now->st_mtim.tv_nsec != r->conf_seen.st_mtim.tv_nsec;
}

/* Makes a channel, which reads resolv.conf. Returns a status of c-ares. */
static int resolve_make_channel(struct resolver *r, const struct stat *now)
{
    struct ares_options options = {
        .timeout = (int)r->try_ms,
        .tries = (int)r->tries,
        .sock_state_cb = resolve_socket_cb,
        .sock_state_cb_data = r,
        .resolvconf_path = r->conf,
    };
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF;
#ifdef ARES_OPT_QUERY_CACHE
    /* c-ares 1.31 and later cache answers for their TTL. The cache is off, since the callers decide
     * how often to ask (`resolve` of a backend). */
    options.qcache_max_ttl = 0;
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    if (r->port != 0) {
        options.udp_port = options.tcp_port = r->port;
        mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
    }
    int status = ares_init_options(&r->channel, &options, mask);
    if (status != ARES_SUCCESS) {
        r->channel = NULL;
        return status;
    }
    r->conf_seen = *now;
    if (r->servers != NULL &&
        (status = ares_set_servers_ports_csv(r->channel, r->servers)) != ARES_SUCCESS) {
        ares_destroy(r->channel);
        r->channel = NULL;
    }
    return status;
}

/* Makes the channel ready for a question. c-ares of Debian 12 can't read its settings again, so a
 * channel with old settings is replaced by a new one while no question is under way. */
static int resolve_ready_channel(struct resolver *r)
{
    struct stat now;
    bool changed = resolve_conf_changed(r, &now);
    if (r->channel != NULL && changed && r->asked == 0) {
        ares_destroy(r->channel);
        r->channel = NULL;
    }
    return r->channel != NULL ? ARES_SUCCESS : resolve_make_channel(r, &now);
}

/* --- one question --- */

static void resolve_asking_free(struct asking *a)
{
    loop_undefer(&a->answer);
    deadline_fini(&a->deadline);
    *a->back = a->next;
    if (a->next != NULL)
        a->next->back = a->back;
    free(a);
}

/* Detaches the look-up, which is idle from now on, while c-ares may still answer. */
static void resolve_detach(struct asking *a)
{
    a->lookup->asking = NULL;
    a->lookup = NULL;
    loop_undefer(&a->answer);
    deadline_clear(&a->deadline);
    if (!a->asked)
        resolve_asking_free(a);
}

/* Runs as deferred work of the loop: c-ares is not on the stack, so callbacks may do anything. */
static void resolve_answer_cb(struct deferred *d)
{
    struct asking *a = (struct asking *)((char *)d - offsetof(struct asking, answer));
    struct addr list[LOOKUP_MAX_ADDRS];
    char err[sizeof a->err];
    unsigned count = a->count;
    struct lookup *lookup = a->lookup;
    memcpy(list, a->list, count * sizeof *list);
    memcpy(err, a->err, sizeof err);
    resolve_detach(a);
    lookup->done(lookup, list, count, count > 0 ? NULL : err);
}

static void resolve_fail(struct asking *a, const char *reason)
{
    a->count = 0;
    snprintf(a->err, sizeof a->err, "%s: %s", a->host, reason);
    loop_defer(a->resolver->loop, &a->answer);
}

static void resolve_deadline_cb(struct deadline *d)
{
    struct asking *a = (struct asking *)((char *)d - offsetof(struct asking, deadline));
    char reason[64];
    snprintf(reason, sizeof reason, "no answer from the name servers in %g s",
             a->resolver->timeout);
    if (a->lookup != NULL && !loop_is_queued(&a->answer))
        resolve_fail(a, reason);
}

static int resolve_by_address(const void *a, const void *b)
{
    return addr_compare(a, b);
}

/* Stores the addresses. They are sorted, so that the list does not depend on the server's order,
 * before those beyond the bound are dropped. */
static void resolve_note(struct asking *a, const struct ares_addrinfo *found)
{
    unsigned count = 0;
    struct addr *all = resolve_must(malloc(NODES_MAX * sizeof *all));
    for (struct ares_addrinfo_node *n = found->nodes; n != NULL && count < NODES_MAX;
         n = n->ai_next)
        if ((n->ai_family == AF_INET || n->ai_family == AF_INET6) &&
            addr_from(&all[count], n->ai_addr, n->ai_addrlen))
            addr_set_port(&all[count++], a->port);
    qsort(all, count, sizeof *all, resolve_by_address);
    for (unsigned i = 0; i < count && a->count < LOOKUP_MAX_ADDRS; i++)
        if (a->count == 0 || addr_compare(&a->list[a->count - 1], &all[i]) != 0)
            a->list[a->count++] = all[i];
    free(all);
}

/* Callback of c-ares with an answer, inside ares_getaddrinfo, ares_process_fd or ares_destroy. */
static void resolve_addrinfo_cb(void *user, int status, int timeouts, struct ares_addrinfo *found)
{
    struct asking *a = user;
    (void)timeouts;
    a->asked = false;
    a->resolver->asked--;
    if (a->lookup == NULL || a->resolver->freeing) {
        if (a->lookup == NULL)
            resolve_asking_free(a);
    } else if (!loop_is_queued(&a->answer)) { /* not timed out already */
        if (status == ARES_SUCCESS)
            resolve_note(a, found);
        if (a->count > 0)
            loop_defer(a->resolver->loop, &a->answer);
        else
            resolve_fail(a, ares_strerror(status == ARES_SUCCESS ? ARES_ENODATA : status));
    }
    if (found != NULL)
        ares_freeaddrinfo(found);
}

static struct asking *resolve_asking_new(struct resolver *r, struct lookup *lookup, struct str host)
{
    struct asking *a = resolve_must(calloc(1, sizeof *a));
    a->resolver = r;
    a->lookup = lookup;
    a->answer.run = resolve_answer_cb;
    memcpy(a->host, host.p, host.n < NAME_MAX_LEN ? host.n : NAME_MAX_LEN);
    deadline_init(&a->deadline, r->loop, resolve_deadline_cb);
    a->next = r->askings;
    a->back = &r->askings;
    if (a->next != NULL)
        a->next->back = &a->next;
    r->askings = a;
    return a;
}

void lookup_start(struct resolver *r, struct lookup *lookup, struct str host, uint16_t port,
                  void (*done)(struct lookup *lookup, const struct addr *list, unsigned count,
                               const char *err))
{
    struct ares_addrinfo_hints hints = {
        /* Sorting by c-ares would open a socket for each address, and depend on the routes. */
        .ai_flags = ARES_AI_NOSORT,
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    struct asking *a = resolve_asking_new(r, lookup, host);
    lookup->asking = a;
    lookup->done = done;
    a->port = port;
    if (host.n == 0 || host.n > NAME_MAX_LEN || memchr(host.p, '\0', host.n) != NULL) {
        resolve_fail(a, "not a host name");
        return;
    }
    int status = resolve_ready_channel(r);
    if (status != ARES_SUCCESS) {
        resolve_fail(a, ares_strerror(status));
        return;
    }
    deadline_set(&a->deadline, r->timeout);
    a->asked = true;
    r->asked++;
    ares_getaddrinfo(r->channel, a->host, NULL, &hints, resolve_addrinfo_cb, a);
    resolve_arm_timer(r);
}

void lookup_cancel(struct lookup *lookup)
{
    if (lookup->asking != NULL)
        resolve_detach(lookup->asking);
}

/* --- the resolver --- */

static char *resolve_join(const struct str *servers, unsigned count)
{
    size_t size = 1, used = 0;
    for (unsigned i = 0; i < count; i++)
        size += servers[i].n + 1;
    char *out = resolve_must(malloc(size));
    for (unsigned i = 0; i < count; i++) {
        memcpy(out + used, servers[i].p, servers[i].n);
        used += servers[i].n;
        out[used++] = ',';
    }
    out[used > 0 ? used - 1 : 0] = '\0';
    return out;
}

struct resolver *resolver_new(struct loop *loop, const struct resolver_options *options)
{
    static const struct resolver_options defaults;
    const struct resolver_options *o = options != NULL ? options : &defaults;
    struct resolver *r = resolve_must(calloc(1, sizeof *r));
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        abort();
    r->loop = loop;
    r->servers = o->count > 0 ? resolve_join(o->servers, o->count) : NULL;
    r->conf = resolve_must(strdup(o->conf != NULL ? o->conf : SYSTEM_CONF));
    r->port = o->port;
    r->try_ms = o->try_ms > 0 ? o->try_ms : TRY_MS;
    r->tries = o->tries > 0 ? o->tries : TRIES;
    r->timeout = o->timeout > 0 ? o->timeout : TIMEOUT;
    ev_init(&r->timer, resolve_timer_cb);
    r->timer.data = r;
    return r;
}

void resolver_free(struct resolver *r)
{
    if (r == NULL)
        return;
    r->freeing = true;
    if (r->channel != NULL)
        ares_destroy(r->channel);
    r->channel = NULL;
    while (r->askings != NULL) {
        struct asking *a = r->askings;
        if (a->lookup != NULL)
            a->lookup->asking = NULL;
        resolve_asking_free(a);
    }
    while (r->watches != NULL)
        resolve_drop_watch(r, &r->watches);
    ev_timer_stop(r->loop->ev, &r->timer);
    ares_library_cleanup();
    free(r->servers);
    free(r->conf);
    free(r);
}

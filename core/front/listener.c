/* listener - see listener.h. */
#include "front/listener.h"

#include "base/log.h"
#include "shm/metrics.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCEPT_BATCH 64
#define PAUSE        0.5

struct listener {
    ev_io io;
    ev_timer pause;
    struct clients *clients;
    const struct protocol *protocol;
    struct str name;
    struct addr address;
    int backlog;
    unsigned turn; /* the loop's turn of the last connection */
    bool wildcard; /* the local address is read from each connection */
    bool begins;   /* connections in the queue may be older than TCP_NODELAY of the socket */
    bool control;
    bool proxy_protocol;
    bool h2c;
    unsigned tls_number;
    struct tls_server *tls; /* NULL: none */
};

/* Stops accepting for a while without free descriptors; the kernel's queue keeps the connections.
 */
static void listener_pause(struct listener *l, int err)
{
    static struct log_quota quota = {.most = 1};
    log_within(&quota, LOG_WARN,
               "accept on %.*s: %s; waiting for free descriptors ('ulimit -n', LimitNOFILE)",
               STR_FMT(l->name), strerror(err));
    ev_io_stop(l->clients->loop->ev, &l->io);
    ev_timer_set(&l->pause, PAUSE, 0);
    ev_timer_start(l->clients->loop->ev, &l->pause);
}

static void listener_pause_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct listener *l = timer->data;
    (void)events;
    ev_io_start(ev, &l->io);
}

static void listener_local_address(const struct listener *l, int fd, struct addr *local)
{
    *local = l->address;
    if (!l->wildcard)
        return;
    local->len = sizeof local->un;
    if (getsockname(fd, &local->sa, &local->len) != 0)
        *local = l->address;
}

/* Sets TCP_NODELAY. Linux passes the option of a listening socket to connections that are made
 * later. */
static void listener_send_at_once(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

/* Accepts one connection. False: the queue is empty, or no descriptor is free. */
static bool listener_accept_one(struct listener *l)
{
    struct client_origin origin = {
        .listener = l->name,
        .control = l->control,
        .proxy_protocol = l->proxy_protocol,
        .h2c = l->h2c,
        .tls = l->tls,
    };
    struct addr remote = {.len = sizeof remote.un}, local;
    int fd = accept4(l->io.fd, &remote.sa, &remote.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int err = errno;
        if (err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM)
            listener_pause(l, err);
        l->begins &= err != EAGAIN;
        /* ECONNABORTED: the client has closed it already */
        return err == ECONNABORTED || err == EINTR;
    }
    if (l->address.sa.sa_family == AF_UNIX)
        remote.sa.sa_family = AF_UNIX;
    else if (l->begins)
        listener_send_at_once(fd);
    listener_local_address(l, fd, &local);
    peer_from(&origin.peer, &remote);
    peer_from(&origin.local, &local);
    if (!l->control)
        metrics_add(&metrics_own->accepted, 1);
    l->protocol->accept(l->clients, fd, &origin);
    return true;
}

/* Accepts one connection after turns without any, since it is most likely the only one and a second
 * call would find an empty queue. If the queue has more, the next turn comes at once and accepts
 * them all. */
static void listener_accept_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct listener *l = io->data;
    unsigned turn = ev_iteration(ev);
    int batch = l->begins || turn - l->turn <= 1 ? ACCEPT_BATCH : 1;
    (void)events;
    l->turn = turn;
    for (int i = 0; i < batch; i++)
        if (!listener_accept_one(l))
            return;
}

int listener_fd(const struct listener *l)
{
    return l->io.fd;
}

unsigned listener_tls(const struct listener *l)
{
    return l->tls_number;
}

void listener_renew_tls(struct listener *l, struct tls_server *tls)
{
    if (tls != NULL)
        tls_server_hold(tls);
    tls_server_drop(l->tls);
    l->tls = tls;
}

void listener_update(struct listener *l, const struct listen_spec *spec, struct tls_server *tls)
{
    l->tls_number = spec->tls;
    listener_renew_tls(l, tls);
    l->protocol = spec->protocol;
    l->control = spec->control;
    l->proxy_protocol = spec->proxy_protocol;
    l->h2c = spec->h2c;
    l->name = str_of(spec->name[0] != '\0' ? spec->name : spec->address);
    l->backlog = spec->backlog;
}

struct listener *listener_new(const struct listen_spec *spec, struct tls_server *tls, int fd,
                              struct clients *clients)
{
    struct listener *l = calloc(1, sizeof *l);
    if (l == NULL)
        abort();
    l->clients = clients;
    listener_update(l, spec, tls);
    addr_resolve(spec->address, &l->address);
    l->wildcard = addr_is_wildcard(&l->address);
    l->begins = l->address.sa.sa_family != AF_UNIX;
    if (l->begins)
        listener_send_at_once(fd);
    ev_io_init(&l->io, listener_accept_cb, fd, EV_READ);
    l->io.data = l;
    ev_timer_init(&l->pause, listener_pause_cb, PAUSE, 0);
    l->pause.data = l;
    ev_io_start(clients->loop->ev, &l->io);
    return l;
}

void listener_drain(struct listener *l)
{
    for (int i = 0; i <= l->backlog; i++)
        if (!listener_accept_one(l))
            break;
    ev_io_stop(l->clients->loop->ev, &l->io);
    close(l->io.fd);
    l->io.fd = -1;
}

void listener_free(struct listener *l)
{
    if (l->io.fd >= 0)
        ev_io_stop(l->clients->loop->ev, &l->io);
    ev_timer_stop(l->clients->loop->ev, &l->pause);
    tls_server_drop(l->tls);
    free(l);
}

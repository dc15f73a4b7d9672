/*
 * client_pass - see front/client.h. This file: connections that go from a worker that leaves to the
 * one that has come in its place, as soon as nothing of a request is in them. So a client notices
 * nothing, and what it asks next is answered by the new script.
 *
 * Both have an end of a socket (SOCK_SEQPACKET), a message is one connection. What the client has
 * sent meanwhile lies in the connection's socket, which goes along.
 */
#include "front/client_inner.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64 /* connections that are taken in one turn of the loop */

/* Both ends are this binary. */
struct parcel {
    struct peer peer, local;
    char listener[512];
    uint32_t requests;
    bool control, awaits_address, unknown;
};

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

/* --- the worker that leaves --- */

static bool send_parcel(int socket, const struct parcel *parcel, int fd)
{
    struct iovec part = {(void *)parcel, sizeof *parcel};
    union control control;
    memset(&control, 0, sizeof control);
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
    ssize_t n;
    do
        n = sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n >= 0;
}

static void watch_successor(struct clients *clients, int events)
{
    ev_io_stop(clients->loop->ev, &clients->successor);
    ev_io_set(&clients->successor, clients->successor.fd, events);
    ev_io_start(clients->loop->ev, &clients->successor);
}

static bool may_pass(const struct client *c)
{
    return c->exchange == NULL && !c->lingering && !c->eof && !c->close &&
           !loop_is_queued(&c->step) && buf_len(&c->in) == 0 &&
           c->listener.n < sizeof((struct parcel *)NULL)->listener;
}

bool client_pass(struct client *c)
{
    struct clients *all = c->clients;
    if (!all->passing || !may_pass(c))
        return false;
    struct parcel parcel;
    memset(&parcel, 0, sizeof parcel); /* no byte of our memory goes along */
    parcel.peer = c->peer;
    parcel.local = c->local;
    memcpy(parcel.listener, c->listener.p, c->listener.n);
    parcel.requests = c->requests;
    parcel.control = c->control;
    parcel.awaits_address = c->awaits_address;
    parcel.unknown = c->unknown;
    client_leave_census(c); /* the other one may count it before we come to it */
    if (send_parcel(all->successor.fd, &parcel, c->io.fd)) {
        client_free(c);
        return true;
    }
    if (errno == EAGAIN) /* the others of its kind wait as well; what they ask is answered here */
        watch_successor(all, EV_READ | EV_WRITE);
    client_count(c);
    return false;
}

/* Whoever is idle goes, as far as the socket takes them. */
static void pass_idle(struct clients *clients)
{
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        client_pass(c);
        if ((clients->successor.events & EV_WRITE) != 0)
            return;
    }
    if (!clients->passed)
        clients->on_passed(clients->ctx, true);
    clients->passed = true;
}

static void successor_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct clients *clients = io->data;
    char byte;
    (void)ev;
    if (events & EV_READ && recv(io->fd, &byte, 1, MSG_DONTWAIT) == 0) {
        clients_keep(clients);
        clients->on_passed(clients->ctx, false);
        return;
    }
    watch_successor(clients, EV_READ);
    pass_idle(clients);
}

void clients_pass(struct clients *clients, int socket)
{
    clients_keep(clients);
    ev_io_init(&clients->successor, successor_cb, socket, EV_READ);
    clients->successor.data = clients;
    clients->passing = true;
    clients->passed = false;
    watch_successor(clients, EV_READ);
    pass_idle(clients);
}

void clients_keep(struct clients *clients)
{
    if (!clients->passing)
        return;
    ev_io_stop(clients->loop->ev, &clients->successor);
    close(clients->successor.fd);
    clients->passing = false;
}

/* --- the worker that has come --- */

struct intake {
    ev_io io;
    struct clients *clients;
    struct intake *next;
};

static void intake_free(struct intake *in)
{
    struct intake **at = &in->clients->intakes;
    while (*at != in)
        at = &(*at)->next;
    *at = in->next;
    ev_io_stop(in->clients->loop->ev, &in->io);
    close(in->io.fd);
    free(in);
}

static void pass_adopt(struct clients *clients, struct parcel *parcel, int fd)
{
    parcel->listener[sizeof parcel->listener - 1] = '\0';
    struct client *c = client_make(clients, fd, &parcel->peer, &parcel->local);
    c->listener = str_of(clients->lasting(parcel->listener));
    c->requests = parcel->requests;
    c->control = parcel->control;
    c->awaits_address = parcel->awaits_address;
    c->unknown = parcel->unknown;
    client_count(c);
    if (!client_pass(c)) /* we leave as well */
        client_begin(c);
}

/* Takes one connection; false: there is none now, or (*end) will ever be. */
static bool receive_client(struct clients *clients, int socket, bool *end)
{
    struct parcel parcel;
    struct iovec part = {&parcel, sizeof parcel};
    union control control;
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    *end = n <= 0;
    if (*end)
        return false;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int fd = -1;
    if (c != NULL && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    if (fd < 0)
        log_warn("no file descriptor left for a kept connection, which is closed ('ulimit -n', "
                 "LimitNOFILE)");
    else if (n == (ssize_t)sizeof parcel)
        pass_adopt(clients, &parcel, fd);
    else
        close(fd);
    return true;
}

static void intake_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct intake *in = io->data;
    bool end = false;
    (void)ev;
    (void)events;
    for (int i = 0; i < BATCH; i++)
        if (!receive_client(in->clients, io->fd, &end))
            break;
    if (end)
        intake_free(in);
}

void clients_take(struct clients *clients, int socket)
{
    struct intake *in = calloc(1, sizeof *in);
    if (in == NULL)
        abort();
    in->clients = clients;
    in->next = clients->intakes;
    clients->intakes = in;
    ev_io_init(&in->io, intake_cb, socket, EV_READ);
    in->io.data = in;
    ev_io_start(clients->loop->ev, &in->io);
}

void clients_end_intakes(struct clients *clients)
{
    while (clients->intakes != NULL) {
        struct intake *in = clients->intakes;
        bool end = false;
        while (receive_client(clients, in->io.fd, &end)) /* what is under way has no other end */
            ;
        intake_free(in);
    }
}

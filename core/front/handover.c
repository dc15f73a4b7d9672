/* handover - see handover.h. */
#include "front/handover.h"

#include "base/log.h"
#include "front/admission.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64 /* connections received in one turn of the loop */

/* The message that comes with a file descriptor. Both workers run this binary, so its layout has no
 * version. */
struct parcel {
    struct client_origin origin; /* without its listener, whose name follows */
    char listener[512];
    char protocol[32];
    uint32_t requests;
};

union handover_control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

/* --- the worker that leaves --- */

static bool handover_send(int socket, const struct parcel *parcel, int fd)
{
    struct iovec part = {(void *)parcel, sizeof *parcel};
    union handover_control control;
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

static void handover_watch(struct handover *h, int events)
{
    struct ev_loop *ev = h->clients->loop->ev;
    ev_io_stop(ev, &h->successor);
    ev_io_set(&h->successor, h->successor.fd, events);
    ev_io_start(ev, &h->successor);
}

bool handover_pass(struct handover *h, struct client *c)
{
    struct parcel parcel;
    struct client_origin origin = client_origin(c);
    if (origin.listener.n >= sizeof parcel.listener)
        return false;
    memset(&parcel, 0, sizeof parcel); /* the message has no bytes of unused memory */
    parcel.origin = origin;
    parcel.origin.listener = STR_NONE;
    memcpy(parcel.listener, origin.listener.p, origin.listener.n);
    strncpy(parcel.protocol, c->endpoint->protocol->name, sizeof parcel.protocol - 1);
    parcel.requests = c->requests;
    admission_leave(c); /* before the successor counts the connection */
    if (handover_send(h->successor.fd, &parcel, c->io.fd))
        return true;
    if (errno == EAGAIN) /* all idle connections wait for room; requests on them are served here */
        handover_watch(h, EV_READ | EV_WRITE);
    admission_count(c);
    return false;
}

/* Passes the idle connections to the successor, as many as the socket takes. */
static void handover_pass_idle(struct handover *h)
{
    struct client *lists[] = {h->clients->idle.first, h->clients->active.first};
    for (unsigned i = 0; i < 2; i++) {
        for (struct client *c = lists[i], *next; c != NULL; c = next) {
            next = c->next;
            c->endpoint->protocol->pass(c);
            if ((h->successor.events & EV_WRITE) != 0)
                return;
        }
    }
    if (!h->passed)
        h->on_passed(h->ctx, true);
    h->passed = true;
}

static void handover_successor_cb(struct ev_loop *ev, ev_io *io, int events)
{
    struct handover *h = io->data;
    char byte;
    (void)ev;
    if (events & EV_READ && recv(io->fd, &byte, 1, MSG_DONTWAIT) == 0) {
        handover_stop(h);
        h->on_passed(h->ctx, false);
        return;
    }
    handover_watch(h, EV_READ);
    handover_pass_idle(h);
}

void handover_start(struct handover *h, int socket)
{
    handover_stop(h);
    ev_io_init(&h->successor, handover_successor_cb, socket, EV_READ);
    h->successor.data = h;
    h->clients->successor = h;
    h->passed = false;
    handover_watch(h, EV_READ);
    handover_pass_idle(h);
}

void handover_stop(struct handover *h)
{
    if (h->clients->successor == NULL)
        return;
    ev_io_stop(h->clients->loop->ev, &h->successor);
    close(h->successor.fd);
    h->clients->successor = NULL;
}

/* --- the worker that receives --- */

struct intake {
    ev_io io;
    struct handover *handover;
    struct intake *next;
};

static void intake_free(struct intake *in)
{
    struct intake **at = &in->handover->intakes;
    while (*at != in)
        at = &(*at)->next;
    *at = in->next;
    ev_io_stop(in->handover->clients->loop->ev, &in->io);
    close(in->io.fd);
    free(in);
}

static void handover_resume(struct handover *h, struct parcel *parcel, int fd)
{
    parcel->listener[sizeof parcel->listener - 1] = '\0';
    parcel->protocol[sizeof parcel->protocol - 1] = '\0';
    const struct protocol *protocol = h->find_protocol(parcel->protocol);
    if (protocol == NULL) {
        close(fd);
        return;
    }
    parcel->origin.listener = str_of(h->lasting(parcel->listener));
    protocol->resume(h->clients, fd, &parcel->origin, parcel->requests);
}

/* Receives one connection. False: none is there now, or (*end) none can follow. */
static bool handover_receive_one(struct handover *h, int socket, bool *end)
{
    struct parcel parcel;
    struct iovec part = {&parcel, sizeof parcel};
    union handover_control control;
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
        handover_resume(h, &parcel, fd);
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
        if (!handover_receive_one(in->handover, io->fd, &end))
            break;
    if (end)
        intake_free(in);
}

void handover_receive(struct handover *h, int socket)
{
    struct intake *in = calloc(1, sizeof *in);
    if (in == NULL)
        abort();
    in->handover = h;
    in->next = h->intakes;
    h->intakes = in;
    ev_io_init(&in->io, intake_cb, socket, EV_READ);
    in->io.data = in;
    ev_io_start(h->clients->loop->ev, &in->io);
}

void handover_end_receiving(struct handover *h)
{
    while (h->intakes != NULL) {
        struct intake *in = h->intakes;
        bool end = false;
        /* connections in the socket would be lost otherwise */
        while (handover_receive_one(h, in->io.fd, &end))
            ;
        intake_free(in);
    }
}

/* clients - see clients.h. */
#include "front/clients.h"

void clients_init(struct clients *clients, struct loop *loop, struct generation **current)
{
    *clients = (struct clients){.loop = loop, .current = current};
    sender_turn_init(&clients->turn, loop);
}

void clients_fini(struct clients *clients)
{
    sender_turn_fini(&clients->turn);
}

void clients_stop(struct clients *clients, double patience)
{
    clients->stopping = true;
    clients->patience = patience;
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        c->protocol->stop(c, patience);
    }
}

void clients_close(struct clients *clients)
{
    for (struct client *c = clients->list, *next; c != NULL; c = next) {
        next = c->next;
        c->protocol->cut(c);
    }
}

/* Where connections are not kept the first request has as long as its head has. */
double clients_idle_timeout(const struct clients *clients)
{
    const struct limits *limits = &clients_settings(clients)->limits;
    return limits->keepalive_timeout > 0 ? limits->keepalive_timeout : limits->header_timeout;
}

/* --- one connection --- */

void client_init(struct client *c, struct clients *clients, const struct protocol *protocol, int fd,
                 const struct client_origin *origin)
{
    c->clients = clients;
    c->protocol = protocol;
    c->origin = *origin;
    transport_plain(&c->transport, fd);
    ev_io_init(&c->io, protocol->on_io, fd, EV_READ);
    c->io.data = c;
    deadline_init(&c->deadline, clients->loop, protocol->on_missed);
    c->step.run = protocol->on_step;
    c->next = clients->list;
    if (c->next != NULL)
        c->next->prev = c;
    clients->list = c;
    clients->count++;
}

void client_fini(struct client *c, bool reset)
{
    struct clients *all = c->clients;
    ev_io_stop(all->loop->ev, &c->io);
    deadline_fini(&c->deadline);
    loop_undefer(&c->step);
    c->transport.ops->close(&c->transport, reset);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        all->list = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    all->count--;
    if (all->count == 0 && all->on_empty != NULL)
        all->on_empty(all->ctx);
}

void client_watch(struct client *c, int events)
{
    struct ev_loop *ev = c->clients->loop->ev;
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(ev, &c->io);
}

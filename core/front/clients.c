/* clients - see clients.h. */
#include "front/clients.h"

#include <stdlib.h>

#define ENDPOINTS     16  /* endpoints that are kept for later connections */
#define FIRST_REQUEST 1.0 /* seconds for a request on a connection made just before a stop */

static void clients_on_idle_time(struct deadline *d);

/* A connection, or what was left of it, is gone. */
static void clients_lose(struct clients *clients)
{
    clients->count--;
    if (clients->count == 0 && clients->on_empty != NULL)
        clients->on_empty(clients->ctx);
}

static void clients_on_left(struct farewell *f)
{
    clients_lose((struct clients *)((char *)f - offsetof(struct clients, farewell)));
}

void clients_init(struct clients *clients, struct loop *loop, struct generation **current)
{
    *clients = (struct clients){.loop = loop, .current = current};
    sender_turn_init(&clients->turn, loop);
    deadline_init(&clients->idle_time, loop, clients_on_idle_time);
    farewell_init(&clients->farewell, loop, clients_on_left);
}

/* --- endpoints --- */

static void endpoint_drop(struct endpoint *e)
{
    if (--e->users == 0)
        free(e);
}

static bool endpoint_is(const struct endpoint *e, const struct protocol *protocol,
                        const struct client_origin *origin)
{
    return e->protocol == protocol && e->control == origin->control && e->h2c == origin->h2c &&
           (e->transport == &transport_tls_ops) == (origin->tls != NULL) &&
           e->local.port == origin->local.port && e->local.family == origin->local.family &&
           memcmp(e->local.ip, origin->local.ip, sizeof e->local.ip) == 0 &&
           str_eq(e->listener, origin->listener);
}

/* Finds or makes the endpoint. The list is sorted by last use, and its last endpoint is dropped for
 * a new one. */
static struct endpoint *endpoint_use(struct clients *clients, const struct protocol *protocol,
                                     const struct client_origin *origin)
{
    struct endpoint **at = &clients->endpoints, *e;
    for (unsigned i = 1; *at != NULL && !endpoint_is(*at, protocol, origin); i++) {
        if (i == ENDPOINTS) {
            endpoint_drop(*at);
            *at = NULL;
            break;
        }
        at = &(*at)->next;
    }
    e = *at;
    if (e != NULL) {
        *at = e->next;
    } else {
        e = malloc(sizeof *e);
        if (e == NULL)
            abort();
        *e = (struct endpoint){.clients = clients,
                               .protocol = protocol,
                               .transport =
                                   origin->tls != NULL ? &transport_tls_ops : &transport_plain_ops,
                               .listener = origin->listener,
                               .local = origin->local,
                               .control = origin->control,
                               .h2c = origin->h2c,
                               .users = 1};
    }
    e->next = clients->endpoints;
    clients->endpoints = e;
    e->users++;
    return e;
}

void clients_fini(struct clients *clients)
{
    while (clients->endpoints != NULL) {
        struct endpoint *e = clients->endpoints;
        clients->endpoints = e->next;
        endpoint_drop(e);
    }
    while (clients->spare != NULL) {
        struct client_spare *spare = clients->spare;
        clients->spare = spare->next;
        free(spare);
    }
    deadline_fini(&clients->idle_time);
    farewell_fini(&clients->farewell);
    sender_turn_fini(&clients->turn);
}

/* --- lists --- */

static void clients_list_add(struct client_list *list, struct client *c)
{
    c->prev = list->last;
    c->next = NULL;
    *(c->prev != NULL ? &c->prev->next : &list->first) = c;
    list->last = c;
}

static void clients_list_remove(struct client_list *list, struct client *c)
{
    *(c->prev != NULL ? &c->prev->next : &list->first) = c->next;
    *(c->next != NULL ? &c->next->prev : &list->last) = c->prev;
}

static struct client_list *client_list_of(const struct client *c)
{
    struct clients *all = client_clients(c);
    return client_active(c) != NULL ? &all->active : &all->idle;
}

/* --- a stop --- */

/* A stop reads idle connections, and a full stage of arrivals runs meanwhile. Those end and wake no
 * idle client but the one that is being stopped, so `next` stays. */
void clients_stop(struct clients *clients, double patience)
{
    unsigned left = clients->count; /* a client that stays idle is moved to the list's end */
    clients->stopping = true;
    clients->patience = patience;
    for (struct client *c = clients->active.first, *next; c != NULL; c = next) {
        next = c->next;
        c->endpoint->protocol->stop(c, patience);
    }
    for (struct client *c = clients->idle.first, *next; c != NULL && left > 0; c = next, left--) {
        next = c->next;
        c->endpoint->protocol->stop(c, patience);
    }
}

void clients_close(struct clients *clients)
{
    struct client_list *lists[] = {&clients->idle, &clients->active};
    for (unsigned i = 0; i < 2; i++) {
        for (struct client *c = lists[i]->first, *next; c != NULL; c = next) {
            next = c->next;
            c->endpoint->protocol->cut(c);
        }
    }
}

/* --- idle time --- */

/* Where connections are not kept, header_timeout bounds the wait for the first request, too. */
double clients_idle_timeout(const struct clients *clients)
{
    const struct limits *limits = &clients_settings(clients)->limits;
    if (clients->stopping)
        return clients->patience > FIRST_REQUEST ? clients->patience : FIRST_REQUEST;
    return limits->keepalive_timeout > 0 ? limits->keepalive_timeout : limits->header_timeout;
}

static uint32_t clients_now(const struct clients *clients)
{
    return (uint32_t)(uint64_t)(loop_now(clients->loop) * 1000);
}

/* Seconds until the first idle client, which must exist, has been idle for too long. */
static double clients_idle_left(const struct clients *clients)
{
    int32_t idle = (int32_t)(clients_now(clients) - clients->idle.first->idle_since);
    return clients_idle_timeout(clients) - idle / 1000.0;
}

/* All clients have the same idle time, so the list is in the order of their ends, and one timer is
 * enough. The timer is not moved when the first client wakes: the callback arms it for the next
 * one. */
static void clients_arm_idle_time(struct clients *clients)
{
    double left = clients_idle_left(clients);
    clients->idle_armed = clients_idle_timeout(clients);
    deadline_set(&clients->idle_time, left > 0.001 ? left : 0.001);
}

static void clients_on_idle_time(struct deadline *d)
{
    struct clients *all = (struct clients *)((char *)d - offsetof(struct clients, idle_time));
    while (all->idle.first != NULL && clients_idle_left(all) <= 0)
        all->idle.first->endpoint->protocol->expire(all->idle.first);
    if (all->idle.first != NULL)
        clients_arm_idle_time(all);
}

/* Appends the client to the idle list, behind those that have been idle for longer. */
static void clients_add_idle(struct clients *clients, struct client *c)
{
    bool first = clients->idle.first == NULL;
    c->idle_since = clients_now(clients);
    clients_list_add(&clients->idle, c);
    if (first || clients->idle_armed != clients_idle_timeout(clients))
        clients_arm_idle_time(clients);
}

/* --- one connection --- */

size_t client_size(const struct client_origin *origin)
{
    return sizeof(struct client) + (origin->tls != NULL ? sizeof(struct tls) : 0);
}

void client_init(struct client *c, struct clients *clients, const struct protocol *protocol, int fd,
                 const struct client_origin *origin)
{
    c->endpoint = endpoint_use(clients, protocol, origin);
    c->peer = origin->peer;
    c->proxy_protocol = origin->proxy_protocol;
    c->unknown = origin->unknown;
    if (origin->tls != NULL)
        tls_init(client_tls(c), origin->tls, fd, origin->proxy_protocol);
    ev_io_init(&c->io, protocol->on_io, fd, EV_READ);
    c->io.data = NULL;
    clients_add_idle(clients, c);
    clients->count++;
}

void client_wake(struct client *c, struct client_active *active)
{
    struct clients *all = client_clients(c);
    clients_list_remove(&all->idle, c);
    active->client = c;
    deadline_init(&active->deadline, all->loop, c->endpoint->protocol->on_missed);
    active->step = (struct deferred){.run = c->endpoint->protocol->on_step};
    c->io.data = active;
    clients_list_add(&all->active, c);
    all->busy++;
}

/* Detaches the active part from the loop, so that its memory can be freed. */
static void client_end_active(struct client *c)
{
    struct client_active *active = client_active(c);
    if (active == NULL)
        return;
    deadline_fini(&active->deadline);
    loop_undefer(&active->step);
    client_clients(c)->busy--;
}

void client_sleep(struct client *c)
{
    clients_list_remove(client_list_of(c), c);
    client_end_active(c);
    c->io.data = NULL;
    clients_add_idle(client_clients(c), c);
}

void client_fini(struct client *c, bool reset)
{
    struct clients *all = client_clients(c);
    ev_io_stop(all->loop->ev, &c->io);
    clients_list_remove(client_list_of(c), c);
    client_end_active(c);
    struct transport t = client_transport(c);
    enum transport_rest rest = t.ops->close(&t, reset);
    endpoint_drop(c->endpoint);
    if (rest == TRANSPORT_CLOSED || !farewell_take(&all->farewell, t.fd, rest == TRANSPORT_UNSAID))
        clients_lose(all);
}

void client_watch(struct client *c, int events)
{
    struct ev_loop *ev = client_clients(c)->loop->ev;
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(ev, &c->io);
    if (events == 0)
        return;
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(ev, &c->io);
}

struct client_origin client_origin(const struct client *c)
{
    const struct endpoint *e = c->endpoint;
    const struct tls *tls = client_tls(c);
    return (struct client_origin){.peer = c->peer,
                                  .local = e->local,
                                  .listener = e->listener,
                                  .control = e->control,
                                  .h2c = e->h2c,
                                  .proxy_protocol = c->proxy_protocol,
                                  .unknown = c->unknown,
                                  .tls = tls != NULL ? tls->server : NULL};
}

void client_set_local(struct client *c, const struct peer *local)
{
    struct endpoint *before = c->endpoint;
    struct client_origin origin = client_origin(c);
    origin.local = *local;
    c->endpoint = endpoint_use(before->clients, before->protocol, &origin);
    endpoint_drop(before);
}

void client_set_protocol(struct client *c, const struct protocol *protocol)
{
    struct endpoint *before = c->endpoint;
    struct client_origin origin = client_origin(c);
    c->endpoint = endpoint_use(before->clients, protocol, &origin);
    endpoint_drop(before);
    ev_set_cb(&c->io, protocol->on_io);
}

/*
 * gateway - see gateway.h.
 *
 * Bytes are read into the loop's buffer and decoded at once. A request whose params are complete is
 * begun before the next record is decoded, so that its STDIN has a receiver.
 */
#include "front/gateway_inner.h"

#include "base/log.h"
#include "front/admission.h"
#include "front/handover.h"

#include <errno.h>
#include <stdlib.h>

enum {
    READ_SIZE = 65536,
    REQUESTS = 128, /* requests of one connection at the same time */
    OUT_MAX = 4 << 20,
    VALUES_MAX = 1024, /* bytes of a GET_VALUES that are read */
    LINGER_BYTES = 256 << 20,
    REFUSED_MAX = 256, /* connections over the limit that are open at a time to be refused */
};

static const double LINGER_TIME = 30;
/* of a connection over the limit, and of lingering during a stop */
static const double REFUSED_TIME = 2;
static const double FIRST_REQUEST = 1; /* for a connection made just before a stop */

static void gateway_settle(struct gateway *g);

/* --- the connection's end --- */

static void gateway_free(struct gateway *g)
{
    loop_undefer(&g->flush);
    buf_fini(&g->out);
    buf_fini(&g->values);
    admission_leave(&g->client);
    client_clients(&g->client)->refused -= g->refused;
    client_fini(&g->client, false);
    free(g);
}

/* Drops all requests of a connection that has ended, and frees it. */
static void gateway_gone(struct gateway *g, const char *why)
{
    while (g->requests != NULL)
        gateway_request_drop(g->requests, why, false);
    gateway_free(g);
}

static void gateway_report_bad(const struct gateway *g, const char *err)
{
    static struct log_quota quota = {.most = 10};
    log_within(&quota, LOG_WARN,
               "listener %.*s: what a web server sends is no FastCGI: %s; its "
               "connection is closed",
               STR_FMT(g->client.endpoint->listener), err);
}

/* --- interest --- */

static bool gateway_wants_read(const struct gateway *g)
{
    if (g->lingering)
        return true;
    if (buf_len(&g->out) > GATEWAY_OUT_MARK)
        return false;
    for (const struct gateway_request *r = g->requests; r != NULL; r = r->next)
        if (gateway_request_is_full(r))
            return false;
    return true;
}

static bool gateway_wants_write(const struct gateway *g)
{
    for (const struct gateway_request *r = g->requests; r != NULL && !g->blocked; r = r->next)
        if (sender_waits(&r->sender))
            return true;
    return g->blocked;
}

static void gateway_rearm(struct gateway *g)
{
    client_watch(&g->client,
                 (gateway_wants_read(g) ? EV_READ : 0) | (gateway_wants_write(g) ? EV_WRITE : 0));
}

/* --- writing --- */

static void gateway_flush_cb(struct deferred *d)
{
    struct gateway *g = (struct gateway *)((char *)d - offsetof(struct gateway, flush));
    if (!g->blocked)
        gateway_write_out(g);
    gateway_settle(g);
}

/* --- records in --- */

static void gateway_answer_values(struct gateway *g)
{
    struct str in = buf_peek(&g->values), name, value;
    unsigned most = gateway_limits(g)->connections;
    char digits[STR_U64_SIZE];
    struct str number = {digits, str_from_u64(most > 0 ? most : 65535, digits)};
    struct fcgi_pairs pairs;
    fcgi_pairs_init(&pairs, &g->out, FCGI_GET_VALUES_RESULT, 0);
    while (fcgi_pair_next(&in, &name, &value)) {
        if (str_eq(name, STR("FCGI_MAX_CONNS")) || str_eq(name, STR("FCGI_MAX_REQS")))
            fcgi_pairs_add(&pairs, name, number);
        else if (str_eq(name, STR("FCGI_MPXS_CONNS")))
            fcgi_pairs_add(&pairs, name, STR("1"));
    }
    if (pairs.open)
        fcgi_pairs_end(&pairs);
    else
        fcgi_empty(&g->out, FCGI_GET_VALUES_RESULT, 0);
    buf_fini(&g->values);
    gateway_flush(g);
}

static void gateway_manage(struct gateway *g, const struct fcgi_event *event)
{
    if (event->type == FCGI_GET_VALUES && !event->complete) {
        size_t room = VALUES_MAX - buf_len(&g->values);
        buf_append(&g->values, event->content.p, event->content.n < room ? event->content.n : room);
    } else if (event->type == FCGI_GET_VALUES) {
        gateway_answer_values(g);
    } else if (event->complete) {
        fcgi_unknown_type(&g->out, (uint8_t)event->type);
        gateway_flush(g);
    }
}

static struct gateway_request *gateway_find_request(struct gateway *g, uint16_t id)
{
    for (struct gateway_request *r = g->requests; r != NULL; r = r->next)
        if (r->id == id)
            return r;
    return NULL;
}

/* Refuses a request with an END_REQUEST of this protocol status. */
static void gateway_refuse(struct gateway *g, const struct fcgi_event *event,
                           enum fcgi_protocol_status status)
{
    fcgi_end(&g->out, event->id, 0, status);
    if ((event->flags & FCGI_KEEP_CONN) == 0) {
        g->closing = true;
        g->unread = true;
    }
    gateway_flush(g);
}

static void gateway_begin_request(struct gateway *g, const struct fcgi_event *event)
{
    bool known = event->role >= FCGI_RESPONDER && event->role <= FCGI_FILTER;
    client_count_request(&g->client);
    if (gateway_find_request(g, event->id) != NULL)
        g->broken = "BEGIN_REQUEST of an id whose request is under way";
    else if (g->refused || g->count >= REQUESTS)
        gateway_refuse(g, event, FCGI_OVERLOADED);
    else if (!known)
        gateway_refuse(g, event, FCGI_UNKNOWN_ROLE);
    else
        gateway_request_begin(g, event->id, (enum fcgi_role)event->role,
                              (event->flags & FCGI_KEEP_CONN) != 0);
}

/* Passes a record to its request. r is NULL for a request that has ended or was refused: its
 * records are ignored. */
static void gateway_give_record(struct gateway *g, struct gateway_request *r,
                                const struct fcgi_event *event)
{
    bool end = event->complete && event->size == 0;
    if (r == NULL)
        return;
    if (event->type == FCGI_PARAMS && !event->complete)
        g->broken = gateway_request_params(r, event->content);
    else if (event->type == FCGI_PARAMS && end)
        gateway_request_params_end(r);
    else if (event->type == FCGI_STDIN && !event->complete)
        gateway_request_stdin(r, event->content);
    else if (event->type == FCGI_STDIN && end)
        gateway_request_stdin_end(r);
    else if (event->type == FCGI_DATA && !event->complete)
        gateway_request_data(r, event->content);
    else if (event->type == FCGI_DATA && end)
        gateway_request_data_end(r);
    else if (event->type == FCGI_ABORT_REQUEST && event->complete)
        gateway_request_abort(r);
}

static bool gateway_record(void *ctx, const struct fcgi_event *event)
{
    struct gateway *g = ctx;
    if (event->id == 0)
        gateway_manage(g, event);
    else if (event->type == FCGI_BEGIN_REQUEST)
        gateway_begin_request(g, event);
    else
        gateway_give_record(g, gateway_find_request(g, event->id), event);
    return g->broken == NULL && g->whole == NULL;
}

/* Bounds the wait for the rest of a record while no request, which has its own deadline, is under
 * way. */
static void gateway_watch_record(struct gateway *g)
{
    if (g->blocked || g->refused || client_clients(&g->client)->stopping)
        return;
    if (g->requests != NULL || fcgi_decoder_idle(&g->decoder))
        deadline_clear(&g->active.deadline);
    else if (g->active.deadline.at == 0)
        deadline_set(&g->active.deadline, gateway_limits(g)->header_timeout);
}

/* Decodes the bytes. The decoder is stopped only at the end of a record, so it can be fed again. */
static void gateway_feed(struct gateway *g, const char *data, size_t n)
{
    while (n > 0 && g->broken == NULL) {
        size_t used;
        const char *err = fcgi_feed(&g->decoder, data, n, &used, gateway_record, g);
        data += used;
        n -= used;
        if (g->broken == NULL)
            g->broken = err;
        struct gateway_request *r = g->whole;
        g->whole = NULL;
        if (r != NULL)
            gateway_request_go(r);
    }
    if (g->broken != NULL)
        gateway_report_bad(g, g->broken);
}

/* --- events --- */

static void gateway_drop_input(struct gateway *g, ssize_t n)
{
    g->lingered += n > 0 ? (uint64_t)n : 0;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || g->lingered > LINGER_BYTES)
        gateway_free(g);
}

/* Reads once. False: g is gone. */
static bool gateway_read(struct gateway *g)
{
    char *room = loop_room(client_clients(&g->client)->loop);
    ssize_t n = client_read(&g->client, room, READ_SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        gateway_gone(g, n == 0 ? "the web server closed the connection"
                               : "the web server reset the connection");
        return false;
    }
    gateway_feed(g, room, (size_t)n);
    return true;
}

static void gateway_readable(struct gateway *g)
{
    struct loop *loop = client_clients(&g->client)->loop;
    if (g->lingering)
        gateway_drop_input(g, client_read(&g->client, loop_room(loop), READ_SIZE));
    else if (gateway_read(g))
        gateway_settle(g);
}

/* Moves the first request of the list, whose turn to write it is, to the end. */
static void gateway_rotate(struct gateway *g)
{
    struct gateway_request *first = g->requests, **end = &g->requests;
    if (first == NULL || first->next == NULL)
        return;
    g->requests = first->next;
    while (*end != NULL)
        end = &(*end)->next;
    *end = first;
    first->next = NULL;
}

static void gateway_writable(struct gateway *g)
{
    gateway_write_out(g);
    if (buf_len(&g->out) == 0)
        g->blocked = false;
    for (unsigned left = g->count; left > 0 && !g->blocked && g->broken == NULL; left--) {
        struct gateway_request *r = g->requests;
        gateway_rotate(g);
        if (sender_waits(&r->sender))
            gateway_request_write(r);
    }
    gateway_settle(g);
}

static void gateway_on_io(struct ev_loop *ev, ev_io *io, int events)
{
    struct gateway *g = (struct gateway *)client_of_io(io);
    (void)ev;
    if (events & EV_WRITE && gateway_wants_write(g))
        gateway_writable(g);
    else if (events & EV_READ)
        gateway_readable(g);
    else
        gateway_rearm(g);
}

static void gateway_on_missed(struct deadline *d)
{
    struct gateway *g = (struct gateway *)((char *)d - offsetof(struct gateway, active.deadline));
    gateway_gone(g, "the web server took nothing within send_timeout");
}

static void gateway_on_step(struct deferred *d)
{
    gateway_settle((struct gateway *)((char *)d - offsetof(struct gateway, active.step)));
}

/* --- the connection as a whole --- */

/* Lingers after the last write. Bytes that the web server still sends are read, since the kernel
 * would answer unread ones with a reset, which would discard the response on its way. */
static void gateway_linger(struct gateway *g)
{
    if (!g->unread || g->broken != NULL) {
        gateway_free(g);
        return;
    }
    g->lingering = true;
    client_shutdown(&g->client);
    deadline_set(&g->active.deadline,
                 client_clients(&g->client)->stopping ? REFUSED_TIME : LINGER_TIME);
    gateway_rearm(g);
}

static bool gateway_is_idle(const struct gateway *g)
{
    return g->requests == NULL && !g->lingering && !g->closing && !g->blocked && !g->refused &&
           buf_len(&g->out) == 0 && fcgi_decoder_idle(&g->decoder);
}

/* Passes an idle connection of a worker that leaves to its successor. True: g is freed. */
static bool gateway_hand_over(struct gateway *g)
{
    struct handover *successor = client_clients(&g->client)->successor;
    if (successor == NULL || !gateway_is_idle(g) || !handover_pass(successor, &g->client))
        return false;
    gateway_free(g);
    return true;
}

static void gateway_settle(struct gateway *g)
{
    if (g->broken != NULL) {
        gateway_gone(g, g->broken);
        return;
    }
    if (g->lingering)
        return;
    if (g->requests == NULL && g->closing && !g->blocked)
        gateway_write_out(g);
    if (g->requests == NULL && g->closing && !g->blocked) {
        gateway_linger(g);
        return;
    }
    if (gateway_hand_over(g))
        return;
    gateway_watch_record(g);
    gateway_rearm(g);
}

/* --- life --- */

/* The connection's peer is no client's address, since requests of many clients come on it. */
static struct gateway *gateway_make(struct clients *clients, int fd,
                                    const struct client_origin *origin)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    client_init(&g->client, clients, &gateway_protocol, fd, origin);
    client_wake(&g->client, &g->active); /* stays active: there are few such connections */
    g->client.peer = (struct peer){.family = AF_UNIX};
    buf_init(&g->out, OUT_MAX);
    buf_init(&g->values, VALUES_MAX);
    fcgi_decoder_accept(&g->decoder);
    g->flush.run = gateway_flush_cb;
    return g;
}

/* Keeps a connection over the limit for a short time, in which its requests are refused. */
static void gateway_turn_away(struct gateway *g, enum census_answer answer)
{
    struct clients *all = client_clients(&g->client);
    bool full = all->refused >= REFUSED_MAX;
    admission_log_refused(&g->client, answer, full ? ADMISSION_NO_ANSWER : ADMISSION_OVERLOAD);
    if (full) {
        gateway_free(g);
        return;
    }
    g->refused = true;
    all->refused++;
    deadline_set(&g->active.deadline, REFUSED_TIME);
    gateway_rearm(g);
}

/* Idle connections are not closed here: a web server could not tell whether a request that it sends
 * at that moment has been read. Keep-alive probes of the kernel find connections whose other side
 * has gone. */
static void gateway_watch_peer(int fd, const struct client_origin *origin)
{
    if (peer_has_ip(&origin->peer))
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
}

/* An idle connection may have a request in its socket already. */
static void gateway_stop(struct client *client, double patience)
{
    struct gateway *g = (struct gateway *)client;
    if (g->lingering) {
        deadline_set(&client_active(client)->deadline, REFUSED_TIME);
        return;
    }
    if (g->requests != NULL || !gateway_read(g))
        return;
    if (client->requests == 0 && patience < FIRST_REQUEST)
        patience = FIRST_REQUEST;
    if (patience > 0)
        deadline_set(&client_active(client)->deadline, patience);
    else
        g->closing = true; /* after the requests that were read just now */
    gateway_settle(g);
}

static void gateway_begin(struct gateway *g)
{
    struct clients *all = client_clients(&g->client);
    gateway_rearm(g);
    if (all->stopping)
        gateway_stop(&g->client, all->patience);
}

static void gateway_accept(struct clients *clients, int fd, const struct client_origin *origin)
{
    struct gateway *g = gateway_make(clients, fd, origin);
    gateway_watch_peer(fd, origin);
    enum census_answer answer = admission_enter(&g->client);
    if (answer == CENSUS_WELCOME)
        gateway_begin(g);
    else
        gateway_turn_away(g, answer);
}

static void gateway_resume(struct clients *clients, int fd, const struct client_origin *origin,
                           unsigned requests)
{
    struct gateway *g = gateway_make(clients, fd, origin);
    g->client.requests = requests;
    admission_count(&g->client);
    if (!gateway_hand_over(g)) /* this worker leaves as well */
        gateway_begin(g);
}

static void gateway_pass(struct client *client)
{
    gateway_hand_over((struct gateway *)client);
}

static void gateway_cut(struct client *client)
{
    struct gateway *g = (struct gateway *)client;
    while (g->requests != NULL)
        gateway_request_drop(g->requests, "the server was stopped", true);
    if (!g->blocked)
        gateway_write_out(g);
    gateway_free(g);
}

const struct protocol gateway_protocol = {
    .name = "fastcgi",
    .accept = gateway_accept,
    .resume = gateway_resume,
    .pass = gateway_pass,
    .stop = gateway_stop,
    .cut = gateway_cut,
    .on_io = gateway_on_io,
    .on_missed = gateway_on_missed,
    .on_step = gateway_on_step,
};

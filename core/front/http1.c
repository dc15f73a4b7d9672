/*
 * http1 - see http1.h. This file has the beginning and the end of a connection, and the events of
 * its socket and its deadline. http1_request handles its requests.
 */
#include "front/admission.h"
#include "front/http1_inner.h"
#include "http/error_page.h"

#include <errno.h>
#include <stdlib.h>

/* --- events --- */

/* Notes that the client sends nothing more. A client that has sent its requests whole still gets
 * its responses, also where the end of a body waits to be used. */
static void http1_ended_input(struct http1 *c)
{
    c->eof = true;
    if (http1_lacks_input(c))
        http1_gone(c, "the client closed the connection inside its request");
    else if (!c->response->ended && exchange_only_waits(c->exchange))
        http1_gone(c, "the client closed the connection while the request only waited");
    else
        http1_process(c, NULL, 0);
}

/* Logs the end of a handshake with the result n of the last read. A client that has sent no byte
 * has begun none. */
static void http1_log_handshake(const struct client *client, ssize_t n)
{
    int err = errno;
    if (!tls_has_begun(client_tls(client)) || (n < 0 && (err == EAGAIN || err == EINTR)))
        return;
    admission_log_handshake(client, n == 0          ? "the client closed the connection"
                                    : err == EPROTO ? tls_failure()
                                                    : "the client reset the connection");
    errno = err;
}

static void http1_log_late_handshake(const struct client *client)
{
    const struct tls *tls = client_tls(client);
    if (tls == NULL || tls_state(tls) != TLS_OPENING || !tls_has_begun(tls))
        return;
    admission_log_handshake(client, tls_waits_for_script(tls)
                                        ? "on_certificate had no answer within header_timeout"
                                        : "it was not over within header_timeout");
}

/* Reads once from the client. *bytes is the begin of what was read. */
static ssize_t http1_read(struct client *client, const char **bytes)
{
    struct inputs *inputs = &client_clients(client)->loop->inputs;
    char *room = inputs_room(inputs);
    const struct tls *tls = client_tls(client);
    bool opening = tls != NULL && tls_state(tls) == TLS_OPENING;
    ssize_t n = client_read(client, room, INPUT_SIZE);
    if (opening && n <= 0)
        http1_log_handshake(client, n);
    inputs_filled(inputs, n);
    *bytes = room;
    return n;
}

/* The first bytes of a request are handled with those of other clients. Where TLS has more than
 * them, its event has no socket that would tell it again. */
static void http1_begin_input(struct client *client, const char *bytes, size_t n)
{
    struct http1 *c = http1_wake(client);
    struct loop *loop = client_clients(client)->loop;
    const struct tls *tls = client_tls(client);
    if ((tls != NULL && tls_has_more(tls)) || !loop_client_arrival(loop, &c->active.step, n)) {
        http1_process(c, bytes, n);
        return;
    }
    c->arrived = (struct str){bytes, n};
    loop_run_full_stage(loop);
}

/* Reads from an idle connection the first bytes of a request, or its end. */
static void http1_idle_readable(struct client *client)
{
    const char *bytes;
    ssize_t n = http1_read(client, &bytes);
    if (n > 0)
        http1_begin_input(client, bytes, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        http1_close(client, false);
}

static void http1_readable(struct http1 *c)
{
    const char *bytes;
    ssize_t n = http1_read(c->client, &bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        http1_settle(c); /* the handshake of TLS may be over, or wait for room in the socket */
        return;
    }
    if (c->lingering)
        http1_drop_input(c, bytes, n);
    else if (n > 0)
        http1_process(c, bytes, (size_t)n);
    else if (n == 0)
        http1_ended_input(c);
    else
        http1_gone(c, "the client reset the connection");
}

static void http1_writable(struct http1 *c)
{
    struct http1_response *response = c->response;
    http1_response_write(response);
    if (response->sender.broken != NULL) /* the connection's step closes it */
        return;
    bool done = sender_is_done(&response->sender);
    if (done)
        deadline_clear(&c->active.deadline);
    if (done && response->ended) {
        http1_process(c, NULL, 0);
        return;
    }
    if (!response->ended && (done || sender_room(&response->sender) >= LOOP_READ_SIZE))
        exchange_room(c->exchange);
    http1_rearm(c);
}

/* Writes what TLS has kept of its own, a part of the handshake. */
static void http1_flush_transport(struct http1 *c)
{
    struct tls *tls = client_tls(c->client);
    if (!tls_flush(tls) && tls_state(tls) == TLS_BROKEN)
        http1_gone(c, "the client reset the connection");
    else
        http1_settle(c);
}

static void http1_on_io(struct ev_loop *ev, ev_io *io, int events)
{
    struct client *client = client_of_io(io);
    struct http1 *c = http1_of(client);
    (void)ev;
    if (c == NULL)
        http1_idle_readable(client);
    else if (c->arrived.n > 0) /* what has come since comes after it: the event is there again */
        return;
    else if (events & EV_WRITE && http1_waits_to_write(c))
        http1_writable(c);
    else if (events & EV_WRITE && http1_transport_waits(c))
        http1_flush_transport(c);
    else if (events & EV_READ)
        http1_readable(c);
    else
        http1_rearm(c);
}

static void http1_on_step(struct deferred *d)
{
    struct http1 *c = (struct http1 *)((char *)d - offsetof(struct http1, active.step));
    struct str bytes = c->arrived;
    c->arrived = STR_NONE;
    c->arriving = bytes.n > 0;
    http1_process(c, bytes.p, bytes.n);
}

static void http1_on_missed(struct deadline *d)
{
    struct http1 *c = (struct http1 *)((char *)d - offsetof(struct http1, active.deadline));
    if (c->exchange == NULL) {
        /* lingering is over, or PROXY header and handshake have not come in time */
        http1_log_late_handshake(c->client);
        http1_free(c);
    } else if (!c->head_done) {
        http1_refuse(c, 408, "the head did not come within header_timeout");
        http1_process(c, NULL, 0);
    } else if (!sender_is_done(&c->response->sender)) {
        http1_gone(c, "the client took nothing within send_timeout");
    } else if (!c->body_done && !c->response->ended && c->want_body) {
        http1_refuse(c, 408, "the body did not come within body_timeout");
        http1_process(c, NULL, 0);
    } else if (c->response->ended) {
        /* the rest of the body has not come in time to keep the connection */
        c->response->close = true;
        http1_process(c, NULL, 0);
    }
}

static void http1_expire(struct client *client)
{
    http1_close(client, false);
}

/* --- life --- */

static struct client *http1_new(struct clients *clients, int fd, const struct client_origin *origin)
{
    struct client *client = calloc(1, client_size(origin));
    if (client == NULL)
        abort();
    client_init(client, clients, &http1_protocol, fd, origin);
    return client;
}

/* Stops an idle connection, which may have a request in its socket or, when it is new, on its way.
 * Its idle time is now that of a stop, see clients_idle_timeout. */
static void http1_stop_idle(struct client *client, double patience)
{
    struct clients *all = client_clients(client);
    unsigned before = all->count;
    bool may_stay = patience > 0 || client->requests == 0;
    client_sleep(client);
    http1_idle_readable(client);
    if (all->count == before && http1_of(client) == NULL && !may_stay)
        http1_close(client, false);
}

static void http1_begin(struct client *client)
{
    struct clients *all = client_clients(client);
    client_watch(client, EV_READ);
    /* the balancer sends the PROXY header first, and a client its hello, so they must come soon */
    if (client_is_opening(client))
        deadline_set(&http1_wake(client)->active.deadline,
                     clients_settings(all)->limits.header_timeout);
    if (all->stopping)
        http1_protocol.stop(client, all->patience);
}

static void http1_accept(struct clients *clients, int fd, const struct client_origin *origin)
{
    struct client *client = http1_new(clients, fd, origin);
    enum census_answer answer = admission_enter(client);
    if (answer == CENSUS_WELCOME)
        http1_begin(client);
    else
        http1_turn_away(http1_wake(client), answer, (struct str){NULL, 0});
}

static void http1_resume(struct clients *clients, int fd, const struct client_origin *origin,
                         unsigned requests)
{
    struct client *client = http1_new(clients, fd, origin);
    client->requests = requests;
    admission_count(client);
    if (!http1_hand_over(client)) /* unless this worker leaves, too */
        http1_begin(client);
}

static void http1_pass(struct client *client)
{
    http1_hand_over(client);
}

/* Stops a connection; its current request, and one that has been sent already, still get their
 * responses. */
static void http1_stop(struct client *client, double patience)
{
    struct http1 *c = http1_of(client);
    if (c == NULL)
        http1_stop_idle(client, patience);
    else if (c->lingering)
        http1_hasten(c);
    else if (c->exchange == NULL &&
             c->arrived.n == 0) { /* the PROXY header or the handshake has not come yet */
        deadline_set(&c->active.deadline, clients_idle_timeout(client_clients(client)));
        http1_readable(c);
    }
}

/* Ends a connection whose request is not over at the end of a stop. A client that has no byte of a
 * response gets a 503, if the socket takes it at once. */
static void http1_cut(struct client *client)
{
    struct http1 *c = http1_of(client);
    char text[ERROR_PAGE_TOO_MANY_SIZE];
    if (c == NULL) {
        http1_close(client, false);
        return;
    }
    if (c->exchange != NULL) {
        if (exchange_is_unanswered(c->exchange) && sender_is_done(&c->response->sender)) {
            size_t n = error_page_too_many(text, loop_date(client_clients(client)->loop));
            c->req->bytes_out += http1_write_at_once(c, text, n);
        }
        c->reset = c->response->until_eof;
        exchange_stopped(http1_end_request(c), "the server was stopped");
    }
    http1_free(c);
}

const struct protocol http1_protocol = {
    .name = "http",
    .accept = http1_accept,
    .resume = http1_resume,
    .pass = http1_pass,
    .stop = http1_stop,
    .cut = http1_cut,
    .expire = http1_expire,
    .on_io = http1_on_io,
    .on_missed = http1_on_missed,
    .on_step = http1_on_step,
};

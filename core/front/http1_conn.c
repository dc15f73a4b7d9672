/*
 * http1_conn - see http1_inner.h. This file: the connection itself. It is idle, active or
 * lingering; of the request under way it knows that there is one.
 */
#include "front/admission.h"
#include "front/handover.h"
#include "front/http1_inner.h"
#include "http/h1.h"

#include <stdlib.h>

#define IN_MARK       16384 /* kept input beyond which reading stops */
#define IN_MAX        (2 * LOOP_READ_SIZE)
#define LINGER_TIME   30.0 /* for a body that is dropped so that the response arrives, in all */
#define LINGER_IDLE   5.0  /* and between two reads */
#define REFUSED_TIME  2.0  /* the same for who was never welcome, or where we stop */
#define REFUSED_BYTES 65536
#define REFUSED_MAX   256 /* of connections too many that are told so at a time */
#define SPARE_MAX     256 /* active parts that are kept */

/* --- the active part --- */

/* The connection, which is idle, becomes active. Where requests come one after the other this takes
 * the part that the last one has left. */
struct http1 *http1_wake(struct client *client)
{
    struct clients *all = client_clients(client);
    struct http1 *c = (struct http1 *)all->spare;
    if (c != NULL) {
        all->spare = all->spare->next;
        all->spare_count--;
    } else {
        c = malloc(sizeof *c);
        if (c == NULL)
            abort();
    }
    *c = (struct http1){.client = client};
    client_wake(client, &c->active);
    return c;
}

/* Nothing of the connection refers to it any more. */
static void http1_spare(struct clients *all, struct http1 *c)
{
    struct client_spare *spare = (struct client_spare *)c;
    if (all->spare_count >= SPARE_MAX) {
        free(c);
        return;
    }
    spare->next = all->spare;
    all->spare = spare;
    all->spare_count++;
}

/* --- kept input --- */

void http1_keep(struct http1 *c, const char *data, size_t n)
{
    if (c->in == NULL) {
        c->in = malloc(sizeof *c->in);
        if (c->in == NULL)
            abort();
        buf_init(c->in, IN_MAX);
    }
    buf_append(c->in, data, n);
}

static void http1_drop_kept(struct http1 *c)
{
    if (c->in == NULL)
        return;
    buf_fini(c->in);
    free(c->in);
    c->in = NULL;
}

void http1_keep_input(struct http1 *c, const char *data, size_t n)
{
    if (n == 0)
        http1_drop_kept(c);
    else if (c->in != NULL) /* the bytes are its own */
        buf_consume(c->in, buf_len(c->in) - n);
    else
        http1_keep(c, data, n);
}

/* --- the end --- */

/* An idle connection, or what is left of another one. */
void http1_close(struct client *client, bool reset)
{
    admission_leave(client);
    client_fini(client, reset);
    free(client);
}

void http1_free(struct http1 *c)
{
    struct clients *all = client_clients(c->client);
    all->refused -= c->refused;
    http1_drop_kept(c);
    http1_close(c->client, c->reset);
    http1_spare(all, c);
}

/* --- interest --- */

static bool http1_wants_read(const struct http1 *c)
{
    if (c->eof)
        return false;
    return c->lingering || http1_kept(c) < IN_MARK;
}

/* Derives what to wait for from the state. */
void http1_rearm(struct http1 *c)
{
    client_watch(c->client,
                 (http1_wants_read(c) ? EV_READ : 0) | (http1_waits_to_write(c) ? EV_WRITE : 0));
}

/* --- input that is dropped --- */

/* Unread input makes the kernel answer with a reset, which takes the response with it where the
 * client sends its whole request before it reads. So it is read and dropped, within bounds. */
void http1_linger(struct http1 *c)
{
    double time = c->refused || client_clients(c->client)->stopping ? REFUSED_TIME : LINGER_TIME;
    c->lingering = true;
    c->dropped = 0;
    c->linger_end = loop_now(client_clients(c->client)->loop) + time;
    http1_drop_kept(c);
    client_shutdown(c->client);
    deadline_set(&c->active.deadline, time < LINGER_IDLE ? time : LINGER_IDLE);
    c->eof = false;
    http1_rearm(c);
}

void http1_drop_input(struct http1 *c, ssize_t n)
{
    double left = c->linger_end - loop_now(client_clients(c->client)->loop);
    c->dropped += n > 0 ? (uint32_t)n : 0;
    if (n <= 0 || left <= 0 || c->dropped > (c->refused ? REFUSED_BYTES : HTTP1_DROPPED_MAX))
        http1_free(c);
    else
        deadline_set(&c->active.deadline, left < LINGER_IDLE ? left : LINGER_IDLE);
}

/* The response is out: a stop does not wait long for it to be read. */
void http1_hasten(struct http1 *c)
{
    double end = loop_now(client_clients(c->client)->loop) + REFUSED_TIME;
    if (c->linger_end <= end)
        return;
    c->linger_end = end;
    deadline_set(&c->active.deadline, REFUSED_TIME);
}

/* --- last words --- */

/* For the last words to a client: what the socket does not take is lost. Returns the bytes that it
 * took. */
size_t http1_write_at_once(struct http1 *c, char *text, size_t size)
{
    struct iovec v = {text, size};
    ssize_t n = client_writev(c->client, &v, 1);
    return n > 0 ? (size_t)n : 0;
}

/* Says 503 at once, whatever the client asks for, and drops what it sends. */
void http1_turn_away(struct http1 *c)
{
    struct clients *all = client_clients(c->client);
    char text[H1_TOO_MANY_SIZE];
    size_t n = h1_too_many(text, loop_date(all->loop));
    if (all->refused >= REFUSED_MAX || http1_write_at_once(c, text, n) != n) {
        http1_free(c);
        return;
    }
    c->refused = true;
    all->refused++;
    http1_linger(c);
}

/* --- idle again --- */

/* Nothing of a request has come. */
static bool http1_is_idle(const struct http1 *c)
{
    return c->exchange == NULL && !c->lingering && !c->eof && !loop_is_queued(&c->active.step) &&
           http1_kept(c) == 0;
}

/* The worker leaves and the connection is idle: another worker has it from now on. True: the
 * connection is gone. */
bool http1_hand_over(struct client *client)
{
    struct handover *successor = client_clients(client)->successor;
    struct http1 *c = http1_of(client);
    if (successor == NULL || (c != NULL && !http1_is_idle(c)) || !handover_pass(successor, client))
        return false;
    if (c != NULL)
        http1_free(c);
    else
        http1_close(client, false);
    return true;
}

/* All that could be done has been done: the connection sleeps, or waits for what it needs. One that
 * still owes the header of the PROXY protocol has less time than an idle one. */
void http1_settle(struct http1 *c)
{
    struct client *client = c->client;
    if (!http1_is_idle(c) || client->proxy_protocol) {
        http1_rearm(c);
        return;
    }
    client_watch(client, EV_READ);
    http1_drop_kept(c);
    client_sleep(client);
    http1_spare(client_clients(client), c);
}

/*
 * http1_conn - see http1_inner.h. This file has the connection's own states: idle, active,
 * lingering. http1_request handles the request.
 */
#include "front/admission.h"
#include "front/handover.h"
#include "front/http1_inner.h"
#include "front/http2.h"
#include "http/error_page.h"

#include <stdlib.h>

#define IN_MARK       16384 /* bytes of kept input at which reading stops */
#define IN_MAX        (2 * LOOP_READ_SIZE)
#define LINGER_TIME   30.0 /* seconds of lingering in all */
#define LINGER_IDLE   5.0  /* seconds of lingering between two reads */
#define REFUSED_TIME  2.0  /* LINGER_TIME of a connection over the limit, or during a stop */
#define REFUSED_BYTES 65536
#define REFUSED_MAX   256 /* connections over the limit that linger at a time */
#define SPARE_MAX     256 /* active parts that are kept for reuse */

/* --- the active part --- */

/* Makes an idle connection active. The active part is one that another connection has left, if
 * there is one. */
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

/* --- kept input --- */

/* What waits in the buffer of its read does not wait there any more. */
static void http1_leave_input(struct http1 *c)
{
    if (c->input == NULL)
        return;
    input_give_back(&client_clients(c->client)->loop->inputs, c->input);
    c->input = NULL;
    c->rest = STR_NONE;
}

void http1_keep(struct http1 *c, const char *data, size_t n)
{
    if (c->in == NULL) {
        c->in = malloc(sizeof *c->in);
        if (c->in == NULL)
            abort();
        buf_init(c->in, IN_MAX);
        buf_append_str(c->in, c->rest);
        http1_leave_input(c);
    }
    buf_append(c->in, data, n);
}

static void http1_drop_kept(struct http1 *c)
{
    http1_leave_input(c);
    if (c->in == NULL)
        return;
    buf_fini(c->in);
    free(c->in);
    c->in = NULL;
}

/* The active part is kept for reuse, or freed. */
void http1_spare(struct clients *all, struct http1 *c)
{
    struct client_spare *spare = (struct client_spare *)c;
    http1_drop_kept(c);
    if (all->spare_count >= SPARE_MAX) {
        free(c);
        return;
    }
    spare->next = all->spare;
    all->spare = spare;
    all->spare_count++;
}

void http1_keep_input(struct http1 *c, const char *data, size_t n, bool in_place)
{
    struct inputs *inputs = &client_clients(c->client)->loop->inputs;
    struct str bytes = {data, n};
    if (n == 0)
        http1_drop_kept(c);
    else if (c->in != NULL) /* the bytes are the end of c->in */
        buf_consume(c->in, buf_len(c->in) - n);
    else if (c->input != NULL || (in_place && (c->input = input_keep(inputs, bytes)) != NULL))
        c->rest = bytes;
    else
        http1_keep(c, data, n);
}

/* --- the end --- */

/* Closes a connection without an active part, or whose active part the caller frees. */
void http1_close(struct client *client, bool reset)
{
    admission_leave(client);
    client_fini(client, reset);
    free(client);
}

static void http1_log_refused(const struct http1 *c, const char *outcome)
{
    admission_log_refused(c->client, c->by_ip ? CENSUS_PER_IP : CENSUS_FULL, outcome);
}

void http1_free(struct http1 *c)
{
    struct clients *all = client_clients(c->client);
    all->refused -= c->refused;
    if (c->undecided)
        http1_log_refused(c, ADMISSION_NO_ANSWER);
    http1_drop_kept(c); /* it is in a buffer of the client's loop */
    http1_close(c->client, c->reset);
    http1_spare(all, c);
}

/* --- interest --- */

static bool http1_wants_read(const struct http1 *c)
{
    if (c->eof)
        return false;
    return c->lingering || c->in == NULL || buf_len(c->in) < IN_MARK;
}

/* Derives the events to watch from the state. */
void http1_rearm(struct http1 *c)
{
    client_watch(c->client,
                 (http1_wants_read(c) ? EV_READ : 0) |
                     (http1_waits_to_write(c) || http1_transport_waits(c) ? EV_WRITE : 0));
}

/* --- a response at the end --- */

/* Writes a last response once; bytes that the socket does not take are lost. Returns the bytes
 * taken. */
size_t http1_write_at_once(struct http1 *c, const char *text, size_t size)
{
    struct iovec v = {(char *)text, size};
    ssize_t n = client_writev(c->client, &v, 1);
    return n > 0 ? (size_t)n : 0;
}

/* Writes the refusal of a client that is one too many and begins with these bytes, and logs it. The
 * first three of HTTP/2's preface begin no request of HTTP/1. False: the socket has not taken it.
 */
static bool http1_say_refused(struct http1 *c, struct str bytes)
{
    char text[ERROR_PAGE_TOO_MANY_SIZE];
    struct str refusal = {text,
                          error_page_too_many(text, loop_date(client_clients(c->client)->loop))};
    const char *outcome = ADMISSION_503;
#ifdef MG_HTTP2
    if (c->client->endpoint->h2c && bytes.n >= 3 && http2_preface(bytes) != HTTP2_NO) {
        refusal = http2_refusal();
        outcome = ADMISSION_GOAWAY;
    }
#else
    (void)bytes;
#endif
    bool said = http1_write_at_once(c, refusal.p, refusal.n) == refusal.n;
    http1_log_refused(c, said ? outcome : ADMISSION_NO_ANSWER);
    return said;
}

/* --- input that is dropped --- */

/* Lingers: reads and drops input within bounds. The kernel would answer unread input with a reset,
 * which discards the response of a client that sends its whole request before it reads. */
void http1_linger(struct http1 *c)
{
    double time = c->refused || client_clients(c->client)->stopping ? REFUSED_TIME : LINGER_TIME;
    c->lingering = true;
    c->dropped = 0;
    c->linger_end = loop_now(client_clients(c->client)->loop) + time;
    http1_drop_kept(c);
    if (!c->undecided)
        client_shutdown(c->client);
    deadline_set(&c->active.deadline, time < LINGER_IDLE ? time : LINGER_IDLE);
    c->eof = false;
    http1_rearm(c);
}

void http1_drop_input(struct http1 *c, const char *bytes, ssize_t n)
{
    if (c->undecided && n > 0) {
        c->undecided = false;
        http1_say_refused(c, (struct str){bytes, (size_t)n});
        client_shutdown(c->client);
    }
    double left = c->linger_end - loop_now(client_clients(c->client)->loop);
    c->dropped += n > 0 ? (uint32_t)n : 0;
    if (n <= 0 || left <= 0 || c->dropped > (c->refused ? REFUSED_BYTES : HTTP1_DROPPED_MAX))
        http1_free(c);
    else
        deadline_set(&c->active.deadline, left < LINGER_IDLE ? left : LINGER_IDLE);
}

/* Shortens lingering for a stop, since the response has been sent. */
void http1_hasten(struct http1 *c)
{
    double end = loop_now(client_clients(c->client)->loop) + REFUSED_TIME;
    if (c->linger_end <= end)
        return;
    c->linger_end = end;
    deadline_set(&c->active.deadline, REFUSED_TIME);
}

/* Sends a 503, without reading the request, and lingers. */
void http1_turn_away(struct http1 *c, enum census_answer answer, struct str bytes)
{
    struct clients *all = client_clients(c->client);
    bool waits = bytes.n == 0 && c->client->endpoint->h2c && client_tls(c->client) == NULL;
    bool full = all->refused >= REFUSED_MAX;
    c->by_ip = answer == CENSUS_PER_IP;
    if (full)
        http1_log_refused(c, ADMISSION_NO_ANSWER);
    if (full || (!waits && !http1_say_refused(c, bytes))) {
        http1_free(c);
        return;
    }
    c->refused = true;
    c->undecided = waits;
    all->refused++;
    http1_linger(c);
}

/* --- idle again --- */

/* True when no byte of a request has come. */
static bool http1_is_idle(const struct http1 *c)
{
    return c->exchange == NULL && !c->lingering && !c->eof && !loop_is_queued(&c->active.step) &&
           http1_kept(c).n == 0;
}

/* Passes an idle connection of a worker that leaves to its successor. True: the connection is
 * freed. */
bool http1_hand_over(struct client *client)
{
    struct handover *successor = client_clients(client)->successor;
    struct http1 *c = http1_of(client);
    if (successor == NULL || (c != NULL && !http1_is_idle(c)))
        return false;
    /* the keys of TLS are in this process's memory: its client connects again */
    if (client_tls(client) == NULL && !handover_pass(successor, client))
        return false;
    if (c != NULL)
        http1_free(c);
    else
        http1_close(client, false);
    return true;
}

/* Puts an idle connection to sleep, or watches for the events that the connection needs. A
 * connection without its PROXY header stays active, since its time is shorter than that of an idle
 * one. */
void http1_settle(struct http1 *c)
{
    struct client *client = c->client;
    if (!http1_is_idle(c) || client_is_opening(client) || http1_transport_waits(c)) {
        http1_rearm(c);
        return;
    }
    client_watch(client, EV_READ);
    client_sleep(client);
    http1_spare(client_clients(client), c);
}

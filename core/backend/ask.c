/*
 * ask - see backend_inner.h. This file sends FCGI_GET_VALUES (FastCGI §4.1), for `multiplex =
 * "auto"`.
 *
 * The question has a connection of its own, under a claim like any other, so max_conns holds. No
 * request waits for the answer: until then each has a connection to itself. The answer is in the
 * ledger for all workers. PHP-FPM answers that it does not multiplex, and that it takes one
 * connection, however many processes it has; so the numbers count only for a server that
 * multiplexes.
 */
#include "backend/backend_inner.h"

#include "base/log.h"

#include <stdlib.h>

#define ASK_TIMEOUT 1.0
#define ANSWER_MAX  1024

struct asking {
    struct server *server;
    struct lease lease;
    struct channel *channel; /* NULL: no connection yet */
    struct fcgi_decoder decoder;
    struct deferred over; /* frees the struct when none of its callbacks is on the stack */
    struct buf answer;
};

static void ask_over_cb(struct deferred *d)
{
    struct asking *a = (struct asking *)((char *)d - offsetof(struct asking, over));
    server_stop_asking(a->server);
}

/* Ends the question, with an answer or without. */
static void ask_end(struct asking *a)
{
    loop_defer(a->server->backend->all->loop, &a->over);
}

static void ask_note_nothing(struct asking *a, const char *why)
{
    backend_takes_one(a->server->backend, a->server->number, why);
    ask_end(a);
}

/* The number of a value in the answer, which must begin with that name; 0: missing, or no valid
 * number. */
static uint32_t ask_number(struct str answer, struct str wanted)
{
    struct str name, value;
    uint32_t n = 0;
    while (fcgi_pair_next(&answer, &name, &value)) {
        if (!str_eq(name, wanted) || value.n > 7)
            continue;
        for (n = 0; value.n > 0 && *value.p >= '0' && *value.p <= '9'; value = str_skip(value, 1))
            n = n * 10 + (uint32_t)(*value.p - '0');
        return value.n == 0 ? n : 0;
    }
    return 0;
}

static void ask_read_answer(struct asking *a)
{
    struct backend *b = a->server->backend;
    struct ledger_server *slot = backend_server(b, a->server->number);
    struct str answer = buf_peek(&a->answer);
    if (ask_number(answer, STR("FCGI_MPXS_CONNS")) != 1) {
        ask_note_nothing(a, "FCGI_GET_VALUES");
        return;
    }
    slot->offered_conns = ask_number(answer, STR("FCGI_MAX_CONNS"));
    slot->offered_reqs = ask_number(answer, STR("FCGI_MAX_REQS"));
    slot->sharing = LEDGER_SHARES;
    log_info("backend '%.*s': server %s multiplexes (FCGI_MAX_CONNS %u, FCGI_MAX_REQS %u; 0: it "
             "does not say)",
             STR_FMT(b->settings->name), a->server->address, slot->offered_conns,
             slot->offered_reqs);
    ask_end(a);
}

static bool ask_record(void *ctx, const struct fcgi_event *event)
{
    struct asking *a = ctx;
    if (event->type == FCGI_GET_VALUES_RESULT && event->id == 0)
        buf_append_str(&a->answer, event->content);
    return !a->answer.overflow;
}

static void ask_bytes(void *user, const char *bytes, size_t n)
{
    struct asking *a = user;
    size_t used;
    if (loop_is_queued(&a->over))
        return;
    if (fcgi_feed(&a->decoder, bytes, n, &used, ask_record, a) != NULL || a->answer.overflow)
        ask_note_nothing(a, "FCGI_GET_VALUES was answered by what is no answer");
    else if (buf_len(&a->answer) > 0 && fcgi_decoder_idle(&a->decoder))
        ask_read_answer(a);
}

static void ask_open(void *user)
{
    static const char *const names[] = {"FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"};
    struct asking *a = user;
    struct fcgi_pairs pairs;
    fcgi_pairs_init(&pairs, channel_out(a->channel), FCGI_GET_VALUES, 0);
    for (unsigned i = 0; i < 3; i++)
        fcgi_pairs_add(&pairs, str_of(names[i]), STR(""));
    fcgi_pairs_end(&pairs);
    channel_deadline(a->channel, ASK_TIMEOUT, "FCGI_GET_VALUES was not answered");
    channel_write(a->channel, NULL, 0);
}

/* A server that can't be connected to is asked again later. */
static void ask_failed(void *user, enum failure failure, const char *detail, uint64_t written)
{
    struct asking *a = user;
    (void)written;
    a->channel = NULL;
    if (loop_is_queued(&a->over))
        return;
    if (failure == FAILURE_CONNECT || failure == FAILURE_QUEUE)
        ask_end(a);
    else
        ask_note_nothing(a, detail);
}

static void ask_drained(void *user)
{
    (void)user;
}

static const struct channel_ops ask_channel = {
    .on_open = ask_open, .on_bytes = ask_bytes, .on_drain = ask_drained, .on_fail = ask_failed};

static void ask_conn(void *user, struct conn *conn)
{
    struct asking *a = user;
    a->channel = channel_begin(conn, &ask_channel, a);
    if (channel_is_open(a->channel))
        ask_open(a);
}

static void ask_refused(void *user, enum failure failure, const char *detail)
{
    (void)failure;
    (void)detail;
    ask_end(user);
}

static const struct lease_ops ask_lease = {.on_conn = ask_conn, .on_refused = ask_refused};

/* True for one worker at a time, and once in a period. */
static bool ask_is_due(const struct server *s)
{
    struct ledger_server *slot = backend_server(s->backend, s->number);
    double now = ledger_now();
    if (s->asking != NULL || slot->sharing == LEDGER_SHARES || now < slot->asked_at + ASK_TIMEOUT ||
        (slot->sharing == LEDGER_ALONE && now < slot->alone_until))
        return false;
    slot->asked_at = now;
    return true;
}

void server_ask(struct server *s)
{
    struct conn *conn = NULL;
    enum failure failure;
    const char *detail;
    if (!ask_is_due(s))
        return;
    struct asking *a = calloc(1, sizeof *a);
    if (a == NULL)
        abort();
    a->server = s;
    a->over.run = ask_over_cb;
    s->asking = a;
    fcgi_decoder_init(&a->decoder);
    buf_init(&a->answer, ANSWER_MAX);
    const struct lease_terms terms = {.server = s->number,
                                      .avoid = -1,
                                      .only = true,
                                      .fresh = true,
                                      .connect_timeout = s->backend->settings->connect_timeout,
                                      .ops = &ask_lease,
                                      .user = a};
    switch (backend_acquire(s->backend, &a->lease, &terms, &conn, &failure, &detail)) {
    case LEASE_WAITING:
        break;
    case LEASE_FAILED:
        ask_end(a);
        break;
    case LEASE_READY:
        ask_conn(a, conn);
        break;
    }
}

void server_stop_asking(struct server *s)
{
    struct asking *a = s->asking;
    if (a == NULL)
        return;
    s->asking = NULL;
    backend_cancel(&a->lease);
    if (a->channel != NULL)
        channel_drop(a->channel);
    loop_undefer(&a->over);
    buf_fini(&a->answer);
    free(a);
}

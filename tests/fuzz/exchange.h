/*
 * exchange - an exchange for fuzz targets of a front's connection: it answers what the front makes
 * of a client's bytes, in ways that the request's path says, and checks what the front does. With
 * it come the functions of other rooms that a front is linked with. Included by one file of a
 * program.
 */
#ifndef MG_FUZZ_EXCHANGE_H
#define MG_FUZZ_EXCHANGE_H

#include "base/lookup.h"
#include "exchange/exchange.h"
#include "front/clients.h"
#include "front/handover.h"
#include "fuzz.h"
#include "http/logline.h"

enum {
    MEMORY = 8192,
    LARGE = 300000, /* more than a socket takes */
};

/* Of the second byte of a request's path. */
enum {
    ANSWERS_EARLY = 1, /* without waiting for the body */
    CUTS = 2,
    ANSWERS_MUCH = 4,
    RETRACTS = 8,
    ANSWERS_LATER = 16, /* in another turn */
    HOLDS_BODY = 32,    /* wants some of it, and then no more for a turn */
};

struct exchange {
    struct request req;
    struct front *front;
    struct deferred step, later;
    uint64_t body, sent, size;
    int refused;
    bool begun, has_body, wants, held, body_over, answering, waited;
    char memory[MEMORY];
};

static struct loop loop;
static struct clients clients;
static struct settings settings = {
    .limits = {.request_line = 1024,
               .header = 4096,
               .headers = 20,
               .body = 100000,
               .header_timeout = 1000,
               .body_timeout = 1000,
               .send_timeout = 1000,
               .keepalive_timeout = 1000,
               .keepalive_requests = 1000,
               .streams = 10,
               .request_memory = 4096,
               .response_memory = 65536,
               .spool = 65536,
               .spool_dir = "/tmp"},
};
static struct generation generation = {.settings = &settings, .loop = &loop};
static struct generation *current = &generation;
static unsigned alive; /* exchanges */
static char text[4096];

/* --- what a front is linked with in place of the real ones --- */

void log_within(struct log_quota *quota, enum log_level level, const char *fmt, ...)
{
    (void)quota;
    (void)level;
    (void)fmt;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    (void)level;
    (void)fmt;
}

void logline_write(const struct request *req, struct log_quota *quota, enum log_level level,
                   const char *fmt, ...)
{
    (void)req;
    (void)quota;
    (void)level;
    (void)fmt;
}

void lookup_begin_turn(void)
{
}

bool handover_pass(struct handover *h, struct client *c)
{
    (void)h;
    (void)c;
    return false;
}

/* --- an exchange --- */

static unsigned exchange_ways(const struct exchange *x)
{
    return x->req.uri.path.n > 1 ? (unsigned char)x->req.uri.path.p[1] : 0;
}

static void exchange_queue(struct exchange *x)
{
    loop_step(&loop, &x->step);
}

static void exchange_start_answer(struct exchange *x)
{
    const struct front_ops *ops = x->front->ops;
    unsigned ways = exchange_ways(x);
    x->req.response.status = x->refused != 0 ? x->refused : 200;
    x->req.response.content_length = -1;
    x->size = (ways & ANSWERS_MUCH) != 0 ? LARGE : sizeof text - 1;
    ops->respond(x->front);
    if ((ways & RETRACTS) != 0 && ops->retract(x->front))
        ops->respond(x->front);
    x->answering = true;
}

/* As much of the answer as there is room for. */
static void exchange_send(struct exchange *x)
{
    const struct front_ops *ops = x->front->ops;
    while (x->sent < x->size) {
        size_t room = ops->room(x->front), n = x->size - x->sent;
        n = n < sizeof text ? n : sizeof text;
        if (room == 0)
            return;
        ops->body(x->front, (struct str){text, n});
        ops->flush(x->front);
        x->sent += n;
        if ((exchange_ways(x) & CUTS) != 0 && x->sent > 5000) {
            ops->cut(x->front);
            return;
        }
    }
    ops->end(x->front);
}

static void exchange_step(struct exchange *x)
{
    unsigned ways = exchange_ways(x);
    if (x->answering)
        return;
    if (x->refused == 0) {
        if (!x->begun)
            return;
        if (x->has_body && !x->body_over && !x->wants && !x->held) {
            x->wants = true;
            x->front->ops->want_body(x->front, true);
        }
        if (x->has_body && !x->body_over && (ways & ANSWERS_EARLY) == 0)
            return;
        if ((ways & ANSWERS_LATER) != 0 && !x->waited) {
            x->waited = true;
            loop_defer(&loop, &x->later);
            return;
        }
    }
    exchange_start_answer(x);
    exchange_send(x);
}

static void exchange_step_cb(struct deferred *d)
{
    exchange_step((struct exchange *)((char *)d - offsetof(struct exchange, step)));
}

static void exchange_later_cb(struct deferred *d)
{
    struct exchange *x = (struct exchange *)((char *)d - offsetof(struct exchange, later));
    x->held = false;
    exchange_queue(x);
}

struct exchange *exchange_new(struct generation *g, struct request **req)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    must(g == &generation);
    request_init(&x->req, x->memory, sizeof x->memory);
    x->step.run = exchange_step_cb;
    x->later.run = exchange_later_cb;
    alive++;
    *req = &x->req;
    return x;
}

void exchange_set_front(struct exchange *x, struct front *front)
{
    x->front = front;
}

void exchange_begin(struct exchange *x, bool has_body)
{
    must(!x->begun && x->refused == 0);
    must(x->req.uri.asterisk || x->req.uri.path.p[0] == '/');
    x->begun = true;
    x->has_body = has_body;
    exchange_queue(x);
}

void exchange_refuse(struct exchange *x, int status, const char *reason)
{
    must(status >= 400 && reason != NULL);
    if (!x->answering)
        x->refused = status;
    exchange_queue(x);
}

void exchange_body(struct exchange *x, struct str bytes)
{
    must(x->begun && x->has_body && !x->body_over && x->wants && bytes.n > 0);
    x->body += bytes.n;
    must(x->req.body_length < 0 || x->body <= (uint64_t)x->req.body_length);
    if ((exchange_ways(x) & HOLDS_BODY) != 0) {
        x->wants = false;
        x->held = true;
        x->front->ops->want_body(x->front, false);
        loop_defer(&loop, &x->later);
    }
}

void exchange_body_end(struct exchange *x)
{
    must(x->begun && x->has_body && !x->body_over);
    must(x->req.body_length < 0 || x->body == (uint64_t)x->req.body_length);
    x->body_over = true;
    exchange_queue(x);
}

void exchange_room(struct exchange *x)
{
    must(x->answering);
    exchange_send(x);
}

bool exchange_run(struct exchange *x)
{
    if (!loop_is_queued(&x->step))
        return false;
    loop_undefer(&x->step);
    exchange_step(x);
    return true;
}

static void exchange_free(struct exchange *x)
{
    loop_undefer(&x->step);
    loop_undefer(&x->later);
    request_fini(&x->req);
    free(x);
    must(alive > 0);
    alive--;
}

void exchange_done(struct exchange *x)
{
    must(x->answering);
    exchange_free(x);
}

void exchange_gone(struct exchange *x, const char *why)
{
    must(why != NULL);
    exchange_free(x);
}

void exchange_stopped(struct exchange *x, const char *why)
{
    exchange_gone(x, why);
}

bool exchange_is_unanswered(const struct exchange *x)
{
    return !x->answering;
}

const struct limits *exchange_limits(const struct exchange *x)
{
    (void)x;
    return &settings.limits;
}

static void exchange_begin_all(void)
{
    if (loop.ev != NULL)
        return;
    memset(text, 'x', sizeof text);
    loop_init(&loop, ev_loop_new(0));
    clients_init(&clients, &loop, &current);
}

#endif

/* A FastCGI listener's connection as a whole: any bytes of a web server come in through a socket,
 * and an exchange of this file answers what the gateway makes of them. The requests' paths say how
 * it does so. What goes out must be whole records, and every request must end once.
 */
#include "front/gateway.h"
#include "base/log.h"
#include "base/lookup.h"
#include "exchange/exchange.h"
#include "fastcgi/record.h"
#include "front/admission.h"
#include "front/clients.h"
#include "front/handover.h"
#include "fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TRIES = 60,
    TURNS_MOST = 5000,
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
               .request_memory = 4096,
               .response_memory = 65536,
               .spool = 65536,
               .spool_dir = "/tmp"},
};
static struct generation generation = {.settings = &settings, .loop = &loop};
static struct generation *current = &generation;
static unsigned alive; /* exchanges */
static char text[4096];

/* --- what the gateway is linked with in place of the real ones --- */

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

/* --- what a web server gets --- */

struct web {
    int fd;
    uint8_t header[FCGI_HEADER_SIZE];
    size_t header_n, left; /* of the record at hand */
    bool closed;
};

static void web_header(struct web *w)
{
    const uint8_t *h = w->header;
    unsigned id = (unsigned)h[2] << 8 | h[3];
    must(h[0] == 1);
    w->left = ((size_t)h[4] << 8 | h[5]) + h[6];
    if (h[1] == FCGI_END_REQUEST)
        must(w->left == 8 && id > 0);
    else if (h[1] == FCGI_STDOUT)
        must(id > 0);
    else
        must(id == 0 && (h[1] == FCGI_GET_VALUES_RESULT || h[1] == FCGI_UNKNOWN_TYPE));
}

static void web_take(struct web *w, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        if (w->left > 0) {
            size_t take = n < w->left ? n : w->left;
            w->left -= take;
            bytes += take;
            n -= take;
            continue;
        }
        w->header[w->header_n++] = *bytes++;
        n--;
        if (w->header_n == sizeof w->header) {
            w->header_n = 0;
            web_header(w);
        }
    }
}

/* False: nothing was there. */
static bool web_read(struct web *w)
{
    uint8_t bytes[16384];
    ssize_t n;
    bool some = false;
    while ((n = recv(w->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        web_take(w, bytes, (size_t)n);
        some = true;
    }
    w->closed |= n == 0;
    return some;
}

/* Turns of the loop, while the web server reads, until so many have brought nothing. */
static void web_turns(struct web *w, int quiet)
{
    for (int idle = 0, turns = 0; idle < quiet && turns < TURNS_MOST; turns++) {
        ev_run(loop.ev, EVRUN_NOWAIT);
        idle = web_read(w) ? 0 : idle + 1;
    }
}

static void web_send(struct web *w, struct str bytes)
{
    for (int tries = 0; bytes.n > 0 && tries < TRIES; tries++) {
        ssize_t n = send(w->fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* closed: a broken record, or the end of what was asked for */
        bytes = str_skip(bytes, n > 0 ? (size_t)n : 0);
        web_turns(w, 3);
    }
}

static void gateway_begin_all(void)
{
    if (loop.ev != NULL)
        return;
    memset(text, 'x', sizeof text);
    loop_init(&loop, ev_loop_new(0));
    clients_init(&clients, &loop, &current);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_origin origin = {
        .peer = {.family = AF_UNIX}, .local = {.family = AF_UNIX}, .listener = STR("web")};
    struct pieces p;
    struct str piece;
    int fds[2];
    if (size == 0)
        return 0;
    gateway_begin_all();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    /* A socket that takes parts of records. */
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
    struct web web = {.fd = fds[1]};
    gateway_protocol.accept(&clients, fds[0], &origin);
    p = pieces_of(data, size, false);
    while (pieces_next(&p, &piece))
        web_send(&web, piece);
    pieces_end(&p);
    web_turns(&web, 10);
    if ((data[0] & 1) != 0)
        shutdown(web.fd, SHUT_WR);
    web_turns(&web, 10);
    /* What has been begun is written whole, unless the web server broke the rules. */
    must(web.closed || (web.header_n == 0 && web.left == 0));
    clients_close(&clients);
    web_turns(&web, 2);
    must(clients.count == 0 && alive == 0);
    close(web.fd);
    return 0;
}

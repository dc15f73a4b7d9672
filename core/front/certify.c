/* certify - see certify.h. */
#include "front/certify.h"

#include "tls/asked.h"
#include "tls/given.h"

#include <stdlib.h>
#include <sys/random.h>

#define ADDRESSES   1024 /* entries of the table of addresses; two may share one */
#define MISSES_TIME 60.0 /* seconds in which an address has its `misses` */

/* What clients of one address have asked for. */
struct certify_address {
    double since;
    unsigned misses;
};

/* A call of the hook. */
struct certify_call {
    struct script_certificate hook;
    struct asked_name *name;
    struct generation *generation;
};

static struct {
    struct clients *clients;
    ev_timer timer; /* handshakes go on, or further names are to be asked for */
    uint64_t seed;
    struct certify_address addresses[ADDRESSES];
} certify;

static const struct certificate_settings *certify_settings(void)
{
    return &(*certify.clients->current)->settings->certificates;
}

/* --- addresses --- */

/* Of IPv6 the network of 64 bits, which is one client's (RFC 6177). NULL: a unix socket, whose
 * clients are this machine's own. */
static struct certify_address *certify_address(const struct asked_wait *w)
{
    const struct peer *peer = &client_of_tls(w->tls)->peer;
    uint64_t hash = certify.seed;
    if (!peer_has_ip(peer))
        return NULL;
    for (unsigned i = 0; i < (peer->family == AF_INET ? 4 : 8); i++) {
        hash = (hash ^ peer->ip[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    struct certify_address *a = &certify.addresses[hash % ADDRESSES];
    double now = loop_now(certify.clients->loop);
    if (now >= a->since + MISSES_TIME)
        *a = (struct certify_address){.since = now};
    return a;
}

static bool certify_may_ask(void *ctx, const struct asked_wait *w)
{
    const struct certify_address *a = certify_address(w);
    (void)ctx;
    return a == NULL || a->misses < certify_settings()->misses;
}

static void certify_missed(void *ctx, const struct asked_wait *w)
{
    struct certify_address *a = certify_address(w);
    (void)ctx;
    if (a != NULL)
        a->misses++;
}

/* --- calls of the hook --- */

static void certify_done(void *ctx, enum script_result result)
{
    struct certify_call *call = ctx;
    struct certificate *c = NULL;
    const char *err = NULL;
    if (result == SCRIPT_DONE && call->hook.cert != NULL) {
        c = certificate_given((struct str){call->hook.cert, call->hook.cert_size},
                              (struct str){call->hook.key, call->hook.key_size}, &err);
        if (c == NULL)
            script_certificate_unusable(call->generation->script, err);
    }
    if (result == SCRIPT_DONE && err == NULL)
        asked_answer(call->name, c,
                     c != NULL ? call->hook.seconds
                               : call->generation->settings->certificates.none_ttl);
    else
        asked_fail(call->name);
    script_certificate_fini(&call->hook);
    generation_drop(call->generation);
    free(call);
}

static void certify_ask(void *ctx, struct asked_name *name, const char *text)
{
    struct certify_call *call = calloc(1, sizeof *call);
    (void)ctx;
    if (call == NULL)
        abort();
    call->name = name;
    call->generation = generation_hold(*certify.clients->current);
    call->hook.done = certify_done;
    call->hook.ctx = call;
    enum script_result result = script_certificate(call->generation->script, text, &call->hook);
    if (result != SCRIPT_WAITING)
        certify_done(call, result);
}

static unsigned certify_generation(void *ctx)
{
    (void)ctx;
    return (*certify.clients->current)->number;
}

static unsigned certify_most(void *ctx)
{
    (void)ctx;
    return certify_settings()->cache;
}

static double certify_now(void *ctx)
{
    (void)ctx;
    return loop_now(certify.clients->loop);
}

/* --- handshakes that go on --- */

static void certify_ready(void *ctx)
{
    (void)ctx;
    if (ev_is_active(&certify.timer))
        return;
    ev_timer_set(&certify.timer, 0, 0);
    ev_timer_start(certify.clients->loop->ev, &certify.timer);
}

/* Handshakes go on as at an event of their sockets, with their share of the turn. */
static void certify_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct asked_wait *w;
    (void)timer;
    (void)events;
    while (!tls_turn_is_over()) {
        if ((w = asked_next()) == NULL)
            return;
        ev_invoke(ev, &client_of_tls(w->tls)->io, EV_READ);
    }
    certify_ready(NULL); /* in the next turn */
}

void certify_use(struct clients *clients)
{
    static const struct asked_source source = {.ask = certify_ask,
                                               .may_ask = certify_may_ask,
                                               .missed = certify_missed,
                                               .ready = certify_ready,
                                               .generation = certify_generation,
                                               .most = certify_most,
                                               .clock = certify_now};
    certify.clients = clients;
    if (getrandom(&certify.seed, sizeof certify.seed, 0) != sizeof certify.seed)
        abort();
    ev_timer_init(&certify.timer, certify_timer_cb, 0, 0);
    asked_use(&source);
}

void certify_end(void)
{
    if (certify.clients == NULL)
        return;
    ev_timer_stop(certify.clients->loop->ev, &certify.timer);
    asked_end();
    certify.clients = NULL;
}

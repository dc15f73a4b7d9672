/* certify - see certify.h. */
#include "front/certify.h"

#include "tls/asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define ADDRESSES 1024 /* entries of the table of addresses; two may share one */
#define MISSES_MOST                                                                                \
    30                   /* names without a certificate that an address may ask for in MISSES_TIME \
                          */
#define MISSES_TIME 60.0 /* seconds */

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
    return a == NULL || a->misses < MISSES_MOST;
}

static void certify_missed(void *ctx, const struct asked_wait *w)
{
    struct certify_address *a = certify_address(w);
    (void)ctx;
    if (a != NULL)
        a->misses++;
}

/* --- calls of the hook --- */

/* The bytes of what the hook has returned: PEM as it is, or of the file that it names, which is
 * read with the rights of this worker. NULL, or the reason. */
static const char *certify_read(const char *given, size_t given_size, char room[PEM_BYTES],
                                struct str *out)
{
    static char why[512];
    *out = (struct str){given, given_size};
    if (given[0] != '/')
        return NULL;
    const char *bad = pem_read(given, room, &out->n);
    out->p = room;
    if (bad != NULL)
        snprintf(why, sizeof why, "%.300s can't be used: %s", given, bad);
    return bad != NULL ? why : NULL;
}

/* Makes the certificate of what the hook has returned. NULL, and *err. */
static struct certificate *certify_make(const struct script_certificate *hook, const char **err)
{
    static char room[2][PEM_BYTES];
    struct str cert, key = STR_NONE;
    *err = certify_read(hook->cert, hook->cert_size, room[0], &cert);
    if (*err == NULL)
        *err = certify_read(hook->key, hook->key_size, room[1], &key);
    struct certificate *c = NULL;
    if (*err == NULL)
        c = certificate_new(cert, key, hook->cert[0] == '/' ? hook->cert : "cert",
                            hook->key[0] == '/' ? hook->key : "key", err);
    if (c != NULL && (*err = tls_server_refusal(c)) != NULL) {
        certificate_drop(c);
        c = NULL;
    }
    if (key.p == room[1])
        explicit_bzero(room[1], key.n);
    return c;
}

static void certify_done(void *ctx, enum script_result result)
{
    struct certify_call *call = ctx;
    struct certificate *c = NULL;
    const char *err = NULL;
    if (result == SCRIPT_DONE && call->hook.cert != NULL) {
        c = certify_make(&call->hook, &err);
        if (c == NULL)
            script_certificate_unusable(call->generation->script, err);
    }
    if (result == SCRIPT_DONE && err == NULL)
        asked_answer(call->name, c, c != NULL ? call->hook.seconds : ASKED_NONE_LIFE);
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

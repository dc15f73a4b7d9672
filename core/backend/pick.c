/*
 * pick - see pick.h.
 *
 * Data about all servers of a backend is made once, and again when a server is added or gone:
 *
 *     turns     a heap of the servers by the time of their next turn (round_robin)
 *     sums      weights added up, in which a number is looked for (random, p2c)
 *     hashes    of the addresses, and which server a key had (hash, ip_hash)
 *
 * The rest, whether a server is up and has room, its load, its slow start, is read from the ledger
 * for the servers that are drawn. Instructions of a request at 10, 100 and 1,000 servers:
 * docs/performance.md, "Many servers".
 */
#include "backend/pick.h"

#include "backend/backend_inner.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

enum {
    /* servers from which on keys are remembered; with fewer, searching is as fast */
    KEYS_FROM = 64,
    TRIES = 32,   /* servers drawn before all of them are looked at */
    KEYS = 16384, /* places for keys and their servers */
    WEIGHT_MOST = 1000,
};

/* The time of a server's next turn, which grows by 1 / weight with each turn. Of two with the same
 * time, the one that has waited longer comes first. */
struct pick_turn {
    double at;
    uint64_t queued;
    int server;
};

struct pick_key {
    uint32_t hash;
    int server; /* the server's number and 1; 0: unknown */
};

struct pick {
    int *servers;
    double *sums; /* of the weights of `servers`, up to each */
    struct pick_turn *turns;
    uint32_t *hashes;
    struct pick_key *keys; /* by hash; NULL: no key yet */
    unsigned count;
    unsigned changes; /* backend.changes when the data was made */
    unsigned next;    /* where least_conn begins to look */
    double most;      /* the greatest weight */
    uint64_t queued;
};

static void *pick_array(size_t count, size_t size)
{
    void *list = calloc(count, size);
    if (list == NULL)
        abort();
    return list;
}

/* The same as in lua/moongate/balance/hash.lua: a key goes to the same server by both. */
static uint32_t pick_mix(uint32_t h)
{
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

static uint32_t pick_hash(struct str text)
{
    uint32_t h = 0;
    for (size_t i = 0; i < text.n; i++) {
        h += (unsigned char)text.p[i];
        h += h << 10;
        h ^= h >> 6;
    }
    return pick_mix(h);
}

void pick_free(struct backend *b)
{
    struct pick *p = b->pick;
    if (p == NULL)
        return;
    free(p->servers);
    free(p->sums);
    free(p->turns);
    free(p->hashes);
    free(p->keys);
    free(p);
    b->pick = NULL;
}

static void pick_add(struct pick *p, const struct server *s)
{
    unsigned at = p->count++;
    double weight = s->weight;
    p->servers[at] = s->number;
    p->sums[at] = (at > 0 ? p->sums[at - 1] : 0) + weight;
    p->hashes[at] = pick_hash(str_of(s->address));
    if (weight > p->most)
        p->most = weight;
}

/* As the settings have it: a whole number, from 1 on. */
static unsigned pick_weight(const struct backend *b, int server)
{
    double weight = b->servers[server]->weight;
    return weight < 1 ? 1 : weight < WEIGHT_MOST ? (unsigned)weight : WEIGHT_MOST;
}

static int pick_compare_turns(const void *a, const void *b)
{
    const struct pick_turn *x = a, *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->queued < y->queued ? -1 : 1;
}

/* Spreads the first turns of servers with the same weight evenly over the time between two turns of
 * a server, so that turns of heavy and light servers alternate. */
static void pick_set_turns(const struct backend *b, struct pick *p)
{
    unsigned of_weight[WEIGHT_MOST + 1] = {0}, seen[WEIGHT_MOST + 1] = {0};
    for (unsigned i = 0; i < p->count; i++)
        of_weight[pick_weight(b, p->servers[i])]++;
    for (unsigned i = 0; i < p->count; i++) {
        unsigned weight = pick_weight(b, p->servers[i]);
        double share = ((double)seen[weight]++ + 0.5) / of_weight[weight];
        p->turns[i] = (struct pick_turn){
            .at = share / weight, .queued = ++p->queued, .server = p->servers[i]};
    }
    qsort(p->turns, p->count, sizeof *p->turns, pick_compare_turns); /* a sorted list is a heap */
}

static void pick_new(struct backend *b)
{
    struct pick *p = b->pick = pick_array(1, sizeof *p);
    size_t room = (size_t)b->count + 1;
    p->servers = pick_array(room, sizeof *p->servers);
    p->sums = pick_array(room, sizeof *p->sums);
    p->turns = pick_array(room, sizeof *p->turns);
    p->hashes = pick_array(room, sizeof *p->hashes);
    for (int i = 0; i < b->count; i++)
        if (!b->servers[i]->gone && !b->servers[i]->settings->backup) /* a backup is never best */
            pick_add(p, b->servers[i]);
    pick_set_turns(b, p);
    p->changes = b->changes;
}

/* A random number, at least 0 and below 1. */
static double pick_dice(const struct backend *b)
{
    return (double)(loop_id(b->all->loop) >> 11) * 0x1p-53;
}

/* The part of its weight that a server has during slow_start: above 0, at most 1. */
static double pick_part(const struct ledger_server *slot, double now)
{
    return slot->slow_start > 0 ? ledger_weight(slot, now) / slot->weight : 1;
}

/* --- round_robin --- */

static void pick_sift(struct pick *p)
{
    struct pick_turn turn = p->turns[0];
    unsigned at = 0, child;
    while ((child = 2 * at + 1) < p->count) {
        if (child + 1 < p->count && pick_compare_turns(&p->turns[child + 1], &p->turns[child]) < 0)
            child++;
        if (pick_compare_turns(&turn, &p->turns[child]) < 0)
            break;
        p->turns[at] = p->turns[child];
        at = child;
    }
    p->turns[at] = turn;
}

/* A server that can't be used, or that slow_start leaves out by chance, misses its turn. */
static int pick_in_turn(struct backend *b, double now)
{
    struct pick *p = b->pick;
    for (unsigned i = 0; i < TRIES; i++) {
        struct pick_turn *first = &p->turns[0];
        int server = first->server;
        first->at += 1.0 / pick_weight(b, server);
        first->queued = ++p->queued;
        pick_sift(p);
        if (!backend_is_best(b, server, now))
            continue;
        double part = pick_part(backend_server(b, server), now);
        if (part >= 1 || pick_dice(b) < part)
            return server;
    }
    return -1;
}

/* --- random, p2c --- */

/* Draws a server by weight, but not `except`. If the drawn server can't be used, it draws again:
 * the chances of the others are as in a list without that server. */
static int pick_draw(struct backend *b, int except, double now)
{
    struct pick *p = b->pick;
    for (unsigned i = 0; i < TRIES; i++) {
        double wanted = pick_dice(b) * p->sums[p->count - 1];
        unsigned low = 0, high = p->count - 1;
        while (low < high) {
            unsigned middle = (low + high) / 2;
            if (wanted < p->sums[middle])
                high = middle;
            else
                low = middle + 1;
        }
        int server = p->servers[low];
        if (server == except || !backend_is_best(b, server, now))
            continue;
        double part = pick_part(backend_server(b, server), now);
        if (part >= 1 || pick_dice(b) < part)
            return server;
    }
    return -1;
}

static double pick_load(const struct ledger_server *slot)
{
    return (double)slot->active + (double)slot->extra + (double)slot->others;
}

static int pick_better_of_two(struct backend *b, double now)
{
    int first = pick_draw(b, -1, now), second = first >= 0 ? pick_draw(b, first, now) : -1;
    if (second < 0)
        return -1;
    const struct ledger_server *x = backend_server(b, first), *y = backend_server(b, second);
    bool known = x->latency > 0 && y->latency > 0; /* else one counts as like the other */
    double own = (known ? x->latency : 1) * (pick_load(x) + 1) / ledger_weight(x, now);
    double other = (known ? y->latency : 1) * (pick_load(y) + 1) / ledger_weight(y, now);
    return other < own ? second : first;
}

/* --- least_conn --- */

/* Searches from the last choice on, and stops at a server that no other can beat: an idle server of
 * the greatest weight, of which one is usually near. */
static int pick_least(struct backend *b, double now)
{
    struct pick *p = b->pick;
    double least = 0;
    int best = -1;
    unsigned at = p->next, best_at = at;
    for (unsigned i = 0; i < p->count; i++, at = at + 1 < p->count ? at + 1 : 0) {
        int server = p->servers[at];
        const struct ledger_server *slot = backend_server(b, server);
        double weight = slot->slow_start > 0 ? ledger_weight(slot, now) : slot->weight;
        double busy = (pick_load(slot) + 1) / weight;
        if ((best >= 0 && busy >= least) || !backend_is_best(b, server, now))
            continue;
        best = server;
        best_at = at;
        least = busy;
        if (busy <= 1 / p->most)
            break;
    }
    p->next = best_at + 1 < p->count ? best_at + 1 : 0;
    return best;
}

/* --- hash, ip_hash --- */

/* Four groups of digits and the ":" between them; n = 0: the text does not begin so. */
static struct str pick_network(struct str ip)
{
    size_t at = 0;
    for (unsigned groups = 1;; groups++) {
        size_t from = at;
        while (at < ip.n && isxdigit((unsigned char)ip.p[at]))
            at++;
        if (at == from)
            return STR("");
        if (groups == 4)
            return (struct str){ip.p, at};
        if (at == ip.n || ip.p[at++] != ':')
            return STR("");
    }
}

struct str pick_client(struct str ip)
{
    if (memchr(ip.p, '.', ip.n) != NULL)
        return ip;
    struct str network = pick_network(ip);
    const char *gap = network.n == 0 ? memmem(ip.p, ip.n, "::", 2) : NULL;
    if (gap != NULL)
        return (struct str){ip.p, (size_t)(gap - ip.p)};
    return network.n > 0 ? network : ip;
}

/* The server with the greatest hash of key and address (rendezvous hashing). */
static int pick_of_hash(const struct backend *b, uint32_t hash)
{
    const struct pick *p = b->pick;
    double most = 0;
    int best = -1;
    for (unsigned i = 0; i < p->count; i++) {
        double u = ((double)pick_mix(hash ^ p->hashes[i]) + 0.5) * 0x1p-32;
        double score = -b->servers[p->servers[i]]->weight / log(u);
        if (best < 0 || score > most) {
            best = p->servers[i];
            most = score;
        }
    }
    return best;
}

/* The server that was found for the key before. */
static int pick_known(struct backend *b, uint32_t hash)
{
    struct pick *p = b->pick;
    if (p->keys == NULL)
        p->keys = pick_array(KEYS, sizeof *p->keys);
    struct pick_key *kept = &p->keys[hash % KEYS];
    if (kept->server == 0 || kept->hash != hash)
        *kept = (struct pick_key){.hash = hash, .server = pick_of_hash(b, hash) + 1};
    return kept->server - 1;
}

/* The server of a key. -1 if that server can't be used, or starts slowly: the choice then depends
 * on all others. */
static int pick_by_key(struct backend *b, struct str key, double now)
{
    struct pick *p = b->pick;
    uint32_t hash = pick_hash(key);
    int server = p->count < KEYS_FROM ? pick_of_hash(b, hash) : pick_known(b, hash);
    bool own = backend_is_best(b, server, now) && pick_part(backend_server(b, server), now) >= 1;
    return own ? server : -1;
}

int backend_pick(struct backend *b, struct str key)
{
    if (b->settings->balance == BALANCE_OTHER || b->count < 2 || backend_is_held(b))
        return -1;
    if (b->pick != NULL && b->pick->changes != b->changes)
        pick_free(b);
    if (b->pick == NULL)
        pick_new(b);
    double now = ledger_now();
    if (b->pick->count == 0)
        return -1;
    switch (b->settings->balance) {
    case BALANCE_ROUND_ROBIN:
        return pick_in_turn(b, now);
    case BALANCE_RANDOM:
        return pick_draw(b, -1, now);
    case BALANCE_P2C:
        return pick_better_of_two(b, now);
    case BALANCE_LEAST_CONN:
        return pick_least(b, now);
    case BALANCE_HASH:
    case BALANCE_IP_HASH:
        return pick_by_key(b, key, now);
    case BALANCE_OTHER:
        break;
    }
    return -1;
}

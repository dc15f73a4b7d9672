/* ledger_servers - see ledger_servers.h. */
#include "shm/ledger_servers.h"

#include "shm/ledger_claims.h"
#include "shm/ledger_turns.h"
#include "shm/lock.h"

#include <stddef.h>

#define LATENCY 0.2 /* weight of the latest answer in the average */

/* --- groups and servers --- */

/* FNV-1a. */
static uint64_t ledger_mix(uint64_t hash, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        hash = (hash ^ (unsigned char)s.p[i]) * 1099511628211u;
    return hash;
}

static uint64_t ledger_hash_of(struct str s)
{
    uint64_t hash = ledger_mix(14695981039346656037u, s);
    return hash != 0 ? hash : 1; /* 0 means free */
}

uint64_t ledger_tenant(const struct ledger_seat *seat, struct str name)
{
    uint64_t hash = ledger_mix(seat->ledger->seed, name);
    return name.n == 0 ? 0 : hash | 2; /* 0 and 1 stand for requests without a tenant */
}

/* Initializes a place, under the directory's lock. `made` and the group's lock are kept when the
 * group is freed, so that a used place can be told from one that never was used. */
static void group_init(struct group *g, uint64_t key)
{
    if (!g->made)
        lock_init(&g->lock);
    memset(g->tenants, 0xff, sizeof g->tenants);
    memset(g->refs, 0, sizeof g->refs);
    memset(g->served, 0, sizeof g->served);
    g->forgotten = 0;
    g->made = true;
    g->held = false;
    g->queued = g->avoiding = 0;
    memset(g->anyone_of, 0, sizeof g->anyone_of);
    memset(&g->with_anyone, 0, sizeof g->with_anyone);
    g->servers = g->waiting = g->anyone = LEDGER_NONE;
    __atomic_store_n(&g->key, key, __ATOMIC_RELEASE);
}

/* Finds the group's place, or makes the group. */
static uint32_t group_find(struct ledger *l, uint64_t key)
{
    uint32_t at = LEDGER_NONE;
    ledger_lock_directory(l);
    for (uint32_t n = 0; n < LEDGER_GROUPS; n++) {
        uint32_t i = (uint32_t)(key + n) % LEDGER_GROUPS;
        if (l->groups[i].key == key || (l->groups[i].key == 0 && at == LEDGER_NONE))
            at = i;
        if (l->groups[i].key == key || !l->groups[i].made) /* no later place was ever used */
            break;
    }
    if (at != LEDGER_NONE && l->groups[at].key == 0)
        group_init(&l->groups[at], key);
    ledger_unlock_directory(l);
    return at;
}

static bool group_is_referred(const struct ledger *l, const struct group *g)
{
    for (unsigned w = 0; w < l->workers; w++)
        if (g->refs[w] > 0)
            return true;
    return false;
}

/* Frees a group that no worker has open. Once the key is 0, another group may take the place. */
static void group_free(struct ledger *l, struct group *g)
{
    uint32_t anyone = g->anyone;
    g->anyone = LEDGER_NONE;
    if (anyone != LEDGER_NONE)
        ledger_leave_tenant(l, g, anyone);
    ledger_lock_directory(l);
    for (uint32_t at = g->servers, next; at != LEDGER_NONE; at = next) {
        next = l->servers[at].next;
        memset(l->server_refs[at], 0, sizeof l->server_refs[at]);
        memset(&l->known[at], 0, sizeof l->known[at]);
        l->servers[at].key = 0;
    }
    g->servers = LEDGER_NONE;
    g->key = 0;
    ledger_unlock_directory(l);
}

/* Frees groups that were not closed because the last worker that had them open was killed. This is
 * done only when there is no room, so that an operator's hold or drain outlives a worker. */
static void groups_sweep(struct ledger *l)
{
    for (uint32_t i = 0; i < LEDGER_GROUPS; i++) {
        if (l->groups[i].key == 0)
            continue;
        struct group *g = ledger_lock_group(l, i);
        if (g->key != 0 && !group_is_referred(l, g) && g->queued == 0)
            group_free(l, g);
        ledger_unlock_group(g);
    }
}

/* Finds or makes the group and locks it. NULL: there are too many groups. */
static struct group *group_lock_named(struct ledger *l, uint64_t key, uint32_t *at)
{
    for (bool swept = false;;) {
        *at = group_find(l, key);
        if (*at == LEDGER_NONE) {
            if (swept)
                return NULL;
            groups_sweep(l);
            swept = true;
            continue;
        }
        struct group *g = ledger_lock_group(l, *at);
        if (g->anyone == LEDGER_NONE && g->key == key)
            g->anyone = ledger_new_tenant(l, g, 1);
        if (g->anyone != LEDGER_NONE && g->key == key)
            return g;
        bool closed = g->key != key; /* the last worker closed it before the lock was taken */
        ledger_unlock_group(g);
        if (!closed)
            return NULL;
    }
}

uint32_t ledger_open(struct ledger_seat *seat, struct str name, const struct ledger_limits *limits)
{
    uint32_t at;
    struct group *g = group_lock_named(seat->ledger, ledger_hash_of(name), &at);
    if (g == NULL)
        return LEDGER_NONE;
    if (!limits->prepared || !group_is_referred(seat->ledger, g)) {
        g->queue = limits->queue;
        g->per_tenant = limits->per_tenant;
    }
    if (g->refs[seat->worker] < UINT16_MAX)
        g->refs[seat->worker]++;
    ledger_pump(seat->ledger, seat, g); /* a tenant's share may be larger now */
    ledger_unlock_group(g);
    return at;
}

void ledger_close(struct ledger_seat *seat, uint32_t group)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    if (g->refs[seat->worker] > 0 && --g->refs[seat->worker] == 0)
        ledger_forget_servers(l, seat, g, seat->worker);
    if (g->key != 0 && !group_is_referred(l, g) && g->queued == 0)
        group_free(l, g);
    ledger_unlock_group(g);
}

static uint32_t server_find(const struct ledger *l, const struct group *g, uint64_t key)
{
    uint32_t at = g->servers;
    while (at != LEDGER_NONE && l->servers[at].key != key)
        at = l->servers[at].next;
    return at;
}

/* A place for one more server of the group: that of a server which is gone, or a new one at the end
 * of the list. */
static uint32_t server_place(struct ledger *l, struct group *g)
{
    uint32_t *last = &g->servers, at = LEDGER_NONE;
    for (; *last != LEDGER_NONE; last = &l->servers[*last].next) {
        const struct ledger_server *s = &l->servers[*last];
        if (s->gone && s->active + s->spare + s->idle + s->named == 0)
            return *last;
    }
    ledger_lock_directory(l);
    for (uint32_t n = 0; n < LEDGER_SERVERS && at == LEDGER_NONE; n++) {
        uint32_t i = (l->next_server + n) % LEDGER_SERVERS;
        if (l->servers[i].key == 0)
            at = i;
    }
    if (at != LEDGER_NONE) {
        l->next_server = at + 1;
        l->servers[at].next = LEDGER_NONE;
        l->servers[at].gone = true;
        l->servers[at].key = 1; /* marks the place as taken; the real key follows */
    }
    ledger_unlock_directory(l);
    if (at != LEDGER_NONE)
        *last = at;
    return at;
}

/* The server keeps its place in the list, so that a worker may die at any instruction here. */
static uint32_t server_new(struct ledger *l, struct group *g, uint32_t group, uint64_t key)
{
    uint32_t at = server_place(l, g);
    if (at == LEDGER_NONE)
        return at;
    struct ledger_server *s = &l->servers[at];
    size_t kept = offsetof(struct ledger_server, next) + sizeof s->next;
    memset((char *)s + kept, 0, sizeof *s - kept);
    s->idle_head = s->idle_tail = LEDGER_NONE;
    s->gone = true;
    s->group = group;
    s->key = key;
    return at;
}

static void server_set_limits(struct ledger_server *s, const struct ledger_server_limits *limits)
{
    s->max_conns = limits->max_conns;
    s->keepalive = limits->keepalive;
    s->max_fails = limits->max_fails;
    s->fail_timeout = limits->fail_timeout;
    s->slow_start = limits->slow_start;
    s->weight = limits->weight;
    s->backup = limits->backup;
}

static uint32_t server_open(struct ledger_seat *seat, uint32_t group, uint64_t key,
                            const struct ledger_server_limits *limits)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    uint32_t at = server_find(l, g, key);
    if (at == LEDGER_NONE)
        at = server_new(l, g, group, key);
    if (at != LEDGER_NONE) {
        struct ledger_server *s = &l->servers[at];
        if (s->gone || s->since > limits->generation)
            s->since = limits->generation;
        if (s->gone || !limits->prepared)
            server_set_limits(s, limits);
        s->retired = 0;
        s->gone = false;
        if (l->server_refs[at][seat->worker] < UINT16_MAX)
            l->server_refs[at][seat->worker]++;
        ledger_set_worker(&l->known[at], seat->worker, true);
        ledger_pump(l, seat, g);
    }
    ledger_unlock_group(g);
    return at;
}

uint32_t ledger_server_open(struct ledger_seat *seat, uint32_t group, struct str address,
                            const struct ledger_server_limits *limits)
{
    uint32_t at = server_open(seat, group, ledger_hash_of(address), limits);
    if (at != LEDGER_NONE)
        return at;
    groups_sweep(seat->ledger);
    return server_open(seat, group, ledger_hash_of(address), limits);
}

struct ledger_server *ledger_at(const struct ledger_seat *seat, uint32_t server)
{
    return &seat->ledger->servers[server];
}

unsigned ledger_active(const struct ledger_seat *seat, uint32_t group, struct str address)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    uint32_t at = server_find(l, g, ledger_hash_of(address));
    unsigned active = at != LEDGER_NONE ? l->servers[at].active : 0;
    ledger_unlock_group(g);
    return active;
}

bool ledger_is_held(const struct ledger_seat *seat, uint32_t group)
{
    return seat->ledger->groups[group].held;
}

uint32_t ledger_queued(const struct ledger_seat *seat, uint32_t group)
{
    return seat->ledger->groups[group].queued;
}

void ledger_tenant_claims(const struct ledger_seat *seat, uint32_t group, struct str tenant,
                          uint32_t *active, uint32_t *waiting)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    uint32_t at = ledger_known_tenant(l, g, ledger_tenant(seat, tenant));
    *active = at != LEDGER_NONE ? l->tenants[at].active : 0;
    *waiting = at != LEDGER_NONE ? l->tenants[at].waiting : 0;
    ledger_unlock_group(g);
}

void ledger_tenants_claims(const struct ledger_seat *seat, uint32_t group, uint32_t *active,
                           uint32_t *waiting)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    *active = *waiting = 0;
    for (unsigned i = 0; i < LEDGER_BUCKETS; i++)
        for (uint32_t at = g->tenants[i]; at != LEDGER_NONE; at = l->tenants[at].bucket_next) {
            if (at == g->anyone)
                continue;
            *active += l->tenants[at].active;
            *waiting += l->tenants[at].waiting;
        }
    ledger_unlock_group(g);
}

uint32_t ledger_queue_room(const struct ledger_seat *seat, uint32_t group)
{
    return ledger_room_of(seat->ledger, &seat->ledger->groups[group]);
}

/* --- the state of servers: operators, answers, checks --- */

static void server_give_up_all(struct ledger *l, struct ledger_seat *seat,
                               const struct ledger_server *s)
{
    for (uint32_t at = s->idle_head; at != LEDGER_NONE; at = l->claims[at].next)
        ledger_ask_to_leave(l, seat, at);
}

void ledger_hold(struct ledger_seat *seat, uint32_t group, bool held)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    g->held = held;
    for (uint32_t at = g->servers; held && at != LEDGER_NONE; at = l->servers[at].next)
        server_give_up_all(l, seat, &l->servers[at]);
    ledger_pump(l, seat, g);
    ledger_refuse_lost(l, seat, g);
    ledger_unlock_group(g);
}

/* Locks the group of a server. */
static struct group *server_lock(struct ledger_seat *seat, uint32_t server,
                                 struct ledger_server **out)
{
    *out = &seat->ledger->servers[server];
    return ledger_lock_group(seat->ledger, (*out)->group);
}

void ledger_drain(struct ledger_seat *seat, uint32_t server, bool draining)
{
    struct ledger_server *s;
    struct group *g = server_lock(seat, server, &s);
    s->draining = draining;
    if (draining)
        server_give_up_all(seat->ledger, seat, s);
    ledger_pump(seat->ledger, seat, g);
    ledger_refuse_lost(seat->ledger, seat, g);
    ledger_unlock_group(g);
}

/* Closes the server for a worker. A server that no worker has open is gone. */
static void server_leave(struct ledger *l, struct ledger_seat *seat, uint32_t server)
{
    struct ledger_server *s = &l->servers[server];
    if (ledger_have_common(&l->known[server], &l->known[server]))
        return;
    s->gone = true;
    server_give_up_all(l, seat, s);
}

void ledger_forget_servers(struct ledger *l, struct ledger_seat *seat, struct group *g,
                           unsigned worker)
{
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next) {
        l->server_refs[at][worker] = 0;
        ledger_set_worker(&l->known[at], worker, false);
        server_leave(l, seat, at);
    }
}

void ledger_server_set_checks(struct ledger_seat *seat, uint32_t server, uint32_t generation,
                              bool checks, enum ledger_reads reads)
{
    struct ledger_server *s;
    struct group *g = server_lock(seat, server, &s);
    if (generation >= s->heeded) { /* ignores a worker that still serves an older generation */
        s->heeded = generation;
        s->unchecked = !checks;
        s->reads = (uint8_t)reads;
    }
    if (s->unchecked) {
        s->sick = false;
        s->check_streak = 0;
    }
    if (s->reads != LEDGER_READS_LOAD)
        s->others = 0;
    ledger_pump(seat->ledger, seat, g); /* the server may be in service again */
    ledger_unlock_group(g);
}

void ledger_server_retire(struct ledger_seat *seat, uint32_t server, uint32_t generation)
{
    struct ledger_server *s;
    struct group *g = server_lock(seat, server, &s);
    s->retired = generation;
    ledger_unlock_group(g);
}

void ledger_server_gone(struct ledger_seat *seat, uint32_t server)
{
    struct ledger_server *s;
    struct ledger *l = seat->ledger;
    struct group *g = server_lock(seat, server, &s);
    if (l->server_refs[server][seat->worker] > 0)
        l->server_refs[server][seat->worker]--;
    ledger_set_worker(&l->known[server], seat->worker, l->server_refs[server][seat->worker] > 0);
    server_leave(l, seat, server);
    ledger_pump(l, seat, g); /* requests may go to the backups now */
    ledger_unlock_group(g);
}

bool ledger_server_is_shared(const struct ledger_seat *seat, uint32_t server)
{
    const struct ledger *l = seat->ledger;
    for (unsigned i = 0; i < l->workers; i++)
        if (i != seat->worker && l->server_refs[server][i] > 0)
            return true;
    return false;
}

/* Whether the group has another server. A group's only server is never taken out of service. */
static bool group_has_others(const struct ledger *l, const struct group *g)
{
    unsigned count = 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        count += !l->servers[at].gone;
    return count > 1;
}

bool ledger_failed(struct ledger_seat *seat, uint32_t server)
{
    struct ledger_server *s;
    double now = ledger_now();
    struct group *g = server_lock(seat, server, &s);
    bool was_down = s->down;
    s->failures++;
    if (s->fails == 0 || now - s->failed_at >= s->fail_timeout) {
        s->fails = 0;
        s->failed_at = now;
    }
    s->fails++;
    if (s->max_fails > 0 && (was_down || s->fails >= s->max_fails) &&
        group_has_others(seat->ledger, g)) {
        s->down = true;
        s->retry_at = now + s->fail_timeout;
    }
    bool changed = s->down && !was_down;
    if (changed) /* waiting claims may now be for backups, or for servers that are down as well */
        ledger_pump(seat->ledger, seat, g);
    ledger_unlock_group(g);
    return changed;
}

static void server_is_back(struct ledger_server *s)
{
    s->fails = 0;
    s->up_since = ledger_now();
}

void ledger_answered(struct ledger_seat *seat, uint32_t server, double latency)
{
    struct ledger_server *s = &seat->ledger->servers[server];
    /* Two workers may write at once; the average bears the loss of one value. */
    double before = s->latency;
    s->latency = before > 0 ? before + (latency - before) * LATENCY : latency;
    __atomic_fetch_add(&s->answers, 1, __ATOMIC_RELAXED);
    if (!s->down)
        return;
    struct group *g = server_lock(seat, server, &s);
    s->down = false;
    server_is_back(s);
    ledger_pump(seat->ledger, seat, g);
    ledger_unlock_group(g);
}

bool ledger_checked(struct ledger_seat *seat, uint32_t server, bool good, uint32_t rise,
                    uint32_t fall)
{
    struct ledger_server *s;
    struct group *g = server_lock(seat, server, &s);
    bool against = good == s->sick && !s->unchecked, changed = false;
    s->check_streak = against ? s->check_streak + 1 : 0;
    if (against && s->check_streak >= (good ? rise : fall)) {
        s->sick = !good;
        s->check_streak = 0;
        changed = true;
        if (good) {
            s->down = false;
            server_is_back(s);
        }
        ledger_pump(seat->ledger, seat, g);
        ledger_refuse_lost(seat->ledger, seat, g);
    }
    ledger_unlock_group(g);
    return changed;
}

bool ledger_check_due(struct ledger_seat *seat, uint32_t server, double interval, double timeout)
{
    struct ledger_server *s;
    double now = ledger_now();
    struct group *g = server_lock(seat, server, &s);
    bool due = !s->gone && now >= s->next_check - interval / 10; /* timers are not exact */
    if (due) {
        s->checked_at = now;
        s->next_check = now + (timeout > interval ? timeout : interval);
    }
    ledger_unlock_group(g);
    return due;
}

void ledger_check_over(struct ledger_seat *seat, uint32_t server, double interval)
{
    struct ledger_server *s;
    struct group *g = server_lock(seat, server, &s);
    s->next_check = s->checked_at + interval;
    ledger_unlock_group(g);
}

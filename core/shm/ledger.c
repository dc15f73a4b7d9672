/*
 * ledger - see ledger.h. This file has the mapping, claims from acquire to drop, the reading of a
 * worker's mailbox, and the end of a worker.
 */
#include "shm/ledger_claims.h"
#include "shm/ledger_servers.h"
#include "shm/ledger_turns.h"
#include "shm/lock.h"
#include "shm/mapping.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

/* --- the mapping --- */

struct ledger *ledger_new(unsigned workers)
{
    if (workers > LEDGER_MAX_WORKERS) {
        errno = E2BIG;
        return NULL;
    }
    size_t size =
        sizeof(struct ledger) + (size_t)workers * LEDGER_WORKER_MAX * sizeof(struct claim);
    struct ledger *l = mapping_new(size);
    if (l == NULL)
        return NULL;
    l->size = size;
    if (getrandom(&l->seed, sizeof l->seed, 0) < 0)
        l->seed = (uint64_t)(uintptr_t)l; /* a guessable seed, where the kernel gives none */
    l->workers = workers;
    l->free_tenant = LEDGER_NONE;
    lock_init(&l->lock);
    for (unsigned i = 0; i < workers; i++) {
        l->parts[i].wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (l->parts[i].wake < 0) {
            ledger_free(l);
            return NULL;
        }
    }
    return l;
}

void ledger_free(struct ledger *l)
{
    for (unsigned i = 0; i < l->workers; i++)
        if (l->parts[i].wake > 0)
            close(l->parts[i].wake);
    munmap(l, l->size);
}

/* --- claims --- */

static bool ledger_may_go(const struct ledger *l, const struct group *g, const struct claim *c,
                          const struct ledger_request *request)
{
    if (g->held || request->server == LEDGER_NONE || ledger_is_capped(l, g, c->tenant))
        return false;
    const struct ledger_server *s = &l->servers[request->server];
    return !s->draining && !s->gone && ledger_has_room(s);
}

/* A claim that waits only until an idle connection is closed does not count as queued. */
static uint32_t ledger_idle_of(const struct ledger *l, const struct group *g, const struct claim *c)
{
    uint32_t idle = 0;
    if (g->held || ledger_is_capped(l, g, c->tenant))
        return 0;
    for (uint32_t at = g->servers; at != LEDGER_NONE; at = l->servers[at].next)
        if (!c->only || c->server == at)
            idle += l->servers[at].idle;
    return idle;
}

static enum ledger_answer ledger_ask(struct ledger *l, struct ledger_seat *seat, struct group *g,
                                     const struct ledger_request *request, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    c->tenant = ledger_find_tenant(l, g, request->tenant);
    ledger_pump(l, seat,
                g); /* a claim that came first may go by now: a probe may have become due */
    if (ledger_may_go(l, g, c, request)) {
        ledger_become_active(l, claim, request->server);
        if (ledger_note_probe(&l->servers[request->server]))
            ledger_pump(l, seat, g);
        return LEDGER_GRANTED;
    }
    c->since = ledger_now();
    ledger_wait_in_line(l, g, claim);
    ledger_pump(l, seat, g); /* the caller may have seen less room than there is */
    if (c->state != CLAIM_WAITING || g->queued <= ledger_room_of(l, g) ||
        g->queued - ledger_room_of(l, g) <= ledger_idle_of(l, g, c))
        return LEDGER_WAITING;
    ledger_leave_line(l, g, claim);
    ledger_leave_tenant(l, g, c->tenant);
    ledger_free_claim(seat, claim);
    return LEDGER_FULL;
}

static enum ledger_answer ledger_ask_last(struct ledger *l, struct ledger_seat *seat,
                                          struct group *g, uint32_t claim)
{
    struct claim *c = &l->claims[claim];
    c->tenant = g->anyone;
    ledger_pump(l, seat, g); /* a waiting claim may go by now: a probe may have become due */
    uint32_t server = ledger_spare_server(l, g, c);
    if (server == LEDGER_NONE) {
        ledger_free_claim(seat, claim);
        return LEDGER_FULL;
    }
    ledger_become_active(l, claim, server);
    return LEDGER_GRANTED;
}

enum ledger_answer ledger_acquire(struct ledger_seat *seat, const struct ledger_request *request,
                                  uint32_t *claim)
{
    struct ledger *l = seat->ledger;
    uint32_t at = ledger_take_claim(seat);
    if (at == LEDGER_NONE)
        return LEDGER_FULL;
    l->claims[at] = (struct claim){
        .holder = request->holder,
        .group = request->group,
        .server = request->server,
        .avoid = request->avoid,
        .only = request->only,
        .fresh = request->fresh,
        .last = request->last,
        .generation = request->generation,
        .worker = (uint16_t)seat->worker,
        .state = CLAIM_FREE, /* until it is in a list */
    };
    struct group *g = ledger_lock_group(l, request->group);
    enum ledger_answer answer =
        request->last ? ledger_ask_last(l, seat, g, at) : ledger_ask(l, seat, g, request, at);
    ledger_unlock_group(g);
    *claim = at;
    return answer;
}

uint32_t ledger_server_of(const struct ledger_seat *seat, uint32_t claim)
{
    return seat->ledger->claims[claim].server;
}

/* Changes the tenant to which an active or idle connection counts. */
static void ledger_change_tenant(struct ledger *l, struct group *g, struct claim *c,
                                 uint32_t tenant)
{
    uint32_t before = c->tenant;
    c->tenant = tenant;
    if (before != tenant)
        ledger_leave_tenant(l, g, before);
}

bool ledger_reuse(struct ledger_seat *seat, uint32_t claim, uint64_t tenant, void *holder)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint32_t whose = ledger_find_tenant(l, g, tenant);
    bool good = !c->leaving && !g->held && !l->servers[c->server].draining &&
                !l->servers[c->server].gone && !ledger_is_capped(l, g, whose);
    if (good) {
        ledger_leave_idle(l, claim);
        c->tenant = whose;
        c->holder = holder;
        ledger_become_active(l, claim, c->server);
        if (ledger_note_probe(&l->servers[c->server]))
            ledger_pump(l, seat, g);
    } else {
        ledger_leave_tenant(l, g, whose);
    }
    ledger_unlock_group(g);
    return good;
}

/* True when a limit was lowered below the number of connections in use. */
static bool ledger_is_over(const struct ledger_server *s)
{
    return (s->max_conns > 0 && s->active + s->idle > s->max_conns) ||
           (s->offered_conns > 0 && s->active + s->idle > s->offered_conns);
}

/* Makes a claim idle. An idle connection counts for no tenant. */
static enum ledger_kept ledger_keep(struct ledger *l, struct group *g, uint32_t claim, void *holder)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    if ((s->idle >= s->keepalive && !c->shared) || g->held || s->draining || s->gone ||
        ledger_is_over(s))
        return LEDGER_CLOSE;
    ledger_leave_active(l, claim);
    ledger_change_tenant(l, g, c, g->anyone);
    c->holder = holder;
    ledger_become_idle(l, claim);
    return LEDGER_KEEP;
}

static enum ledger_kept ledger_give_back(struct ledger *l, struct ledger_seat *seat,
                                         struct group *g, uint32_t claim, void *holder, void **next)
{
    struct claim *c = &l->claims[claim];
    struct ledger_server *s = &l->servers[c->server];
    uint32_t server = c->server, tenant = c->tenant, waiter = LEDGER_NONE;
    if (c->last) /* its place is not one that another claim may have */
        return LEDGER_CLOSE;
    if (g->queued > 0 && !g->held && (s->keepalive > 0 || c->shared) && !ledger_is_over(s)) {
        /* the released connection does not count against its own tenant in the choice */
        l->tenants[tenant].active--;
        waiter = ledger_next_waiter(l, g, server, seat->worker);
        l->tenants[tenant].active++;
    }
    if (waiter != LEDGER_NONE && l->claims[waiter].worker == seat->worker &&
        !l->claims[waiter].fresh) {
        struct claim *w = &l->claims[waiter];
        uint32_t whose = w->tenant;
        *next = w->holder;
        ledger_leave_line(l, g, waiter);
        ledger_leave_active(l, claim);
        ledger_free_claim(seat, waiter);
        ledger_change_tenant(l, g, c, whose);
        ledger_become_active(l, claim, server);
        return LEDGER_NEXT;
    }
    return waiter == LEDGER_NONE ? ledger_keep(l, g, claim, holder) : LEDGER_CLOSE;
}

enum ledger_kept ledger_release(struct ledger_seat *seat, uint32_t claim, void *holder, void **next)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, l->claims[claim].group);
    enum ledger_kept kept = ledger_give_back(l, seat, g, claim, holder, next);
    /* its tenant has one less, so waiting claims of the tenant may get other servers */
    if (kept != LEDGER_CLOSE)
        ledger_pump(l, seat, g);
    ledger_unlock_group(g);
    return kept;
}

void ledger_drop(struct ledger_seat *seat, uint32_t claim)
{
    struct ledger *l = seat->ledger;
    struct claim *c = &l->claims[claim];
    struct group *g = ledger_lock_group(l, c->group);
    uint32_t tenant = c->tenant;
    ledger_leave(l, g, claim);
    ledger_free_claim(seat, claim);
    ledger_leave_tenant(l, g, tenant);
    ledger_pump(l, seat, g);
    ledger_unlock_group(g);
}

void ledger_nudge(struct ledger_seat *seat, uint32_t group)
{
    struct group *g = ledger_lock_group(seat->ledger, group);
    ledger_pump(seat->ledger, seat, g);
    ledger_unlock_group(g);
}

void ledger_refuse_all(struct ledger_seat *seat, uint32_t group)
{
    struct ledger *l = seat->ledger;
    struct group *g = ledger_lock_group(l, group);
    for (uint32_t t = g->waiting; t != LEDGER_NONE; t = l->tenants[t].next)
        for (uint32_t at = l->tenants[t].head; at != LEDGER_NONE; at = l->claims[at].next)
            if (l->claims[at].worker == seat->worker)
                ledger_post(l, seat, at, LEDGER_REFUSE);
    ledger_unlock_group(g);
}

/* --- the mailbox --- */

void ledger_join(struct ledger_seat *seat, struct ledger *l, unsigned worker)
{
    *seat = (struct ledger_seat){.ledger = l, .worker = worker, .free = LEDGER_NONE};
}

int ledger_wake_fd(const struct ledger_seat *seat)
{
    return seat->ledger->parts[seat->worker].wake;
}

void ledger_open_mailbox(struct ledger_seat *seat)
{
    struct part *part = &seat->ledger->parts[seat->worker];
    uint64_t count;
    /* News of this worker for itself wake no process, so there may be nothing to read. */
    if ((!seat->noted || __atomic_load_n(&part->woken, __ATOMIC_RELAXED)) &&
        read(part->wake, &count, sizeof count) < 0)
        count = 0;
    /* Cleared after the read: a worker that finds the flag false from now on writes to the eventfd
     * again. */
    (void)__atomic_exchange_n(&part->woken, false, __ATOMIC_ACQ_REL);
    seat->noted = false;
    seat->part = 0;
    seat->words = seat->pending = 0;
}

static uint64_t mailbox_take(uint64_t *bits)
{
    return __atomic_load_n(bits, __ATOMIC_ACQUIRE) != 0
               ? __atomic_exchange_n(bits, 0, __ATOMIC_ACQ_REL)
               : 0;
}

/* The next claim of the mailbox; LEDGER_NONE: the mailbox has been read. A bit that is set before
 * the current position is read the next time, so that reading comes to an end. */
static uint32_t mailbox_next(struct ledger_seat *seat)
{
    struct part *part = &seat->ledger->parts[seat->worker];
    while (seat->pending == 0) {
        while (seat->words == 0) {
            if (seat->part == MAILBOX_PARTS)
                return LEDGER_NONE;
            seat->words = mailbox_take(&part->words[seat->part++]);
        }
        seat->word = (seat->part - 1) * 64 + (uint32_t)__builtin_ctzll(seat->words);
        seat->words &= seat->words - 1;
        seat->pending = mailbox_take(&part->news[seat->word]);
    }
    uint32_t bit = (uint32_t)__builtin_ctzll(seat->pending);
    seat->pending &= seat->pending - 1;
    return seat->worker * LEDGER_WORKER_MAX + seat->word * 64 + bit;
}

/* The state that a claim must have for the event to be valid. */
static const uint8_t mailbox_states[] = {
    [LEDGER_GRANT] = CLAIM_ACTIVE, [LEDGER_REFUSE] = CLAIM_WAITING, [LEDGER_GIVE_UP] = CLAIM_IDLE};

bool ledger_next_news(struct ledger_seat *seat, struct ledger_news *news)
{
    struct ledger *l = seat->ledger;
    for (uint32_t at; (at = mailbox_next(seat)) != LEDGER_NONE;) {
        struct claim *c = &l->claims[at];
        struct group *g = ledger_lock_group(l, c->group); /* the event is written under the lock */
        uint8_t state = c->state;
        *news = (struct ledger_news){c->event, c->holder, at, c->server};
        c->event = LEDGER_NOTHING;
        ledger_unlock_group(g);
        if (news->event != LEDGER_NOTHING && state == mailbox_states[news->event])
            return true;
    }
    return false;
}

/* Removes the claims of a worker that has ended from the lists. If the worker died inside the lock,
 * ledger_lock_group has made the lists again. */
static void ledger_forget_claims(struct ledger *l, unsigned worker)
{
    for (uint32_t i = 0; i < l->parts[worker].used; i++) {
        uint32_t claim = worker * LEDGER_WORKER_MAX + i;
        struct claim *c = &l->claims[claim];
        if (c->state == CLAIM_FREE)
            continue;
        struct group *g = ledger_lock_group(l, c->group);
        ledger_leave(l, g, claim);
        c->state = CLAIM_FREE;
        c->event = LEDGER_NOTHING;
        ledger_leave_tenant(l, g, c->tenant);
        ledger_unlock_group(g);
    }
}

void ledger_worker_gone(struct ledger *l, unsigned worker)
{
    struct part *part = &l->parts[worker];
    ledger_forget_claims(l, worker);
    for (uint32_t i = 0; i < LEDGER_GROUPS; i++) {
        struct group *g = &l->groups[i];
        if (g->key == 0 || g->refs[worker] == 0)
            continue;
        ledger_lock_group(l, i);
        g->refs[worker] = 0;
        ledger_forget_servers(l, NULL, g, worker);
        ledger_pump(l, NULL, g);
        ledger_unlock_group(g);
    }
    memset(part->words, 0, sizeof part->words);
    memset(part->news, 0, sizeof part->news);
    part->woken = false;
    part->used = 0;
}

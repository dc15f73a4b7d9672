/*
 * choice - see backend.h. This file finds the servers that may have a request, and makes the log's
 * text where there is none.
 */
#include "backend/backend_inner.h"

static bool choice_was_tried(const int *tried, unsigned count, int server)
{
    for (unsigned i = 0; i < count; i++)
        if (tried[i] == server)
            return true;
    return false;
}

/* True when the server can take the request. A kept connection of this worker, or a shared one,
 * needs no room. */
static bool choice_can_take(const struct server *s, const struct ledger_server *slot)
{
    return s->idle.first != NULL || ledger_has_room(slot) || server_has_place(s);
}

bool backend_is_best(const struct backend *b, int server, double now)
{
    const struct server *s = b->servers[server];
    const struct ledger_server *slot = backend_server(b, server);
    return !s->gone && ledger_tier_of(slot, now) == 0 && choice_can_take(s, slot);
}

enum backend_choice backend_choose(const struct backend *b, const int *tried, unsigned tried_count,
                                   struct backend_candidates *out)
{
    unsigned best = LEDGER_NO_TIER;
    double now = b->count > 1 ? ledger_now() : 0;
    bool busy = false;
    out->count = 0;
    for (int i = 0; i < b->count; i++) {
        const struct server *s = b->servers[i];
        const struct ledger_server *slot = backend_server(b, i);
        unsigned tier = s->gone ? LEDGER_NO_TIER : ledger_tier_of(slot, now);
        if (tier > best || tier == LEDGER_NO_TIER || choice_was_tried(tried, tried_count, i))
            continue;
        if (tier < best) { /* better than all before */
            best = tier;
            out->count = 0;
            busy = false;
        }
        if (!choice_can_take(s, slot))
            busy = true;
        else
            out->list[out->count++] = i;
    }
    if (backend_is_held(b))
        return CHOICE_WAIT;
    if (out->count > 0)
        return CHOICE_SOME;
    return busy || (best == LEDGER_NO_TIER && names_are_looking(b)) ? CHOICE_WAIT : CHOICE_NONE;
}

bool backend_has_other_address(const struct backend *b, int server, const int *tried,
                               unsigned tried_count)
{
    const struct server_settings *name = b->servers[server]->settings;
    for (int i = 0; i < b->count && name->is_name; i++)
        if (b->servers[i]->settings == name && !b->servers[i]->gone &&
            !choice_was_tried(tried, tried_count, i) &&
            ledger_tier_of(backend_server(b, i), 0) != LEDGER_NO_TIER)
            return true;
    return false;
}

bool backend_is_up(const struct backend *b)
{
    double now = ledger_now();
    unsigned best = LEDGER_NO_TIER;
    for (int i = 0; i < b->count; i++) {
        unsigned tier =
            b->servers[i]->gone ? LEDGER_NO_TIER : ledger_tier_of(backend_server(b, i), now);
        if (tier < LEDGER_LAST_TIERS)
            return true;
        best = tier < best ? tier : best;
    }
    return best == LEDGER_NO_TIER && names_are_looking(b);
}

const char *backend_lack(const struct backend *b, struct arena *a)
{
    unsigned sick = 0, draining = 0, gone = 0;
    for (int i = 0; i < b->count; i++) {
        const struct ledger_server *slot = backend_server(b, i);
        gone += b->servers[i]->gone;
        sick += !b->servers[i]->gone && slot->sick;
        draining += !b->servers[i]->gone && slot->draining;
    }
    for (unsigned i = 0; i < b->name_count && gone == (unsigned)b->count; i++)
        if (b->names[i].failed)
            return arena_printf(a, "no address of it is known: %s", b->names[i].problem).p;
    return arena_printf(a,
                        "no server is left to ask (%d in all, %u drained by an operator, %u whose "
                        "health checks fail)",
                        b->count - (int)gone, draining, sick)
        .p;
}

const char *backend_crowd(const struct backend *b, struct arena *a)
{
    unsigned active = 0, idle = 0;
    uint64_t max = 0;
    for (int i = 0; i < b->count; i++) {
        const struct ledger_server *slot = backend_server(b, i);
        if (b->servers[i]->gone)
            continue;
        active += slot->active;
        idle += slot->idle;
        max += slot->max_conns;
    }
    return arena_printf(a, "%u active, %u kept idle, %u queued of %u, max_conns %llu%s", active,
                        idle, backend_queued(b), backend_queue_room(b), (unsigned long long)max,
                        backend_is_held(b) ? "; the backend is held (moongate resume)" : "")
        .p;
}

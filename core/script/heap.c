/*
 * heap - see heap.h.
 *
 * What is called from the allocator sets numbers and a hook, as a signal handler may: compiled code
 * sees the collector's threshold at its next allocation, and leaves for the interpreter, which sees
 * the hook, when a cycle comes to its atomic phase.
 */
#include "script/heap.h"

#include "script/limit.h"
#include "script/lua.h"

#include <stdio.h>
#include <stdlib.h>

#define SPARE   ((size_t)1 << 20)
#define HURRIED 1000 /* the collector's stepmul under pressure: 200 is LuaJIT's own */

struct script_heap {
    lua_State *L;
    lua_Alloc alloc; /* LuaJIT's, */
    void *ud;        /* with its own data */
    size_t used;     /* bytes; size_t arithmetic may wrap for what was there before the count */
    size_t limit;
    size_t mark; /* from where on there is pressure */
    size_t live; /* behind the last collection */
    size_t spare;
    int stepmul;  /* of the script; -1: there is no pressure */
    bool failing; /* that was so when the last collection began */
    bool failed;  /* a function has got an error: what it held is garbage soon */
    char words[80];
};

/* Three quarters, without a product that could overflow. */
static size_t heap_quarters(size_t limit)
{
    return limit - limit / 4;
}

static void *heap_alloc(void *ud, void *p, size_t before, size_t after);

/* The heap whose allocator the state has; NULL: the state is about to be closed. */
static struct script_heap *heap_of_state(lua_State *L)
{
    void *ud;
    return lua_getallocf(L, &ud) == heap_alloc ? ud : NULL;
}

/* The function that runs is interrupted (script_interrupt): NULL, or the error for it. */
static const char *heap_check(lua_State *L)
{
    struct script_heap *h = heap_of_state(L);
    if (h == NULL || !script_heap_is_due(h))
        return NULL;
    script_heap_collect(h);
    if (h->live <= h->limit - h->limit / 8)
        return NULL;
    h->failed = true;
    return h->words;
}

static void heap_press(struct script_heap *h)
{
    h->stepmul = lua_gc(h->L, LUA_GCSETSTEPMUL, HURRIED);
    lua_gc(h->L, LUA_GCRESTART, 0); /* the next step of the collector is due */
    script_interrupt(h->L, heap_check);
}

static void *heap_alloc(void *ud, void *p, size_t before, size_t after)
{
    struct script_heap *h = ud;
    if (after > before) {
        size_t more = after - before;
        size_t most = h->limit + h->spare;
        if (h->used > most || more > most - h->used) {
            h->failed = true;
            script_interrupt(h->L, heap_check); /* where the error is caught, there is garbage */
            return NULL;
        }
    }
    void *block = h->alloc(h->ud, p, before, after);
    if (block == NULL && after > 0)
        return NULL;
    h->used = h->used - before + after;
    if (h->used > h->mark && h->stepmul < 0)
        heap_press(h);
    return block;
}

struct script_heap *script_heap_new(lua_State *L)
{
    struct script_heap *h = calloc(1, sizeof *h);
    if (h == NULL)
        abort();
    h->L = L;
    h->stepmul = -1;
    h->used = (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
    script_heap_limit(h, SCRIPT_HEAP_MOST);
    h->alloc = lua_getallocf(L, &h->ud);
    lua_setallocf(L, heap_alloc, h);
    return h;
}

void script_heap_free(struct script_heap *h)
{
    if (h == NULL)
        return;
    lua_setallocf(h->L, h->alloc, h->ud);
    free(h);
}

void script_heap_limit(struct script_heap *h, size_t bytes)
{
    h->limit = bytes;
    h->mark = heap_quarters(bytes);
    snprintf(h->words, sizeof h->words, "limits.script_memory: the script needs more than %zu MB",
             bytes >> 20);
}

bool script_heap_is_due(const struct script_heap *h)
{
    return h->used > h->mark || h->failed;
}

void script_heap_collect(struct script_heap *h)
{
    lua_State *L = h->L;
    size_t before;
    h->failing = h->failed;
    h->failed = false;
    size_t enough = h->failing ? h->limit / 4 : heap_quarters(h->limit);
    do { /* buffers shrink by half in each cycle, and what has a finalizer goes in the next one */
        before = h->used;
        lua_gc(L, LUA_GCCOLLECT, 0);
    } while (h->used > enough && h->used < before - before / 8);
    if (h->stepmul >= 0)
        lua_gc(L, LUA_GCSETSTEPMUL, h->stepmul);
    h->stepmul = -1;
    h->live = h->used;
    size_t room = h->limit > h->live ? h->limit - h->live : 0;
    size_t halfway = h->live + room / 2; /* the fuller it is, the sooner it is looked at again */
    h->mark = halfway > heap_quarters(h->limit) ? halfway : heap_quarters(h->limit);
}

bool script_heap_is_worn(const struct script_heap *h)
{
    return h->live > heap_quarters(h->limit) || (h->failing && h->live > h->limit / 2);
}

const char *script_heap_words(const struct script_heap *h)
{
    return h->failed ? h->words : "not enough memory"; /* there is none at all */
}

void script_heap_spare(struct script_heap *h, bool begin)
{
    h->spare = begin ? SPARE : 0;
}

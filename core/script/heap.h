/*
 * heap - how much memory the Lua state of a script may hold (limits.script_memory).
 *
 * The allocator of the state is LuaJIT's own, behind a count. Garbage that has not been collected
 * counts. From three quarters of the limit on, the collector works harder, and the running function
 * is interrupted once for a whole collection; if seven eighths are in use behind that, it gets an
 * error. No allocation goes beyond the limit: one that would is refused, an error as well ("not
 * enough memory"). When a function has ended and three quarters are still in use, the script is
 * worn, and its owner begins it anew.
 */
#ifndef MG_SCRIPT_HEAP_H
#define MG_SCRIPT_HEAP_H

#include <stdbool.h>
#include <stddef.h>

struct lua_State;
struct script_heap;

#define SCRIPT_HEAP_MOST                                                                           \
    ((size_t)4 << 30) /* while a script is loaded: its limit is not known yet */

/* Counts what the state holds from now on. Never NULL. */
struct script_heap *script_heap_new(struct lua_State *L);
/* The state has its own allocator again: before lua_close. Frees the heap. */
void script_heap_free(struct script_heap *h);
void script_heap_limit(struct script_heap *h, size_t bytes);

/* Behind a run of the script: there may be something to collect. */
bool script_heap_is_due(const struct script_heap *h);
/* Collects all that is garbage. Inside the door: finalizers run. */
void script_heap_collect(struct script_heap *h);
/* After a collection: so much is in use that the script had better begin anew. */
bool script_heap_is_worn(const struct script_heap *h);
/* The words for an error of the state that is out of memory; valid as long as the heap. */
const char *script_heap_words(const struct script_heap *h);
/* Some memory beyond the limit, for the report of an error, and its end. */
void script_heap_spare(struct script_heap *h, bool begin);

#endif

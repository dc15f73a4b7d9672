/*
 * generation - one loaded script with its settings and backends, counted by the requests that run
 * on it. The worker holds one count on the current generation; the last count frees it.
 */
#ifndef MG_EXCHANGE_GENERATION_H
#define MG_EXCHANGE_GENERATION_H

#include "backend/backend.h"
#include "backend/health.h"
#include "script/script.h"

struct grants;

struct generation {
    struct script *script;
    const struct settings *settings;
    struct backend **backends; /* in the order of settings->backends */
    struct resolver *resolver; /* NULL where no server is a name */
    struct health *health;     /* NULL: no backend has checks */
    struct loop *loop;
    struct grants *grants;   /* recent grants of authorizers; NULL: none */
    struct generation *next; /* list of all generations of the process */
    unsigned number;
    unsigned count;
    bool started; /* on_start has ended */
    void (*on_started)(void *ctx, struct generation *g, const char *err);
    void *ctx;
    struct deadline last; /* ends the waiting tasks of a replaced generation */
};

/* Loads the route; the caller holds one count. NULL and *err (malloc'd): the route can't be used.
 */
struct generation *generation_new(const struct route *route, struct backends *backends,
                                  unsigned number, char **err);
/* Runs on_start, which may wait. on_started is called, now or later, with NULL or the error, unless
 * the generation is dropped before. */
void generation_start(struct generation *g,
                      void (*on_started)(void *ctx, struct generation *g, const char *err),
                      void *ctx);
struct generation *generation_hold(struct generation *g);
void generation_drop(struct generation *g);
/* Drops a generation that will not serve, with all tasks that its on_start has begun. */
void generation_reject(struct generation *g);
/* `g` serves from now on, as the first one of this process. */
void generation_serve(struct generation *g);
/* The same in place of `old`. It takes over the kept connections of servers that both have; servers
 * that only the old one has get no new requests. */
void generation_replace(struct generation *g, struct generation *old);
/* Ends timers, health checks and kept connections to backends, since a worker of the next
 * generation serves. Requests that have begun continue. */
void generation_retire(struct generation *g);
/* The current generation has no request and no task any more, and it is the last one. */
bool generation_is_done(const struct generation *g);
/* A generation that was prepared after this one has been given up: what it told the ledger of its
 * backends is said again as this one has it. */
void generation_refresh(struct generation *g);
/* The process ends: spans that wait are sent, for two seconds at most. Runs the loop. NULL: nothing
 * is done. */
void generation_send_spans(struct generation *g);
/* The process ends: what waits, in whatever generation, and belongs to no request, is ended. */
void generation_end_tasks(void);
/* How many there are in this process. */
unsigned generation_alive(void);

/* The backend with that name; NULL: there is none such. */
struct backend *generation_backend(const struct generation *g, struct str name);

#endif

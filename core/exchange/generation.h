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
    struct health *health;     /* NULL where no backend wants checks */
    struct loop *loop;
    struct grants *grants;   /* of authorizers; NULL: there are none */
    struct generation *next; /* of all in this process */
    unsigned number;
    unsigned count;
    bool started; /* on_start has come to its end */
    void (*on_started)(void *ctx, struct generation *g, const char *err);
    void *ctx;
    struct deadline last; /* of one that has been replaced: what still waits is ended */
};

/* Loads the route. NULL and *err (malloc'd) when it is no good. Counted once. */
struct generation *generation_new(const struct route *route, struct backends *backends,
                                  unsigned number, char **err);
/* Runs on_start, which may wait: on_started is called, now or later, with NULL or why it failed.
 * Not when the generation is dropped before. */
void generation_start(struct generation *g,
                      void (*on_started)(void *ctx, struct generation *g, const char *err),
                      void *ctx);
struct generation *generation_hold(struct generation *g);
void generation_drop(struct generation *g);
/* It will never serve: drops it, with all that its on_start has begun. */
void generation_reject(struct generation *g);
/* `g` serves from now on, as the first one of this process. */
void generation_serve(struct generation *g);
/* The same in place of `old`: it takes over the kept connections of servers that both have; those
 * that only the old one has get nothing new. */
void generation_replace(struct generation *g, struct generation *old);
/* A worker of the next generation serves in place of this one: no timer, no health check and no
 * kept connection to a backend is needed here any more. Requests that have begun go on. */
void generation_retire(struct generation *g);
/* The current generation has no request and no task any more, and it is the last one. */
bool generation_is_done(const struct generation *g);
/* A generation that was prepared after this one has been given up: what it told the ledger of its
 * backends is said again as this one has it. */
void generation_refresh(struct generation *g);
/* The process ends: what waits, in whatever generation, and belongs to no request, is ended. */
void generation_end_tasks(void);
/* How many there are in this process. */
unsigned generation_alive(void);

/* The backend with that name; NULL: there is none such. */
struct backend *generation_backend(const struct generation *g, struct str name);

#endif

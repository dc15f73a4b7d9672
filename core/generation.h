/*
 * generation - one loaded script with its settings and backends, counted by the requests that run
 * on it. The worker holds one count on the current generation; the last count frees it.
 */
#ifndef MG_GENERATION_H
#define MG_GENERATION_H

#include "backend.h"
#include "health.h"
#include "script.h"

struct generation {
    struct script *script;
    const struct settings *settings;
    struct backend **backends; /* in the order of settings->backends */
    struct resolver *resolver; /* NULL where no server is a name */
    struct health *health;     /* NULL where no backend wants checks */
    struct loop *loop;
    unsigned number;
    unsigned count;
};

/* Loads the route and runs on_start. NULL and *err (malloc'd) when it is no good. Counted once. */
struct generation *generation_new(const struct route *route, struct backends *backends,
                                  unsigned number, char **err);
struct generation *generation_hold(struct generation *g);
void generation_drop(struct generation *g);

#endif

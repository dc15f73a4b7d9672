/*
 * grants - what authorizers have let on, for the time that the route gives them (authorize_ttl).
 *
 * Of one generation in one worker: a reload forgets them, and an authorizer is asked at most once
 * in that time by each worker. Bounded: a table of GRANTS places, of which a key has one; a new
 * grant takes the place of another one's there.
 */
#ifndef MG_EXCHANGE_GRANTS_H
#define MG_EXCHANGE_GRANTS_H

#include "http/request.h"

enum {
    GRANTS = 4096,          /* places */
    GRANT_SIZE = 16 * 1024, /* bytes of the key and of what was said; more is not kept */
};

struct grants;

/* Keeps a grant until `until`, in the seconds of the loop's clock. *g is made where it is NULL. */
void grants_keep(struct grants **g, struct str key, double until, const struct params *said);
/* The params that the authorizer has set, copied to the arena. False: there is no grant, or its
 * time is over. g may be NULL. */
bool grants_find(const struct grants *g, struct arena *a, struct str key, double now,
                 struct params *said);
void grants_free(struct grants *g);

#endif

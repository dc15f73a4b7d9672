/*
 * postpone - a filter that keeps the parts of a response until there are enough of them (`flush`).
 * The front sees a body in fewer, larger slices, and the head with the first of them.
 */
#ifndef MG_EXCHANGE_POSTPONE_H
#define MG_EXCHANGE_POSTPONE_H

#include "base/buf.h"
#include "exchange/filter.h"

struct postpone {
    struct filter filter;
    struct buf kept;
    size_t most;     /* bytes that wait at most; 0: none do */
    bool head_first; /* the head does not wait for them */
    bool head_gone;
};

/* Puts the filter before what *first is. postpone_set comes before the response's head. */
void postpone_add(struct postpone *p, struct front **first);
/* For the response that follows. */
void postpone_set(struct postpone *p, size_t most, bool head_first);
void postpone_fini(struct postpone *p);

#endif

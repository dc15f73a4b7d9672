/*
 * cached - the response cache in a worker: its beginning, its end, what it does beside requests.
 * What it does for a request is in parts.h.
 */
#ifndef MG_EXCHANGE_CACHED_H
#define MG_EXCHANGE_CACHED_H

#include "base/loop.h"
#include "shm/cache.h"

/* This process is the worker of that place, which nothing is kept for yet. The folder is opened for
 * the first request that needs it. */
void cached_use(struct cache *index, unsigned place, struct loop *loop);
/* Frees what was read, before the process ends. */
void cached_end(void);
/* True while descriptors are open, and cached_sweep is to be called once in a second. */
bool cached_has_descriptors(void);
/* Closes those that no request has used since the last call. */
void cached_sweep(void);

#endif

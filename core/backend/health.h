/*
 * health - active checks of a generation's servers: FastCGI requests for php-fpm's ping page or its
 * status page, and the latter as a signal of the load by other clients. Contract section 4
 * (`health`, `load`).
 *
 * A check is never a bare connect, which would block a process of PHP-FPM for seconds. The first
 * worker that sees a due check makes it, and the ledger has the result for all workers. A check
 * without a reply does not count while the server is full of requests, since a busy server has
 * not failed.
 */
#ifndef MG_BACKEND_HEALTH_H
#define MG_BACKEND_HEALTH_H

#include "backend/backend.h"

struct health;

/* Starts the checks. NULL: no backend has checks. The backends must outlive the result. */
struct health *health_new(struct backend **backends, unsigned count, struct loop *loop);
void health_free(struct health *h);

#endif

/*
 * health - active checks of a generation's servers: FastCGI requests for php-fpm's ping page, and
 * its status page as a signal of how much others do there. Contract section 4 (`health`, `load`).
 *
 * Never a bare connect: that would block a process of PHP-FPM for seconds. One worker makes each
 * check that is due, whichever comes first, and all hear of it through the ledger. A check that
 * gets no answer from a server which is full of requests says nothing: busy is not dead.
 */
#ifndef MG_BACKEND_HEALTH_H
#define MG_BACKEND_HEALTH_H

#include "backend/backend.h"

struct health;

/* NULL where no backend wants checks. The backends must live as long. */
struct health *health_new(struct backend **backends, unsigned count, struct loop *loop);
void health_free(struct health *h);

#endif

/*
 * trial - a new generation that a child process builds whole, on_start included, before a serving
 * worker loads it.
 *
 * Its connections, timers and claims (in a ledger of its own) end with the process. on_stop is not
 * called, since the serving generation may use the same files that on_start has made. For the
 * script it is worker 1. A process runs one trial and does nothing else.
 */
#ifndef MG_PROCESS_TRIAL_H
#define MG_PROCESS_TRIAL_H

#include "exchange/generation.h"
#include "shm/shared_file.h"

struct trial;

/* Loads the route with the environment of a worker. NULL and *err (malloc'd) for a route that can't
 * be used. */
struct trial *trial_new(const struct route *route, unsigned number,
                        const struct shared_file *shared, char **err);
struct script *trial_script(const struct trial *t);
/* Runs on_start to its end, however long it waits; script_timeout bounds each run between two
 * waits. NULL, or the error, valid as long as the process. */
const char *trial_start(struct trial *t);

#endif

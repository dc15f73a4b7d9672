/*
 * trial - a new generation, built whole in a process of its own, on_start included, before any
 * worker that serves touches it.
 *
 * What it brings into being (connections, timers, claims in a ledger of its own) ends with the
 * process: on_stop is not called, since what on_start has made on the disk may be the serving
 * generation's as well. To the script it is worker 1. One a process, which does nothing else.
 */
#ifndef MG_PROCESS_TRIAL_H
#define MG_PROCESS_TRIAL_H

#include "exchange/generation.h"
#include "shm/shared_file.h"

struct trial;

/* Loads the route, with what a worker has around it. NULL and *err (malloc'd) when it is no good.
 */
struct trial *trial_new(const struct route *route, unsigned number,
                        const struct shared_file *shared, char **err);
struct script *trial_script(const struct trial *t);
/* Runs on_start to its end, however long it waits; each of its runs has script_timeout. NULL, or
 * why it failed, valid as long as the process. */
const char *trial_start(struct trial *t);

#endif

/*
 * companion - a program that the master runs beside its workers: the private php-fpm of `serve` and
 * `--php`. It ends with the master, however that ends, and is started again when it dies.
 */
#ifndef MG_PROCESS_COMPANION_H
#define MG_PROCESS_COMPANION_H

#include "process/signals.h"

#include <stdbool.h>
#include <sys/types.h>

struct companion {
    char *const *argv;   /* NULL: there is none */
    const char *address; /* where it serves */
    pid_t pid;           /* 0: it does not run */
};

/* Starts it and waits until it serves. False: it does not, which has been said on stderr. */
bool companion_start(struct companion *c, const struct signals *signals);
/* Has it ended? Then *status says how; what its children hold is ended. */
bool companion_ended(struct companion *c, int *status);
/* Ends it, and waits for that. */
void companion_stop(struct companion *c);

#endif

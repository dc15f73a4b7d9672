/*
 * companion - a program that the master runs beside its workers: the private php-fpm of `serve` and
 * `--php`. It ends with the master, even if the master is killed, and is started again when it
 * dies.
 */
#ifndef MG_PROCESS_COMPANION_H
#define MG_PROCESS_COMPANION_H

#include "process/signals.h"

#include <stdbool.h>
#include <sys/types.h>

struct companion {
    char *const *argv;   /* NULL: no companion */
    const char *address; /* the address on which it serves */
    pid_t pid;           /* 0: not running */
};

/* Starts the companion and waits until it serves. False: it does not serve; the reason was printed
 * on stderr. */
bool companion_start(struct companion *c, const struct signals *signals);
/* True: the companion has ended, with *status; its child processes are killed. */
bool companion_ended(struct companion *c, int *status);
/* Ends the companion, and waits for its end. */
void companion_stop(struct companion *c);

#endif

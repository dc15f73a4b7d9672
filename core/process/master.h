/*
 * master - the parent process: it opens listeners, forks and replaces workers, starts and stops a
 * companion (a private php-fpm), and never runs a script.
 *
 * A loader, a child with dropped privileges, runs the route once and reports the master's settings
 * as lines of text. Signals: TERM and QUIT stop gracefully, INT at once.
 */
#ifndef MG_PROCESS_MASTER_H
#define MG_PROCESS_MASTER_H

#include "script/script.h"

struct master_options {
    struct route route;
    const char *user; /* NULL: the script's, else the default */
    const char *group;
    const char *binary;   /* of this program, for an upgrade */
    const char *pid_file; /* NULL: none */
    /* the control listener's address, unless the route or an option sets one; NULL: none */
    const char *control_default;
    char *const *companion;        /* argv, NULL-terminated; NULL: none */
    const char *companion_address; /* the address on which the companion serves */
    const char *cleanup;           /* a folder to remove at the end */
    const char *banner;            /* printed once all workers serve */
};

/* Serves until a signal or command stops the instance. Returns the exit status. Errors are printed
 * on stderr, except that of a log or a listening socket at the start: that is *problem, which the
 * caller prints. */
int master_run(const struct master_options *options, const char **problem);

#endif

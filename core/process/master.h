/*
 * master - the process that stays: it opens listeners, forks and replaces workers, starts and stops
 * a companion (a private php-fpm), and never runs a script.
 *
 * A loader child with dropped privileges runs the route once and hands back, as lines of text, what
 * the master must know. Signals: TERM and QUIT stop gracefully, INT at once.
 */
#ifndef MG_PROCESS_MASTER_H
#define MG_PROCESS_MASTER_H

#include "script/script.h"

struct master_options {
    struct route route;
    const char *user; /* NULL: the script's, else the default */
    const char *group;
    const char *binary;          /* of this program, for an upgrade */
    const char *pid_file;        /* NULL: none */
    const char *control_default; /* where to listen for commands when neither route nor option says;
                                    NULL: nowhere */
    char *const *companion;      /* argv, NULL-terminated; NULL: none */
    const char *companion_address; /* where the companion serves; set with companion */
    const char *cleanup;           /* a folder to remove at the end */
    const char *banner;            /* printed once all workers serve */
};

/* Serves until it is told to stop. Returns the exit status; what went wrong is on stderr, but why
 * the start failed at a log or a listening socket is *problem, for the caller to say. */
int master_run(const struct master_options *options, const char **problem);

#endif

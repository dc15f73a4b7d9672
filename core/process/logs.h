/*
 * logs - the error log and the access log of a generation, opened by the master.
 *
 * Their names are the route's, and so is what is written there: so they are opened as the workers'
 * user, and as root only where root alone decides what lies there.
 */
#ifndef MG_PROCESS_LOGS_H
#define MG_PROCESS_LOGS_H

#include "base/user.h"

struct logs {
    int error, access; /* -1: there is none */
};

#define LOGS_NONE ((struct logs){-1, -1})

/* Opens both; access "": there is none. Each is a path, "stdout" or "stderr". NULL, or why not,
 * valid until the next call; then nothing is open. */
const char *logs_open(struct logs *logs, const struct user *user, const char *error,
                      const char *access);
/* Closes them, and leaves LOGS_NONE. The process's standard streams stay open. */
void logs_close(struct logs *logs);

#endif

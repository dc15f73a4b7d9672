/*
 * logs - the error log and the access log of a generation, opened by the master.
 *
 * The route chooses their names and contents. So they are opened as the workers' user, and as root
 * only in folders that root alone can change.
 */
#ifndef MG_PROCESS_LOGS_H
#define MG_PROCESS_LOGS_H

#include "base/user.h"

struct logs {
    int error, access; /* descriptors; -1: none */
};

#define LOGS_NONE ((struct logs){-1, -1})

/* Opens both logs. Each is a path, "stdout", "stderr" or a target of base/datagram; access "": no
 * access log. NULL, or the error, valid until the next call; no log is open then. */
const char *logs_open(struct logs *logs, const struct user *user, const char *error,
                      const char *access);
/* Closes both logs, and sets LOGS_NONE. The process's standard streams stay open. */
void logs_close(struct logs *logs);

#endif

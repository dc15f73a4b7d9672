/*
 * loader - a child with dropped privileges that runs the route once and reports a plan, so that the
 * master never runs a script. In a reload it also runs the trial: the route's specs and on_start.
 */
#ifndef MG_PROCESS_LOADER_H
#define MG_PROCESS_LOADER_H

#include "base/user.h"
#include "process/plan.h"
#include "script/script.h"
#include "shm/shared_file.h"

#include <sys/types.h>

/* A loader that runs. */
struct loader {
    pid_t pid; /* 0: none */
    int fd;    /* readable when the loader has written a part of its report */
    char *text;
    size_t used;
};

struct loader_config {
    const struct route *route; /* with a snapshot: its specs, which are not in there, are not run */
    const struct user *user;
    const char *ini; /* `ini` of the plan that serves, or NULL */
    int snapshot;    /* a file to write the script's files to; 0: none */
    /* workers serve: the loader also runs the route's specs, and on_start as `generation` */
    bool trial;
    unsigned generation;
    const struct shared_file *shared; /* dictionaries for scripts of a trial */
    void (*child)(void *ctx);         /* called first in the child */
    void *ctx;
};

/* Starts a loader. False: the process or its pipe could not be made. */
bool loader_start(struct loader *loader, const struct loader_config *config);

enum loader_result { LOADER_MORE, LOADER_DONE, LOADER_FAILED };
/* Reads the loader's report, when fd is readable. DONE: *plan is filled. FAILED: loader_error has
 * the reason, and the plan the files that the route had loaded. In both cases the child has ended.
 */
enum loader_result loader_read(struct loader *loader, struct plan *plan);
/* The reason of FAILED. Valid until loader_free. */
const char *loader_error(const struct loader *loader);
/* In another child of the master: closes the pipe of the loader, which continues to run. */
void loader_forget(struct loader *loader);
/* Ends the loader, if it still runs, and frees its state. */
void loader_free(struct loader *loader);

#endif

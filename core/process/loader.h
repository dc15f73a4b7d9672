/*
 * loader - a child with dropped privileges that runs the route once and hands back a plan, so that
 * the master never runs a script. In a reload it is the trial as well: the route's specs, on_start.
 */
#ifndef MG_PROCESS_LOADER_H
#define MG_PROCESS_LOADER_H

#include "base/user.h"
#include "process/plan.h"
#include "script/script.h"
#include "shm/shared_file.h"

#include <sys/types.h>

/* One that runs. */
struct loader {
    pid_t pid; /* 0: none */
    int fd;    /* readable when it has something to say */
    char *text;
    size_t used;
};

struct loader_config {
    const struct route *route;
    const struct user *user;
    const char *ini; /* of the plan that serves, or NULL */
    int snapshot;    /* a file to write the script's files to; 0: none */
    bool trial; /* workers serve: run the route's specs as well, and on_start, as `generation` */
    unsigned generation;
    const struct shared_file *shared; /* what scripts of a trial use */
    void (*child)(void *ctx);         /* called in the child first */
    void *ctx;
};

/* False: no process, or no pipe. */
bool loader_start(struct loader *loader, const struct loader_config *config);

enum loader_result { LOADER_MORE, LOADER_DONE, LOADER_FAILED };
/* Reads what the loader says, when fd is readable. DONE: *plan is filled. FAILED: loader_error says
 * why, and the plan has the files that the route had loaded. Either way the child has ended. */
enum loader_result loader_read(struct loader *loader, struct plan *plan);
/* Valid until loader_free. */
const char *loader_error(const struct loader *loader);
/* In another child of the master: forgets the loader, lets it run. */
void loader_forget(struct loader *loader);
/* Ends the loader, if it still runs, and forgets it. */
void loader_free(struct loader *loader);

#endif

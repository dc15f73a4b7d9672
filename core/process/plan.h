/*
 * plan - what the master must know of a route, as the loader reports it: addresses, users, logs,
 * the number of workers. And the loader: a child with dropped privileges that runs the route once,
 * so that the master never runs a script.
 */
#ifndef MG_PROCESS_PLAN_H
#define MG_PROCESS_PLAN_H

#include "base/log.h"
#include "base/user.h"
#include "front/listener.h"
#include "script/script.h"
#include "shm/shared_folder.h"

#include <signal.h>
#include <sys/types.h>

#define PLAN_ROUTE     64 /* addresses that a route may listen on, as in moongate.route.settings */
#define PLAN_LISTENERS (PLAN_ROUTE + ADDR_MOST) /* and those of the control listener */
#define PLAN_WORKERS   256
#define PLAN_FILES     1024
#define PLAN_WARNINGS  32

/* An address of a name that is to be listened on. */
struct plan_address {
    char *given; /* "localhost:8080" */
    char *address;
};

struct plan {
    struct listen_spec listen[PLAN_LISTENERS];
    unsigned listen_count;
    unsigned workers;
    char user[64], group[64];
    char access[512], error[512];
    char control[256]; /* an ADDR, "off", or "": the default */
    enum log_level level;
    double stop_timeout;
    double script_timeout;
    size_t shared;           /* bytes of limits.shared */
    int watch;               /* 1, 0, or -1: as the terminal says */
    char *files[PLAN_FILES]; /* that the route has loaded */
    unsigned file_count;
    struct plan_address *addresses; /* of all names among the listeners' addresses */
    unsigned address_count;
    char *ini;  /* which settings of PHP its servers are sent: for the next loader; NULL: none */
    char *note; /* what the operator is to know, once it serves; NULL: nothing */
    char *warnings[PLAN_WARNINGS]; /* of what is valid and will yet hardly work; a line each */
    unsigned warning_count;
};

/* Adds a listener, whose strings are copied; one for each address where it is given by a name. */
void plan_listen(struct plan *plan, const struct listen_spec *given);
/* The control listener is where it is in the other plan. */
void plan_keep_control(struct plan *plan, const struct plan *from);
void plan_free(struct plan *plan);

/* A loader that runs. */
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
    bool trial; /* others serve: run the route's specs as well, and on_start, as `generation` */
    unsigned generation;
    const struct shared_folder *shared; /* what scripts of a trial use */
    void (*child)(void *ctx);           /* called in the child first */
    void *ctx;
};

/* False: no process, or no pipe. */
bool loader_start(struct loader *loader, const struct loader_config *config);

enum loader_result { LOADER_MORE, LOADER_DONE, LOADER_FAILED };
/* Reads what it says, when fd is readable. DONE: *plan is filled. FAILED: loader_error says why,
 * and the plan has the files that the route had loaded. Either way the child has ended. */
enum loader_result loader_read(struct loader *loader, struct plan *plan);
/* Valid until loader_free. */
const char *loader_error(const struct loader *loader);
/* In a child of ours, which has nothing to do with it: forgets it, lets it run. */
void loader_forget(struct loader *loader);
/* Ends it, if it still runs, and forgets it. */
void loader_free(struct loader *loader);

#endif

/*
 * plan - what the master must know of a route, as a loader reports it: addresses, users, logs, the
 * number of workers.
 */
#ifndef MG_PROCESS_PLAN_H
#define MG_PROCESS_PLAN_H

#include "base/log.h"
#include "front/listener.h"

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
/* Fills the plan from the lines of a loader's report, which are taken apart in place. */
void plan_read(struct plan *plan, char *report);

#endif

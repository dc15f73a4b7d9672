/*
 * plan - the master's part of a route's settings, as a loader reports them: addresses, users, logs,
 * the number of workers.
 */
#ifndef MG_PROCESS_PLAN_H
#define MG_PROCESS_PLAN_H

#include "base/log.h"
#include "front/listener.h"

#define PLAN_ROUTE     64 /* most addresses of a route's listeners, as in moongate.route.settings */
#define PLAN_LISTENERS (PLAN_ROUTE + ADDR_MOST) /* with those of the control listener */
#define PLAN_WORKERS   256
#define PLAN_FILES     1024
#define PLAN_WARNINGS  32
#define PLAN_TARGET    512

/* An address of a listener that is given by a name. */
struct plan_address {
    char *given; /* "localhost:8080" */
    char *address;
};

/* A line about the TLS of listeners (tls/store.h); `number` is that of their listen_spec. */
struct plan_tls {
    unsigned number;
    char *key, *first, *second;
};

struct plan {
    struct listen_spec listen[PLAN_LISTENERS];
    unsigned listen_count;
    unsigned workers;
    char user[64], group[64];
    char access[PLAN_TARGET], error[PLAN_TARGET]; /* as process/logs opens them */
    char control[256];                            /* an ADDR, "off", or "": the default */
    char token[260]; /* of the control listener, for its commands; "": none */
    enum log_level level;
    double stop_timeout;
    double script_timeout;
    size_t shared;           /* bytes of limits.shared */
    int watch;               /* 1, 0, or -1: if stderr is a terminal */
    char hash[17];           /* hash of the files that the route has loaded; "": not known */
    char *files[PLAN_FILES]; /* files that the route has loaded */
    unsigned file_count;
    struct plan_address *addresses; /* addresses of all names of listeners */
    unsigned address_count;
    struct plan_tls *tls; /* of all listeners */
    unsigned tls_count;
    char *ini;    /* the settings of PHP that its servers get, for the next loader; NULL: none */
    char *format; /* the access log's format if it is a text with fields; NULL: it is not */
    char *note;   /* a line that is logged once the route serves; NULL: none */
    char *warnings[PLAN_WARNINGS]; /* lines about settings that are valid, but probably wrong */
    unsigned warning_count;
};

/* Adds a listener, whose strings are copied. A listener that is given by a name becomes one for
 * each address of the name. */
void plan_listen(struct plan *plan, const struct listen_spec *given);
/* Takes the address of the control listener from the other plan. */
void plan_keep_control(struct plan *plan, const struct plan *from);
void plan_free(struct plan *plan);
/* Fills the plan from the lines of a loader's report, which are split in place. */
void plan_read(struct plan *plan, char *report);

#endif

/*
 * reload - a two-phase commit of a new release over all workers.
 *
 *     idle --asked for--> loading --plan--> preparing --all are prepared--> switching --> idle
 *                            \---error---------\--------one is not-------> idle, as before
 *
 * Until the switch the serving generation is not touched, so a broken script has no effect. The
 * reload is over when each worker has switched: from then on no answer is the old script's. The
 * master calls the functions below when an event comes; none of them waits.
 */
#ifndef MG_PROCESS_RELOAD_H
#define MG_PROCESS_RELOAD_H

#include "process/certificates.h"
#include "process/history.h"
#include "process/loader.h"
#include "process/workers.h"

struct watch;

enum reload_state { RELOAD_IDLE, RELOAD_LOADING, RELOAD_PREPARING, RELOAD_SWITCHING };

/* The part of a worker in the reload that is being prepared. */
enum reload_part {
    PART_NONE,
    PART_ASKED, /* asked to prepare the release */
    PART_PREPARED,
    PART_LEAVES, /* a reserve will serve in its place */
};

/* The order of a reload: the files to load, and the origin of the order. */
struct reload_order {
    const char *reason; /* of static life; "HUP" */
    unsigned from;      /* the generation whose kept files it is; 0: what is on the disk */
};

struct reload {
    /* Set by the master before the first call. */
    const struct route *route;
    const struct user *user;
    const char *control_default; /* as in master_options */
    bool user_is_given;          /* on the command line, which overrides the script's */
    struct release *serving;
    struct memory *memory;
    struct sockets *sockets;
    struct workers *workers;
    struct watch *watch;
    void (*in_child)(void *ctx); /* called in the loader: closes the master's descriptors */
    void *ctx;
    /* Read by other files. */
    enum reload_state state;
    struct certificates_watch folders; /* of the serving release */
    struct loader loader;
    struct release next;
    struct history history;
    /* Private. */
    struct reload_order order;
    struct route loaded;              /* the route, with the snapshot that is loaded */
    bool wanted;                      /* another reload follows this one */
    struct reload_order wanted_order; /* the order of that reload */
    uint64_t request;                 /* highest number of a request that this reload answers */
    unsigned given_up;                /* loaders in a row that were ended for a newer request */
    double since, due;
    double room_due;  /* end of the wait for a place beside the only worker */
    bool logs_moved;  /* USR1 came after the reload opened its logs: they are reopened */
    unsigned attempt; /* number of the reload; failed ones count, too */
    enum reload_part part[PLAN_WORKERS]; /* by places */
    unsigned place[PLAN_WORKERS];        /* the workers' `place`, and */
    unsigned accepts[PLAN_WORKERS];      /* `accepts`, once they switch */
    /* settings that a reload can't change, and advice about them */
    char notes[BOARD_TEXT];
};

/* Begins a reload, or lets it follow the one that is under way. Of several that follow, the last
 * one's order counts. */
void reload_ask(struct reload *r, struct reload_order order);
/* Notes that the release of the start serves. */
void reload_note_start(struct reload *r, const char *reason);
/* Answers a request for a reload that is not possible now, with the reason. */
void reload_refuse(struct reload *r, const char *why);
/* Reads the loader's report. */
void reload_read_loader(struct reload *r);
/* Handles a worker's answer (WORKER_ANSWERS). An answer about an earlier attempt is ignored. */
void reload_answered(struct reload *r, unsigned place, const char *text);
/* Handles a worker that serves now. */
void reload_joined(struct reload *r, unsigned place);
/* Handles the end of a worker that the reload needs, or its failed start; the text has the reason.
 */
void reload_lost(struct reload *r, const char *text);
/* Handles time-outs. */
void reload_tick(struct reload *r, double now);
/* Ends the loader when the instance stops. */
void reload_cancel(struct reload *r);
/* Watches the files of the serving release, if its plan says so. */
void reload_watch(struct reload *r);
/* Gives workers the certificates of folders again, once these have changed. Returns when the next
 * look is due; 0: never. */
double reload_certificates_due(struct reload *r, double now);
/* Opens the logs again, here and in the workers (USR1). */
void reload_reopen_logs(struct reload *r);

#endif

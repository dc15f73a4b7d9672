/*
 * reload - a two-phase commit of a new release over all workers.
 *
 *     idle --asked for--> loading --plan--> preparing --all are prepared--> switching --> idle
 *                            \---error---------\--------one is not-------> idle, as before
 *
 * Until the switch nothing of what serves is touched, so a script that is no good costs nothing.
 * The reload is over when every worker has switched: from then on no answer is the old script's.
 * The master tells it what happens; it starts no wait of its own.
 */
#ifndef MG_PROCESS_RELOAD_H
#define MG_PROCESS_RELOAD_H

#include "process/loader.h"
#include "process/workers.h"

struct watch;

enum reload_state { RELOAD_IDLE, RELOAD_LOADING, RELOAD_PREPARING, RELOAD_SWITCHING };

/* What a worker has to do with the reload that is being prepared. */
enum reload_part {
    PART_NONE,
    PART_ASKED, /* to prepare it */
    PART_PREPARED,
    PART_LEAVES, /* a reserve is to serve instead */
};

struct reload {
    /* The master's, set before the first call. */
    const struct route *route;
    const struct user *user;
    const char *control_default; /* as in master_options */
    bool user_is_given;          /* on the command line: the script's counts for nothing */
    struct release *serving;
    struct memory *memory;
    struct sockets *sockets;
    struct workers *workers;
    struct watch *watch;
    void (*in_child)(void *ctx); /* in the loader: closes what is the master's */
    void *ctx;
    /* Read by others. */
    enum reload_state state;
    struct loader loader;
    struct release next;
    /* Its own. */
    bool wanted;       /* another one, once this is over */
    uint64_t request;  /* requests up to this number get its answer */
    unsigned given_up; /* loaders in a row, for newer requests */
    double since, due;
    double room_due;  /* until then it waits for a place beside the only worker */
    bool logs_moved;  /* USR1 came since the logs were opened for it: they are opened again */
    unsigned attempt; /* its number, also of those that failed */
    enum reload_part part[PLAN_WORKERS]; /* by places */
    unsigned place[PLAN_WORKERS];        /* the workers' `place`, and */
    unsigned accepts[PLAN_WORKERS];      /* `accepts`, once they switch */
    char notes[BOARD_TEXT];              /* what it can't change, and what is to be done now */
};

/* A reload is asked for. While another is under way it comes behind that. */
void reload_ask(struct reload *r);
/* A reload is asked for at a time when there can be none: says why. */
void reload_refuse(struct reload *r, const char *why);
/* The loader has something to say. */
void reload_read_loader(struct reload *r);
/* A worker has answered, see WORKER_ANSWERS. What is about an earlier attempt is left alone. */
void reload_answered(struct reload *r, unsigned place, const char *text);
/* A worker has come to serve. */
void reload_joined(struct reload *r, unsigned place);
/* A worker that the reload needs has ended or can't begin: the text says how. */
void reload_lost(struct reload *r, const char *text);
/* Time has passed. */
void reload_tick(struct reload *r, double now);
/* The instance stops: ends the loader. */
void reload_cancel(struct reload *r);
/* Watches the files of the release that serves, or nothing, as its plan says. */
void reload_watch(struct reload *r);
/* Opens the logs again, here and in the workers (USR1). */
void reload_reopen_logs(struct reload *r);

#endif

/*
 * workers - the worker processes: which there are, what each is told, and which slots it accepts
 * from.
 *
 * A worker has a *number*, which its script knows it by, and a *place*, its index in what all share
 * (process/memory.h). One that takes over from another with its number has a place of its own,
 * since both live for a while. Slot s belongs to the worker with the number s modulo their count
 * while that one serves, else to the next one that serves; so a client in a slot never waits for a
 * worker that is not there.
 *
 *     workers_start --> starting --"ready"--> serves --workers_retire, _hand_over--> retired -->
 * end
 *                           \----"ready"--> reserve --workers_adopt--/
 *
 * What a worker says is a fact for the caller (workers_receive, workers_ended), who decides.
 */
#ifndef MG_PROCESS_WORKERS_H
#define MG_PROCESS_WORKERS_H

#include "base/link.h"
#include "process/memory.h"
#include "process/release.h"
#include "process/sockets.h"
#include "process/supervision.h"
#include "script/load.h"

#define NO_WORKER PLAN_WORKERS

struct worker_process {
    pid_t pid;  /* 0: none */
    int socket; /* to it; 0: none */
    unsigned number;
    bool ready;       /* it can serve */
    bool reserve;     /* it has the release that a reload prepares, and serves only with that */
    bool loads;       /* a script: it answers no request meanwhile */
    bool retired;     /* it finishes its requests */
    bool hands_over;  /* and its idle clients go to another worker */
    bool switching;   /* it has been told to switch or to hand over, and has not said that it did */
    unsigned unready; /* processes of this place in a row that have not come to serve */
    double started;   /* monotonic */
    double restart_at; /* of a place without a process; 0: at once */
    struct supervision supervision;
};

struct workers {
    /* The caller's, set before the first call. */
    const struct route *route;
    const struct user *user;
    struct memory *memory;
    const struct sockets *sockets;
    /* In a new worker: closes and forgets what the release does not need. */
    void (*in_child)(void *ctx, const struct release *release);
    void *ctx;
    /* Read by others. */
    struct worker_process list[PLAN_WORKERS]; /* by places */
    unsigned place[PLAN_WORKERS];             /* of the worker with each number */
    unsigned accepts[PLAN_WORKERS];           /* the place that has each slot; NO_WORKER */
    unsigned count;                           /* that shall serve */
    bool accepting;                           /* they may be given sockets */
};

/* So many shall serve, each at the place that is its number; none is started. */
void workers_init(struct workers *w, unsigned count);
/* Starts a process at that place with the release; reserve: which serves when that one does. Where
 * there is no process to be had, the place is tried again later. */
void workers_start(struct workers *w, unsigned number, unsigned place,
                   const struct release *release, bool reserve);
/* Starts what is due; returns when the next one is, 0: none. */
double workers_start_due(struct workers *w, const struct release *release, double now);

enum worker_fact {
    WORKER_SILENT,   /* it has said nothing more, or is not there */
    WORKER_SERVES,   /* it can serve from now on */
    WORKER_FAILED,   /* it can't even begin: the text says why */
    WORKER_ANSWERS,  /* a reload: "ATTEMPT TAB why not", nothing behind the tab: it is prepared */
    WORKER_SWITCHED, /* it has switched, or handed over */
    WORKER_ASKS_RELOAD, /* a command that it has got asks for it */
    WORKER_ASKS_STOP,
};

/* Takes one message of the worker at this place. The text is valid until the next call. */
enum worker_fact workers_receive(struct workers *w, unsigned place, const char **text);

struct worker_end {
    struct worker_process was;
    char how[100];    /* "was killed by signal 9" */
    char stuck[1024]; /* the hook that has ended it, or was running; "": none */
};

/* The process at this place is no more: the place is empty, and its processes in a row that have
 * not come to serve are counted. */
void workers_ended(struct workers *w, unsigned place, int status, struct worker_end *end);
/* When the place gets its next process. One that has served is replaced at once, whatever has
 * killed it; else there is a pause, which doubles. */
void workers_restart_later(struct workers *w, unsigned place, const struct worker_end *end);

/* It can serve, and is to. */
bool worker_serves(const struct worker_process *p);
/* All that shall serve can. */
bool workers_all_ready(const struct workers *w);
bool workers_any(const struct workers *w);
bool workers_all_switched(const struct workers *w);
/* A worker that has not switched is not waited for any more. */
void workers_end_switch(struct workers *w);

/* Sends to one of them; false: it does not listen. */
bool workers_tell(struct workers *w, unsigned place, enum link_type type, const char *text,
                  const int *fds, unsigned count);
/* From now on so many workers shall serve, at these places, and accept from these slots. Reserves
 * are reserves no more, and no place waits for its next process. */
void workers_adopt(struct workers *w, unsigned count, const unsigned *place,
                   const unsigned *accepts);
/* What it was told to prepare is prepared. */
void workers_prepared(struct workers *w, unsigned place);
/* The release that reserves wait for does not come to serve: they end. */
void workers_end_reserves(struct workers *w);
/* After each change of who serves: tells the workers whose slots have changed. */
void workers_share_out(struct workers *w);
/* The place that is to have each slot, if the workers at these `count` places shall serve. */
void workers_assign(const struct workers *w, unsigned count, const unsigned *place,
                    unsigned *accepts);
bool workers_have_place(unsigned wanted, unsigned count, const unsigned *place);
/* Others serve in its place: it finishes its requests. */
void workers_retire(struct workers *w, unsigned place);
/* The same; and its idle clients go to the worker at the place `to`. */
void workers_hand_over(struct workers *w, unsigned place, unsigned to);

/* Looks after their scripts and loops (process/supervision.h), `limit` seconds for a hook. */
void workers_supervise(struct workers *w, double limit, double now);
/* The master was away for so many seconds. */
void workers_forgive(struct workers *w, double away);
/* In another child of the master: closes what leads to them. */
void workers_leave(const struct workers *w);

#endif

/*
 * workers - the worker processes: their states, the messages to them, and the slots that each
 * accepts from.
 *
 * A worker has a *number*, which its script sees, and a *place*, its index in shared memory
 * (process/memory.h). A worker that takes over from another one with the same number has a place of
 * its own, since both live for a while. Slot s belongs to the worker with the number s modulo their
 * count while that one serves, else to the next one that serves; so a client in a slot never waits
 * for a worker that does not run.
 *
 *     workers_start --> starting --"ready"--> serves --workers_retire, _hand_over--> retired -->
 * end
 *                           \----"ready"--> reserve --workers_adopt--/
 *
 * Messages of a worker are returned to the caller as facts (workers_receive, workers_ended); the
 * caller acts on them.
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
    int socket; /* the master's end of the socket; 0: none */
    unsigned number;
    bool ready;        /* the worker can serve */
    bool reserve;      /* it has the release of a reload, and will serve with that alone */
    bool loads;        /* it loads a script, and answers no request meanwhile */
    bool retired;      /* it finishes its requests */
    bool hands_over;   /* a retired worker that passes its idle clients to another one */
    bool switching;    /* it was asked to switch or to hand over, and has not answered */
    unsigned unready;  /* processes of this place in a row that failed to serve */
    double started;    /* monotonic */
    double restart_at; /* time of the next start of a place without a process; 0: at once */
    struct supervision supervision;
};

struct workers {
    /* Set by the caller before the first call. */
    const struct route *route;
    const struct user *user;
    struct memory *memory;
    const struct sockets *sockets;
    /* Called in a new worker: closes and frees all that the release does not need. */
    void (*in_child)(void *ctx, const struct release *release);
    void *ctx;
    /* Read by others. */
    struct worker_process list[PLAN_WORKERS]; /* by places */
    unsigned place[PLAN_WORKERS];             /* the place of the worker with each number */
    unsigned accepts[PLAN_WORKERS];           /* the place that accepts from each slot; NO_WORKER */
    unsigned count;                           /* number of workers that the plan wants */
    bool accepting;                           /* workers may get sockets */
};

/* Sets the number of workers, each at the place of its number; no worker is started. */
void workers_init(struct workers *w, unsigned count);
/* Starts a process at that place with the release; reserve: it serves once the release does. A
 * failed fork is tried again later. */
void workers_start(struct workers *w, unsigned number, unsigned place,
                   const struct release *release, bool reserve);
/* Starts the processes that are due. Returns when the next one is due; 0: none. */
double workers_start_due(struct workers *w, const struct release *release, double now);

enum worker_fact {
    WORKER_SILENT,      /* no more messages, or no process */
    WORKER_SERVES,      /* the worker can serve from now on */
    WORKER_FAILED,      /* the start failed: the text is the reason */
    WORKER_ANSWERS,     /* to a reload: "ATTEMPT TAB error"; no error: prepared */
    WORKER_SWITCHED,    /* the worker has switched, or handed over */
    WORKER_ASKS_RELOAD, /* a command asks for a reload: the text of LINK_RELOAD */
    WORKER_ASKS_STOP,
    WORKER_ASKS_KILL, /* of a request: the text is its id */
    WORKER_CHANGES,   /* a command has changed servers */
};

/* Reads one message of the worker at this place. The text is valid until the next call. */
enum worker_fact workers_receive(struct workers *w, unsigned place, const char **text);

struct worker_end {
    struct worker_process was;
    char how[100];           /* "was killed by signal 9" */
    char stuck[BOARD_STUCK]; /* the hook that was running or was stopped; "": none */
};

/* Empties the place of a process that has ended, and counts processes in a row that failed to
 * serve. */
void workers_ended(struct workers *w, unsigned place, int status, struct worker_end *end);
/* Sets when the place gets its next process. A process that has served is replaced at once, however
 * it ended; else there is a pause, which doubles. */
void workers_restart_later(struct workers *w, unsigned place, const struct worker_end *end);

/* True for a worker that can serve, and is neither reserve nor retired. */
bool worker_serves(const struct worker_process *p);
/* True when all workers of the plan can serve. */
bool workers_all_ready(const struct workers *w);
bool workers_any(const struct workers *w);
bool workers_all_switched(const struct workers *w);
/* Ends the wait for workers that have not switched. */
void workers_end_switch(struct workers *w);

/* Tells all workers that the request of this id has to end. */
void workers_kill_request(struct workers *w, const char *id);
/* Sends a message to a worker; false: it could not be sent. */
bool workers_tell(struct workers *w, unsigned place, enum link_type type, const char *text,
                  const int *fds, unsigned count);
/* Sets the number of workers, their places, and the slots that they accept from. Reserves become
 * workers, and no place waits for its next process. */
void workers_adopt(struct workers *w, unsigned count, const unsigned *place,
                   const unsigned *accepts);
/* Notes that the worker has prepared the release. */
void workers_prepared(struct workers *w, unsigned place);
/* Ends the reserves, since their release will not serve. */
void workers_end_reserves(struct workers *w);
/* Called after each change of the serving workers: sends new sockets to workers whose slots have
 * changed. */
void workers_share_out(struct workers *w);
/* Computes the place for each slot, if the workers at these `count` places serve. */
void workers_assign(const struct workers *w, unsigned count, const unsigned *place,
                    unsigned *accepts);
bool workers_have_place(unsigned wanted, unsigned count, const unsigned *place);
/* Retires a worker, which finishes its requests. */
void workers_retire(struct workers *w, unsigned place);
/* Lets a worker leave, and pass its idle clients to the worker at the place `to`. */
void workers_hand_over(struct workers *w, unsigned place, unsigned to);

/* Supervises scripts and loops of all workers (process/supervision.h). limit: seconds of a hook. */
void workers_supervise(struct workers *w, double limit, double now);
/* Leaves out so many seconds in which the master did not run. */
void workers_forgive(struct workers *w, double away);
/* In another child of the master: closes the sockets to workers. */
void workers_leave(const struct workers *w);

#endif

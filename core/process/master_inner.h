/*
 * master_inner - the master's state, for process/ only: process/master.c is signals, workers and
 * the main loop; process/workers.c what they are and accept from; process/sockets.c the listening
 * sockets and logs; process/reload.c reloads; process/upgrade.c the companion and another binary in
 * our place; process/child.c what children begin with.
 */
#ifndef MG_PROCESS_MASTER_INNER_H
#define MG_PROCESS_MASTER_INNER_H

#include "process/master.h"

#include "base/link.h"
#include "process/plan.h"
#include "process/watch.h"
#include "shm/board.h"
#include "shm/census.h"
#include "shm/ledger.h"
#include "shm/quarantine.h"
#include "shm/shared_folder.h"

#include <signal.h>

/* A listening address: a socket for each slot (SO_REUSEPORT), or one for all. Slots are numbered
 * as workers are for scripts. A socket with clients is never closed while the address is served,
 * and always accepted from by a worker that serves: see master_share_out. */
struct listening {
    struct listen_spec spec;        /* its strings are ours */
    const struct listen_spec *next; /* in the plan of the reload under way; NULL: not in it */
    int fds[PLAN_WORKERS];
    unsigned slots; /* that clients can be in; 0: one that has just been added */
    unsigned bound; /* these, and those that nobody has been let into yet */
    bool shared;    /* a unix socket, or one that systemd has opened: fds[0] is everybody's */
    bool handed;    /* systemd's: the file of a unix socket is not ours to remove */
};

/* A counter of a worker that is odd while something runs there. */
struct pulse {
    uint64_t seen; /* last */
    double since;
};

struct child {
    pid_t pid;  /* 0: none */
    int socket; /* 0: none */
    bool ready;
    unsigned number;   /* what its script knows it by, from 0 */
    bool asked;        /* to prepare the reload under way */
    bool prepared;     /* has the generation of the reload under way */
    bool switching;    /* has been told to serve with it, and may still answer with the old one */
    bool leaves;       /* does not prepare the reload under way: another one is to serve instead */
    bool surplus;      /* not needed any more: it finishes its requests */
    bool passes;       /* and its idle clients go to another worker */
    bool fresh;        /* begins with the generation of the reload under way */
    bool told;         /* that its script has run too long */
    bool warned;       /* the log knows that its loop stands still */
    double stopped_at; /* by a signal; 0: it is not */
    double started;
    double restart_at; /* 0: not waiting */
    unsigned unready;  /* workers of this place in a row that have not come to serve */
    struct pulse hook, turn;
};

enum reload_state { RELOAD_IDLE, RELOAD_LOADING, RELOAD_PREPARING, RELOAD_SWITCHING };

struct reload {
    enum reload_state state;
    bool wanted;       /* another one, once this is over */
    uint64_t serving;  /* requests up to this number get its answer */
    unsigned given_up; /* loaders in a row, for newer requests */
    double since, due;
    struct loader loader;
    struct plan plan;
    int error_log, access_log;      /* opened for it; -1: none */
    bool logs_moved;                /* USR1 came since: they are to be opened again */
    int snapshot;                   /* what the new script's files hold; 0: none */
    unsigned attempt;               /* its number, also of those that failed */
    unsigned place[PLAN_WORKERS];   /* master's `place`, and */
    unsigned accepts[PLAN_WORKERS]; /* `accepts`, once they switch */
    char notes[BOARD_TEXT];         /* what it can't change, and what is to be done now */
};

#define NOBODY          PLAN_WORKERS
#define MASTER_TOO_LONG SIGUSR2 /* tells a worker that its script has run for too long */

struct master {
    const struct master_options *options;
    struct plan plan;
    struct user user;
    int signals;
    sigset_t old_mask;
    struct listening *listening[2 * PLAN_LISTENERS]; /* within a reload the leaving ones as well */
    unsigned listening_count;
    struct ledger *ledger;
    struct census *census;
    struct board *board;
    struct underway *underway; /* a table for each worker */
    struct quarantine_pages quarantine;
    struct shared_folder shared;
    /* By their places, which are those in the tables that all share. A worker that serves instead
     * of another one with its number has a place of its own, since both live for a while. */
    struct child workers[PLAN_WORKERS];
    unsigned place[PLAN_WORKERS];   /* of the worker with each number, among `workers` */
    unsigned accepts[PLAN_WORKERS]; /* whose worker accepts from each slot; NOBODY */
    unsigned worker_count;          /* that shall be */
    unsigned capacity;              /* that the shared memory has room for */
    unsigned generation;
    struct reload reload;
    struct watch *watch;
    double watch_due; /* files have changed; 0: they have not */
    double supervised_at, watchdog, watchdog_at;
    int error_log, access_log;
    int snapshot; /* what the script's files held when the generation was loaded */
    pid_t companion;
    pid_t successor; /* a binary that is to take our place */
    int successor_fd;
    bool handed_over;
    bool is_successor; /* of one that serves until we do */
    bool stopping;
    bool announced;
    bool failed;
    double stop_at; /* when a graceful stop has taken long enough */
};

/* Monotonic seconds. */
double master_now(void);
/* A message on the terminal, "moongate: ...". */
void master_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void master_stop(struct master *m, int signal);
/* What the status page says of the listeners. */
void master_show_listeners(struct master *m);
/* An unnamed file in memory; 0: there is none. */
int master_memory_file(void);
/* Every worker that shall be serves. */
bool master_all_ready(const struct master *m);

/* --- child.c --- */

/* None of our signals is blocked or handled. */
void master_child_signals(const struct master *m);
/* Closes what is ours alone, and listening sockets as master_close_sockets does. */
void master_let_go(struct master *m);
/* All of it, in a loader; ctx is the master. */
void master_loader_child(void *ctx);

/* --- workers.c --- */

/* A process for the worker with that number, at that place; `fresh`: with the generation of the
 * reload under way. */
void master_start_worker(struct master *m, unsigned number, unsigned place, bool fresh);
/* The worker is to end, since others serve in its place. */
void master_retire(struct child *child);
/* The same, and its idle clients go to `heir`, which serves. */
void master_replace(struct child *child, struct child *heir);
/* Who is to accept from each slot, of `workers` at these places; `before`: who does. */
void master_assign(const struct master *m, unsigned workers, const unsigned *place,
                   const unsigned *before, unsigned *accepts);
/* One of the first `workers` numbers has that place. */
bool master_has_place(unsigned wanted, unsigned workers, const unsigned *place);
/* After every change of who serves: tells the workers what to accept from, where that has changed.
 */
void master_share_out(struct master *m);

/* --- sockets.c --- */

/* Binds what the plan has and m->listening has not, for `slots` workers. NULL, or why not. Until
 * master_let_in no client can come to what is new. */
const char *master_open_sockets(struct master *m, struct plan *plan, unsigned slots);
/* Undoes it: a reload that failed. */
void master_forget_sockets(struct master *m);
/* Lets clients in to what is new. NULL, or why not: then what is new can still be forgotten. */
const char *master_let_in(struct master *m);
/* m->listening is what the plan says from now on; what is not in it is closed. */
void master_take_sockets(struct master *m);
void master_close_sockets(struct master *m);
void master_unlink_sockets(struct master *m);
/* Frees m->listening at a process's end; its sockets are closed by then, or somebody else's. */
void master_free_listening(struct master *m);
/* The sockets of the worker at `place`, as the generation that serves has them, or the one that is
 * prepared: writes their lines to `text` and returns how many there are, up to LINK_FDS - 3; more
 * than LINK_FDS where the text has no room. */
unsigned master_sockets_of(const struct master *m, unsigned place, bool prepared, int *fds,
                           char *text, size_t size);
/* The control listener of the plan, where there shall be one. */
void master_add_control(const struct master *m, struct plan *plan);
/* Opens a log as the workers' user, since its name and what is written there are the route's; -1
 * and errno. */
int master_open_log(const struct user *user, const char *where);
/* Opens both logs of the plan; NULL or why not. */
const char *master_open_logs(const struct master *m, const struct plan *plan, int *error,
                             int *access);

/* --- reload.c --- */

/* For the status page. */
void master_show_error(struct master *m, const char *text);
/* Somebody wants a reload. */
void master_reload(struct master *m);
/* The loader has said something. */
void master_reload_heard(struct master *m);
/* A worker has prepared, could not, or has ended. */
void master_reload_answer(struct master *m, struct child *child, const char *failure);
/* What a worker that serves has sent of an attempt: "NUMBER TAB failure", nothing behind the tab
 * where it is ready. One that comes late is of no interest any more. */
void master_reload_take_answer(struct master *m, struct child *child, const char *text);
/* A worker has come to serve, with what is to be replaced. */
void master_reload_joined(struct master *m, struct child *child);
/* Time has passed. */
void master_reload_tick(struct master *m, double now);
/* Watches the plan's files, or nothing, as the plan says. */
void master_watch(struct master *m);
/* Something has happened to one of them, or near it. */
void master_watch_heard(struct master *m);
/* USR1. */
void master_reopen_logs(struct master *m);

/* --- upgrade.c --- */

bool master_start_companion(struct master *m);
void master_stop_companion(struct master *m);
/* USR2: starts the binary again, which takes our place once it serves. */
void master_upgrade(struct master *m);
/* The successor serves, or has ended (its end of the pipe is closed). */
void master_successor_heard(struct master *m);
/* We stop before it serves: it is not to serve in our place. */
void master_end_successor(struct master *m);
/* We are one: somebody waits to hear that we serve. */
bool master_is_successor(void);
/* In a child of the successor: only the master holds the pipe, whose end says that it has ended. */
void master_leave_predecessor(void);
/* In the successor: tells the one whose place it takes. */
void master_announce_successor(void);

#endif

/*
 * sockets - the listening sockets of an instance, which the master owns.
 *
 * An address has a socket for each slot (SO_REUSEPORT): slots have the numbers of workers
 * (process/workers.h). A unix socket, and a socket that systemd has opened, is one for all slots.
 *
 *     sockets_open --all is well--> sockets_let_in --> sockets_switch
 *             \-----one is not----> sockets_forget
 *
 * Until sockets_let_in no client can connect to new sockets, and the serving ones are unchanged.
 */
#ifndef MG_PROCESS_SOCKETS_H
#define MG_PROCESS_SOCKETS_H

#include "process/plan.h"

struct board;
struct listening;

struct sockets {
    /* during a reload also the sockets that will be closed */
    struct listening *list[2 * PLAN_LISTENERS];
    unsigned count;
};

/* Adds the control listener to the plan: at the plan's address, else at `fallback` (NULL: none), if
 * that is free. */
void sockets_add_control(const struct sockets *s, struct plan *plan, const char *fallback);
/* Binds the sockets that the plan needs for so many slots and that are missing. NULL, or the error,
 * valid until the next call. The plan must live until sockets_switch or sockets_forget. */
const char *sockets_open(struct sockets *s, const struct plan *plan, unsigned slots);
/* Closes the sockets that sockets_open has bound. */
void sockets_forget(struct sockets *s);
/* Makes the new sockets listen. NULL, or the error; sockets_forget is still possible then. */
const char *sockets_let_in(struct sockets *s);
/* Makes the plan's sockets the current ones, and closes sockets of other addresses. */
void sockets_switch(struct sockets *s);
/* Closes all sockets in a child that does not use them, and keeps the list of addresses. */
void sockets_close(const struct sockets *s);
/* Removes the files of unix sockets. */
void sockets_unlink(const struct sockets *s);
/* Frees the list of addresses. */
void sockets_free(struct sockets *s);

/* The sockets of the worker at `place`, by the slots that `accepts` gives it; prepared: as after
 * sockets_switch. Writes a line for each to `text`. Returns their number, up to LINK_SOCKETS_MOST;
 * a number above LINK_FDS means that the text has no room. */
unsigned sockets_of(const struct sockets *s, const unsigned *accepts, unsigned place, bool prepared,
                    int *fds, char *text, size_t size);
/* Writes the addresses as text: "http://127.0.0.1:8080, unix:/run/x.sock". */
void sockets_describe(const struct sockets *s, char *text, size_t size);
/* Writes the listeners to the board, for the status page. */
void sockets_show(const struct sockets *s, struct board *board);
/* In a child that executes the binary of an upgrade: leaves all sockets open, and names them in
 * MOONGATE_FDS. */
void sockets_pass(const struct sockets *s);

#endif

/*
 * sockets - the listening sockets of an instance, which are the master's.
 *
 * An address has a socket for each slot (SO_REUSEPORT): slots are numbered as workers are for
 * scripts, see process/workers.h. A unix socket, and one that systemd has opened, is one for all.
 *
 *     sockets_open --all is well--> sockets_let_in --> sockets_switch
 *             \-----one is not----> sockets_forget
 *
 * Until sockets_let_in no client can come to what is new, and what serves is as it was.
 */
#ifndef MG_PROCESS_SOCKETS_H
#define MG_PROCESS_SOCKETS_H

#include "process/plan.h"

struct board;
struct listening;

struct sockets {
    struct listening *list[2 * PLAN_LISTENERS]; /* within a reload those that leave as well */
    unsigned count;
};

/* Adds the control listener to the plan: where the plan says, else at `fallback` (NULL: nowhere),
 * if that place can be had. */
void sockets_add_control(const struct sockets *s, struct plan *plan, const char *fallback);
/* Binds for so many slots what the plan has, and is not there yet. NULL, or why not, valid until
 * the next call. The plan must live until the sockets are switched or forgotten. */
const char *sockets_open(struct sockets *s, const struct plan *plan, unsigned slots);
/* Closes again what sockets_open has bound. */
void sockets_forget(struct sockets *s);
/* Lets clients in to what is new. NULL, or why not: what is new can still be forgotten. */
const char *sockets_let_in(struct sockets *s);
/* The sockets are what the plan says from now on; those of addresses that it has not are closed. */
void sockets_switch(struct sockets *s);
/* Closes them all, in a process that has no use for them; the addresses remain known. */
void sockets_close(const struct sockets *s);
/* Removes the files of unix sockets. */
void sockets_unlink(const struct sockets *s);
/* Frees what is known of the addresses. */
void sockets_free(struct sockets *s);

/* The sockets of the worker at `place`, which accepts from the slots that `accepts` gives it;
 * prepared: as they will be after sockets_switch. Writes a line for each to `text` and returns how
 * many there are, up to LINK_SOCKETS_MOST; more than LINK_FDS where the text has no room. */
unsigned sockets_of(const struct sockets *s, const unsigned *accepts, unsigned place, bool prepared,
                    int *fds, char *text, size_t size);
/* The addresses for people: "http://127.0.0.1:8080, unix:/run/x.sock". */
void sockets_describe(const struct sockets *s, char *text, size_t size);
/* The listeners for the status page. */
void sockets_show(const struct sockets *s, struct board *board);
/* In a child that executes the binary again: leaves all sockets open for it, and names them in
 * MOONGATE_FDS. */
void sockets_pass(const struct sockets *s);

#endif

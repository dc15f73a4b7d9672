/*
 * signals - the signals that the master waits for. They come through a descriptor (signalfd), so
 * that each is handled between two polls, in order, and interrupts nothing.
 */
#ifndef MG_PROCESS_SIGNALS_H
#define MG_PROCESS_SIGNALS_H

#include <signal.h>

struct signals {
    int fd; /* readable when one has come */
    sigset_t before;
};

/* Blocks them for this process, which ignores SIGPIPE from now on. */
void signals_init(struct signals *s);
/* The number of one that has come; 0: none has. */
int signals_next(const struct signals *s);
/* In a child: no signal is blocked or handled, and the descriptor is closed. */
void signals_leave(const struct signals *s);
/* At the end of the process: those that come too late are ignored. */
void signals_fini(struct signals *s);

#endif

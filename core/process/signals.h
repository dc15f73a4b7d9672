/*
 * signals - the signals that the master waits for. They are read from a descriptor (signalfd), so
 * that each is handled between two polls, in order, and interrupts no code.
 */
#ifndef MG_PROCESS_SIGNALS_H
#define MG_PROCESS_SIGNALS_H

#include <signal.h>

struct signals {
    int fd; /* readable when a signal has come */
    sigset_t before;
};

/* Blocks the signals for this process, which ignores SIGPIPE from now on. */
void signals_init(struct signals *s);
/* The number of the next signal; 0: none has come. */
int signals_next(const struct signals *s);
/* In a child: unblocks the signals, resets their handlers, and closes the descriptor. */
void signals_leave(const struct signals *s);
/* Ignores further signals at the end of the process. */
void signals_fini(struct signals *s);

#endif

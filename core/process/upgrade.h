/*
 * upgrade - starts another binary, the *successor*, which takes over the listening sockets.
 *
 * The successor is executed with the sockets open, their numbers in MOONGATE_FDS, and the end of a
 * pipe in MOONGATE_SUCCESSOR. It writes a byte to the pipe once it serves, and its predecessor then
 * stops gracefully. If the pipe ends without that byte, the predecessor continues to serve.
 */
#ifndef MG_PROCESS_UPGRADE_H
#define MG_PROCESS_UPGRADE_H

#include "process/signals.h"
#include "process/sockets.h"
#include "shm/shared_file.h"

struct upgrade {
    pid_t successor; /* 0: none */
    int fd;          /* readable when the successor serves or has ended; 0: no successor */
    bool handed_over;
    bool is_successor; /* a predecessor serves until this process does, */
    int predecessor;   /* and waits at the other end of this pipe; 0: closed */
};

/* Finds out whether this process is a successor. Called once, at the beginning. */
void upgrade_init(struct upgrade *u);
/* Starts the binary with this process's own command line. */
void upgrade_start(struct upgrade *u, const char *binary, const struct signals *signals,
                   const struct sockets *sockets, const struct shared_file *dictionaries);
/* Called when fd is readable. True: the successor serves; false: it has failed. */
bool upgrade_read(struct upgrade *u);
/* Ends the successor, since this process stops before the successor serves. */
void upgrade_cancel(struct upgrade *u);
/* In a successor: tells the predecessor that this process serves. */
void upgrade_announce(struct upgrade *u);
/* In a child: closes the pipe, which only the master may hold, since its end means that the master
 * has ended. */
void upgrade_leave(const struct upgrade *u);

#endif

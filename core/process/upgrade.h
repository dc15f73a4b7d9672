/*
 * upgrade - another binary that takes over the listening sockets of this one, its *successor*.
 *
 * It is executed with the sockets open, their numbers in MOONGATE_FDS, and the end of a pipe in
 * MOONGATE_SUCCESSOR, to which it writes a byte once it serves: the one that it replaces stops
 * gracefully then. Where the pipe ends without that byte, this one goes on.
 */
#ifndef MG_PROCESS_UPGRADE_H
#define MG_PROCESS_UPGRADE_H

#include "process/signals.h"
#include "process/sockets.h"
#include "shm/shared_file.h"

struct upgrade {
    pid_t successor; /* 0: none */
    int fd;          /* readable when it serves or has ended; 0: it is not waited for */
    bool handed_over;
    bool is_successor; /* of one that serves until we do, */
    int predecessor;   /* which waits at the other end; 0: no more */
};

/* Once, at the beginning: whether this process is a successor. */
void upgrade_init(struct upgrade *u);
/* Starts the binary with this process's own command line. */
void upgrade_start(struct upgrade *u, const char *binary, const struct signals *signals,
                   const struct sockets *sockets, const struct shared_file *dictionaries);
/* fd is readable. True: the successor serves; else it has come to nothing. */
bool upgrade_read(struct upgrade *u);
/* This process stops before the successor serves, which is not to serve then. */
void upgrade_cancel(struct upgrade *u);
/* In a successor: it serves. */
void upgrade_announce(struct upgrade *u);
/* In a child: only the master holds the pipe, whose end says that it has ended. */
void upgrade_leave(const struct upgrade *u);

#endif

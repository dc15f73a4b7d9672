/*
 * link - messages between the master and a worker over their socket: one letter, text, and
 * descriptors. The socket is SOCK_SEQPACKET, so a message is whole or not there. Its end is how
 * each learns that the other has gone.
 */
#ifndef MG_BASE_LINK_H
#define MG_BASE_LINK_H

#include "base/str.h"

#define LINK_TEXT 65536
#define LINK_FDS  250 /* SCM_MAX_FD is 253 */
/* Of one message; in LINK_PREPARE the logs and the script's files are the others. */
#define LINK_SOCKETS_MOST (LINK_FDS - 3)

enum link_type {
    /* From the worker. */
    LINK_READY = 'R',    /* it can serve; or, with the number of the attempt, has prepared it */
    LINK_FAILED = 'F',   /* it can't; likewise, then why */
    LINK_SWITCHED = 'W', /* what it answers from now on is the new generation's */
    LINK_RELOAD = 'L',   /* somebody asked for a reload */
    LINK_STOP = 'Q',     /* somebody asked to stop */
    /* From the master. */
    LINK_PREPARE = 'P', /* a new generation: the descriptors of the logs and of the script's files,
                         * then listening sockets, with a line for each of these */
    LINK_SWITCH = 'S',  /* all are ready: serve with it */
    LINK_ABORT = 'A',   /* somebody is not: forget it */
    LINK_SOCKETS = 'K', /* accept from these listening sockets from now on, and from no others: a
                         * line for each */
    LINK_RETIRE = 'T',  /* others serve: finish what there is, and let idle clients send once more;
                         * or, with a socket, pass them to the worker at its other end */
    LINK_CLIENTS = 'C', /* take the clients that come through this socket */
    LINK_LOGS = 'O',    /* the logs were opened again */
};

struct link_message {
    enum link_type type;
    char text[LINK_TEXT]; /* ends with a NUL */
    int fds[LINK_FDS];    /* the receiver's to close */
    unsigned fd_count;
};

/* Sends without waiting. False: it could not be sent. */
bool link_send(int fd, enum link_type type, const char *text, const int *fds, unsigned count);

enum link_result { LINK_MESSAGE, LINK_NOTHING, LINK_END };
/* Takes one message, if there is one. */
enum link_result link_receive(int fd, struct link_message *message);
/* Closes the descriptors of a message that nobody wants. */
void link_close_fds(struct link_message *message);

#endif

/*
 * link - messages between the master and a worker over their socket: one letter, text, and
 * descriptors. The socket is SOCK_SEQPACKET, so a message comes whole. The end of the socket tells
 * each side that the other process has ended.
 */
#ifndef MG_BASE_LINK_H
#define MG_BASE_LINK_H

#include "base/str.h"

#define LINK_TEXT 65536
#define LINK_FDS  250 /* SCM_MAX_FD is 253 */
/* Most listening sockets of one message; in LINK_PREPARE four more descriptors are the logs, the
 * script's files and the certificates. */
#define LINK_SOCKETS_MOST (LINK_FDS - 4)

enum link_type {
    /* Sent by the worker. */
    LINK_READY = 'R',    /* the worker can serve; with an attempt's number: it is prepared */
    LINK_FAILED = 'F',   /* the worker can't serve, or prepare; the number, then the reason */
    LINK_SWITCHED = 'W', /* all answers from now on are the new generation's */
    LINK_RELOAD = 'L',   /* a command asked for a reload; with a number: of the files that the
                          * generation of that number had */
    LINK_CHANGES = 'V',  /* changes of servers (shm/changes.h); the master tells all workers */
    LINK_STOP = 'Q',     /* a command asked for a stop */
    LINK_KILL = 'X',     /* a command asked for the end of a request: its id. The master passes the
                          * message on to all workers */
    /* Sent by the master. */
    LINK_PREPARE =
        'P', /* a new generation: descriptors of the logs, of the script's files and of the
                certificates, then
                listening sockets, with a line for each of these */
    LINK_SWITCH = 'S',  /* all workers are ready: serve with the new generation */
    LINK_ABORT = 'A',   /* a worker is not ready: drop the new generation */
    LINK_SOCKETS = 'K', /* accept from these listening sockets and no others; a line for each */
    LINK_RETIRE = 'T',  /* another worker serves: finish requests under way, and let idle clients
                           send once more; with a socket: pass clients to the worker at its end */
    LINK_CLIENTS = 'C', /* take the clients that come through this socket */
    LINK_LOGS = 'O',    /* the logs were opened again */
    LINK_CERTIFICATES = 'E', /* certificates of a folder have changed: the file with all of them */
};

struct link_message {
    enum link_type type;
    char text[LINK_TEXT]; /* ends with a NUL */
    int fds[LINK_FDS];    /* the receiver closes them */
    unsigned fd_count;
};

/* Sends a message without waiting. False: it could not be sent. */
bool link_send(int fd, enum link_type type, const char *text, const int *fds, unsigned count);

enum link_result { LINK_MESSAGE, LINK_NOTHING, LINK_END };
/* Receives one message, if there is one. */
enum link_result link_receive(int fd, struct link_message *message);
/* Closes the descriptors of a message that is not handled. */
void link_close_fds(struct link_message *message);

#endif

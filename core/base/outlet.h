/*
 * outlet - where the lines of a log go: a file, a pipe, a terminal, a stream socket, or datagrams
 * (base/datagram). Lines are written without waiting for a reader; only a file may hold its writer
 * up, while the disk is busy. base/log owns the outlets and the lines that wait for them; its
 * thread (base/writer) writes to files.
 */
#ifndef MG_BASE_OUTLET_H
#define MG_BASE_OUTLET_H

#include "base/datagram.h"

enum outlet_kind {
    OUTLET_FILE,
    OUTLET_PRIVATE,  /* a description that this process has made non-blocking */
    OUTLET_SOCKET,   /* a stream socket */
    OUTLET_BORROWED, /* a description that others share, and that may block */
    OUTLET_DATAGRAM,
};

struct outlet {
    int fd; /* -1: lines are dropped */
    enum outlet_kind kind;
    bool journal; /* a stream to systemd-journald, which takes "<3>" before a line for its level */
    struct datagram to; /* of OUTLET_DATAGRAM */
};

/* Chooses how to write to the descriptor, which the caller keeps. `target`: what a route says that
 * a datagram is (base/datagram); another text says nothing. */
void outlet_set(struct outlet *o, int fd, const char *target);
/* Writes whole lines, as many as can be written now, and returns the number of bytes. *err: 0,
 * EAGAIN, or the error of the rest. Each line is a datagram where the outlet is one of these. */
size_t outlet_put(const struct outlet *o, const char *p, size_t n, int *err);
/* The number of lines that end in these bytes. */
unsigned long outlet_count(const char *p, size_t n);

#endif

/*
 * handover - passes idle connections of clients from a worker that leaves to its successor. So a
 * client's connection stays open, and the new script decides about its next request.
 *
 * Both workers have an end of a socket (SOCK_SEQPACKET), a message is one connection. Bytes that
 * the client has sent meanwhile lie in the connection's socket, which is passed on.
 */
#ifndef MG_FRONT_HANDOVER_H
#define MG_FRONT_HANDOVER_H

#include "front/clients.h"

struct handover {
    struct clients *clients;
    /* The caller sets these. */
    const struct protocol *(*find_protocol)(const char *name);
    char *(*lasting)(const char *text); /* a copy that lives as long as the worker */
    /* All idle connections have gone to the successor; or (!all) the successor has ended, and those
     * that are left stay here. */
    void (*on_passed)(void *ctx, bool all);
    void *ctx;

    ev_io successor;
    bool passed;            /* on_passed has been called of this successor */
    struct intake *intakes; /* from workers that leave; NULL: none */
};

/* Begins to pass connections to a successor as soon as they are idle, in messages on `socket`,
 * which the handover owns. New connections may still be added. A second call changes the successor.
 */
void handover_start(struct handover *h, int socket);
/* Stops passing connections. */
void handover_stop(struct handover *h);
/* Passes an idle connection. True: its descriptor was passed and the census does not count it; the
 * caller frees it. */
bool handover_pass(struct handover *h, struct client *c);

/* In the successor: takes connections until the other worker has passed all or ended. */
void handover_receive(struct handover *h, int socket);
/* Takes the connections that are under way, and no more. */
void handover_end_receiving(struct handover *h);

#endif

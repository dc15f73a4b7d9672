/*
 * handover - connections of clients that go from a worker that leaves to the one that has come in
 * its place, as soon as nothing of a request is in them. So a client notices nothing, and what it
 * asks next is answered by the new script.
 *
 * Both workers have an end of a socket (SOCK_SEQPACKET), a message is one connection. What the
 * client has sent meanwhile lies in the connection's socket, which goes along.
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

/* Connections go to a successor as soon as they are idle, in messages on `socket`, which is the
 * handover's from now on. New ones may still be added. Again: to another successor. */
void handover_start(struct handover *h, int socket);
/* No connection goes any more. */
void handover_stop(struct handover *h);
/* An idle connection goes. True: its descriptor has gone, and it is not in the census; the caller
 * frees it. */
bool handover_pass(struct handover *h, struct client *c);

/* The other end: takes connections until the worker there has passed all or ended. */
void handover_receive(struct handover *h, int socket);
/* Takes what is on its way, and no more. */
void handover_end_receiving(struct handover *h);

#endif

/*
 * certify - certificates by on_certificate: the script of the generation that serves is asked for
 * the names that tls/asked needs, and the handshakes that waited go on.
 *
 * Scanners try random names, of which none is kept. So a client's address has the script asked
 * about few names that turn out to have no certificate; for the others the client gets what a name
 * without one gets.
 */
#ifndef MG_FRONT_CERTIFY_H
#define MG_FRONT_CERTIFY_H

#include "front/clients.h"

/* Begins, once in a worker. */
void certify_use(struct clients *clients);
/* Ends, when no connection and no generation is left and the loop still is. */
void certify_end(void);

#endif

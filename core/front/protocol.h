/* protocol - the protocols of listeners, by name. Another protocol is a file beside front/http1.c
 * and a line in the table of front/protocol.c. */
#ifndef MG_FRONT_PROTOCOL_H
#define MG_FRONT_PROTOCOL_H

#include "front/clients.h"

/* The protocol of that name; NULL: unknown name. */
const struct protocol *protocol_find(const char *name);

#endif

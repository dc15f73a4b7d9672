/*
 * portowner - which process holds a TCP port, for the message that says the port is in use. Linux'
 * /proc only; knows what the caller may see.
 */
#ifndef MG_FRONT_PORTOWNER_H
#define MG_FRONT_PORTOWNER_H

#include "base/addr.h"

/* Writes "NAME (pid N)", or "" when it can't be known. */
void port_owner(const struct addr *address, char *out, size_t size);

#endif

/*
 * bind - sockets bound to an address: TCP ports, and unix sockets with their files. The master does
 * this, maybe as root: so what lies at a path is looked at by the descriptor of its folder.
 *
 * Errors are sentences for the operator, valid until the next call.
 */
#ifndef MG_PROCESS_BIND_H
#define MG_PROCESS_BIND_H

#include "front/listener.h"

/* Binds `count` sockets into fds[], one for a unix socket; more: the instance has some of that
 * address already. No client can come before bind_listen. Returns NULL, or why not. */
const char *bind_open(const struct listen_spec *spec, const struct addr *addr, int *fds,
                      unsigned count, bool more);
/* Lets clients in. NULL, or why not. */
const char *bind_listen(const struct listen_spec *spec, const struct addr *addr, int fd);
/* The folder of a unix socket, which no other user may write to: made where it is missing. NULL, or
 * what is wrong with it. */
const char *bind_make_folder(const char *address);
/* Removes the file of a unix socket. */
void bind_unlink(const struct listen_spec *spec);

#endif

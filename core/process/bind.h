/*
 * bind - sockets bound to an address: TCP ports, and unix sockets with their files. The master
 * binds them, maybe as root, so it reaches the file at a path only by a descriptor of its folder.
 *
 * Errors are sentences for the operator, valid until the next call.
 */
#ifndef MG_PROCESS_BIND_H
#define MG_PROCESS_BIND_H

#include "front/listener.h"

/* Binds `count` sockets into fds[]; a unix socket is one. `more`: the instance has sockets of that
 * address already. No client can connect before bind_listen. Returns NULL, or the error. */
const char *bind_open(const struct listen_spec *spec, const struct addr *addr, int *fds,
                      unsigned count, bool more);
/* Makes the socket listen. NULL, or the error. */
const char *bind_listen(const struct listen_spec *spec, const struct addr *addr, int fd);
/* Makes the folder of a unix socket, if it is missing, and checks that no other user may write to
 * it. NULL, or the error. */
const char *bind_make_folder(const char *address);
/* Removes the file of a unix socket. */
void bind_unlink(const struct listen_spec *spec);

#endif

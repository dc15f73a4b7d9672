/*
 * notify - the protocol of systemd: readiness and other states over $NOTIFY_SOCKET, and sockets
 * that systemd has opened ($LISTEN_FDS). See sd_notify(3), sd_listen_fds(3); a few lines take the
 * place of libsystemd. Called by the master.
 */
#ifndef MG_PROCESS_NOTIFY_H
#define MG_PROCESS_NOTIFY_H

#include "base/addr.h"

/* Sends a state such as "READY=1". Does nothing without $NOTIFY_SOCKET. */
void notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Seconds between two WATCHDOG=1 that systemd expects; 0: no watchdog. */
double notify_watchdog(void);

/* Reads the variables about sockets that systemd or, in an upgrade, the predecessor (MOONGATE_FDS)
 * has passed to this process, and removes them, so that child processes don't see them. Called
 * once, before all else. */
void notify_init(void);
/* The next passed descriptor of a listening socket for that address that is not taken yet; -1:
 * none. *systemd: systemd has opened it. */
int notify_take_fd(const struct addr *addr, bool *systemd);
/* Whether such a descriptor is left. */
bool notify_has_fd(const struct addr *addr);
/* Closes the passed descriptors that no listener has taken. */
void notify_close_rest(void);

#endif

/*
 * notify - what systemd wants to hear and gives: readiness and the like over $NOTIFY_SOCKET,
 * sockets that it has opened ($LISTEN_FDS). sd_notify(3), sd_listen_fds(3). A few lines in place of
 * a library that would be loaded for nothing else. Called by the master.
 */
#ifndef MG_PROCESS_NOTIFY_H
#define MG_PROCESS_NOTIFY_H

#include "base/addr.h"

/* Sends a state such as "READY=1". Does nothing where no service manager listens. */
void notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Seconds between two signs of life that systemd wants; 0: it wants none. */
double notify_watchdog(void);

/* Looks at what was handed to this process: by systemd, or (MOONGATE_FDS) by the one whose place it
 * takes. What we start is not to know of it. Call once, first of all. */
void notify_init(void);
/* The next descriptor of a listening socket for that address which was handed to us and is not
 * taken yet; -1: there is none such. *systemd says who gave it. */
int notify_take_fd(const struct addr *addr, bool *systemd);
/* Whether there is one. */
bool notify_has_fd(const struct addr *addr);
/* Closes the descriptors that no listener has taken. */
void notify_close_rest(void);

#endif

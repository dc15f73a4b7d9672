/*
 * child - a child process at the other end of a pipe or of a pair of sockets. Called by the parts
 * of the master that fork: workers, loader, upgrade.
 */
#ifndef MG_PROCESS_CHILD_H
#define MG_PROCESS_CHILD_H

#include <sys/types.h>

/* Forks: the parent keeps ends[0], the child ends[1], and each closes the other one. As fork(2); if
 * it fails both are closed. The buffers of stdio are written first, so that the child does not
 * write them again. */
pid_t child_fork(const int ends[2]);

#endif

/*
 * lock - a mutex between processes, in memory that they share. The lock of a process that dies
 * inside goes to the next one, which is told.
 */
#ifndef MG_SHM_LOCK_H
#define MG_SHM_LOCK_H

#include <pthread.h>
#include <stdbool.h>

void lock_init(pthread_mutex_t *lock);
/* Waits for the lock. True: the process that had it has died inside. */
bool lock_enter(pthread_mutex_t *lock);
void lock_leave(pthread_mutex_t *lock);

#endif

/*
 * lock - a mutex in memory that processes share. After a process has died with the lock, the next
 * one gets it, and lock_enter reports that.
 */
#ifndef MG_SHM_LOCK_H
#define MG_SHM_LOCK_H

#include <pthread.h>
#include <stdbool.h>

void lock_init(pthread_mutex_t *lock);
/* Waits for the lock. True: the process that held it has died. */
bool lock_enter(pthread_mutex_t *lock);
void lock_leave(pthread_mutex_t *lock);

#endif

/* lock - see lock.h. */
#include "shm/lock.h"

#include <errno.h>
#include <time.h>

#define LOCK_PATIENCE 10000000 /* nanoseconds */

void lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

/* Each wait for the lock has a time limit, after which the lock is tried again. Without the limit a
 * process could sleep for ever: another waiter that is killed just when an unlock has woken it
 * takes the wake-up along (the kernel helps only where the lock has not been taken since). */
bool lock_enter(pthread_mutex_t *lock)
{
    int err = pthread_mutex_trylock(lock);
    while (err == EBUSY || err == ETIMEDOUT) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOCK_PATIENCE;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        err = pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &until);
    }
    if (err == EOWNERDEAD)
        pthread_mutex_consistent(lock);
    return err == EOWNERDEAD;
}

void lock_leave(pthread_mutex_t *lock)
{
    pthread_mutex_unlock(lock);
}

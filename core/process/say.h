/*
 * say - what several parts of the master need for themselves: a word on the terminal, the time, how
 * a process has ended.
 */
#ifndef MG_PROCESS_SAY_H
#define MG_PROCESS_SAY_H

#include <stddef.h>

/* A line on stderr, "moongate: ...", for who has started the program. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "was killed by signal 9 (Killed)", of a status of waitpid. */
const char *say_end(int status, char *out, size_t size);
/* Seconds: of a clock that only goes forward, and since the epoch. */
double now_monotonic(void);
double now_wall(void);

#endif

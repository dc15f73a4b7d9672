/*
 * say - small helpers of this room: a line on the terminal, the time, the end of a process in
 * words.
 */
#ifndef MG_PROCESS_SAY_H
#define MG_PROCESS_SAY_H

#include <stddef.h>

/* Prints a line on stderr, "moongate: ...". */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The words for a status of waitpid: "was killed by signal 9 (Killed)". */
const char *say_end(int status, char *out, size_t size);
/* Seconds of the monotonic clock, and since the epoch. */
double now_monotonic(void);
double now_wall(void);

#endif

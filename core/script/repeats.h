/*
 * repeats - errors of what belongs to no request (a timer, a spawned function), which may
 * come as fast as it is begun: the same one is said once in ten seconds, then how often it came
 * meanwhile. One list for the process, whatever the generation.
 */
#ifndef MG_SCRIPT_REPEATS_H
#define MG_SCRIPT_REPEATS_H

#include <stdbool.h>

struct ev_loop;

/* Counts are said from this loop's timer; without it, only with the next error and at the end. */
void script_repeats_use(struct ev_loop *ev);
/* True: it was said in the last ten seconds, so it is counted and not to be said. `what` is a text
 * that lives as long as the process. */
bool script_is_repeated(const char *what, const char *text);
/* Says all counts now: before the loop goes, which isn't used any more. */
void script_repeats_end(void);

#endif

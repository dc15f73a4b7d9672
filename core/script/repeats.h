/* repeats - errors of functions beside the requests (timers, spawned functions), which may come as
 * fast as such functions are begun: the same error is logged once in ten seconds, then how often it
 * came meanwhile. One list for the process, for all generations. */
#ifndef MG_SCRIPT_REPEATS_H
#define MG_SCRIPT_REPEATS_H

#include <stdbool.h>

struct ev_loop;

/* Counts are logged by a timer of this loop; without one, with the next error and at the end. */
void script_repeats_use(struct ev_loop *ev);
/* True: the error was logged in the last ten seconds, so it is counted and not logged. `what` is a
 * text that lives as long as the process. */
bool script_is_repeated(const char *what, const char *text);
/* Logs all counts now, and stops using the loop: call it before the loop is freed. */
void script_repeats_end(void);

#endif

/* repeats - a bound on the log lines of functions that run beside the requests (timers, spawned
 * functions), since a script can begin them in a loop: the same error is logged once in ten
 * seconds, and further ones are counted. All generations of a process share one list. */
#ifndef MG_SCRIPT_REPEATS_H
#define MG_SCRIPT_REPEATS_H

struct log_quota;

/* The quota of lines about this error; valid until the next call. */
struct log_quota *script_repeats_quota(const char *text);

#endif

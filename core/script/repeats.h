/* repeats - errors of functions beside the requests (timers, spawned functions), which may come as
 * fast as such functions are begun: the same error is logged once in ten seconds, the others are
 * counted. One list for the process, for all generations. */
#ifndef MG_SCRIPT_REPEATS_H
#define MG_SCRIPT_REPEATS_H

struct log_quota;

/* The quota of lines about this error; valid until the next call. */
struct log_quota *script_repeats_quota(const char *text);

#endif

/*
 * recent - the last errors of the script and the last messages of applications on STDERR, of all
 * workers, for pages that show them. The logs have all of them; this has a bounded number of the
 * latest ones, the same ones counted.
 *
 * One mapping, made by the master before it forks, with a table for each place. Only the worker at
 * a place writes its table, without a lock: a reader may see an entry half written, which is good
 * enough for a status page. The tables outlive workers and reloads.
 */
#ifndef MG_SHM_RECENT_H
#define MG_SHM_RECENT_H

#include "base/str.h"

#define RECENT_ERRORS   8  /* of a place */
#define RECENT_MESSAGES 16 /* of a place: scripts of applications */

struct recent_entry {
    char what[160];     /* the hook, or the script of an application; "": no entry */
    char text[480];     /* its beginning; of messages the last one */
    double first, last; /* seconds since the epoch */
    uint64_t count;
    unsigned generation; /* of the last time */
};

struct recent_table {
    struct recent_entry errors[RECENT_ERRORS];
    struct recent_entry messages[RECENT_MESSAGES];
};

struct recent {
    unsigned places;
    struct recent_table table[];
};

/* Makes the mapping. NULL: no memory. */
struct recent *recent_new(unsigned places);
/* From now on this process writes the table of the place. Without this call nothing is noted. */
void recent_use(struct recent *r, unsigned place);
/* What this process uses; NULL: nothing. */
const struct recent *recent_all(void);

/* Notes an error: one line, "FILE:LINE: message". The same one of the same hook is counted. */
void recent_error(struct str what, struct str text, unsigned generation);
/* Notes a message of the application's script. Of a script the last one is kept. */
void recent_message(struct str script, struct str text, unsigned generation);

#endif

/*
 * watch - whether files of a route have changed: the master looks at them several times a second,
 * and compares what the file system says of each (base/stamp.h) with what it said when the file was
 * loaded. So links, folders that go and come again, and file systems of other machines need no care
 * of their own. Changes that follow one another at less than WATCH_EVERY are one.
 */
#ifndef MG_PROCESS_WATCH_H
#define MG_PROCESS_WATCH_H

#include <stdbool.h>

#define WATCH_EVERY 0.1 /* seconds */

struct watch {
    struct watch_file *files;
    unsigned count;
    double look_at; /* 0: nothing is watched */
    bool changed;   /* at the last look, which waits for one that sees no change */
};

/* From now on these files, and no others: each "STAMP PATH", an absolute path behind what the file
 * was when it was loaded. */
void watch_set(struct watch *w, char *const *files, unsigned count, double now);
/* These as well, where anything is watched; those that are watched already stay as they are. */
void watch_add(struct watch *w, char *const *files, unsigned count);
/* The files are about to be loaded: changes so far are no news any more. */
void watch_renew(struct watch *w);
void watch_stop(struct watch *w);
/* Looks, if it is time. True: a file has changed, or come, or gone, and the changes are over. */
bool watch_look(struct watch *w, double now);

#endif

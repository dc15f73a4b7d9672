/*
 * watch - notices changes of a route's files: several times a second the master compares each
 * file's stamp (base/stamp.h) with the stamp that was taken when the file was loaded. So symlinks,
 * folders that are replaced, and network file systems need no special case. Changes at intervals
 * below WATCH_EVERY count as one.
 */
#ifndef MG_PROCESS_WATCH_H
#define MG_PROCESS_WATCH_H

#include <stdbool.h>

#define WATCH_EVERY 0.1 /* seconds */

struct watch {
    struct watch_file *files;
    unsigned count;
    double look_at; /* time of the next look; 0: no files are watched */
    bool changed;   /* the last look found a change; one without changes ends it */
};

/* Sets the watched files, each as "STAMP PATH": the stamp when the file was loaded, and its
 * absolute path. */
void watch_set(struct watch *w, char *const *files, unsigned count, double now);
/* Adds files, if files are watched. A file that is watched already keeps its stamp. */
void watch_add(struct watch *w, char *const *files, unsigned count);
/* Drops changes so far, since the files are about to be loaded. */
void watch_renew(struct watch *w);
void watch_stop(struct watch *w);
/* Looks at the files, if it is time. True: a file has been changed, made or removed, and the
 * changes are over. */
bool watch_look(struct watch *w, double now);

#endif

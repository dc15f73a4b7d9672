/*
 * watch - which files of a route have changed: inotify on the folders that lead to them, so that
 * editors which write a new file and rename it are noticed, a link in their path that is switched
 * to another release, and a folder that goes and comes again. Changes that come together are one.
 * Used by the master.
 */
#ifndef MG_PROCESS_WATCH_H
#define MG_PROCESS_WATCH_H

#include "base/str.h"

struct watch;

/* NULL: the system has no inotify, or no instance left. */
struct watch *watch_new(void);
void watch_free(struct watch *w);
/* From now on these files, and no others: each "STAMP PATH", an absolute path behind what the file
 * was when it was loaded (base/stamp.h). True: one of them is another one already. */
bool watch_set(struct watch *w, char *const *files, unsigned count);
/* These as well; of those that are watched already nothing is said. */
bool watch_add(struct watch *w, char *const *files, unsigned count);
/* Readable when something may have happened. */
int watch_fd(const struct watch *w);
/* Takes what has happened. True: one of the files has changed, or come, or gone. */
bool watch_read(struct watch *w);

#endif

/*
 * watch - which files of a route have changed: inotify on the folders that they lie in, so that
 * editors which write a new file and rename it are noticed, and a link in their path that is
 * switched to another release. Changes that come together are one. Used by the master.
 */
#ifndef MG_WATCH_H
#define MG_WATCH_H

#include "str.h"

struct watch;

/* NULL: the system has no inotify, or no instance left. */
struct watch *watch_new(void);
void watch_free(struct watch *w);
/* From now on these files, absolute paths, and no others. */
void watch_set(struct watch *w, char *const *files, unsigned count);
/* These as well. */
void watch_add(struct watch *w, char *const *files, unsigned count);
/* Readable when something may have happened. */
int watch_fd(const struct watch *w);
/* Takes what has happened. True: one of the files has changed, or come, or gone. */
bool watch_read(struct watch *w);

#endif

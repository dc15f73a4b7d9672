/*
 * release - what the master has of one generation: its plan, its logs, and what the files of its
 * script held when it was loaded. A reload prepares a second release beside the one that serves.
 */
#ifndef MG_PROCESS_RELEASE_H
#define MG_PROCESS_RELEASE_H

#include "process/logs.h"
#include "process/plan.h"

struct release {
    unsigned generation; /* its number */
    struct plan plan;
    struct logs logs;
    int snapshot; /* a file in memory, which workers load the script from; 0: none */
};

/* Makes the snapshot's file, which the loader writes to. */
void release_init(struct release *r, unsigned generation);
/* Closes its descriptors. */
void release_close(struct release *r);
/* Closes its descriptors and frees its plan. */
void release_free(struct release *r);

#endif

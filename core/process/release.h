/*
 * release - the master's part of a generation: its plan, its logs, and a snapshot of the script's
 * files as they were loaded. A reload prepares a second release beside the one that serves.
 */
#ifndef MG_PROCESS_RELEASE_H
#define MG_PROCESS_RELEASE_H

#include "process/logs.h"
#include "process/plan.h"

struct release {
    unsigned generation; /* its number */
    struct plan plan;
    struct logs logs;
    int certificates; /* a file in memory with the certificates and keys of listeners; 0: none */
    uint64_t folders; /* the state of the folders of certificates when they were read */
    int snapshot;     /* a file in memory from which workers load the script; 0: none */
};

/* Makes the snapshot's file, which the loader writes to; or takes one of an earlier release
 * (`kept`, 0: none), which is duplicated. */
void release_init(struct release *r, unsigned generation, int kept);
/* Closes its descriptors. */
void release_close(struct release *r);
/* Closes its descriptors and frees its plan. */
void release_free(struct release *r);

#endif

/*
 * scripts - the scripts of applications (SCRIPT_FILENAME) by the time that they take: of a worker
 * those that take most, within bounds, although clients may choose the names.
 *
 * A table is part of a worker's sheet (shm/metrics.h): only that worker writes it, without a lock,
 * and a reader may see an entry that is half another one. The table is a cache of sets; a script
 * that has no place takes that of the script with the lowest rank in its set, and inherits the rank
 * ("space saving": Metwally, Agrawal, El Abbadi, Efficient Computation of Frequent and Top-k
 * Elements in Data Streams, 2005). So a script that takes much time gets a place and keeps it,
 * whatever names come and go beside it. Counts begin with 0, and those of scripts that have lost
 * their place are in `others`.
 */
#ifndef MG_SHM_SCRIPTS_H
#define MG_SHM_SCRIPTS_H

#include "base/str.h"

#define SCRIPTS_SETS 64 /* a power of two */
#define SCRIPTS_WAYS 4  /* scripts of a set */
#define SCRIPTS_MOST (SCRIPTS_SETS * SCRIPTS_WAYS)
#define SCRIPTS_NAME 160

struct scripts_counts {
    uint64_t requests; /* that a server got */
    uint64_t errors;   /* those that failed, or whose status was 500 or above */
    uint64_t messages; /* on STDERR */
    double seconds;    /* from the connection to the end of the answer */
};

struct scripts_entry {
    uint64_t hash; /* of the whole name; 0: no entry */
    double rank;   /* seconds, with those that it has inherited */
    struct scripts_counts counts;
    uint16_t size;           /* of the whole name, or UINT16_MAX */
    char name[SCRIPTS_NAME]; /* its last bytes */
};

struct scripts_table {
    struct scripts_entry entry[SCRIPTS_MOST]; /* set by set */
    struct scripts_counts others;
};

/* Counts a request that a server has had for so many seconds. */
void scripts_count(struct scripts_table *t, struct str name, double seconds, bool failed);
/* Counts messages on STDERR. */
void scripts_count_messages(struct scripts_table *t, struct str name, unsigned count);
/* The end of an entry's name that is kept; *cut: more stands before it. */
struct str scripts_name(const struct scripts_entry *e, bool *cut);

#endif

/*
 * shared - dictionaries that all workers have in common, behind moongate.shared: a name and a key
 * to a string, a number or a boolean, for some time or for good.
 *
 * An LMDB environment in a file in memory (shm/shared_file.h), under a lock beside it. Every call
 * is one transaction: what others see is all of it or nothing, and a worker that is killed within
 * one costs nothing, since the next goes on from the last one that was committed. Nothing is ever
 * synced: the memory goes with the instance.
 *
 * Entries whose time is over count as absent and are removed by and by, with later writes. The
 * memory is taken once, when the first process opens it, and never grows: when it is used up,
 * entries whose time is over make room, and if that is not enough the write is SHARED_FULL. An
 * entry that counts is never thrown away. Deleting is always possible.
 *
 * No Lua, no loop, no clock: `now` is given, in seconds of one clock for all processes. Opened once
 * in a process, after the last fork.
 */
#ifndef MG_SHM_SHARED_H
#define MG_SHM_SHARED_H

#include "base/str.h"
#include "shm/shared_file.h"

#define SHARED_NAME_MAX 64
#define SHARED_KEY_MAX  437         /* LMDB's 511, less the name and the time that it ends */
#define SHARED_SIZE_MIN (1u << 20)  /* of the whole */
#define SHARED_SIZE     (16u << 20) /* the default */

struct shared;

enum shared_type { SHARED_STRING, SHARED_NUMBER, SHARED_BOOLEAN };

struct shared_value {
    enum shared_type type;
    struct str string;
    double number;
    bool boolean;
};

enum shared_result {
    SHARED_OK,
    SHARED_ABSENT,       /* there is no such entry, or its time is over */
    SHARED_EXISTS,       /* there is one already */
    SHARED_NOT_A_NUMBER, /* what INCR or TAKE found */
    SHARED_TOO_MUCH,     /* TAKE: the number would have been more than was allowed */
    SHARED_FULL,
    SHARED_KEY_LONG,
    SHARED_VALUE_LONG, /* more than a sixteenth of the whole */
    SHARED_LONG,       /* shared_get: the string has no place */
    SHARED_BROKEN,     /* LMDB fails */
};

/* What a result other than SHARED_OK is called. Valid until the next call. */
const char *shared_reason(const struct shared *s, enum shared_result result);

/* Opens what is in the file, whose descriptors may be closed afterwards. NULL, and why in `err`. */
struct shared *shared_open(const struct shared_file *file, char *err, size_t err_size);
void shared_close(struct shared *s);
/* What both of an upgrade's binaries must agree on to use one file. */
const char *shared_format(void);

/* A string is copied to `room`. SHARED_LONG: it has no place there, out->string.n says how much is
 * needed. */
enum shared_result shared_get(struct shared *s, struct str name, struct str key, double now,
                              char *room, size_t size, struct shared_value *out);

enum shared_action {
    SHARED_SET,
    SHARED_ADD,     /* only where there is no entry */
    SHARED_REPLACE, /* only where there is one */
    SHARED_INCR,    /* adds to a number; an entry that is there keeps its time to live */
    SHARED_TAKE,    /* adds within bounds: a bucket that is filled and runs out, or places */
    SHARED_DELETE,  /* OK also where there is no entry */
};

/* One write. */
struct shared_operation {
    enum shared_action action;
    struct str name, key;
    double ttl; /* seconds to live, 0 for good; TAKE moves the end only when half is over */
    struct shared_value value; /* SET, ADD, REPLACE */
    double by;                 /* INCR, TAKE */
    const double *initial; /* INCR: what an absent entry counts as; NULL: that is SHARED_ABSENT */
    double low;            /* TAKE: what a lower number and an absent entry count as */
    double high;           /* TAKE: to go beyond it is SHARED_TOO_MUCH, and changes nothing */
};

/* *number: of INCR and TAKE the new number; of SHARED_TOO_MUCH what it is, at least `low`. */
enum shared_result shared_write(struct shared *s, const struct shared_operation *op, double now,
                                double *number);

/* Where a walk over the keys of one dictionary is. Begins as {0}. */
struct shared_cursor {
    bool begun;
    char key[SHARED_KEY_MAX];
    size_t size;
};

/* Sets the cursor to the next key, in their order. SHARED_ABSENT: that was the last one. Each step
 * is a call of its own, so it sees what was written since the last one. */
enum shared_result shared_next(struct shared *s, struct str name, double now,
                               struct shared_cursor *cursor);

/* Bytes that entries may take of a memory of that size, and those that they take. */
size_t shared_room(size_t size);
enum shared_result shared_used(struct shared *s, size_t *bytes);

#endif

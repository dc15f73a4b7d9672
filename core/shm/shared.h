/*
 * shared - dictionaries that all workers have in common, behind moongate.shared: a name and a key
 * to a string, a number or a boolean, for some time or for good.
 *
 * The data is an LMDB environment in a file in memory (shm/shared_file.h), with a lock beside it.
 * Each call is one transaction: other workers see all of its effect or none. A transaction of a
 * worker that is killed is dropped, and the next call continues with the last committed one. Data
 * is never synced: the memory ends with the instance.
 *
 * Expired entries count as absent, and later writes remove them. The memory is allocated once, when
 * the first process opens it, and never grows: a write into full memory first removes expired
 * entries, and fails with SHARED_FULL if that is not enough. An entry that has not expired is never
 * evicted. Deleting is always possible.
 *
 * No Lua, no loop, no clock: `now` is given, in seconds of one clock for all processes. Opened once
 * in a process, after the last fork.
 */
#ifndef MG_SHM_SHARED_H
#define MG_SHM_SHARED_H

#include "base/str.h"
#include "shm/shared_file.h"

#define SHARED_NAME_MAX 64
#define SHARED_KEY_MAX  437         /* LMDB's 511, less the name and the time */
#define SHARED_SIZE_MIN (1u << 20)  /* bytes of the whole memory */
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
    SHARED_ABSENT,       /* the entry does not exist, or has expired */
    SHARED_EXISTS,       /* ADD: the entry exists */
    SHARED_NOT_A_NUMBER, /* INCR, TAKE: the value is no number */
    SHARED_TOO_MUCH,     /* TAKE: the number would exceed `high` */
    SHARED_FULL,
    SHARED_KEY_LONG,
    SHARED_VALUE_LONG, /* the value is larger than a sixteenth of the memory */
    SHARED_LONG,       /* shared_get: the string does not fit into `room` */
    SHARED_BROKEN,     /* LMDB has failed */
};

/* The text of a result other than SHARED_OK. Valid until the next call. */
const char *shared_reason(const struct shared *s, enum shared_result result);

/* Opens the dictionaries in the file, whose descriptors may be closed afterwards. NULL: `err` has
 * the reason. */
struct shared *shared_open(const struct shared_file *file, char *err, size_t err_size);
void shared_close(struct shared *s);
/* The format of the data. In an upgrade, the new binary uses the file only if its format is the
 * same. */
const char *shared_format(void);

/* Reads an entry. A string is copied to `room`. SHARED_LONG: it does not fit there, and
 * out->string.n is the size that it needs. */
enum shared_result shared_get(struct shared *s, struct str name, struct str key, double now,
                              char *room, size_t size, struct shared_value *out);

enum shared_action {
    SHARED_SET,
    SHARED_ADD,     /* only if the entry is absent */
    SHARED_REPLACE, /* only if the entry exists */
    SHARED_INCR,    /* adds to a number; an existing entry keeps its time to live */
    SHARED_TAKE,    /* adds within bounds: a bucket that is filled and runs out, or places */
    SHARED_DELETE,  /* OK for an absent entry, too */
};

/* One write. */
struct shared_operation {
    enum shared_action action;
    struct str name, key;
    double ttl; /* seconds to live, 0 for good; TAKE moves the end only when half is over */
    struct shared_value value; /* SET, ADD, REPLACE */
    double by;                 /* INCR, TAKE */
    const double *initial;     /* INCR: value of an absent entry; NULL: SHARED_ABSENT is returned */
    double low;                /* TAKE: value of an absent entry, and of a lower number */
    double high;               /* TAKE: a result above it is SHARED_TOO_MUCH, and changes nothing */
};

/* Carries out a write. *number is the new number after INCR and TAKE, and the number as it is (at
 * least `low`) after SHARED_TOO_MUCH. */
enum shared_result shared_write(struct shared *s, const struct shared_operation *op, double now,
                                double *number);

/* The position of a walk over the keys of one dictionary. A walk begins with {0}. */
struct shared_cursor {
    bool begun;
    char key[SHARED_KEY_MAX];
    size_t size;
};

/* Moves the cursor to the next key in the tree's order. SHARED_ABSENT: there are no more keys. Each
 * step is a transaction of its own, so it sees writes since the last step. */
enum shared_result shared_next(struct shared *s, struct str name, double now,
                               struct shared_cursor *cursor);

/* The bytes that entries may take of a memory of that size, and the bytes that they take. */
size_t shared_room(size_t size);
enum shared_result shared_used(struct shared *s, size_t *bytes);

#endif

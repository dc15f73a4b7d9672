/*
 * shared - dictionaries that all workers have in common, behind moongate.shared: a name and a key
 * to a string, a number or a boolean, for some time or for good.
 *
 * An LMDB environment in a folder on a memory file system (shm/shared_folder.h). Every call is one
 * transaction: what others see is all of it or nothing, and a worker that is killed within one
 * costs nothing, since the next that writes goes on from the last one that was committed (LMDB's
 * lock is a robust mutex). Nothing is ever synced: the memory goes with the machine.
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

#include "base/buf.h"

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
    SHARED_NOT_A_NUMBER, /* what incr or take found */
    SHARED_TOO_MUCH,     /* take: it would have been more than was allowed */
    SHARED_FULL,
    SHARED_KEY_LONG,
    SHARED_VALUE_LONG, /* more than a sixteenth of the whole */
    SHARED_BROKEN,     /* what LMDB says is in shared_problem */
};

/* What a result other than SHARED_OK is called. Valid until the next call. */
const char *shared_reason(const struct shared *s, enum shared_result result);

/* Opens what is in the folder, or makes it, with room for `size` bytes in all. All processes give
 * the same size. NULL, and why in `err`. */
struct shared *shared_open(const char *folder, size_t size, char *err, size_t err_size);
void shared_close(struct shared *s);
/* What both of an upgrade's binaries must agree on to use one folder. */
const char *shared_format(void);

/* A string is in the shared memory itself: valid until shared_done, which is to follow. */
enum shared_result shared_get(struct shared *s, struct str name, struct str key, double now,
                              struct shared_value *out);
void shared_done(struct shared *s);

enum shared_how { SHARED_SET, SHARED_ADD, SHARED_REPLACE };

/* ttl: seconds, 0 for good. ADD is for an entry that is absent, REPLACE for one that is not. */
enum shared_result shared_put(struct shared *s, struct str name, struct str key,
                              const struct shared_value *value, double ttl, enum shared_how how,
                              double now);

struct shared_step {
    double by;
    const double *initial; /* what an absent entry counts as; NULL: that is SHARED_ABSENT */
    double ttl;            /* of an entry that is made; one that is there keeps its time */
};

/* *out: the new number. */
enum shared_result shared_incr(struct shared *s, struct str name, struct str key,
                               const struct shared_step *step, double now, double *out);
/* What a number may be: a bucket that is filled and runs out, or places that are taken. */
struct shared_bounds {
    double by;
    double low;  /* a number below it, or none, counts as this */
    double high; /* a step beyond it is SHARED_TOO_MUCH, and changes nothing */
    double ttl;  /* from now on, though nearer than half of it only is moved */
};

/* *out: the new number; of SHARED_TOO_MUCH what it is, at least `low`. */
enum shared_result shared_bounded(struct shared *s, struct str name, struct str key,
                                  const struct shared_bounds *bounds, double now, double *out);
/* OK also where there was none. */
enum shared_result shared_delete(struct shared *s, struct str name, struct str key, double now);

/* Appends up to `max` keys of the dictionary to `out`, sorted: each a uint16_t length and its
 * bytes. FULL: they do not fit into `out`. */
enum shared_result shared_keys(struct shared *s, struct str name, size_t max, double now,
                               struct buf *out);
bool shared_key_next(struct str *keys, struct str *key);

struct shared_usage {
    size_t size; /* bytes that entries may take */
    size_t used;
};

/* What entries may take of that much memory. */
size_t shared_room(size_t size);

enum shared_result shared_usage(struct shared *s, struct shared_usage *out);

#endif

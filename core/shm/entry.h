/*
 * entry - one entry of a shared dictionary (shm/shared.h) as keys and bytes of LMDB's tree.
 *
 * An entry lies under the length of its dictionary's name, the name, and its key. Its value begins
 * with the time that it ends. An entry that ends has a second key, without a value: a zero byte,
 * that time in big-endian order, and the first key. Second keys sort before all entries, so the
 * entry that ends first is found at the tree's beginning, however many there are.
 *
 *     \0 time(8) first key              -> nothing
 *     n name(n) key                     -> time(8) type(1) bytes
 */
#ifndef MG_SHM_ENTRY_H
#define MG_SHM_ENTRY_H

#include "shm/shared.h"

#include <lmdb.h>

#define ENTRY_TIME 8                /* bytes of a time */
#define ENTRY_HEAD (ENTRY_TIME + 1) /* bytes of a value before its own: time and type */

/* Both keys of an entry in one: the first begins behind the zero byte and the time. */
struct entry_keys {
    uint8_t bytes[1 + ENTRY_TIME + 1 + SHARED_NAME_MAX + SHARED_KEY_MAX];
    size_t size; /* of the first key */
};

struct entry {
    uint64_t ends; /* microseconds; 0: never */
    struct shared_value value;
    size_t size; /* of its bytes in the tree */
};

/* False: the name or the key is too long, or there is no name. */
bool entry_name(struct entry_keys *keys, struct str name, struct str key);
MDB_val entry_key(struct entry_keys *keys);
/* The second key of the entry, which ends then. */
MDB_val entry_end_key(struct entry_keys *keys, uint64_t ends);
/* Reads a second key. False: it is a first one, so no entry ends. */
bool entry_read_end_key(const MDB_val *key, struct entry_keys *keys, uint64_t *ends);

/* A string lies in the bytes themselves. False: they are no value. */
bool entry_decode(const MDB_val *bytes, struct entry *out);
size_t entry_size(const struct shared_value *value);
/* Writes entry_size(value) bytes. */
void entry_encode(void *bytes, uint64_t ends, const struct shared_value *value);

/* When an entry ends that is written now, with `ttl` seconds to live (0: for good). */
uint64_t entry_end(double ttl, double now);
bool entry_is_over(uint64_t ends, double now);

#endif

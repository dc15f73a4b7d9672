/*
 * entry - the keys and bytes of a shared dictionary's entry (shm/shared.h) in LMDB's tree.
 *
 * The first key of an entry is the length of its dictionary's name, the name, and the entry's key.
 * Its value begins with the time when the entry ends. An entry that ends has a second key, without
 * a value: a zero byte, that time in big-endian order, and the first key. Second keys sort before
 * all first ones, so the entry that ends next is found at the tree's beginning, however many
 * entries there are.
 *
 *     \0 time(8) first key              -> nothing
 *     n name(n) key                     -> time(8) type(1) bytes
 */
#ifndef MG_SHM_ENTRY_H
#define MG_SHM_ENTRY_H

#include "shm/shared.h"

#include <lmdb.h>

#define ENTRY_TIME 8                /* bytes of a time */
#define ENTRY_HEAD (ENTRY_TIME + 1) /* bytes of a value before its data: time and type */

/* Both keys of an entry in one buffer: the first one begins after the zero byte and the time. */
struct entry_keys {
    uint8_t bytes[1 + ENTRY_TIME + 1 + SHARED_NAME_MAX + SHARED_KEY_MAX];
    size_t size; /* of the first key */
};

struct entry {
    uint64_t ends; /* microseconds; 0: never */
    struct shared_value value;
    size_t size; /* bytes of the value in the tree */
};

/* Makes the keys of an entry. False: the name or the key is too long, or the name is empty. */
bool entry_name(struct entry_keys *keys, struct str name, struct str key);
MDB_val entry_key(struct entry_keys *keys);
/* The second key of an entry that ends at `ends`. */
MDB_val entry_end_key(struct entry_keys *keys, uint64_t ends);
/* Reads a second key. False: the key is a first one, so the tree has no second keys. */
bool entry_read_end_key(const MDB_val *key, struct entry_keys *keys, uint64_t *ends);

/* Reads a value. Its string is a slice of the bytes. False: the bytes are no value. */
bool entry_decode(const MDB_val *bytes, struct entry *out);
size_t entry_size(const struct shared_value *value);
/* Writes entry_size(value) bytes. */
void entry_encode(void *bytes, uint64_t ends, const struct shared_value *value);

/* The time when an entry ends that is written now with `ttl` seconds to live (0: never). */
uint64_t entry_end(double ttl, double now);
bool entry_is_over(uint64_t ends, double now);

#endif

/* entry - see entry.h. */
#include "shm/entry.h"

#include <math.h>

#define END_PREFIX (1 + ENTRY_TIME)

/* --- keys --- */

bool entry_name(struct entry_keys *keys, struct str name, struct str key)
{
    if (name.n == 0 || name.n > SHARED_NAME_MAX || key.n > SHARED_KEY_MAX)
        return false;
    uint8_t *at = keys->bytes + END_PREFIX;
    *at++ = (uint8_t)name.n;
    memcpy(at, name.p, name.n);
    if (key.n > 0)
        memcpy(at + name.n, key.p, key.n);
    keys->size = 1 + name.n + key.n;
    return true;
}

MDB_val entry_key(struct entry_keys *keys)
{
    return (MDB_val){keys->size, keys->bytes + END_PREFIX};
}

MDB_val entry_end_key(struct entry_keys *keys, uint64_t ends)
{
    uint64_t big_endian = htobe64(ends);
    keys->bytes[0] = 0;
    memcpy(keys->bytes + 1, &big_endian, ENTRY_TIME);
    return (MDB_val){END_PREFIX + keys->size, keys->bytes};
}

bool entry_read_end_key(const MDB_val *key, struct entry_keys *keys, uint64_t *ends)
{
    uint64_t big_endian;
    if (key->mv_size <= END_PREFIX || key->mv_size > sizeof keys->bytes ||
        *(const uint8_t *)key->mv_data != 0)
        return false;
    memcpy(keys->bytes, key->mv_data, key->mv_size);
    keys->size = key->mv_size - END_PREFIX;
    memcpy(&big_endian, keys->bytes + 1, ENTRY_TIME);
    *ends = be64toh(big_endian);
    return true;
}

/* --- values --- */

bool entry_decode(const MDB_val *bytes, struct entry *out)
{
    const char *at = bytes->mv_data;
    size_t n = bytes->mv_size;
    if (n < ENTRY_HEAD)
        return false;
    memcpy(&out->ends, at, ENTRY_TIME);
    out->value = (struct shared_value){.type = (enum shared_type)at[ENTRY_TIME]};
    out->size = n;
    at += ENTRY_HEAD;
    n -= ENTRY_HEAD;
    switch (out->value.type) {
    case SHARED_STRING:
        out->value.string = (struct str){at, n};
        return true;
    case SHARED_NUMBER:
        if (n == sizeof out->value.number)
            memcpy(&out->value.number, at, n);
        return n == sizeof out->value.number;
    case SHARED_BOOLEAN:
        out->value.boolean = n == 1 && *at != 0;
        return n == 1;
    }
    return false;
}

size_t entry_size(const struct shared_value *value)
{
    switch (value->type) {
    case SHARED_STRING:
        return ENTRY_HEAD + value->string.n;
    case SHARED_NUMBER:
        return ENTRY_HEAD + sizeof value->number;
    case SHARED_BOOLEAN:
        break;
    }
    return ENTRY_HEAD + 1;
}

void entry_encode(void *bytes, uint64_t ends, const struct shared_value *value)
{
    char *at = bytes;
    memcpy(at, &ends, ENTRY_TIME);
    at[ENTRY_TIME] = (char)value->type;
    at += ENTRY_HEAD;
    if (value->type == SHARED_NUMBER)
        memcpy(at, &value->number, sizeof value->number);
    else if (value->type == SHARED_BOOLEAN)
        *at = value->boolean;
    else if (value->string.n > 0)
        memcpy(at, value->string.p, value->string.n);
}

/* --- time --- */

static uint64_t entry_microseconds(double seconds)
{
    return seconds > 0 ? (uint64_t)ceil(seconds * 1e6) : 0;
}

uint64_t entry_end(double ttl, double now)
{
    return ttl > 0 ? entry_microseconds(now + ttl) : 0;
}

bool entry_is_over(uint64_t ends, double now)
{
    return ends != 0 && ends <= entry_microseconds(now);
}

/*
 * shared - see shared.h.
 *
 * One tree, with two kinds of keys. An entry's key is the length of the dictionary's name, the
 * name, and the key; its value begins with the time that it ends. An entry that ends has a second
 * one, without a value, that begins with a zero byte and that time, big-endian: these sort first,
 * so whose time is over stands at the tree's beginning.
 *
 *     \0 time(8) entry's key            -> nothing
 *     n name(n) key                     -> time(8) type(1) bytes
 *
 * LMDB writes every page that a transaction changes to a new place, and uses the old ones again two
 * transactions later. So some pages must stay free (`reserve`), or nothing could even be deleted;
 * and one value may take only a part of these.
 */
#include "shm/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TIME_SIZE    8
#define INDEX_PREFIX (1 + TIME_SIZE)
#define HEAD_SIZE    (TIME_SIZE + 1) /* of a value */
#define READERS      1022 /* processes at a time, those of an upgrade and dead ones too */
#define PURGE_STEP   4    /* entries that a write removes beside its own work */
#define PURGE_MORE   32   /* in one transaction, when room is needed */
#define PURGE_ROUNDS 64
#define PURGE_PERIOD 1.0 /* seconds between two looks while nothing has ended */
#define RESERVE_MIN  96  /* pages */

struct shared {
    MDB_env *env;
    MDB_dbi tree;
    MDB_txn *reader; /* reset between two calls */
    bool reading;
    size_t page, limit; /* bytes of a page; pages that entries may take */
    size_t max_value;
    double purge_at; /* when to look for entries whose time is over */
    int error;       /* LMDB's, behind SHARED_BROKEN */
};

/* Both keys of an entry in one: that of the entry itself begins behind the prefix. */
struct place {
    uint8_t bytes[INDEX_PREFIX + 1 + SHARED_NAME_MAX + SHARED_KEY_MAX];
    size_t n; /* of the entry's key */
};

/* What is stored under a key. */
struct entry {
    uint64_t ends; /* microseconds; 0: never */
    struct shared_value value;
    size_t size;
};

/* --- keys and values --- */

static bool place_of(struct place *p, struct str name, struct str key)
{
    if (name.n == 0 || name.n > SHARED_NAME_MAX || key.n > SHARED_KEY_MAX)
        return false;
    uint8_t *at = p->bytes + INDEX_PREFIX;
    *at++ = (uint8_t)name.n;
    memcpy(at, name.p, name.n);
    if (key.n > 0)
        memcpy(at + name.n, key.p, key.n);
    p->n = 1 + name.n + key.n;
    return true;
}

static MDB_val entry_key(struct place *p)
{
    return (MDB_val){p->n, p->bytes + INDEX_PREFIX};
}

static MDB_val index_key(struct place *p, uint64_t ends)
{
    p->bytes[0] = 0;
    for (int i = 0; i < TIME_SIZE; i++)
        p->bytes[1 + i] = (uint8_t)(ends >> (8 * (TIME_SIZE - 1 - i)));
    return (MDB_val){INDEX_PREFIX + p->n, p->bytes};
}

static uint64_t index_time(const MDB_val *key)
{
    uint64_t ends = 0;
    for (int i = 0; i < TIME_SIZE; i++)
        ends = ends << 8 | ((const uint8_t *)key->mv_data)[1 + i];
    return ends;
}

static uint64_t shared_microseconds(double seconds)
{
    return seconds > 0 ? (uint64_t)ceil(seconds * 1e6) : 0;
}

static uint64_t end_of(double ttl, double now)
{
    return ttl > 0 ? shared_microseconds(now + ttl) : 0;
}

static bool shared_is_over(uint64_t ends, double now)
{
    return ends != 0 && ends <= shared_microseconds(now);
}

static bool shared_decode(const MDB_val *stored, struct entry *out)
{
    const char *at = stored->mv_data;
    size_t n = stored->mv_size;
    if (n < HEAD_SIZE)
        return false;
    memcpy(&out->ends, at, TIME_SIZE);
    out->value = (struct shared_value){.type = (enum shared_type)at[TIME_SIZE]};
    out->size = n;
    at += HEAD_SIZE;
    n -= HEAD_SIZE;
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

static size_t encoded_size(const struct shared_value *v)
{
    return HEAD_SIZE + (v->type == SHARED_STRING   ? v->string.n
                        : v->type == SHARED_NUMBER ? sizeof v->number
                                                   : 1);
}

static void shared_encode(char *at, uint64_t ends, const struct shared_value *v)
{
    memcpy(at, &ends, TIME_SIZE);
    at[TIME_SIZE] = (char)v->type;
    at += HEAD_SIZE;
    if (v->type == SHARED_NUMBER)
        memcpy(at, &v->number, sizeof v->number);
    else if (v->type == SHARED_BOOLEAN)
        *at = v->boolean;
    else if (v->string.n > 0)
        memcpy(at, v->string.p, v->string.n);
}

/* --- results --- */

static enum shared_result shared_broken(struct shared *s, int rc)
{
    if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL)
        return SHARED_FULL;
    s->error = rc;
    return SHARED_BROKEN;
}

const char *shared_reason(const struct shared *s, enum shared_result result)
{
    static char text[128];
    switch (result) {
    case SHARED_OK:
        return "ok";
    case SHARED_ABSENT:
        return "not found";
    case SHARED_EXISTS:
        return "exists";
    case SHARED_NOT_A_NUMBER:
        return "not a number";
    case SHARED_TOO_MUCH:
        return "too much";
    case SHARED_FULL:
        return "no memory";
    case SHARED_KEY_LONG:
        snprintf(text, sizeof text, "the key is too long (at most %d bytes)", SHARED_KEY_MAX);
        return text;
    case SHARED_VALUE_LONG:
        snprintf(text, sizeof text,
                 "the value is too long (at most %zu bytes, a sixteenth of limits.shared)",
                 s->max_value);
        return text;
    case SHARED_BROKEN:
        break;
    }
    snprintf(text, sizeof text, "the shared memory fails: %s", mdb_strerror(s->error));
    return text;
}

const char *shared_format(void)
{
    static char text[32];
    int major, minor, patch;
    mdb_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "1/%d.%d.%d", major, minor, patch);
    return text;
}

/* --- opening --- */

/* A page of a mapping that the file system has no room for would end the process: all of a file is
 * taken before it is used. Not every file system can do that; those of memory can. */
static int shared_take(int fd, size_t size)
{
    int rc;
    do
        rc = fallocate(fd, 0, 0, (off_t)size) == 0 ? 0 : errno;
    while (rc == EINTR);
    return rc == EOPNOTSUPP ? 0 : rc;
}

/* LMDB writes to it as it opens, and allows as many processes as it has room for. */
static int take_lock_file(const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/lock.mdb", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? errno : shared_take(fd, (READERS + 2) * 64);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int take_memory(MDB_env *env, size_t size)
{
    mdb_filehandle_t fd;
    int rc = mdb_env_get_fd(env, &fd);
    if (rc == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) /* LMDB leaves it to what scripts start */
        rc = errno;
    return rc != 0 ? rc : shared_take(fd, size);
}

static int open_tree(struct shared *s)
{
    MDB_txn *txn;
    int dead, rc = mdb_reader_check(s->env, &dead); /* whose place we may have */
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &s->tree);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);
    if (rc == 0)
        mdb_txn_reset(s->reader);
    return rc;
}

static int open_env(struct shared *s, const char *folder, size_t size)
{
    int rc = mdb_env_create(&s->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, size);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, READERS);
    if (rc == 0)
        rc = take_lock_file(folder);
    if (rc == 0)
        rc = mdb_env_open(s->env, folder, MDB_WRITEMAP | MDB_NOSYNC | MDB_NOTLS | MDB_NORDAHEAD,
                          0600);
    if (rc == 0)
        rc = take_memory(s->env, size);
    if (rc == 0 && mdb_env_get_maxkeysize(s->env) < (int)sizeof(((struct place *)0)->bytes))
        rc = MDB_BAD_VALSIZE;
    return rc != 0 ? rc : open_tree(s);
}

static size_t room_in_pages(size_t size, size_t page)
{
    size_t pages = size / page, reserve = pages / 8;
    return pages - (reserve > RESERVE_MIN ? reserve : RESERVE_MIN);
}

size_t shared_room(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return room_in_pages(size, page) * page;
}

struct shared *shared_open(const char *folder, size_t size, char *err, size_t err_size)
{
    struct shared *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->page = (size_t)sysconf(_SC_PAGESIZE);
    s->limit = room_in_pages(size, s->page);
    s->max_value = size / 16;
    int rc = size < SHARED_SIZE_MIN ? EINVAL : open_env(s, folder, size / s->page * s->page);
    if (rc == 0)
        return s;
    snprintf(err, err_size, "%s: %s", folder, mdb_strerror(rc));
    shared_close(s);
    return NULL;
}

void shared_close(struct shared *s)
{
    if (s == NULL)
        return;
    if (s->reader != NULL)
        mdb_txn_abort(s->reader);
    if (s->env != NULL)
        mdb_env_close(s->env);
    free(s);
}

/* --- reading --- */

void shared_done(struct shared *s)
{
    if (s->reading)
        mdb_txn_reset(s->reader);
    s->reading = false;
}

static int begin_reading(struct shared *s)
{
    shared_done(s); /* an error of Lua's may have kept it from its end */
    int rc = mdb_txn_renew(s->reader);
    s->reading = rc == 0;
    return rc;
}

enum shared_result shared_get(struct shared *s, struct str name, struct str key, double now,
                              struct shared_value *out)
{
    struct place p;
    struct entry entry;
    MDB_val stored;
    if (!place_of(&p, name, key))
        return SHARED_KEY_LONG;
    MDB_val k = entry_key(&p);
    int rc = begin_reading(s);
    if (rc == 0)
        rc = mdb_get(s->reader, s->tree, &k, &stored);
    if (rc == MDB_NOTFOUND)
        return SHARED_ABSENT;
    if (rc != 0)
        return shared_broken(s, rc);
    if (!shared_decode(&stored, &entry))
        return shared_broken(s, MDB_CORRUPTED);
    *out = entry.value;
    return shared_is_over(entry.ends, now) ? SHARED_ABSENT : SHARED_OK;
}

static enum shared_result walk_keys(struct shared *s, MDB_cursor *cursor, struct place *p,
                                    size_t max, double now, struct buf *out)
{
    MDB_val prefix = entry_key(p), key = prefix, stored;
    size_t count = 0;
    int rc = mdb_cursor_get(cursor, &key, &stored, MDB_SET_RANGE);
    for (; rc == 0 && count < max; rc = mdb_cursor_get(cursor, &key, &stored, MDB_NEXT)) {
        struct entry entry;
        if (key.mv_size < prefix.mv_size || memcmp(key.mv_data, prefix.mv_data, prefix.mv_size))
            break;
        if (!shared_decode(&stored, &entry) || shared_is_over(entry.ends, now))
            continue;
        uint16_t n = (uint16_t)(key.mv_size - prefix.mv_size);
        buf_append(out, &n, sizeof n);
        buf_append(out, (const char *)key.mv_data + prefix.mv_size, n);
        count++;
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        return shared_broken(s, rc);
    return out->overflow ? SHARED_FULL : SHARED_OK;
}

enum shared_result shared_keys(struct shared *s, struct str name, size_t max, double now,
                               struct buf *out)
{
    struct place p;
    MDB_cursor *cursor;
    if (!place_of(&p, name, STR("")))
        return SHARED_KEY_LONG;
    int rc = begin_reading(s);
    if (rc == 0)
        rc = mdb_cursor_open(s->reader, s->tree, &cursor);
    if (rc != 0) {
        shared_done(s);
        return shared_broken(s, rc);
    }
    enum shared_result result = walk_keys(s, cursor, &p, max, now, out);
    mdb_cursor_close(cursor);
    shared_done(s);
    return result;
}

bool shared_key_next(struct str *keys, struct str *key)
{
    uint16_t n;
    if (keys->n < sizeof n)
        return false;
    memcpy(&n, keys->p, sizeof n);
    *key = (struct str){keys->p + sizeof n, n};
    *keys = (struct str){keys->p + sizeof n + n, keys->n - sizeof n - n};
    return true;
}

static size_t pages_used(struct shared *s, MDB_txn *txn)
{
    MDB_stat stat = {0};
    mdb_stat(txn, s->tree, &stat);
    return stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
}

enum shared_result shared_usage(struct shared *s, struct shared_usage *out)
{
    int rc = begin_reading(s);
    *out = (struct shared_usage){.size = s->limit * s->page};
    if (rc != 0)
        return shared_broken(s, rc);
    out->used = pages_used(s, s->reader) * s->page;
    shared_done(s);
    return SHARED_OK;
}

/* --- writing --- */

enum wish_kind { WISH_PUT, WISH_INCR, WISH_TAKE, WISH_DELETE };

struct wish {
    enum wish_kind kind;
    enum shared_how how;
    struct place place;
    struct shared_value value;
    const struct shared_step *step;
    const struct shared_bounds *bounds;
    double ttl, now;
    bool grows; /* it needs more than was there: set when it has been done */
};

static int shared_store(struct shared *s, MDB_txn *txn, struct wish *w, uint64_t ends,
                        uint64_t old_ends)
{
    MDB_val key = index_key(&w->place, old_ends), none = {0, NULL}, data;
    int rc = old_ends != 0 && old_ends != ends ? mdb_del(txn, s->tree, &key, NULL) : 0;
    if (rc == 0 && ends != 0 && ends != old_ends) {
        key = index_key(&w->place, ends);
        rc = mdb_put(txn, s->tree, &key, &none, 0);
    }
    if (rc != 0)
        return rc;
    key = entry_key(&w->place);
    data = (MDB_val){encoded_size(&w->value), NULL};
    rc = mdb_put(txn, s->tree, &key, &data, MDB_RESERVE);
    if (rc == 0)
        shared_encode(data.mv_data, ends, &w->value);
    return rc;
}

static int shared_drop(struct shared *s, MDB_txn *txn, struct place *p, uint64_t ends)
{
    MDB_val key = index_key(p, ends);
    int rc = ends != 0 ? mdb_del(txn, s->tree, &key, NULL) : 0;
    key = entry_key(p);
    return rc != 0 ? rc : mdb_del(txn, s->tree, &key, NULL);
}

/* What a step makes of the entry; *ends is when it ends then. */
static enum shared_result step(struct wish *w, const struct entry *old, bool alive, uint64_t *ends)
{
    double from = 0;
    if (alive && old->value.type != SHARED_NUMBER)
        return SHARED_NOT_A_NUMBER;
    if (alive)
        from = old->value.number;
    else if (w->step->initial != NULL)
        from = *w->step->initial;
    else
        return SHARED_ABSENT;
    if (alive)
        *ends = old->ends;
    w->value = (struct shared_value){.type = SHARED_NUMBER, .number = from + w->step->by};
    return SHARED_OK;
}

/* Likewise of a step within bounds. The end of an entry is moved seldom, since that costs as much
 * as the entry itself. */
static enum shared_result take(struct wish *w, const struct entry *old, bool alive, uint64_t *ends)
{
    const struct shared_bounds *b = w->bounds;
    if (alive && old->value.type != SHARED_NUMBER)
        return SHARED_NOT_A_NUMBER;
    double from = alive && old->value.number > b->low ? old->value.number : b->low;
    bool fits = from + b->by <= b->high;
    w->value = (struct shared_value){.type = SHARED_NUMBER, .number = fits ? from + b->by : from};
    if (alive && (old->ends == 0 || old->ends > end_of(b->ttl / 2, w->now)))
        *ends = old->ends;
    return fits ? SHARED_OK : SHARED_TOO_MUCH;
}

static enum shared_result shared_fulfil(struct shared *s, MDB_txn *txn, struct wish *w)
{
    struct entry old = {0};
    MDB_val key = entry_key(&w->place), stored;
    int rc = mdb_get(txn, s->tree, &key, &stored);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return shared_broken(s, rc);
    bool there = rc == 0, alive;
    if (there && !shared_decode(&stored, &old))
        return shared_broken(s, MDB_CORRUPTED);
    alive = there && !shared_is_over(old.ends, w->now);
    uint64_t ends = end_of(w->ttl, w->now);
    enum shared_result result = SHARED_OK;
    if (w->kind == WISH_DELETE) {
        rc = there ? shared_drop(s, txn, &w->place, old.ends) : 0;
        return rc == 0 ? SHARED_OK : shared_broken(s, rc);
    }
    if (w->kind == WISH_INCR)
        result = step(w, &old, alive, &ends);
    else if (w->kind == WISH_TAKE)
        result = take(w, &old, alive, &ends);
    else if (w->how == SHARED_ADD && alive)
        result = SHARED_EXISTS;
    else if (w->how == SHARED_REPLACE && !alive)
        result = SHARED_ABSENT;
    if (result != SHARED_OK)
        return result;
    w->grows = !there || encoded_size(&w->value) > old.size || (ends != 0 && old.ends == 0);
    rc = shared_store(s, txn, w, ends, old.ends);
    return rc == 0 ? SHARED_OK : shared_broken(s, rc);
}

/* Removes up to `max` entries whose time is over; *count is how many. */
static int shared_purge(struct shared *s, MDB_txn *txn, double now, unsigned max, unsigned *count)
{
    MDB_cursor *cursor;
    MDB_val key, none;
    int rc = mdb_cursor_open(txn, s->tree, &cursor);
    *count = 0;
    if (rc != 0)
        return rc;
    while (*count < max && (rc = mdb_cursor_get(cursor, &key, &none, MDB_FIRST)) == 0) {
        struct place p;
        if (((const uint8_t *)key.mv_data)[0] != 0 || key.mv_size <= INDEX_PREFIX ||
            key.mv_size > sizeof p.bytes || !shared_is_over(index_time(&key), now))
            break;
        p.n = key.mv_size - INDEX_PREFIX; /* the page may change under the key */
        memcpy(p.bytes, key.mv_data, key.mv_size);
        if ((rc = shared_drop(s, txn, &p, index_time(&(MDB_val){key.mv_size, p.bytes}))) != 0)
            break;
        (*count)++;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* A part of the work that time leaves behind, beside a write. */
static int purge_some(struct shared *s, MDB_txn *txn, double now)
{
    unsigned count;
    if (now < s->purge_at && now > s->purge_at - 2 * PURGE_PERIOD)
        return 0;
    int rc = shared_purge(s, txn, now, PURGE_STEP, &count);
    s->purge_at = count == PURGE_STEP ? now : now + PURGE_PERIOD;
    return rc;
}

static enum shared_result shared_attempt(struct shared *s, struct wish *w)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return shared_broken(s, rc);
    rc = purge_some(s, txn, w->now);
    enum shared_result result = rc == 0 ? shared_fulfil(s, txn, w) : shared_broken(s, rc);
    if (result == SHARED_OK && w->grows && pages_used(s, txn) > s->limit)
        result = SHARED_FULL;
    if (result != SHARED_OK) {
        mdb_txn_abort(txn);
        return result;
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? SHARED_OK : shared_broken(s, rc);
}

/* True when it has made room. */
static bool shared_make_room(struct shared *s, double now)
{
    MDB_txn *txn;
    unsigned count, max = PURGE_MORE;
    do { /* one entry, where the pages for more are not there */
        if (mdb_txn_begin(s->env, NULL, 0, &txn) != 0)
            return false;
        if (shared_purge(s, txn, now, max, &count) == 0 && count > 0)
            return mdb_txn_commit(txn) == 0;
        mdb_txn_abort(txn);
        max /= PURGE_MORE;
    } while (max > 0);
    return false;
}

static enum shared_result shared_carry_out(struct shared *s, struct wish *w)
{
    enum shared_result result = SHARED_OK;
    shared_done(s);
    for (int round = 0; round < PURGE_ROUNDS; round++) {
        int dead = 0;
        result = shared_attempt(s, w);
        if (result != SHARED_FULL)
            break;
        /* What a reader sees stays, even if it was killed within its call. */
        if (!shared_make_room(s, w->now) && (mdb_reader_check(s->env, &dead) != 0 || dead == 0))
            break;
    }
    return result;
}

enum shared_result shared_put(struct shared *s, struct str name, struct str key,
                              const struct shared_value *value, double ttl, enum shared_how how,
                              double now)
{
    struct wish w = {.kind = WISH_PUT, .how = how, .value = *value, .ttl = ttl, .now = now};
    if (!place_of(&w.place, name, key))
        return SHARED_KEY_LONG;
    return encoded_size(value) > s->max_value ? SHARED_VALUE_LONG : shared_carry_out(s, &w);
}

enum shared_result shared_incr(struct shared *s, struct str name, struct str key,
                               const struct shared_step *step, double now, double *out)
{
    struct wish w = {.kind = WISH_INCR, .step = step, .ttl = step->ttl, .now = now};
    if (!place_of(&w.place, name, key))
        return SHARED_KEY_LONG;
    enum shared_result result = shared_carry_out(s, &w);
    *out = w.value.number;
    return result;
}

enum shared_result shared_bounded(struct shared *s, struct str name, struct str key,
                                  const struct shared_bounds *bounds, double now, double *out)
{
    struct wish w = {.kind = WISH_TAKE, .bounds = bounds, .ttl = bounds->ttl, .now = now};
    if (!place_of(&w.place, name, key))
        return SHARED_KEY_LONG;
    enum shared_result result = shared_carry_out(s, &w);
    *out = w.value.number;
    return result;
}

enum shared_result shared_delete(struct shared *s, struct str name, struct str key, double now)
{
    struct wish w = {.kind = WISH_DELETE, .now = now};
    return place_of(&w.place, name, key) ? shared_carry_out(s, &w) : SHARED_KEY_LONG;
}

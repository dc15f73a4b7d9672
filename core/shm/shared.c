/*
 * shared - see shared.h.
 *
 * LMDB has the tree, and transactions that outlive the death of a process inside them; for one that
 * dies in the last step of a commit see shm/undo.h. This file adds, and why:
 * - A lock around each call. LMDB has its own, in a file with a name beside the data; with
 *   MDB_NOLOCK the data needs no name either, so an instance that was killed leaves no folder
 *   behind, and no reader keeps old pages from being reused.
 * - Times to live. Each write removes a few expired entries. They are found by a second key in the
 *   same tree (shm/entry.h); a tree of its own for these keys would cost each write the copies of
 *   two more pages.
 * - A bound that can be deleted from. LMDB writes every page that a transaction changes to a new
 *   place, and uses the old one again two transactions later. So it fails where the map is full,
 *   even to delete. `limit` keeps pages free for that, and a value may take only a part of them.
 * - Allocated memory. A page of the map for which the machine has no memory ends the process
 *   (SIGBUS), so the file is allocated whole before it is used.
 */
#include "shm/shared.h"

#include "shm/entry.h"
#include "shm/lock.h"
#include "shm/undo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PURGE_STEP   4  /* expired entries that a write removes beside its own work */
#define PURGE_MORE   16 /* expired entries that one transaction removes to make room */
#define PURGE_ROUNDS 128
#define PURGE_PERIOD 1.0 /* seconds between two searches while no entry has expired */
#define RESERVE_MIN  96  /* pages */

struct shared {
    MDB_env *env;
    MDB_dbi tree;
    MDB_txn *reader;      /* reset between two calls */
    struct undo *undo;    /* with the lock */
    unsigned char *pages; /* LMDB's first two; NULL: not mapped yet */
    int fd;               /* LMDB's own, of the data */
    size_t page_size;
    size_t limit; /* most bytes of entries */
    size_t max_value;
    double purge_at; /* when to search for expired entries again */
    int error;       /* LMDB's error for SHARED_BROKEN */
};

/* --- results --- */

static enum shared_result shared_result_of(struct shared *s, int rc)
{
    if (rc == 0)
        return SHARED_OK;
    if (rc == MDB_MAP_FULL || rc == MDB_TXN_FULL)
        return SHARED_FULL;
    s->error = rc;
    return SHARED_BROKEN;
}

const char *shared_reason(const struct shared *s, enum shared_result result)
{
    static const char *const reasons[] = {
        [SHARED_OK] = "ok",
        [SHARED_ABSENT] = "not found",
        [SHARED_EXISTS] = "exists",
        [SHARED_NOT_A_NUMBER] = "not a number",
        [SHARED_TOO_MUCH] = "too much",
        [SHARED_FULL] = "no memory",
        [SHARED_LONG] = "too long",
    };
    static char text[128];
    switch (result) {
    case SHARED_KEY_LONG:
        snprintf(text, sizeof text, "the key is too long (at most %d bytes)", SHARED_KEY_MAX);
        return text;
    case SHARED_VALUE_LONG:
        snprintf(text, sizeof text,
                 "the value is too long (at most %zu bytes, a sixteenth of limits.shared)",
                 s->max_value);
        return text;
    case SHARED_BROKEN:
        snprintf(text, sizeof text, "the shared memory fails: %s", mdb_strerror(s->error));
        return text;
    default:
        return reasons[result];
    }
}

const char *shared_format(void)
{
    static char text[32];
    int major, minor, patch;
    mdb_version(&major, &minor, &patch);
    snprintf(text, sizeof text, "2/%d.%d.%d", major, minor, patch);
    return text;
}

/* --- opening --- */

static size_t shared_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Opens the environment, under the lock. The first process makes the file. */
static int shared_open_env(struct shared *s, const struct shared_file *file)
{
    char path[32];
    int rc = mdb_env_create(&s->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(s->env, file->size / shared_page() * shared_page());
    snprintf(path, sizeof path, "/proc/self/fd/%d", file->data);
    if (rc == 0)
        rc = mdb_env_open(s->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_WRITEMAP | MDB_NOSYNC, 0);
    if (rc == 0)
        rc = mdb_env_get_fd(s->env, &s->fd);
    if (rc == 0 && fcntl(s->fd, F_SETFD, FD_CLOEXEC) != 0) /* not for programs of scripts */
        rc = errno;
    while (rc == 0 && fallocate(s->fd, 0, 0, (off_t)file->size) != 0)
        rc = errno != EINTR ? errno : 0;
    return rc;
}

/* Maps LMDB's first pages, for the undo. */
static int shared_open_pages(struct shared *s)
{
    MDB_stat stat;
    int rc = mdb_env_stat(s->env, &stat);
    if (rc != 0)
        return rc;
    s->page_size = stat.ms_psize;
    void *pages = mmap(NULL, UNDO_PAGES * s->page_size, PROT_READ, MAP_SHARED, s->fd, 0);
    if (pages == MAP_FAILED)
        return errno;
    s->pages = pages;
    return 0;
}

static int shared_open_tree(struct shared *s)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &s->tree);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    if (rc == 0)
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->reader);
    if (rc == 0)
        mdb_txn_reset(s->reader);
    return rc;
}

size_t shared_room(size_t size)
{
    size_t page = shared_page(), pages = size / page, reserve = pages / 8;
    return (pages - (reserve > RESERVE_MIN ? reserve : RESERVE_MIN)) * page;
}

struct shared *shared_open(const struct shared_file *file, char *err, size_t err_size)
{
    struct shared *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->limit = shared_room(file->size);
    s->max_value = file->size / 16;
    s->undo = mmap(NULL, sizeof *s->undo, PROT_READ | PROT_WRITE, MAP_SHARED, file->lock, 0);
    int rc = s->undo == MAP_FAILED ? errno : file->size < SHARED_SIZE_MIN ? EINVAL : 0;
    if (rc == 0) {
        lock_enter(&s->undo->lock);
        rc = undo_restore(s->undo, file->data);
        if (rc == 0)
            rc = shared_open_env(s, file);
        if (rc == 0)
            rc = shared_open_pages(s);
        if (rc == 0)
            rc = shared_open_tree(s);
        lock_leave(&s->undo->lock);
    }
    if (rc == 0)
        return s;
    snprintf(err, err_size, "%zu bytes for limits.shared: %s", file->size, mdb_strerror(rc));
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
    if (s->pages != NULL)
        munmap(s->pages, UNDO_PAGES * s->page_size);
    if (s->undo != MAP_FAILED)
        munmap(s->undo, sizeof *s->undo);
    free(s);
}

/* --- one process at a time --- */

/* Returns 0, or why the data is of no use. The lock is taken either way. */
static int shared_enter(struct shared *s)
{
    lock_enter(&s->undo->lock);
    return undo_restore(s->undo, s->fd);
}

static void shared_leave(struct shared *s)
{
    lock_leave(&s->undo->lock);
}

static int shared_commit(struct shared *s, MDB_txn *txn)
{
    undo_keep(s->undo, s->pages, s->page_size);
    int rc = mdb_txn_commit(txn);
    undo_forget(s->undo);
    return rc;
}

/* --- reading --- */

static int shared_begin_reading(struct shared *s)
{
    int rc = shared_enter(s);
    return rc != 0 ? rc : mdb_txn_renew(s->reader);
}

static void shared_end_reading(struct shared *s)
{
    mdb_txn_reset(s->reader);
    shared_leave(s);
}

/* Finds an entry. *found: the entry exists, though it may have expired. */
static int shared_find(struct shared *s, MDB_txn *txn, struct entry_keys *keys, struct entry *out,
                       bool *found)
{
    MDB_val key = entry_key(keys), bytes;
    int rc = mdb_get(txn, s->tree, &key, &bytes);
    *found = rc == 0;
    if (rc == MDB_NOTFOUND)
        return 0;
    return rc != 0 || entry_decode(&bytes, out) ? rc : MDB_CORRUPTED;
}

enum shared_result shared_get(struct shared *s, struct str name, struct str key, double now,
                              char *room, size_t size, struct shared_value *out)
{
    struct entry_keys keys;
    struct entry entry = {.ends = 0};
    bool found = false;
    if (!entry_name(&keys, name, key))
        return SHARED_KEY_LONG;
    int rc = shared_begin_reading(s);
    if (rc == 0)
        rc = shared_find(s, s->reader, &keys, &entry, &found);
    enum shared_result result = shared_result_of(s, rc);
    if (result == SHARED_OK && (!found || entry_is_over(entry.ends, now)))
        result = SHARED_ABSENT;
    if (result == SHARED_OK) {
        *out = entry.value;
        out->string.p = room;
        if (out->string.n > size)
            result = SHARED_LONG;
        else if (out->string.n > 0)
            memcpy(room, entry.value.string.p, out->string.n);
    }
    shared_end_reading(s);
    return result;
}

/* Finds the first key of the dictionary from keys->bytes on (`behind`: after it) whose entry has
 * not expired. */
static int shared_seek(MDB_cursor *cursor, struct entry_keys *keys, bool behind, double now,
                       MDB_val *key)
{
    struct entry entry;
    MDB_val from = entry_key(keys), bytes;
    *key = from;
    int rc = mdb_cursor_get(cursor, key, &bytes, MDB_SET_RANGE);
    bool same = behind && rc == 0 && key->mv_size == from.mv_size &&
                memcmp(key->mv_data, from.mv_data, from.mv_size) == 0;
    while (rc == 0 && (same || !entry_decode(&bytes, &entry) || entry_is_over(entry.ends, now))) {
        rc = mdb_cursor_get(cursor, key, &bytes, MDB_NEXT);
        same = false;
    }
    return rc;
}

enum shared_result shared_next(struct shared *s, struct str name, double now,
                               struct shared_cursor *at)
{
    struct entry_keys keys;
    size_t prefix = 1 + name.n;
    MDB_cursor *cursor;
    MDB_val key;
    if (!entry_name(&keys, name, (struct str){at->key, at->size}))
        return SHARED_KEY_LONG;
    int rc = shared_begin_reading(s);
    if (rc == 0)
        rc = mdb_cursor_open(s->reader, s->tree, &cursor);
    if (rc == 0) {
        rc = shared_seek(cursor, &keys, at->begun, now, &key);
        if (rc == 0 && (key.mv_size < prefix || key.mv_size > prefix + sizeof at->key ||
                        memcmp(key.mv_data, entry_key(&keys).mv_data, prefix) != 0))
            rc = MDB_NOTFOUND; /* the next dictionary begins */
        if (rc == 0) {
            at->size = key.mv_size - prefix;
            memcpy(at->key, (const char *)key.mv_data + prefix, at->size);
        }
        at->begun = true;
        mdb_cursor_close(cursor);
    }
    shared_end_reading(s);
    return rc == MDB_NOTFOUND ? SHARED_ABSENT : shared_result_of(s, rc);
}

static size_t shared_bytes(struct shared *s, MDB_txn *txn)
{
    MDB_stat stat = {0};
    mdb_stat(txn, s->tree, &stat);
    return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
}

enum shared_result shared_used(struct shared *s, size_t *bytes)
{
    int rc = shared_begin_reading(s);
    *bytes = rc == 0 ? shared_bytes(s, s->reader) : 0;
    shared_end_reading(s);
    return shared_result_of(s, rc);
}

/* --- expired entries --- */

static int shared_remove(struct shared *s, MDB_txn *txn, struct entry_keys *keys, uint64_t ends)
{
    MDB_val key = entry_end_key(keys, ends);
    int rc = ends != 0 ? mdb_del(txn, s->tree, &key, NULL) : 0;
    key = entry_key(keys);
    return rc != 0 ? rc : mdb_del(txn, s->tree, &key, NULL);
}

/* Removes up to `max` expired entries; *count is their number. */
static int shared_purge(struct shared *s, MDB_txn *txn, double now, unsigned max, unsigned *count)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->tree, &cursor);
    *count = 0;
    if (rc != 0)
        return rc;
    for (; rc == 0 && *count < max; (*count)++) {
        struct entry_keys keys;
        MDB_val key, none;
        uint64_t ends;
        rc = mdb_cursor_get(cursor, &key, &none, MDB_FIRST);
        if (rc != 0 || !entry_read_end_key(&key, &keys, &ends) || !entry_is_over(ends, now))
            break;
        rc = shared_remove(s, txn, &keys, ends);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Removes a few expired entries in each write, so that they don't pile up. */
static int shared_purge_some(struct shared *s, MDB_txn *txn, double now)
{
    unsigned count;
    if (now < s->purge_at && now > s->purge_at - 2 * PURGE_PERIOD)
        return 0;
    int rc = shared_purge(s, txn, now, PURGE_STEP, &count);
    s->purge_at = count == PURGE_STEP ? now : now + PURGE_PERIOD;
    return rc;
}

/* Removes expired entries for a write that found no room. True: the write may succeed now. */
static bool shared_make_room(struct shared *s, double now)
{
    MDB_txn *txn;
    unsigned count;
    if (mdb_txn_begin(s->env, NULL, 0, &txn) != 0)
        return false;
    if (shared_purge(s, txn, now, PURGE_MORE, &count) == 0 && count > 0)
        return shared_commit(s, txn) == 0;
    mdb_txn_abort(txn);
    return false;
}

/* --- writing --- */

/* An entry before a write, and the change that the write makes. */
struct change {
    struct entry_keys keys;
    struct entry old;
    bool found, alive; /* the entry exists; the entry has not expired */
    uint64_t ends;
    struct shared_value value;
};

/* Carries out INCR and TAKE. The end of an entry is seldom moved, since moving costs as much as
 * writing the entry. */
static enum shared_result shared_add(const struct shared_operation *op, double now,
                                     struct change *c)
{
    bool bounded = op->action == SHARED_TAKE;
    double from = c->old.value.number;
    if (c->alive && c->old.value.type != SHARED_NUMBER)
        return SHARED_NOT_A_NUMBER;
    if (!c->alive && !bounded && op->initial == NULL)
        return SHARED_ABSENT;
    if (bounded && !(c->alive && from > op->low))
        from = op->low;
    else if (!c->alive)
        from = *op->initial;
    if (c->alive && (!bounded || c->old.ends == 0 || c->old.ends > entry_end(op->ttl / 2, now)))
        c->ends = c->old.ends;
    bool fits = !bounded || from + op->by <= op->high;
    c->value = (struct shared_value){.type = SHARED_NUMBER, .number = fits ? from + op->by : from};
    return fits ? SHARED_OK : SHARED_TOO_MUCH;
}

static int shared_store(struct shared *s, MDB_txn *txn, struct change *c)
{
    uint64_t before = c->found ? c->old.ends : 0;
    MDB_val key = entry_end_key(&c->keys, before), bytes = {0, NULL};
    int rc = before != 0 && before != c->ends ? mdb_del(txn, s->tree, &key, NULL) : 0;
    if (rc == 0 && c->ends != 0 && c->ends != before) {
        key = entry_end_key(&c->keys, c->ends);
        rc = mdb_put(txn, s->tree, &key, &bytes, 0);
    }
    if (rc != 0)
        return rc;
    key = entry_key(&c->keys);
    bytes.mv_size = entry_size(&c->value);
    rc = mdb_put(txn, s->tree, &key, &bytes, MDB_RESERVE);
    if (rc == 0)
        entry_encode(bytes.mv_data, c->ends, &c->value);
    return rc;
}

/* Writes the entry. A write that needs more memory than before must not use the reserve. */
static enum shared_result shared_put(struct shared *s, MDB_txn *txn, struct change *c)
{
    bool grows =
        !c->found || entry_size(&c->value) > c->old.size || (c->ends != 0 && c->old.ends == 0);
    int rc = shared_store(s, txn, c);
    return rc == 0 && grows && shared_bytes(s, txn) > s->limit ? SHARED_FULL
                                                               : shared_result_of(s, rc);
}

static enum shared_result shared_apply(struct shared *s, MDB_txn *txn,
                                       const struct shared_operation *op, double now,
                                       struct change *c)
{
    enum shared_result result = SHARED_OK;
    int rc = shared_find(s, txn, &c->keys, &c->old, &c->found);
    if (rc != 0)
        return shared_result_of(s, rc);
    c->alive = c->found && !entry_is_over(c->old.ends, now);
    c->ends = entry_end(op->ttl, now);
    c->value = op->value;
    switch (op->action) {
    case SHARED_SET:
        break;
    case SHARED_ADD:
        result = c->alive ? SHARED_EXISTS : SHARED_OK;
        break;
    case SHARED_REPLACE:
        result = c->alive ? SHARED_OK : SHARED_ABSENT;
        break;
    case SHARED_INCR:
    case SHARED_TAKE:
        result = shared_add(op, now, c);
        break;
    case SHARED_DELETE:
        return shared_result_of(s, c->found ? shared_remove(s, txn, &c->keys, c->old.ends) : 0);
    }
    return result == SHARED_OK ? shared_put(s, txn, c) : result;
}

static enum shared_result shared_transact(struct shared *s, const struct shared_operation *op,
                                          double now, struct change *c)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (rc != 0)
        return shared_result_of(s, rc);
    enum shared_result result = shared_result_of(s, shared_purge_some(s, txn, now));
    if (result == SHARED_OK)
        result = shared_apply(s, txn, op, now, c);
    if (result == SHARED_OK)
        return shared_result_of(s, shared_commit(s, txn));
    mdb_txn_abort(txn);
    return result;
}

enum shared_result shared_write(struct shared *s, const struct shared_operation *op, double now,
                                double *number)
{
    struct change c = {.found = false};
    enum shared_result result;
    if (!entry_name(&c.keys, op->name, op->key))
        return SHARED_KEY_LONG;
    if (op->action <= SHARED_REPLACE && entry_size(&op->value) > s->max_value)
        return SHARED_VALUE_LONG;
    result = shared_result_of(s, shared_enter(s));
    if (result == SHARED_OK)
        result = shared_transact(s, op, now, &c);
    for (int i = 0; i < PURGE_ROUNDS && result == SHARED_FULL && shared_make_room(s, now); i++)
        result = shared_transact(s, op, now, &c);
    shared_leave(s);
    if (number != NULL)
        *number = c.value.number;
    return result;
}

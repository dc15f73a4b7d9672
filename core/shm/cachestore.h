/*
 * cachestore - the responses of the cache as files, and those that this worker has met lately, in
 * memory.
 *
 *     PATH/moongate-cache-INSTANCE/     made by the first worker, owned by the workers' user
 *         lock                          each worker has a shared flock(2) of it
 *         fill/PLACE-NUMBER             a response that is being made
 *         SLOT                          a whole response, by the number of its slot (cache.h)
 *
 * A file is written under a name of its own, then renamed to that of its slot, and only then
 * published in the index: nobody ever finds a part of one, whenever its worker is killed. The id in
 * the file must be that of the slot, and its length that of its head, or the response is not used.
 *
 *     file:   magic id, sizes | key | names of Vary | headers | body
 *
 * Files are immutable, so one that was read once needs no stat(2) again: the index says whether its
 * id still counts. Responses of up to 32 KB stay in memory whole (cachestore_set_memory), the
 * descriptors of up to 64 larger ones stay open. A hit changes no list there, either: an entry that
 * was used since it was looked at gets another round when it is the oldest.
 *
 * Why files and no LMDB, which is linked already: a body goes from a file to the socket by
 * sendfile, without passing through this process; a reader that is slow holds nothing but its own
 * descriptor, where a reader of LMDB keeps all pages from being reused; and LMDB takes its one
 * writer's lock for what a hit notes.
 *
 * A body in a content coding is such a file without headers, a newer head of a response one without
 * a body. Both name the response that they are a part of.
 *
 * The folder of an instance that was killed is removed by the next one at the same PATH, which gets
 * the lock.
 */
#ifndef MG_SHM_CACHESTORE_H
#define MG_SHM_CACHESTORE_H

#include "base/buf.h"
#include "http/filecache.h"
#include "shm/cache.h"

/* A response in the memory of this process; immutable. `file.source` counts its uses. */
struct cache_entry {
    struct cached_file file; /* first member. size is the body's; no path is in it */
    uint64_t body_at;        /* where the body begins in the file; 0: `file` has its content */
    struct str key;
    struct str vary; /* n > 0: no response, but the names of headers that select one */
    int status;
    struct headers headers;
    uint64_t of;    /* of a part: the id of its response */
    unsigned level; /* of a coded body: that of the coder */
};

/* What a file is made of, beside the body. */
struct cache_record {
    struct str key;
    struct str vary;
    int status;
    const struct headers *headers;
    unsigned level; /* of the coder of a coded body */
};

/* A response that is being written. */
struct cache_write {
    struct buf buffer; /* the head, and bytes of the body that are not in the file yet */
    uint64_t head_size, body_size;
    uint64_t purges; /* when it was asked for */
    uint64_t most;   /* bytes that the file may have */
    int error;       /* errno: the disk could not take it; 0: it could */
    int fd;          /* -1: all of it is in the buffer */
    uint32_t slot;   /* where it is, after cachestore_end */
    uint64_t id;
    char name[40];
};

/* This process is the worker of that place, and may open the store. */
void cachestore_offer(struct cache *index, unsigned place);
/* The index that it may be opened for; NULL: this process is no worker. */
struct cache *cachestore_offered(void);
/* Opens the store unless it is open. NULL, or why it can't be used; a failure is final. */
const char *cachestore_use(struct str path);
/* Opens the store of this process for the index, below the folder `path`, or that with which
 * another process has opened it. NULL, or why it can't be used. */
const char *cachestore_open(struct cache *index, unsigned place, struct str path);
/* The index; NULL: the store is not open. */
struct cache *cachestore_index(void);
/* The bytes of responses that this process keeps in its memory; 16 MB unless said. */
void cachestore_set_memory(uint64_t bytes);
/* Frees entries and descriptors, before the process ends. */
void cachestore_close(void);
/* Removes the folder of the instance once no process has it open. Called for the master, in a child
 * of the workers' user. */
void cachestore_remove(struct cache *index);

/* The response of a slot with its newest head, with one more use, which file_source_drop gives
 * back. `key` must be its key. NULL: the file is gone or can't be used, and the slot is then
 * removed from the index; or its newer head is gone. */
struct cache_entry *cachestore_get(const struct cache_found *found, struct str key);

/* Removes a response that must not be sent any more, with its coded bodies. */
void cachestore_discard(const struct cache_found *found);

/* Begins to write a response. */
void cachestore_begin(struct cache_write *w, const struct cache_record *record, uint64_t purges,
                      uint64_t most);
/* Appends to the body. False: it is too large, or the disk is full: the caller drops it. */
bool cachestore_add(struct cache_write *w, struct str bytes);
/* Puts the whole response into its place. facts->size is set here. CACHE_NO_REASON, or why it is
 * not kept. */
enum cache_reason cachestore_end(struct cache_write *w, struct cache_facts *facts);
/* Gives up what was begun; also after cachestore_end. */
void cachestore_drop(struct cache_write *w);

/* Removes all that match one of the orders, CACHE_ORDERS at most; how many responses there were.
 * Opens the store if another process has. All slots are looked at once, which takes milliseconds
 * where there are many: what goes together is one call. No request finds what was removed, whose
 * files may go later. */
unsigned cachestore_purge(const struct cache_order *orders, unsigned count);

bool cachestore_has_descriptors(void);
/* Closes descriptors that no request has used since the last call. */
void cachestore_sweep(void);

#endif

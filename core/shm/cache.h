/*
 * cache - the index of the response cache, shared by all workers: which responses are kept, until
 * when, who makes one at the moment and who waits for it.
 *
 * One shared mapping, made by the master before it forks. The responses themselves are files of
 * their own (cachestore.h); a slot has what is asked before such a file is touched. The slot's
 * number is the file's name, its id stands in the file, too, so a file that has been replaced is
 * never taken for another one.
 *
 *     FREE --cache_reserve--> TAKEN --cache_publish--> USED --evicted, purged--> TAKEN
 * --cache_free-->
 *
 * A slot that is TAKEN belongs to one worker, which writes or removes its file without the lock.
 * One robust mutex guards all else. After a worker has died inside the lock, lists and sums are
 * made again from the states of the slots, which are written last. Slots and fills of a worker that
 * has ended are given back by the next one at its place, and by the master (cache_worker_gone).
 *
 * Slots are in the order in which they were published, the newest first. A slot that has been used
 * since it was looked at gets another round when it comes to the end (as in CLOCK and S3-FIFO), so
 * responses that nobody has asked for again go first, and a hit changes no list.
 *
 * A response that is sent in content codings has a slot for each coded body, too, and one for its
 * head where a 304 has brought a newer one. These belong to the response by its id: they go with
 * the response, whatever takes that, and are found by way of the response alone.
 *
 * Plain data: no loop, no Lua, no files. A worker watches its eventfd (cache_wake_fd).
 */
#ifndef MG_SHM_CACHE_H
#define MG_SHM_CACHE_H

#include "base/str.h"
#include "http/coding.h"

#define CACHE_SLOTS  131072 /* a power of two */
#define CACHE_TEXT   220    /* bytes of a key that purges and pages see */
#define CACHE_TAGS   8      /* of one response */
#define CACHE_PLACES 1024   /* as many workers as the ledger has */
#define CACHE_NONE   UINT32_MAX

struct cache;

/* What a slot says of a response. Times in seconds of ledger_now's clock, which all processes
 * share. */
struct cache_facts {
    uint64_t hash; /* of its whole key */
    uint64_t size; /* bytes of its file */
    double stored; /* its age counts from here */
    double fresh_until, stale_until;
    double at_once_until;      /* until then a stale one is sent while a newer one is made */
    uint32_t tags[CACHE_TAGS]; /* their hashes; 0: none */
    uint32_t site;             /* cache_tag of what sets the site apart from others */
    struct str text;           /* the key as operators know it; only its beginning is kept */
    /* A part of a response: a body in a content coding, or a newer head. Neither text nor tags
     * count then. */
    bool coded, head;
    uint32_t of_slot; /* the response that it is a part of, */
    uint64_t of;      /* and its id; 0: of none, but of a file */
};

struct cache_found {
    uint32_t slot;
    uint64_t id;
    double stored, fresh_until, stale_until, at_once_until;
    uint32_t head_slot; /* of a newer head, */
    uint64_t head;      /* and its id; 0: there is none */
};

struct cache_counts {
    uint64_t entries, coded, bytes, limit; /* responses, their parts */
    uint64_t stored, evicted, purged;      /* since the instance began */
};

/* --- the master --- */

/* Makes the mapping. NULL: no memory or descriptors; see errno. */
struct cache *cache_new(unsigned places);
/* Gives back what the worker of that place held, and wakes those who wait for it. */
void cache_worker_gone(struct cache *c, unsigned place);
/* A number that no other instance has. */
uint64_t cache_instance(const struct cache *c);
/* The folder of the files; "": none is used yet. */
#define CACHE_PATH 1024
const char *cache_path(const struct cache *c);

/* --- a worker --- */

/* From now on this process is the worker of that place, which holds nothing yet. */
void cache_join(struct cache *c, unsigned place);
/* Sets the folder of the files, unless another worker has set one, and returns the one that counts.
 * NULL: it is too long. */
const char *cache_set_path(struct cache *c, struct str path);
/* The most bytes that all files may have. */
void cache_set_limit(struct cache *c, uint64_t bytes);
/* The hash of a text, with the instance's own seed, so that nobody can make keys that meet. */
uint64_t cache_hash(const struct cache *c, struct str text);
/* The hash of a coded body of the response with that id; CODING_IDENTITY: of its newer head. */
uint64_t cache_coded_hash(const struct cache *c, uint64_t id, enum coding coding);
/* The hash of a tag for cache_facts, never 0. */
uint32_t cache_tag(const struct cache *c, struct str name);

/* Finds the response of a key's hash that may still be sent, stale ones included, and notes the
 * use. False: there is none. */
bool cache_find(struct cache *c, uint64_t hash, double now, struct cache_found *found);
/* A response that was found to be the same still has the times of *found from now on. False: it has
 * gone. */
bool cache_refresh(struct cache *c, const struct cache_found *found);

/* Slots that were taken. The caller removes their files and frees them. */
#define CACHE_VICTIMS 256
struct cache_victims {
    uint32_t slots[CACHE_VICTIMS];
    unsigned count;
    unsigned responses; /* of these; the others are parts of responses */
};
/* Takes a slot whose file can't be used. */
void cache_discard(struct cache *c, uint32_t slot, uint64_t id, struct cache_victims *victims);

/* Takes a slot for a file of so many bytes, and slots of others to make room for it. CACHE_NONE:
 * there is no room; victims count nevertheless. */
uint32_t cache_reserve(struct cache *c, uint64_t size, uint64_t *id, struct cache_victims *victims);
/* Takes so many slots, those that are worth least, since the disk is full before the limit is
 * reached. */
void cache_relieve(struct cache *c, unsigned count, struct cache_victims *victims);
/* The file is there: other requests get it from now on, in place of an earlier one of the same
 * hash, which becomes a victim. `since`: cache_purges when the response was asked for. False: a
 * purge of it has come since, or the response of a part has gone; the slot is a victim, too.
 */
bool cache_publish(struct cache *c, uint32_t slot, const struct cache_facts *facts, uint64_t since,
                   struct cache_victims *victims);
/* Gives back a slot that was taken, whose file is gone. */
void cache_free(struct cache *c, uint32_t slot);

/* --- purges --- */

enum cache_purge { CACHE_PURGE_KEY, CACHE_PURGE_PREFIX, CACHE_PURGE_TAG, CACHE_PURGE_ALL };

/* How many purges there have been. */
uint64_t cache_purges(const struct cache *c);
/* What is to go. site 0: of all sites. */
struct cache_order {
    enum cache_purge kind;
    struct str what;
    uint32_t site;
};
#define CACHE_ORDERS 100 /* of one purge: each slot is compared with all of them */

/* Takes slots that match one of the orders, from *from on, which begins as 0; true: call again.
 * Responses that are being made are purged when they are published. */
bool cache_purge(struct cache *c, const struct cache_order *orders, unsigned count, uint32_t *from,
                 struct cache_victims *victims);

/* --- one request makes it, others wait --- */

#define CACHE_PATIENCE 5.0

enum cache_turn {
    /* The caller asks the application, and ends with cache_end_fill. Also where another request has
     * been at it for more than CACHE_PATIENCE seconds: it may never get a reply. */
    CACHE_YOURS,
    CACHE_OTHERS, /* another request does; this worker is woken at its end */
    CACHE_CROWD,  /* too many are being made, or it can't be kept: the caller asks by itself */
};
enum cache_turn cache_begin_fill(struct cache *c, uint64_t hash, double now);
void cache_end_fill(struct cache *c, uint64_t hash);
/* The response of the hash can't be kept: until then nobody waits for it, unless one is published.
 */
void cache_note_unkept(struct cache *c, uint64_t hash, double until);
/* A descriptor that is readable when a fill has ended that this worker waits for. */
int cache_wake_fd(const struct cache *c);

void cache_count(struct cache *c, struct cache_counts *out);

#endif

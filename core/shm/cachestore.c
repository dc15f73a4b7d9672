/* cachestore - see cachestore.h. */
#include "shm/cachestore.h"

#include "base/date.h"
#include "shm/cachefiles.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define MAGIC           0x32656863616e6f6dull /* "monache2" */
#define CONTENT_MAX     32768                 /* of a file whose response stays in memory */
#define MEMORY_USUAL    (16u << 20)
#define ROUNDS          64 /* entries that get another round before one goes whatever it is */
#define DESCRIPTORS_MAX 64
#define HEAD_MAX        (1u << 20) /* of a file: key, names and headers have limits of their own */
#define WRITE_SIZE      65536      /* bytes of a body that wait to be written together */
#define RELIEVED        16         /* responses that go when the disk is full */

/* The beginning of a file. */
struct head {
    uint64_t magic, id;
    uint64_t body_size;
    uint64_t of;        /* of a coded body: the id of its response */
    uint32_t head_size; /* this, and all before the body */
    uint32_t key_size, vary_size, header_count;
    int32_t status;
    uint32_t level; /* of the coder of a coded body */
};

struct loaded {
    struct cache_entry entry; /* first member */
    uint64_t id, head;
    struct loaded *newer_head; /* whose headers the entry has; NULL: they are its own */
    uint32_t slot;
    bool kept;
    bool used; /* since the last sweep */
    bool seen; /* since it was put at the front */
    size_t memory;
    struct loaded *newer, *older;
    char *block; /* the beginning of the file, and the content where it is kept */
};

static struct {
    struct cache *index;
    unsigned place;
    int folder, lock; /* descriptors */
    uint64_t writes;
    struct loaded **slots; /* by number */
    struct loaded *newest, *oldest;
    size_t memory;
    uint64_t most; /* of that */
    unsigned descriptors;
} store = {.folder = -1, .lock = -1, .most = MEMORY_USUAL};

static struct {
    struct cache *index;
    unsigned place;
    const char *problem; /* why the store can't be used; NULL: it can, or was not opened */
} offered;

static struct cached_file *cachestore_file_of(struct loaded *l)
{
    return &l->entry.file;
}

/* --- the folder --- */

void cachestore_remove(struct cache *index)
{
    char name[40];
    int parent = open(cache_path(index), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cachefiles_name_folder(name, cache_instance(index));
    if (parent < 0)
        return;
    cachefiles_remove_folder(parent, name);
    close(parent);
}

/* Removes what the last worker at this place was writing when it ended. */
static void cachestore_clear_fills(void)
{
    char prefix[16];
    int n = snprintf(prefix, sizeof prefix, "%u-", store.place);
    int fd = openat(store.folder, CACHEFILES_FILLS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    while (dir != NULL && (e = readdir(dir)) != NULL)
        if (strncmp(e->d_name, prefix, (size_t)n) == 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

static const char *cachestore_make_folder(struct str path)
{
    char name[40], all[CACHE_PATH + 48];
    struct stat st;
    const char *parent = cache_set_path(store.index, path);
    if (parent == NULL)
        return "the path is too long";
    cachefiles_name_folder(name, cache_instance(store.index));
    snprintf(all, sizeof all, "%s/%s", parent, name);
    bool made = mkdir(all, 0700) == 0;
    if (!made && errno != EEXIST)
        return strerror(errno);
    store.folder = open(all, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (store.folder < 0)
        return strerror(errno);
    if (fstat(store.folder, &st) != 0 || st.st_uid != geteuid())
        return "its folder belongs to another user";
    if (mkdirat(store.folder, CACHEFILES_FILLS, 0700) != 0 && errno != EEXIST)
        return strerror(errno);
    store.lock =
        openat(store.folder, CACHEFILES_LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (store.lock < 0 || flock(store.lock, LOCK_SH | LOCK_NB) != 0 || fstat(store.lock, &st) != 0)
        return strerror(errno);
    if (st.st_nlink == 0) /* between open and flock */
        return "another instance has removed its folder";
    if (made)
        cachefiles_clear_others(parent, name);
    return NULL;
}

const char *cachestore_open(struct cache *index, unsigned place, struct str path)
{
    store.index = index;
    store.place = place;
    const char *bad = cachestore_make_folder(path);
    if (bad == NULL) {
        cachestore_clear_fills();
        store.slots = calloc(CACHE_SLOTS, sizeof *store.slots); /* touched where it is used */
        if (store.slots == NULL)
            abort();
        return NULL;
    }
    store.index = NULL;
    cachestore_close();
    return bad;
}

void cachestore_offer(struct cache *index, unsigned place)
{
    offered.index = index;
    offered.place = place;
}

struct cache *cachestore_offered(void)
{
    return offered.index;
}

const char *cachestore_use(struct str path)
{
    if (store.index != NULL || offered.problem != NULL)
        return offered.problem;
    if (offered.index == NULL)
        return "this process is no worker";
    offered.problem = cachestore_open(offered.index, offered.place, path);
    return offered.problem;
}

struct cache *cachestore_index(void)
{
    return store.index;
}

/* --- entries in memory --- */

static void cachestore_entry_free(struct file_source *source)
{
    struct loaded *l = (struct loaded *)source;
    if (source->fd >= 0)
        close(source->fd);
    if (l->newer_head != NULL)
        cachestore_entry_free(&l->newer_head->entry.file.source);
    free(l->entry.headers.list);
    free(l->block);
    free(l);
}

static void cachestore_unlist(struct loaded *l)
{
    *(l->newer != NULL ? &l->newer->older : &store.newest) = l->older;
    *(l->older != NULL ? &l->older->newer : &store.oldest) = l->newer;
}

static void cachestore_list(struct loaded *l)
{
    l->newer = NULL;
    l->older = store.newest;
    *(l->older != NULL ? &l->older->newer : &store.oldest) = l;
    store.newest = l;
}

/* Forgets an entry. Requests that hold it continue to send it. */
static void cachestore_forget(struct loaded *l)
{
    store.slots[l->slot] = NULL;
    cachestore_unlist(l);
    store.memory -= l->memory;
    store.descriptors -= cachestore_file_of(l)->source.fd >= 0;
    l->kept = false;
    file_source_drop(&cachestore_file_of(l)->source);
}

/* Forgets the oldest entry that was not used since it came to the front. */
static void cachestore_forget_one(void)
{
    for (unsigned rounds = 0; store.oldest->seen && rounds < ROUNDS; rounds++) {
        struct loaded *l = store.oldest;
        l->seen = false;
        cachestore_unlist(l);
        cachestore_list(l);
    }
    cachestore_forget(store.oldest);
}

void cachestore_set_memory(uint64_t bytes)
{
    store.most = bytes;
}

static void cachestore_keep(struct loaded *l)
{
    if (store.slots[l->slot] != NULL)
        cachestore_forget(store.slots[l->slot]);
    store.slots[l->slot] = l;
    l->kept = l->used = true;
    cachestore_file_of(l)->source.users++;
    store.memory += l->memory;
    store.descriptors += cachestore_file_of(l)->source.fd >= 0;
    cachestore_list(l);
    while (store.memory > store.most)
        cachestore_forget_one();
    for (struct loaded *old = store.oldest, *newer; store.descriptors > DESCRIPTORS_MAX;
         old = newer) {
        newer = old->newer;
        if (cachestore_file_of(old)->source.fd >= 0)
            cachestore_forget(old);
    }
}

bool cachestore_has_descriptors(void)
{
    return store.descriptors > 0;
}

void cachestore_sweep(void)
{
    for (struct loaded *l = store.oldest, *newer; l != NULL && store.descriptors > 0; l = newer) {
        newer = l->newer;
        if (cachestore_file_of(l)->source.fd >= 0 && !l->used)
            cachestore_forget(l);
        else
            l->used = false;
    }
}

void cachestore_close(void)
{
    cachefiles_leave();
    while (store.oldest != NULL)
        cachestore_forget(store.oldest);
    if (store.folder >= 0)
        close(store.folder);
    if (store.lock >= 0)
        close(store.lock);
    free(store.slots);
    store.slots = NULL;
    store.index = NULL;
    store.folder = store.lock = -1;
}

/* --- reading a file --- */

/* Cuts a text of so many bytes off the front. False: there are fewer. */
static bool cachestore_cut(struct str *rest, size_t n, struct str *out)
{
    if (n > rest->n)
        return false;
    *out = (struct str){rest->p, n};
    *rest = str_skip(*rest, n);
    return true;
}

static bool cachestore_read_headers(struct cache_entry *e, struct str rest, uint32_t count)
{
    e->headers.list = calloc(count + 1, sizeof *e->headers.list);
    if (e->headers.list == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        struct str sizes;
        uint32_t n[2];
        struct header *h = &e->headers.list[i];
        if (!cachestore_cut(&rest, sizeof n, &sizes))
            return false;
        memcpy(n, sizes.p, sizeof n);
        if (!cachestore_cut(&rest, n[0], &h->name) || !cachestore_cut(&rest, n[1], &h->value))
            return false;
        h->id = (uint8_t)header_id(h->name);
        e->headers.count++;
    }
    return rest.n == 0;
}

/* The validators for conditions of requests, and the rest of what a file has. */
static void cachestore_describe(struct cache_entry *e)
{
    const struct header *date = headers_find(&e->headers, HEADER_LAST_MODIFIED);
    e->file.tag = headers_value(&e->headers, HEADER_ETAG);
    e->file.modified_at = date != NULL ? date_parse(date->value, time(NULL)) : DATE_NONE;
    e->file.mode = S_IFREG;
    e->file.harmless = true;
}

/* Fills the entry from the block, which has all before the body. */
static bool cachestore_parse(struct loaded *l, const struct head *head)
{
    struct cache_entry *e = &l->entry;
    struct str rest = {l->block + sizeof *head, head->head_size - sizeof *head};
    e->status = head->status;
    e->of = head->of;
    e->level = head->level;
    e->file.size = head->body_size;
    if (!cachestore_cut(&rest, head->key_size, &e->key) ||
        !cachestore_cut(&rest, head->vary_size, &e->vary) || head->header_count > rest.n / 8 ||
        !cachestore_read_headers(e, rest, head->header_count))
        return false;
    cachestore_describe(e);
    return true;
}

static bool cachestore_is_sound(const struct head *head, uint64_t size, uint64_t id)
{
    return head->magic == MAGIC && head->id == id && head->head_size >= sizeof *head &&
           head->head_size <= HEAD_MAX && head->body_size <= size &&
           head->head_size + head->body_size == size;
}

/* Makes an entry of the file's first bytes, with one use; takes the descriptor over. NULL: they are
 * of no use. */
static struct loaded *cachestore_make(int fd, uint32_t slot, struct str bytes,
                                      const struct head *head)
{
    struct loaded *l = calloc(1, sizeof *l);
    if (l == NULL || (l->block = malloc(bytes.n)) == NULL)
        abort();
    memcpy(l->block, bytes.p, bytes.n);
    l->entry.file.source =
        (struct file_source){.fd = fd, .users = 1, .free = cachestore_entry_free};
    l->id = head->id;
    l->slot = slot;
    l->memory = sizeof *l + bytes.n + head->header_count * sizeof(struct header);
    if (cachestore_parse(l, head))
        return l;
    cachestore_entry_free(&l->entry.file.source);
    return NULL;
}

/* Reads the file into an entry with one use; takes the descriptor over. NULL: it is of no use. A
 * file of which less than a full buffer comes is whole, so its size need not be asked for. */
static struct loaded *cachestore_read(int fd, uint32_t slot, uint64_t id)
{
    static char buffer[HEAD_MAX];
    struct head head = {0};
    struct stat st = {0};
    ssize_t n = pread(fd, buffer, CONTENT_MAX + 1, 0);
    bool whole = n <= CONTENT_MAX;
    if (n >= (ssize_t)sizeof head)
        memcpy(&head, buffer, sizeof head);
    if (n > 0 && !whole && fstat(fd, &st) != 0)
        n = -1;
    if (n <= 0 || !cachestore_is_sound(&head, whole ? (uint64_t)n : (uint64_t)st.st_size, id) ||
        (head.head_size > n && pread(fd, buffer, head.head_size, 0) != (ssize_t)head.head_size)) {
        close(fd);
        return NULL;
    }
    const struct str bytes = {buffer, whole ? (size_t)n : head.head_size};
    struct loaded *l = cachestore_make(fd, slot, bytes, &head);
    if (l == NULL)
        return NULL;
    l->entry.body_at = whole ? 0 : head.head_size;
    if (whole) {
        l->entry.file.source.content = l->block + head.head_size;
        l->entry.file.source.fd = -1;
        close(fd);
    }
    return l;
}

static void cachestore_remove_victims(const struct cache_victims *victims)
{
    cachefiles_remove(store.index, store.folder, victims);
}

void cachestore_discard(const struct cache_found *found)
{
    struct cache_victims victims;
    cache_discard(store.index, found->slot, found->id, &victims);
    cachestore_remove_victims(&victims);
}

/* Reads the file of a slot. */
static struct loaded *cachestore_load(uint32_t slot, uint64_t id)
{
    char name[16];
    cachefiles_name_slot(name, slot);
    int fd = openat(store.folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? cachestore_read(fd, slot, id) : NULL;
}

/* Gives the entry the headers of its newer head. False: that is gone. */
static bool cachestore_load_head(struct loaded *l, const struct cache_found *found)
{
    struct loaded *newer = cachestore_load(found->head_slot, found->head);
    if (newer == NULL)
        return false;
    struct headers own = l->entry.headers;
    l->entry.headers = newer->entry.headers;
    newer->entry.headers = own; /* freed with it */
    l->entry.file.tag = newer->entry.file.tag;
    l->entry.file.modified_at = newer->entry.file.modified_at;
    l->newer_head = newer;
    l->head = found->head;
    l->memory += newer->memory;
    return newer->entry.of == found->id;
}

struct cache_entry *cachestore_get(const struct cache_found *found, struct str key)
{
    struct loaded *l = store.slots[found->slot];
    if (l != NULL && (l->id != found->id || l->head != found->head)) {
        cachestore_forget(l);
        l = NULL;
    }
    if (l == NULL) {
        l = cachestore_load(found->slot, found->id);
        if (l == NULL) {
            cachestore_discard(found);
            return NULL;
        }
        /* Another worker may just be replacing the head, so the response stays. */
        if (found->head != 0 && !cachestore_load_head(l, found)) {
            file_source_drop(&cachestore_file_of(l)->source);
            return NULL;
        }
        cachestore_keep(l); /* one more use */
    } else {
        l->used = l->seen = true;
        cachestore_file_of(l)->source.users++;
    }
    if (str_eq(l->entry.key, key))
        return &l->entry;
    file_source_drop(&cachestore_file_of(l)->source); /* another key with the same hash */
    return NULL;
}

/* --- writing --- */

/* Makes room on a disk that is full before `size` is reached, as in a container whose /dev/shm is
 * smaller: the response that is being written is given up, later ones find room. */
static void cachestore_relieve(int err)
{
    struct cache_victims victims;
    if (err != ENOSPC && err != EDQUOT)
        return;
    cache_relieve(store.index, RELIEVED, &victims);
    cachestore_remove_victims(&victims);
    errno = err;
}

static void cachestore_put_header(struct buf *b, const struct header *h)
{
    const uint32_t n[2] = {(uint32_t)h->name.n, (uint32_t)h->value.n};
    buf_append(b, n, sizeof n);
    buf_append_str(b, h->name);
    buf_append_str(b, h->value);
}

void cachestore_begin(struct cache_write *w, const struct cache_record *record, uint64_t purges,
                      uint64_t most)
{
    const struct headers *headers = record->headers;
    struct head head = {.magic = MAGIC,
                        .key_size = (uint32_t)record->key.n,
                        .vary_size = (uint32_t)record->vary.n,
                        .header_count = headers != NULL ? headers->count : 0,
                        .status = record->status,
                        .level = record->level};
    *w = (struct cache_write){.purges = purges, .most = most, .fd = -1};
    buf_init(&w->buffer, HEAD_MAX + WRITE_SIZE + CONTENT_MAX);
    buf_append(&w->buffer, &head, sizeof head);
    buf_append_str(&w->buffer, record->key);
    buf_append_str(&w->buffer, record->vary);
    for (uint32_t i = 0; i < head.header_count; i++)
        cachestore_put_header(&w->buffer, &headers->list[i]);
    w->head_size = buf_len(&w->buffer);
    if (w->head_size <= HEAD_MAX) {
        head.head_size = (uint32_t)w->head_size;
        memcpy(w->buffer.data + w->buffer.head, &head, sizeof head);
    } else {
        w->most = 0; /* the first call says that it is too large */
    }
}

/* Opens the file under its first name. */
static bool cachestore_create(struct cache_write *w)
{
    snprintf(w->name, sizeof w->name, CACHEFILES_FILLS "/%u-%llu", store.place,
             (unsigned long long)++store.writes);
    w->fd = openat(store.folder, w->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return w->fd >= 0;
}

/* Writes what is in the buffer. */
static bool cachestore_flush(struct cache_write *w)
{
    if (w->fd < 0 && !cachestore_create(w)) {
        cachestore_relieve(errno);
        return false;
    }
    while (buf_len(&w->buffer) > 0) {
        struct str bytes = buf_peek(&w->buffer);
        ssize_t n = write(w->fd, bytes.p, bytes.n);
        if (n <= 0) {
            cachestore_relieve(n < 0 ? errno : ENOSPC);
            return false;
        }
        buf_consume(&w->buffer, (size_t)n);
    }
    return true;
}

bool cachestore_add(struct cache_write *w, struct str bytes)
{
    if (w->head_size + w->body_size + bytes.n > w->most)
        return false;
    w->body_size += bytes.n;
    while (bytes.n > 0) {
        size_t n = bytes.n < WRITE_SIZE ? bytes.n : WRITE_SIZE;
        buf_append(&w->buffer, bytes.p, n);
        bytes = str_skip(bytes, n);
        if (buf_len(&w->buffer) >= WRITE_SIZE && !cachestore_flush(w))
            return false;
    }
    return true;
}

/* Writes the rest, and the sizes and ids, which are known now. */
static bool cachestore_complete(struct cache_write *w, uint64_t of)
{
    const struct {
        uint64_t id, body_size, of;
    } known = {w->id, w->body_size, of};
    _Static_assert(offsetof(struct head, of) == offsetof(struct head, id) + 16,
                   "id, body_size and of are written together");
    if (w->fd < 0) { /* all of it is in the buffer */
        memcpy(w->buffer.data + w->buffer.head + offsetof(struct head, id), &known, sizeof known);
        return cachestore_flush(w);
    }
    return cachestore_flush(w) &&
           pwrite(w->fd, &known, sizeof known, offsetof(struct head, id)) == (ssize_t)sizeof known;
}

enum cache_reason cachestore_end(struct cache_write *w, struct cache_facts *facts)
{
    struct cache_victims victims;
    char name[16];
    facts->size = w->head_size + w->body_size;
    if (facts->size > w->most)
        return CACHE_TOO_LARGE;
    w->slot = cache_reserve(store.index, facts->size, &w->id, &victims);
    cachestore_remove_victims(&victims);
    if (w->slot == CACHE_NONE)
        return CACHE_NO_ROOM;
    cachefiles_name_slot(name, w->slot);
    if (!cachestore_complete(w, facts->of) ||
        renameat(store.folder, w->name, store.folder, name) != 0) {
        w->error = errno;
        cache_free(store.index, w->slot);
        return CACHE_NOT_WRITTEN;
    }
    w->name[0] = '\0';
    bool stays = cache_publish(store.index, w->slot, facts, w->purges, &victims);
    cachestore_remove_victims(&victims);
    return stays ? CACHE_NO_REASON : CACHE_PURGED;
}

void cachestore_drop(struct cache_write *w)
{
    if (w->fd >= 0) {
        close(w->fd);
        if (w->name[0] != '\0')
            unlinkat(store.folder, w->name, 0);
    }
    w->fd = -1;
    buf_fini(&w->buffer);
}

unsigned cachestore_purge(const struct cache_order *orders, unsigned count)
{
    struct cache_victims victims;
    uint32_t from = 0;
    unsigned responses = 0;
    bool more;
    if (offered.index != NULL && cache_path(offered.index)[0] != '\0')
        cachestore_use(str_of(cache_path(offered.index)));
    if (store.index == NULL || count == 0) /* no process has kept anything */
        return 0;
    do {
        more = cache_purge(store.index, orders, count, &from, &victims);
        responses += victims.responses;
        cachestore_remove_victims(&victims);
    } while (more);
    return responses;
}

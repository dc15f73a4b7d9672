/* underway - see underway.h. */
#include "shm/underway.h"

#include "base/log.h"
#include "http/access.h"
#include "shm/mapping.h"

static struct {
    struct underway *tables; /* of all places */
    unsigned places;
} all;

static struct {
    struct underway *table;                 /* NULL: this process notes no requests */
    struct request *request[UNDERWAY_MOST]; /* by slot, while it is in use */
    uint16_t free[UNDERWAY_MOST];
    unsigned free_count;
} own;

struct underway *underway_new(unsigned workers)
{
    void *memory = mapping_new(workers * sizeof(struct underway));
    if (memory == NULL)
        return NULL;
    all.tables = memory;
    all.places = workers;
    return memory;
}

/* --- in a worker --- */

void underway_use(struct underway *table)
{
    own.table = table;
    table->slots = table->beyond = table->running = 0;
    for (unsigned i = 0; i < UNDERWAY_MOST; i++) /* low slots are used first */
        own.free[i] = (uint16_t)(UNDERWAY_MOST - 1 - i);
    own.free_count = UNDERWAY_MOST;
}

static size_t underway_copy(char *out, size_t room, struct str text)
{
    size_t n = text.n < room ? text.n : room;
    if (n > 0)
        memcpy(out, text.p, n);
    return n;
}

void underway_begin(struct request *req, enum underway_log log, unsigned generation)
{
    if (own.table == NULL)
        return;
    if (own.free_count == 0) {
        own.table->beyond++;
        req->underway = UNDERWAY_MOST + 1;
        return;
    }
    unsigned slot = own.free[--own.free_count];
    struct underway_request *u = &own.table->list[slot];
    u->id = req->id;
    u->id_size = (uint8_t)underway_copy(u->given_id, sizeof u->given_id, req->given_id);
    u->started = req->started;
    u->client = req->client;
    u->generation = generation;
    u->log = (uint8_t)log;
    u->state = UNDERWAY_HOOK;
    u->server = UNDERWAY_NO_SERVER;
    u->backend = 0;
    u->sent = 0;
    own.request[slot] = req;
    u->version = (uint8_t)req->version;
    u->method_size = (uint8_t)underway_copy(u->method, sizeof u->method, req->method);
    u->host_size = (uint8_t)underway_copy(u->host, sizeof u->host, req->host);
    u->uri_size = (uint16_t)underway_copy(u->uri, sizeof u->uri, req->uri.origin);
    __atomic_store_n(&u->used, 1, __ATOMIC_RELEASE);
    if (slot >= own.table->slots)
        __atomic_store_n(&own.table->slots, slot + 1, __ATOMIC_RELEASE);
    req->underway = slot + 1;
}

void underway_end(struct request *req)
{
    unsigned place = req->underway;
    if (place == 0)
        return;
    req->underway = 0;
    if (place > UNDERWAY_MOST) {
        own.table->beyond--;
        return;
    }
    __atomic_store_n(&own.table->list[place - 1].used, 0, __ATOMIC_RELEASE);
    own.free[own.free_count++] = (uint16_t)(place - 1);
}

/* The slot of a request of this process; NULL: it has none. */
static struct underway_request *underway_slot(unsigned number)
{
    return number > 0 && number <= UNDERWAY_MOST ? &own.table->list[number - 1] : NULL;
}

void underway_enter(const struct request *req, enum underway_state state)
{
    struct underway_request *u = underway_slot(req->underway);
    if (u != NULL)
        u->state = (uint8_t)state;
}

void underway_queued(const struct request *req, unsigned backend)
{
    struct underway_request *u = underway_slot(req->underway);
    if (u == NULL)
        return;
    u->state = UNDERWAY_QUEUE;
    u->backend = (uint16_t)backend;
    u->server = UNDERWAY_NO_SERVER;
}

void underway_at_server(unsigned slot, enum underway_state state, uint32_t server)
{
    struct underway_request *u = underway_slot(slot);
    if (u == NULL)
        return;
    u->state = (uint8_t)state;
    u->server = server;
}

void underway_sent(const struct request *req)
{
    struct underway_request *u = underway_slot(req->underway);
    if (u != NULL)
        u->sent = req->bytes_out;
}

struct request *underway_find(uint64_t id)
{
    for (unsigned i = 0; own.table != NULL && i < own.table->slots && i < UNDERWAY_MOST; i++)
        if (own.table->list[i].used == 1 && own.table->list[i].id == id)
            return own.request[i];
    return NULL;
}

void underway_running(const struct request *req)
{
    if (own.table != NULL)
        __atomic_store_n(&own.table->running, req != NULL ? req->underway : 0, __ATOMIC_RELAXED);
}

/* --- reading what a worker has written --- */

static struct {
    struct arena arena;
    struct access_fields fields;
    bool set;
} format;

void underway_set_format(const char *text)
{
    static char nothing[16];
    if (format.arena.at != NULL)
        arena_fini(&format.arena);
    arena_init(&format.arena, nothing, sizeof nothing);
    format.set =
        text != NULL && access_compile(&format.arena, arena_copy(&format.arena, str_of(text)),
                                       &format.fields) == NULL;
}

static size_t underway_line(const struct underway_request *u, const struct request *req, char *room)
{
    if (u->log == UNDERWAY_JSON)
        return access_json(req, u->generation, room, ACCESS_LINE_SIZE);
    if (u->log == UNDERWAY_FIELDS && format.set)
        return access_fields(&format.fields, req, u->generation, room, ACCESS_LINE_SIZE);
    return access_combined(req, room, ACCESS_LINE_SIZE);
}

/* Copies the slot and bounds its sizes, since a worker may have written anything into the table.
 * False: the slot is not in use. */
static bool underway_take(const struct underway *table, uint32_t slot, struct underway_request *out)
{
    memcpy(out, &table->list[slot], sizeof *out);
    return out->used == 1 && out->method_size <= UNDERWAY_METHOD &&
           out->host_size <= UNDERWAY_HOST && out->uri_size <= UNDERWAY_URI &&
           out->state < UNDERWAY_STATES && out->id_size <= UNDERWAY_ID;
}

/* The slot of another process, whose request may end, and another one begin, while it is read: the
 * id of the copy must be the slot's still. */
static bool underway_look(const struct underway *table, uint32_t slot, struct underway_request *out)
{
    if (!underway_take(table, slot, out))
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&table->list[slot].used, __ATOMIC_ACQUIRE) == 1 &&
           __atomic_load_n(&table->list[slot].id, __ATOMIC_RELAXED) == out->id;
}

uint64_t underway_list(void (*see)(void *ctx, unsigned place, const struct underway_request *u),
                       void *ctx)
{
    struct underway_request u;
    uint64_t beyond = 0;
    for (unsigned place = 0; place < all.places; place++) {
        const struct underway *table = &all.tables[place];
        uint32_t slots = __atomic_load_n(&table->slots, __ATOMIC_ACQUIRE);
        beyond += table->beyond;
        for (uint32_t i = 0; i < slots && i < UNDERWAY_MOST; i++)
            if (underway_look(table, i, &u))
                see(ctx, place, &u);
    }
    return beyond;
}

/* --- in the master --- */

bool underway_ran(const struct underway *table, struct underway_request *out)
{
    uint32_t running = __atomic_load_n(&table->running, __ATOMIC_ACQUIRE);
    return running > 0 && running <= UNDERWAY_MOST && underway_take(table, running - 1, out);
}

/* Writes the line of a request from its slot, which has no headers. */
static void underway_write_line(const struct underway_request *u, double now, const char *reason)
{
    static struct request req;
    static char nothing[16]; /* addresses are formatted here, not in the hot path */
    bool journal = log_access_has_fields();
    char *room = log_access_reserve(ACCESS_LINE_SIZE + (journal ? ACCESS_JOURNAL_SIZE : 0));
    if (room == NULL)
        return;
    request_init(&req, nothing, sizeof nothing);
    req.id = u->id;
    req.given_id = (struct str){u->given_id, u->id_size};
    req.started = u->started > 0 && u->started <= now ? u->started : now;
    req.ended_at = now;
    req.duration = now - req.started;
    req.client = u->client;
    req.version = u->version;
    req.method = (struct str){u->method, u->method_size};
    req.host = (struct str){u->host, u->host_size};
    req.target = req.uri.origin = (struct str){u->uri, u->uri_size};
    req.response.status = 502;
    req.error = reason;
    size_t n = underway_line(u, &req, room);
    log_access_commit(
        n, journal && n > 0 ? access_journal(&req, u->generation, room + n - 1, ACCESS_JOURNAL_SIZE)
                            : 0);
}

unsigned underway_rescue(struct underway *table, double now, const char *reason, uint32_t *beyond)
{
    struct underway_request u;
    unsigned count = 0;
    uint32_t slots = __atomic_exchange_n(&table->slots, 0, __ATOMIC_ACQUIRE);
    if (slots > UNDERWAY_MOST)
        slots = UNDERWAY_MOST;
    for (uint32_t i = 0; i < slots; i++) {
        if (!underway_take(table, i, &u))
            continue;
        count++;
        if (u.log != UNDERWAY_NO_LINE)
            underway_write_line(&u, now, reason);
        table->list[i].used = 0;
    }
    *beyond = __atomic_exchange_n(&table->beyond, 0, __ATOMIC_ACQUIRE);
    table->running = 0;
    return count;
}

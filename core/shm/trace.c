/* trace - see trace.h. */
#include "shm/trace.h"

#include "shm/mapping.h"

#include <string.h>

enum trace_state {
    TRACE_FREE,
    TRACE_WRITING, /* a worker fills it */
    TRACE_READY,   /* it waits to be read */
    TRACE_READING, /* the control listener copies it */
};

struct trace_kept {
    uint32_t state;  /* enum trace_state */
    uint32_t serial; /* of the order that the record is for */
    uint32_t size;
    uint64_t number; /* of the record: the order of reading */
    char text[TRACE_RECORD];
};

struct trace_order {
    uint64_t until;  /* the second of the monotonic clock at which the order ends */
    uint32_t serial; /* changes with each order that has this place; never 0 */
    uint32_t left;   /* requests that are still wanted */
    uint32_t missed;
    uint64_t numbers; /* of records so far */
    uint16_t status;
    uint8_t secrets, method_size, host_size;
    uint16_t path_size;
    char host[TRACE_HOST], method[TRACE_METHOD], path[TRACE_PATH];
    struct trace_kept kept[TRACE_KEPT];
};

static struct trace {
    uint64_t until; /* the latest one of orders that want requests; 0: there is none */
    struct trace_order order[TRACE_ORDERS];
} * trace; /* of this instance; NULL: this process has none */

bool trace_new(void)
{
    trace = mapping_new(sizeof *trace);
    return trace != NULL;
}

static bool trace_is_alive(const struct trace_order *o, double now)
{
    return __atomic_load_n(&o->until, __ATOMIC_ACQUIRE) > (uint64_t)now;
}

/* Computes until when requests are looked at. */
static void trace_settle(void)
{
    uint64_t until = 0;
    for (unsigned i = 0; i < TRACE_ORDERS; i++) {
        const struct trace_order *o = &trace->order[i];
        uint64_t its = __atomic_load_n(&o->until, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&o->left, __ATOMIC_ACQUIRE) > 0 && its > until)
            until = its;
    }
    __atomic_store_n(&trace->until, until, __ATOMIC_RELEASE);
}

/* --- in a worker --- */

bool trace_is_wanted(double now)
{
    return trace != NULL && __atomic_load_n(&trace->until, __ATOMIC_RELAXED) > (uint64_t)now;
}

static bool trace_host_fits(struct str wanted, struct str host)
{
    if (wanted.n == 0)
        return true;
    if (wanted.n > 2 && memcmp(wanted.p, "*.", 2) == 0) {
        struct str suffix = str_skip(wanted, 1); /* with the dot */
        return host.n > suffix.n && str_eq(str_skip(host, host.n - suffix.n), suffix);
    }
    return str_eq(wanted, host);
}

static bool trace_path_fits(struct str wanted, struct str path)
{
    if (wanted.n == 0)
        return true;
    if (wanted.p[wanted.n - 1] != '*')
        return str_eq(wanted, path);
    return path.n >= wanted.n - 1 && memcmp(path.p, wanted.p, wanted.n - 1) == 0;
}

/* The text of an order, whose size is bounded, since any process may have written it. */
static struct str trace_text(const char *text, size_t size, size_t room)
{
    return (struct str){text, size < room ? size : room};
}

static bool trace_fits(const struct trace_order *o, struct str host, struct str path,
                       struct str method)
{
    struct str wanted = trace_text(o->method, o->method_size, sizeof o->method);
    return (wanted.n == 0 || str_eq(wanted, method)) &&
           trace_host_fits(trace_text(o->host, o->host_size, sizeof o->host), host) &&
           trace_path_fits(trace_text(o->path, o->path_size, sizeof o->path), path);
}

bool trace_find(double now, struct str host, struct str path, struct str method,
                struct trace_match *out)
{
    bool found = false;
    *out = (struct trace_match){0};
    for (unsigned i = 0; trace != NULL && i < TRACE_ORDERS; i++) {
        const struct trace_order *o = &trace->order[i];
        uint32_t serial = __atomic_load_n(&o->serial, __ATOMIC_ACQUIRE);
        if (!trace_is_alive(o, now) || __atomic_load_n(&o->left, __ATOMIC_ACQUIRE) == 0 ||
            !trace_fits(o, host, path, method))
            continue;
        out->serial[i] = serial;
        found = true;
    }
    return found;
}

/* Takes one of the wanted requests. False: none is wanted any more. */
static bool trace_count_down(struct trace_order *o)
{
    uint32_t left = __atomic_load_n(&o->left, __ATOMIC_ACQUIRE);
    while (left > 0)
        if (__atomic_compare_exchange_n(&o->left, &left, left - 1, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return true;
    return false;
}

/* A free record becomes this process's. False: there is none. */
static bool trace_take_kept(struct trace_order *o, struct trace_record *out)
{
    for (unsigned i = 0; i < TRACE_KEPT; i++) {
        uint32_t state = TRACE_FREE;
        if (!__atomic_compare_exchange_n(&o->kept[i].state, &state, TRACE_WRITING, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        out->place = i;
        out->room = o->kept[i].text;
        o->kept[i].serial = out->serial;
        o->kept[i].number = __atomic_fetch_add(&o->numbers, 1, __ATOMIC_ACQ_REL);
        return true;
    }
    return false;
}

bool trace_take(const struct trace_match *match, unsigned order, unsigned status,
                struct trace_record *out)
{
    struct trace_order *o = &trace->order[order];
    uint32_t serial = match->serial[order];
    unsigned wanted = o->status;
    if (serial == 0 || serial != __atomic_load_n(&o->serial, __ATOMIC_ACQUIRE) ||
        (wanted > 0 && wanted != status && wanted != status / 100) || !trace_count_down(o))
        return false;
    *out = (struct trace_record){.order = order, .serial = serial, .secrets = o->secrets != 0};
    if (trace_take_kept(o, out)) {
        trace_settle();
        return true;
    }
    __atomic_fetch_add(&o->left, 1, __ATOMIC_ACQ_REL);
    __atomic_fetch_add(&o->missed, 1, __ATOMIC_ACQ_REL);
    return false;
}

void trace_put(const struct trace_record *record, size_t size)
{
    struct trace_kept *kept = &trace->order[record->order].kept[record->place];
    uint32_t state = TRACE_WRITING;
    if (__atomic_load_n(&kept->serial, __ATOMIC_ACQUIRE) != record->serial)
        return; /* the order has ended, and another one has its place */
    kept->size = (uint32_t)size;
    __atomic_compare_exchange_n(&kept->state, &state, TRACE_READY, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
}

/* --- for the control listener --- */

/* The id of an order is its serial number times TRACE_ORDERS, and its place. */
static struct trace_order *trace_of(uint64_t id)
{
    struct trace_order *o = trace != NULL ? &trace->order[id % TRACE_ORDERS] : NULL;
    return o != NULL && id >= TRACE_ORDERS &&
                   __atomic_load_n(&o->serial, __ATOMIC_ACQUIRE) == id / TRACE_ORDERS
               ? o
               : NULL;
}

static void trace_fill(struct trace_order *o, const struct trace_filter *filter)
{
    memcpy(o->host, filter->host.n > 0 ? filter->host.p : "", filter->host.n);
    memcpy(o->path, filter->path.n > 0 ? filter->path.p : "", filter->path.n);
    memcpy(o->method, filter->method.n > 0 ? filter->method.p : "", filter->method.n);
    o->host_size = (uint8_t)filter->host.n;
    o->path_size = (uint16_t)filter->path.n;
    o->method_size = (uint8_t)filter->method.n;
    o->status = (uint16_t)filter->status;
    o->secrets = filter->secrets;
}

uint64_t trace_order(const struct trace_filter *filter, unsigned count, double now)
{
    if (trace == NULL || filter->host.n > TRACE_HOST || filter->path.n > TRACE_PATH ||
        filter->method.n > TRACE_METHOD)
        return 0;
    for (unsigned i = 0; i < TRACE_ORDERS; i++) {
        struct trace_order *o = &trace->order[i];
        uint64_t until = __atomic_load_n(&o->until, __ATOMIC_ACQUIRE);
        if (until > (uint64_t)now ||
            !__atomic_compare_exchange_n(&o->until, &until, (uint64_t)now + TRACE_TIME, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        __atomic_store_n(&o->left, 0, __ATOMIC_RELEASE);
        uint32_t serial = o->serial % 0xfffffff + 1; /* an id is exact in a double */
        __atomic_store_n(&o->serial, serial, __ATOMIC_RELEASE);
        trace_fill(o, filter);
        o->missed = 0;
        o->numbers = 0;
        for (unsigned k = 0; k < TRACE_KEPT; k++) {
            o->kept[k].serial = 0;
            __atomic_store_n(&o->kept[k].state, TRACE_FREE, __ATOMIC_RELEASE);
        }
        __atomic_store_n(&o->left, count, __ATOMIC_RELEASE);
        trace_settle();
        return (uint64_t)serial * TRACE_ORDERS + i;
    }
    return 0;
}

/* The record that was made first, of those that wait; NULL: none does. */
static struct trace_kept *trace_first(struct trace_order *o)
{
    struct trace_kept *first = NULL;
    for (unsigned i = 0; i < TRACE_KEPT; i++) {
        struct trace_kept *k = &o->kept[i];
        if (__atomic_load_n(&k->state, __ATOMIC_ACQUIRE) == TRACE_READY &&
            (first == NULL || k->number < first->number))
            first = k;
    }
    return first;
}

bool trace_read(uint64_t id, double now, char *out, size_t size, size_t *used,
                struct trace_progress *progress)
{
    struct trace_order *o = trace_of(id);
    struct trace_kept *k;
    *used = 0;
    if (o == NULL || !trace_is_alive(o, now))
        return false;
    __atomic_store_n(&o->until, (uint64_t)now + TRACE_TIME, __ATOMIC_RELEASE);
    trace_settle();
    while ((k = trace_first(o)) != NULL) {
        uint32_t state = TRACE_READY, bytes = k->size;
        if (bytes <= TRACE_RECORD && bytes + 1 > size - *used)
            break; /* the next answer has it */
        if (!__atomic_compare_exchange_n(&k->state, &state, TRACE_READING, false, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
            continue;
        if (bytes <= TRACE_RECORD) {
            memcpy(out + *used, k->text, bytes);
            out[*used + bytes] = '\n';
            *used += bytes + 1;
        }
        __atomic_store_n(&k->state, TRACE_FREE, __ATOMIC_RELEASE);
    }
    progress->left = __atomic_load_n(&o->left, __ATOMIC_ACQUIRE);
    progress->missed = __atomic_load_n(&o->missed, __ATOMIC_ACQUIRE);
    return true;
}

void trace_end(uint64_t id)
{
    struct trace_order *o = trace_of(id);
    if (o == NULL)
        return;
    __atomic_store_n(&o->left, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&o->until, 0, __ATOMIC_RELEASE);
    trace_settle();
}

/* tail - see tail.h. */
#include "shm/tail.h"

#include "shm/mapping.h"

#include <string.h>

#define TAIL_PATIENCE 100 /* lines that may come while the one before them is being written */
#define RECORD_ALIGN  16  /* the header's size, so that no header is split at the end of the ring */

struct tail_record {
    uint64_t at; /* the record's position + 1, once the record is whole */
    uint32_t size;
    uint32_t unused;
};

_Static_assert(sizeof(struct tail_record) == RECORD_ALIGN, "headers would be split");

struct tail {
    uint64_t until; /* the second of the monotonic clock until which lines are wanted */
    uint64_t head;  /* position of the next record */
    uint64_t lines;
    _Alignas(RECORD_ALIGN) char ring[TAIL_SIZE];
};

static struct tail *tail; /* of this instance; NULL: this process has none */

struct tail *tail_new(void)
{
    tail = mapping_new(sizeof *tail);
    return tail;
}

bool tail_is_read(double now)
{
    return tail != NULL && __atomic_load_n(&tail->until, __ATOMIC_RELAXED) > (uint64_t)now;
}

/* --- writing --- */

static struct tail_record *tail_header(uint64_t at)
{
    return (struct tail_record *)(tail->ring + at % TAIL_SIZE);
}

static uint64_t tail_record_size(size_t line)
{
    return (sizeof(struct tail_record) + line + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

static void tail_copy_in(uint64_t at, struct str line)
{
    size_t place = at % TAIL_SIZE, first = TAIL_SIZE - place;
    first = first < line.n ? first : line.n;
    memcpy(tail->ring + place, line.p, first);
    memcpy(tail->ring, line.p + first, line.n - first);
}

void tail_add(struct str line)
{
    if (line.n > 0 && line.p[line.n - 1] == '\n')
        line.n--;
    if (line.n > TAIL_LINE)
        return;
    uint64_t at = __atomic_fetch_add(&tail->head, tail_record_size(line.n), __ATOMIC_ACQ_REL);
    struct tail_record *record = tail_header(at);
    __atomic_store_n(&record->at, 0, __ATOMIC_RELEASE);
    record->size = (uint32_t)line.n;
    tail_copy_in(at + sizeof *record, line);
    __atomic_store_n(&record->at, at + 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&tail->lines, 1, __ATOMIC_ACQ_REL);
}

/* --- reading --- */

struct tail_position tail_end(void)
{
    if (tail == NULL)
        return (struct tail_position){0};
    return (struct tail_position){__atomic_load_n(&tail->head, __ATOMIC_ACQUIRE),
                                  __atomic_load_n(&tail->lines, __ATOMIC_ACQUIRE)};
}

static void tail_copy_out(uint64_t at, char *out, size_t n)
{
    size_t place = at % TAIL_SIZE, first = TAIL_SIZE - place;
    first = first < n ? first : n;
    memcpy(out, tail->ring + place, first);
    memcpy(out + first, tail->ring, n - first);
}

enum tail_found {
    TAIL_LINE_READ,
    TAIL_UNFINISHED, /* the record is not whole yet */
    TAIL_GONE,       /* the record was overwritten, or makes no sense */
    TAIL_FULL,       /* the line does not fit into what is left of `out` */
};

/* Copies the line of the record at that position, whose header is read before and behind the copy.
 */
static enum tail_found tail_read_one(uint64_t at, char *out, size_t room,
                                     struct tail_record *record)
{
    struct tail_record *header = tail_header(at);
    record->at = __atomic_load_n(&header->at, __ATOMIC_ACQUIRE);
    record->size = header->size;
    if (record->at != at + 1)
        return record->at > at + 1 ? TAIL_GONE : TAIL_UNFINISHED;
    if (record->size > TAIL_LINE)
        return TAIL_GONE;
    if (record->size + 1u > room)
        return TAIL_FULL;
    tail_copy_out(at + sizeof *record, out, record->size);
    out[record->size] = '\n';
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint64_t head = __atomic_load_n(&tail->head, __ATOMIC_ACQUIRE);
    return head - at > TAIL_SIZE ? TAIL_GONE : TAIL_LINE_READ;
}

size_t tail_read(struct tail_position *position, double now, char *out, size_t size, uint64_t *lost)
{
    struct tail_position end = tail_end();
    struct tail_record record;
    size_t used = 0;
    *lost = 0;
    if (tail == NULL)
        return 0;
    __atomic_store_n(&tail->until, (uint64_t)now + TAIL_TIME, __ATOMIC_RELAXED);
    if (position->at % RECORD_ALIGN != 0 || position->at > end.at)
        *position = end;
    while (position->at < end.at) {
        enum tail_found found = tail_read_one(position->at, out + used, size - used, &record);
        if (found == TAIL_UNFINISHED && end.number > position->number + TAIL_PATIENCE)
            found = TAIL_GONE; /* its writer was killed */
        if (found == TAIL_GONE) {
            if (end.number > position->number)
                *lost += end.number - position->number;
            *position = end;
        }
        if (found != TAIL_LINE_READ)
            break;
        used += record.size + 1;
        position->at += tail_record_size(record.size);
        position->number++;
    }
    return used;
}

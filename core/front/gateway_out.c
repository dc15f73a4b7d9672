/*
 * gateway_out - see gateway_inner.h. This file writes records to a web server.
 *
 * Small records wait in `out` for the end of the loop's turn, large ones are written at once from
 * the caller's slices. The rest of a record of which the socket has taken a part is kept in `out`,
 * since no other bytes may come between. Later bytes wait in their request's sender, so that
 * requests take turns.
 */
#include "front/gateway_inner.h"

#include <errno.h>

enum {
    SMALL = 8192, /* bytes of a response whose copy costs less than a system call */
    RECORDS = 40, /* records in one system call */
};

void gateway_flush(struct gateway *g)
{
    loop_defer(client_clients(&g->client)->loop, &g->flush);
}

/* Follows every write. send_timeout runs from the last byte that the socket took. */
static void gateway_wrote(struct gateway *g, ssize_t n, size_t size)
{
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        g->broken = SENDER_GONE;
        return;
    }
    bool blocked = n < 0 || (size_t)n < size;
    if (blocked && (n > 0 || !g->blocked))
        deadline_set(&g->active.deadline, gateway_limits(g)->send_timeout);
    else if (!blocked && g->blocked)
        deadline_clear(&g->active.deadline);
    g->blocked = blocked;
}

void gateway_write_out(struct gateway *g)
{
    struct str bytes = buf_peek(&g->out);
    struct iovec v = {(char *)bytes.p, bytes.n};
    if (bytes.n == 0 || g->broken != NULL)
        return;
    ssize_t n = client_writev(&g->client, &v, 1);
    gateway_wrote(g, n, bytes.n);
    buf_consume(&g->out, n > 0 ? (size_t)n : 0);
    if (buf_len(&g->out) == 0)
        buf_fini(&g->out);
}

/* Records that are about to be written, as slices. */
struct records {
    struct iovec v[128];
    bool begins[128]; /* the slice is the header of a record */
    uint8_t headers[RECORDS][FCGI_HEADER_SIZE];
    int count;
    unsigned records;
    size_t size; /* bytes of all records */
};

/* Adds a record of the slices from *slice, *at on. Returns the bytes of its content, 0 without
 * room. */
static size_t gateway_add_records(struct records *to, uint16_t id, const struct iovec *slices,
                                  int count, int *slice, size_t *at)
{
    int header = to->count, room = (int)(sizeof to->v / sizeof *to->v);
    size_t content = 0;
    if (to->records == RECORDS || to->count + 2 > room)
        return 0;
    to->count++;
    while (*slice < count && content < FCGI_RECORD_MAX && to->count < room) {
        size_t left = slices[*slice].iov_len - *at;
        size_t n = left < FCGI_RECORD_MAX - content ? left : FCGI_RECORD_MAX - content;
        if (n > 0)
            to->v[to->count++] = (struct iovec){(char *)slices[*slice].iov_base + *at, n};
        content += n;
        *at += n;
        if (n == left) {
            ++*slice;
            *at = 0;
        }
    }
    uint8_t *bytes = to->headers[to->records++];
    fcgi_header(bytes, FCGI_STDOUT, id, content);
    to->v[header] = (struct iovec){bytes, FCGI_HEADER_SIZE};
    to->begins[header] = true;
    to->size += FCGI_HEADER_SIZE + content;
    return content;
}

/* Keeps the rest of the record in which the socket stopped after `done` bytes. Returns the bytes of
 * content of all records that were taken or kept. */
static size_t gateway_keep_records(struct gateway *g, const struct records *records, int from,
                                   size_t done)
{
    size_t content = 0;
    bool inside = false; /* a byte of the current record has been taken */
    for (int i = from; i < records->count; i++) {
        const struct iovec *v = &records->v[i];
        size_t taken = done < v->iov_len ? done : v->iov_len;
        if (records->begins[i])
            inside = taken > 0;
        if (!inside)
            break;
        done -= taken;
        buf_append(&g->out, (const char *)v->iov_base + taken, v->iov_len - taken);
        content += records->begins[i] ? 0 : v->iov_len;
    }
    return content;
}

/* Writes `out` and the records behind it in one call. */
static ssize_t gateway_write_records(struct gateway *g, uint16_t id, const struct iovec *slices,
                                     int count)
{
    struct records records = {.count = 0};
    size_t before = buf_len(&g->out), at = 0;
    int slice = 0;
    if (before > 0)
        records.v[records.count++] = (struct iovec){(char *)buf_peek(&g->out).p, before};
    int from = records.count;
    while (slice < count && gateway_add_records(&records, id, slices, count, &slice, &at) > 0)
        ;
    ssize_t n = client_writev(&g->client, records.v, records.count);
    gateway_wrote(g, n, before + records.size);
    if (n < 0)
        return -1;
    size_t done = (size_t)n;
    if (done < before) {
        buf_consume(&g->out, done);
        errno = EAGAIN;
        return -1;
    }
    buf_consume(&g->out, before);
    size_t content = gateway_keep_records(g, &records, from, done - before);
    if (buf_len(&g->out) == 0)
        buf_fini(&g->out);
    if (content == 0)
        errno = EAGAIN;
    return content > 0 ? (ssize_t)content : -1;
}

ssize_t gateway_stdout(struct gateway *g, uint16_t id, const struct iovec *slices, int count)
{
    uint8_t header[FCGI_HEADER_SIZE];
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += slices[i].iov_len;
    if (size == 0)
        return 0;
    if (g->broken != NULL || g->blocked) {
        errno = g->broken != NULL ? EPIPE : EAGAIN;
        return -1;
    }
    if (size > SMALL || buf_len(&g->out) > GATEWAY_OUT_MARK)
        return gateway_write_records(g, id, slices, count);
    fcgi_header(header, FCGI_STDOUT, id, size);
    buf_append(&g->out, header, sizeof header);
    for (int i = 0; i < count; i++)
        buf_append(&g->out, slices[i].iov_base, slices[i].iov_len);
    gateway_flush(g);
    return (ssize_t)size;
}

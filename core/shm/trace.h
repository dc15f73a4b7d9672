/*
 * trace - orders of `moongate trace`: which requests are to be described in full, and their
 * descriptions, in shared memory made by the master before it forks.
 *
 * An order has a filter and a number of requests. It lasts for some seconds after each question
 * about it, so that the order of a command that has been killed ends by itself. While there is no
 * order, a request costs one comparison. Workers note the requests that a filter matches, and put
 * the description of each one that ends into a free record of the order. No lock: the state of a
 * record says who may touch it, and a request that finds no free record is counted.
 *
 * Records are read by processes that do not trust their writer: sizes are checked.
 */
#ifndef MG_SHM_TRACE_H
#define MG_SHM_TRACE_H

#include "base/str.h"

#define TRACE_ORDERS 4            /* orders at a time */
#define TRACE_TIME   10           /* seconds that an order lasts after a question */
#define TRACE_KEPT   8            /* records of an order that wait to be read */
#define TRACE_RECORD (128u << 10) /* bytes of a record */
#define TRACE_MOST   1000         /* requests of an order */
#define TRACE_HOST   254
#define TRACE_PATH   1024
#define TRACE_METHOD 24

/* What a request must have; n = 0 and 0: anything. */
struct trace_filter {
    struct str host;   /* in lower case; "*.shop.example": the names below it */
    struct str path;   /* with a star at its end: what begins so */
    struct str method; /* "POST" */
    unsigned status;   /* 404, or 5 for 5xx */
    bool secrets;      /* values of passwords, cookies and their like are wanted */
};

/* The orders whose filters match a request; all zero: none. */
struct trace_match {
    uint32_t serial[TRACE_ORDERS];
};

/* A record that this process fills. */
struct trace_record {
    unsigned order, place;
    uint32_t serial;
    bool secrets;
    char *room; /* TRACE_RECORD bytes */
};

/* The state of an order. */
struct trace_progress {
    uint32_t left;   /* requests that are still wanted */
    uint32_t missed; /* requests that found no free record */
};

/* Makes the memory that this process and its children use. False: no memory. */
bool trace_new(void);

/* --- in a worker, about a request --- */

/* True while there is an order, at this moment of the monotonic clock. */
bool trace_is_wanted(double now);
/* The orders that want a request with this host, path and method. False: none does. */
bool trace_find(double now, struct str host, struct str path, struct str method,
                struct trace_match *out);
/* Takes a record for a request that has ended with this status. False: the order is over, wants
 * other requests, or has no free record, which is counted. */
bool trace_take(const struct trace_match *match, unsigned order, unsigned status,
                struct trace_record *out);
/* The record has been filled; the size is at most TRACE_RECORD. */
void trace_put(const struct trace_record *record, size_t size);

/* --- for the control listener --- */

/* Makes an order for so many requests, 1 to TRACE_MOST. Returns its id; 0: there are TRACE_ORDERS
 * already, or a text of the filter is too long. */
uint64_t trace_order(const struct trace_filter *filter, unsigned count, double now);
/* Reads records of an order, a line each, and lets it last. False: there is no such order any
 * more. */
bool trace_read(uint64_t id, double now, char *out, size_t size, size_t *used,
                struct trace_progress *progress);
/* Ends an order. */
void trace_end(uint64_t id);

#endif

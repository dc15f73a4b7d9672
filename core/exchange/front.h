/*
 * front - the way of an answer to its client: a front at its end, which knows how to say it
 * (HTTP/1, CGI for a web server in front), and filters before it, which may change what passes.
 *
 *     exchange ---> [filter ---> filter --->] front
 *
 * The exchange's step calls the first of them. A filter is a front for whoever is before it: its
 * table has functions of its own for what it changes and the filter_ functions for the rest. An
 * exchange without filters calls its front directly. Nothing here calls the exchange.
 *
 * A front counts what the client gets (req->body_out, req->bytes_out).
 */
#ifndef MG_EXCHANGE_FRONT_H
#define MG_EXCHANGE_FRONT_H

#include "http/request.h"

struct front;

struct front_ops {
    /* Let the body come (exchange_body, exchange_body_end), or hold it back. */
    void (*want_body)(struct front *front, bool want);
    /* Early Hints (RFC 8297): the Link headers among these, ahead of the response. NULL: a protocol
     * without them. */
    void (*hints)(struct front *front, const struct headers *headers);
    /* The head is in req->response. It is sent with the first flush. */
    void (*respond)(struct front *front);
    /* A slice of the body, valid until flush or end is called. */
    void (*body)(struct front *front, struct str bytes);
    /* The body are these pieces of the file, which the request uses; who needs it for longer is one
     * more that does. The list lives as long as the request. False, or NULL in place of the
     * function: the front has to see the bytes, which follow by `body`. */
    bool (*file)(struct front *front, struct file_source *source, const struct file_piece *pieces,
                 unsigned count);
    /* Send what has come so far. */
    void (*flush)(struct front *front);
    /* The response is whole. */
    void (*end)(struct front *front);
    /* Takes a response back of which nothing has left: true, and another may follow; else false. */
    bool (*retract)(struct front *front);
    /* The response can't be completed: make the client see that. */
    void (*cut)(struct front *front);
    /* The bytes that can still be kept for the client, who is slower (limits.response_memory, and
     * limits.spool unless response.unbuffered). 0: make no more until exchange_room. */
    size_t (*room)(struct front *front);
};

struct front {
    const struct front_ops *ops;
};

/* --- filters --- */

/* Part of a filter, which must live as long as the request. */
struct filter {
    struct front front;
    struct front *next;
};

/* Puts a filter before what *first is. */
static inline void filter_add(struct front **first, struct filter *filter,
                              const struct front_ops *ops)
{
    *filter = (struct filter){.front = {ops}, .next = *first};
    *first = &filter->front;
}

/* What a filter leaves as it is. */
void filter_want_body(struct front *front, bool want);
void filter_hints(struct front *front, const struct headers *headers);
void filter_respond(struct front *front);
void filter_body(struct front *front, struct str bytes);
bool filter_file(struct front *front, struct file_source *source, const struct file_piece *pieces,
                 unsigned count);
void filter_flush(struct front *front);
void filter_end(struct front *front);
bool filter_retract(struct front *front);
void filter_cut(struct front *front);
size_t filter_room(struct front *front);

/* --- a file for who has to see its bytes --- */

struct front_file {
    struct file_source *source; /* NULL: none; front_file_end drops it */
    const struct file_piece *pieces;
    unsigned count; /* those that have not been given whole */
    uint64_t at;    /* bytes of the first one that have */
};

enum front_file_result {
    FRONT_FILE_DONE,
    FRONT_FILE_MORE, /* others want the worker, too: call again in the loop's next turn */
    FRONT_FILE_FULL, /* call again when there is room */
    FRONT_FILE_BAD,  /* it can't be read, or has shrunk */
};

/* Gives as much of the file to the front as it has room for, by way of `scratch`. */
enum front_file_result front_file_give(struct front_file *file, struct front *front, char *scratch,
                                       size_t size);
void front_file_end(struct front_file *file);

#endif

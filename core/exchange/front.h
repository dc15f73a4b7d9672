/*
 * front - the chain through which a response passes to its client: filters, which may change the
 * response, and at the end a front, which encodes it (HTTP/1, HTTP/2, or CGI for a web server in
 * front).
 *
 *     exchange ---> [filter ---> filter --->] front
 *
 * The exchange's step calls the first filter (exchange/filter.h), which is a front for the part
 * before it. An exchange without filters calls its front directly. Nothing here calls the exchange.
 *
 * A front counts what the client gets (req->body_out, req->bytes_out).
 */
#ifndef MG_EXCHANGE_FRONT_H
#define MG_EXCHANGE_FRONT_H

#include "http/request.h"

struct front;

struct front_ops {
    /* Lets the front read the body (exchange_body, exchange_body_end), or stops that. */
    void (*want_body)(struct front *front, bool want);
    /* Sends Early Hints (RFC 8297) with the Link headers of the list before the response. NULL: the
     * protocol has none. */
    void (*hints)(struct front *front, const struct headers *headers);
    /* The head is in req->response. It is sent with the first flush. */
    void (*respond)(struct front *front);
    /* A slice of the body, valid until flush or end is called. */
    void (*body)(struct front *front, struct str bytes);
    /* The body is these pieces of the file, which the request holds; a front that needs the file
     * for longer takes a use of its own. The list lives as long as the request. False, or NULL in
     * place of the function: the front needs the bytes, which follow by `body`. */
    bool (*file)(struct front *front, struct file_source *source, const struct file_piece *pieces,
                 unsigned count);
    /* Sends the bytes so far. */
    void (*flush)(struct front *front);
    /* The response is whole. */
    void (*end)(struct front *front);
    /* Takes back a response of which no byte has left: true, and another one may follow; else
     * false. */
    bool (*retract)(struct front *front);
    /* Ends an incomplete response so that the client sees that it is incomplete. */
    void (*cut)(struct front *front);
    /* Ends the response at once: what waits for the client is dropped. The text lives on. */
    void (*drop)(struct front *front, const char *why);
    /* The bytes that can still wait for a slow client (limits.response_memory, and limits.spool
     * unless response.unbuffered). 0: the caller stops until exchange_room. */
    size_t (*room)(struct front *front);
};

struct front {
    const struct front_ops *ops;
};

/* --- a file for a front that needs its bytes --- */

struct front_file {
    struct file_source *source; /* NULL: none; front_file_end drops it */
    const struct file_piece *pieces;
    unsigned count; /* pieces that have not been passed on whole */
    uint64_t at;    /* bytes of the first piece that have been passed on */
};

enum front_file_result {
    FRONT_FILE_DONE,
    FRONT_FILE_MORE, /* the share of the turn is used: call again in the loop's next turn */
    FRONT_FILE_FULL, /* call again when there is room */
    FRONT_FILE_BAD,  /* it can't be read, or has shrunk */
};

/* Gives as much of the file to the front as it has room for, by way of `scratch`. */
enum front_file_result front_file_give(struct front_file *file, struct front *front, char *scratch,
                                       size_t size);
void front_file_end(struct front_file *file);
/* The bytes that are left. */
uint64_t front_file_left(const struct front_file *file);
/* The next bytes, `size` or fewer: a slice of memory that lives as long as the file, or read into
 * `scratch`. There must be some; n = 0: they can't be read. */
struct str front_file_peek(struct front_file *file, char *scratch, size_t size);
/* Reads up to `size` of the next bytes into `out` by one call, with `gap` bytes left free behind
 * each `step` of them: of one piece, and at most FRONT_FILE_STEPS steps. Returns how many there
 * were; 0: they are in memory, or can't be read: front_file_peek knows. They are not passed over.
 */
enum { FRONT_FILE_STEPS = 16 };
size_t front_file_read(struct front_file *file, char *out, size_t size, size_t step, size_t gap);
/* Passes over n of these bytes. */
void front_file_consume(struct front_file *file, size_t n);

#endif

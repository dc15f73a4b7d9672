/*
 * h1 - HTTP/1.1 on the wire: a client's bytes to a request, a response to a head. No I/O.
 *
 * http_parser finds the pieces of a head, check says which of them may pass, and h1 itself what
 * only HTTP/1 has: line endings, Transfer-Encoding, Connection. Bodies are framed here and by
 * chunked, since http_parser is lenient there. Contract section 11; RFC 9112.
 */
#ifndef MG_HTTP_H1_H
#define MG_HTTP_H1_H

#include "http/request.h"

struct h1;

enum h1_event {
    H1_MORE,  /* all bytes used, the message goes on */
    H1_HEAD,  /* the head is complete and checked; feed on for the body */
    H1_END,   /* the message is complete */
    H1_ERROR, /* h1_status and h1_reason say what to answer; feed no more */
};

struct h1_body {
    /* Slices of a body, already without chunk framing; small chunks that came together are one.
     * They die when the call returns. */
    void (*on_bytes)(void *ctx, struct str bytes);
    /* A chunk is announced, with which the body has so many bytes at least. */
    void (*on_chunk)(void *ctx, uint64_t at_least);
};

/* A parser for one message, in the request's arena: it lives and dies with the request. `body`
 * stays the caller's. */
struct h1 *h1_new(struct request *req, const struct limits *limits, const struct h1_body *body,
                  void *ctx);

/* Feeds n bytes; sets *used to the bytes taken. After H1_HEAD nothing but the head has been taken;
 * a message without a body goes on to H1_END with the next call, even when that brings no bytes.
 * Never reads past the end of the message. */
enum h1_event h1_feed(struct h1 *h, const char *data, size_t n, size_t *used);

/* True when the head, once complete, announces a body. */
bool h1_has_body(const struct h1 *h);

/* True when the client wants to send more requests on the connection. */
bool h1_keepalive(const struct h1 *h);

/* True when the client waits for 100 Continue before it sends the body (RFC 9110 §10.1.1), until
 * h1_continued says that it has been sent. */
bool h1_expects_continue(const struct h1 *h);
void h1_continued(struct h1 *h);

/* Bytes of the body that the head announced and that have not been fed; 0 for a chunked one. */
uint64_t h1_left(const struct h1 *h);

/* The status to answer an error with, and the reason, for the log. */
int h1_status(const struct h1 *h);
const char *h1_reason(const struct h1 *h);

enum h1_framing {
    H1_NO_BODY,   /* HEAD, 1xx, 204, 304: no framing header but what the response says itself */
    H1_LENGTH,    /* Content-Length */
    H1_CHUNKED,   /* Transfer-Encoding: chunked */
    H1_UNTIL_EOF, /* the body ends with the connection */
};

/* Early Hints with the Link headers among these, as text in the arena; n = 0: there are none. */
struct str h1_hints(struct arena *a, const struct headers *headers);
/* The response's head as text in the request's arena. `date` is the Date to send (29 bytes). */
struct str h1_head(struct request *req, enum h1_framing framing, uint64_t length, bool keepalive,
                   struct str date);

enum { H1_TOO_MANY_SIZE = 512 };
/* A whole response for a client that can't be served, whatever it asks: 503, then close. Returns
 * its length. */
size_t h1_too_many(char out[H1_TOO_MANY_SIZE], struct str date);

#endif

/*
 * h1 - HTTP/1.1 on the wire: a client's bytes to a request, a response to a head. No I/O.
 *
 * http_parser splits a head into its parts, and check.h checks them; h1 checks what only HTTP/1
 * has: line endings, Transfer-Encoding, Connection. h1 and chunked parse the framing of bodies,
 * since http_parser's is lenient. Contract section 11; RFC 9112.
 */
#ifndef MG_HTTP_H1_H
#define MG_HTTP_H1_H

#include "http/request.h"

struct h1;

enum h1_event {
    H1_MORE,  /* all bytes are used, and the message is not complete */
    H1_HEAD,  /* the head is complete and checked; the body may follow */
    H1_END,   /* the message is complete */
    H1_ERROR, /* h1_status and h1_reason say why; no more may be fed */
};

struct h1_body {
    /* Called with each slice of a body, without chunk framing; small chunks of one read are joined.
     * The slice is valid during the call. */
    void (*on_bytes)(void *ctx, struct str bytes);
    /* Called when the header of a chunk has come: the body has at least so many bytes. */
    void (*on_chunk)(void *ctx, uint64_t at_least);
};

/* Makes a parser for one message, in the request's arena, so it lives as long as the request. The
 * caller keeps `body`. */
struct h1 *h1_new(struct request *req, const struct limits *limits, const struct h1_body *body,
                  void *ctx);

/* Feeds n bytes; sets *used to the bytes taken. At H1_HEAD only the head has been taken. A message
 * without a body ends (H1_END) with the next call, which may have no bytes. Bytes after the end of
 * the message are never taken. */
enum h1_event h1_feed(struct h1 *h, const char *data, size_t n, size_t *used);

/* True when the head, once complete, announces a body. */
bool h1_has_body(const struct h1 *h);

/* True when the client wants to send more requests on the connection. */
bool h1_keepalive(const struct h1 *h);

/* True when the client waits for 100 Continue before it sends the body (RFC 9110 §10.1.1), until
 * h1_continued says that it has been sent. */
bool h1_expects_continue(const struct h1 *h);
void h1_continued(struct h1 *h);

/* Bytes of the announced body that have not been fed; 0 for a chunked body. */
uint64_t h1_left(const struct h1 *h);

/* The status of the response to an error, and the reason for the log. */
int h1_status(const struct h1 *h);
const char *h1_reason(const struct h1 *h);

enum h1_framing {
    H1_NO_BODY,   /* HEAD, 1xx, 204, 304: only the framing headers that the response has */
    H1_LENGTH,    /* Content-Length */
    H1_CHUNKED,   /* Transfer-Encoding: chunked */
    H1_UNTIL_EOF, /* the body ends with the connection */
};

/* A 103 response with the Link headers of the list, as text in the arena; n = 0: the list has none.
 */
struct str h1_hints(struct arena *a, const struct headers *headers);
/* The response's head as text in the request's arena. `date` is the Date to send (29 bytes). */
struct str h1_head(struct request *req, enum h1_framing framing, uint64_t length, bool keepalive,
                   struct str date);

#endif

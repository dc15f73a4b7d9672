/*
 * h2 - what HTTP/2 makes of a request: the fields of a header block to a struct request. No I/O, no
 * frames: front/http2 has the connection, nghttp2 the frames and HPACK.
 *
 *     h2_head_init -> h2_head_field (each field) -> h2_head_end -> h2_trailer_field ...
 *
 * check.h checks what all fronts check; h2 checks what only HTTP/2 has: pseudo headers, names in
 * lower case, headers of a connection. A malformed request gets the response that HTTP/1 gives.
 * RFC 9113 section 8; contract section 11.
 */
#ifndef MG_HTTP_H2_H
#define MG_HTTP_H2_H

#include "http/check.h"

/* The priority of a response (RFC 9218 section 4). */
struct h2_priority {
    uint8_t urgency;  /* 0 to 7; 0 is the most urgent */
    bool incremental; /* it shares the connection with others of its urgency */
};

/* A header block as it comes. Part of a stream; its strings lie in the request's arena. */
struct h2_head {
    struct request *req;
    const struct limits *limits;
    struct refusal bad;   /* the first that was wrong; later fields are dropped then */
    size_t size;          /* bytes of the fields, counted as the lines of HTTP/1 */
    size_t trailer_size;  /* the same of the trailers */
    unsigned trailers;    /* fields of the trailers */
    struct str authority; /* p = NULL: there is none */
    struct str cookie;    /* all Cookie headers so far, as one */
    struct h2_priority priority;
    bool method : 1, scheme : 1, path : 1; /* this pseudo header has come */
    bool regular : 1;                      /* a header that is none has come */
    bool expects_continue : 1;
};

/* req and limits must outlive the head. Sets the request's version. */
void h2_head_init(struct h2_head *h, struct request *req, const struct limits *limits);
/* A field, which is copied. What is wrong with it is noted in h->bad. */
void h2_head_field(struct h2_head *h, struct str name, struct str value);
/* The block is complete: checks the request as a whole and parses its target. `bodiless`: no DATA
 * follows. Where it passes, req->body_length is set. */
struct refusal h2_head_end(struct h2_head *h, bool bodiless);
/* A field of the trailers, which is checked and dropped (RFC 9110 section 6.5). */
struct refusal h2_trailer_field(struct h2_head *h, struct str name, struct str value);

/* Reads the value of a Priority header; members that are not understood are ignored (RFC 9218
 * section 4). */
struct h2_priority h2_priority_parse(struct str value);

#endif

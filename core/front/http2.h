/*
 * http2 - the protocol "http2": one connection of a client that speaks HTTP/2, with its streams.
 *
 *     http1 -> the preface -> http2_take      a connection begins with http1, which accepts it
 *
 *     transport -> nghttp2 session -> stream -> exchange      each request is a stream
 *     transport <- gathered frames <- session <- stream <-'
 *
 * RFC 9113. Frames, HPACK and flow control are nghttp2's; http/h2 checks requests. Only
 * front/http2*.c include nghttp2.h. Without MG_HTTP2 (make MINIMAL=1) none of it is compiled.
 */
#ifndef MG_FRONT_HTTP2_H
#define MG_FRONT_HTTP2_H

#include "front/clients.h"

extern const struct protocol http2_protocol;

enum http2_preface {
    HTTP2_NO,    /* the bytes begin no HTTP/2 connection */
    HTTP2_MAYBE, /* more bytes are needed to tell */
    HTTP2_YES,
};
/* Whether these first bytes of a connection are the client's preface (RFC 9113 section 3.4). */
enum http2_preface http2_preface(struct str bytes);

/* The bytes that turn a client away which has begun with the preface: SETTINGS, and a GOAWAY with
 * ENHANCE_YOUR_CALM by which it knows that no stream was looked at (RFC 9113 section 6.8). */
struct str http2_refusal(void);

/* Takes over a connection that is idle, with the bytes that it has begun with, the preface first.
 * The memory of the client is http2's from now on. c may be gone. */
void http2_take(struct client *c, struct str bytes);

#endif

/*
 * traceparent - the W3C Trace Context of a request (W3C Recommendation "Trace Context", level 1):
 * the header `traceparent` read, continued or begun, and written again for applications.
 *
 * The exchange calls it for a complete head, if the route has `tracing`. The struct lies in the
 * request's arena. Pure but for the random ids, which the caller passes.
 */
#ifndef MG_HTTP_TRACEPARENT_H
#define MG_HTTP_TRACEPARENT_H

#include "http/request.h"

#define TRACEPARENT_SIZE 55 /* bytes of the header's value in version 00 */
#define TRACEPARENT_ID   16 /* hex digits of the id of a span */

struct traceparent {
    /* "00-<trace id>-<id of a span>-<flags>": `own` names the request's span, `sent`, which
     * applications get, that of the attempt. */
    char own[TRACEPARENT_SIZE + 1];
    char sent[TRACEPARENT_SIZE + 1];
    char caller[TRACEPARENT_ID + 1]; /* the id of the caller's span; "": the trace begins here */
    bool sampled;                    /* the spans of the trace are recorded */
    struct spans *spans;             /* NULL: they are not recorded here */
};

/* Gives the request a trace context. A valid `traceparent` of a peer that the settings believe is
 * continued, with its decision about sampling; otherwise a trace begins, and `tracestate` is
 * removed. From now on the request has one header `traceparent`, and one such param if it came from
 * a web server. `random`: two words for the id of a trace, and one for that of a span. */
void traceparent_take(struct request *req, const struct tracing_settings *settings,
                      const uint64_t random[3]);
/* Names another span as the parent of what the application does. `span` is a random word; returns
 * the span's id. */
uint64_t traceparent_name_sent(struct traceparent *t, uint64_t span);

/* The parts of the context as hex digits. */
static inline struct str traceparent_trace_id(const struct traceparent *t)
{
    return (struct str){t->own + 3, 2 * TRACEPARENT_ID};
}

static inline struct str traceparent_span_id(const char text[TRACEPARENT_SIZE + 1])
{
    return (struct str){text + 36, TRACEPARENT_ID};
}

#endif

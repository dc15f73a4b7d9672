/*
 * spans - what a request whose trace is recorded has spent its time on, and these spans as JSON of
 * OTLP (opentelemetry-proto, trace/v1; names by OpenTelemetry's HTTP semantic conventions 1.23).
 *
 *     the request (SERVER)
 *       |-- on_request, on_params, ...   hooks; the time that a hook waits is in its span
 *       |-- receive body
 *       |-- queue                        of each attempt that had to wait
 *       |-- FastCGI (CLIENT)             of each attempt that got a server
 *       |     `-- connect
 *       `-- send                         from the head of the response to its last byte
 *
 * The notes lie in the request's arena. The exchange and the script's door add them; the exchange
 * encodes them when the request has ended. Pure.
 */
#ifndef MG_HTTP_SPANS_H
#define MG_HTTP_SPANS_H

#include "http/request.h"

#define SPANS_NOTES    32    /* further ones are left out */
#define SPANS_ATTEMPTS 16    /* likewise */
#define SPANS_SIZE     65536 /* bytes of the JSON; a request with more has no spans */

/* Times are seconds of the loop's clock; 0: not reached. */
struct span_note {
    const char *name; /* lasts as long as the request */
    double from, until;
};

struct spans {
    struct span_note notes[SPANS_NOTES];
    unsigned count;
    double body_from; /* the body is being received */
    double send_from; /* the head of the response has gone to the front */
};

/* Notes the time that `name` took. `continues`: it belongs to the latest note of that name, such as
 * a hook that goes on after a wait. */
void spans_note(struct spans *s, const char *name, double from, double until, bool continues);
/* Writes the spans of a request that has ended at `now` as objects with commas between them, and
 * sets *count. Returns the length, 0 when they have no room. */
size_t spans_json(const struct request *req, double now, char *out, size_t size, unsigned *count);

#endif

/*
 * spans - the spans of ended requests, until they are exported: a bounded queue of the process, and
 * what moongate.worker.spans, the exporter, needs of C.
 *
 *     exchange --script_spans_add--> queue --take()--> moongate.worker.spans --> a collector, a
 * file
 *
 * The exporter is a function beside the requests (moongate.spawn) that begins with the first spans
 * and ends when none are left, so that nothing runs in a worker without them. The queue belongs to
 * the process: what one generation leaves, the next one's exporter sends.
 */
#ifndef MG_SCRIPT_SPANS_H
#define MG_SCRIPT_SPANS_H

#include "base/str.h"

struct script;

#define SPANS_QUEUE (1u << 20) /* bytes that may wait; further spans are dropped and counted */

/* Queues `count` spans as JSON (spans_json), with n = 0 none had room; lets the script's exporter
 * begin. Runs the script. */
void script_spans_add(struct script *s, struct str json, unsigned count);
/* True while spans wait, or are being sent. */
bool script_spans_wait(const struct script *s);

#endif

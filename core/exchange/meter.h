/*
 * meter - what a request adds to the counters of /metrics (shm/metrics.h). Called by the exchange's
 * parts. Requests on the control listener are not counted.
 */
#ifndef MG_EXCHANGE_METER_H
#define MG_EXCHANGE_METER_H

#include "exchange/parts.h"
#include "shm/metrics.h"

/* The request is over. */
void meter_request(const struct exchange *x);
/* An attempt to get a reply of a server is over, at the time `now` of the loop's clock. */
void meter_attempt(const struct exchange *x, double now, bool failed);
/* Another attempt follows one that has failed. */
void meter_retry(const struct exchange *x);
/* A limit of the route has refused the request. */
void meter_limit(const struct exchange *x, enum metrics_limit limit);
/* The request is refused with this status. Counts those by which limits refuse: 408, 413, 414 and
 * 431. */
void meter_refused(const struct exchange *x, int status);
/* An application has written `count` messages of that level (metrics_levels) to STDERR. */
void meter_message(const struct exchange *x, unsigned level, unsigned count);
/* The application's script has written so many of them. */
void meter_script_messages(const struct exchange *x, unsigned count);

#endif

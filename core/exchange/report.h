/*
 * report - what the logs are told of a request: its line in the access log, what its backend did
 * wrong or wrote to STDERR, which of its headers are not passed on. Called by the exchange's parts.
 */
#ifndef MG_EXCHANGE_REPORT_H
#define MG_EXCHANGE_REPORT_H

#include "base/log.h"
#include "exchange/generation.h"

/* One line about the request's backend: which server, what happened, the request and its id. */
void report_backend(enum log_level level, const struct request *req, const char *what,
                    const char *detail);
/* What the application wrote to STDERR; advice may be "". */
void report_stderr(const struct request *req, struct str text, const char *advice);
/* The headers that no application gets: each name once for the life of the worker. */
void report_dropped(const struct request *req);
/* The line in the access log: on_log's, log.format's, or the format's own. */
void report_access(struct generation *generation, struct request *req, struct script_call *call);

#endif

/*
 * report - the log lines of a request: its line in the access log, errors of its backend, STDERR,
 * and headers that are not passed on. Called by the exchange's parts.
 */
#ifndef MG_EXCHANGE_REPORT_H
#define MG_EXCHANGE_REPORT_H

#include "base/log.h"
#include "exchange/generation.h"

/* Logs a line about the request's backend: the server, the event, the request and its id. */
void report_backend(enum log_level level, const struct request *req, const char *what,
                    const char *detail);
/* Logs STDERR of the application; advice may be "". Of warnings one in ten seconds is logged, with
 * the number of the others. Of one script (or path, where the application has no scripts), and of
 * all scripts of a site, so many messages are logged in ten seconds; others are counted, and one
 * line says their number. A site is a tenant, else a docroot, else a backend. */
struct report_source {
    struct str script;
    struct str docroot; /* n 0: none */
};
void report_stderr(enum log_level level, const struct request *req,
                   const struct report_source *source, struct str text, const char *advice);
/* Logs the headers that no application gets, each name once in the life of the worker. */
void report_dropped(const struct request *req);
/* Writes the line in the access log: that of on_log, of log.format, or of the configured format. */
void report_access(struct generation *generation, struct request *req, struct script_call *call);

#endif

/*
 * logline - the lines of the error log that a request causes. All of them are written here, so that
 * each names its request. Called by exchange/, front/ and script/.
 */
#ifndef MG_HTTP_LOGLINE_H
#define MG_HTTP_LOGLINE_H

#include "base/log.h"
#include "http/request.h"

/* Fills in what a line says of the request. The members point into the request, the id perhaps into
 * `about`, which is therefore not copied. */
void logline_about(const struct request *req, struct log_about *about);
/* Writes a line about the request. quota NULL: without a limit. A line below the level costs one
 * comparison. */
void logline_write(const struct request *req, struct log_quota *quota, enum log_level level,
                   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif

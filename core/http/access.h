/*
 * access - one request as a line of the access log: "combined" as Apache and nginx write it, or
 * JSON with the keys of contract section 12. Pure; called once a request.
 */
#ifndef MG_HTTP_ACCESS_H
#define MG_HTTP_ACCESS_H

#include "http/request.h"

/* Writes the line, newline included, to out. Returns its length, 0 when it does not fit. Bytes that
 * could forge a line or a field are escaped. */
size_t access_combined(const struct request *req, char *out, size_t size);
size_t access_json(const struct request *req, unsigned generation, char *out, size_t size);

#endif

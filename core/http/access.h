/*
 * access - one request as a line of the access log: "combined" as Apache and nginx write it, JSON
 * with the keys of contract section 12, or the fields that a route names in a format of its own.
 * Pure; called once a request.
 */
#ifndef MG_HTTP_ACCESS_H
#define MG_HTTP_ACCESS_H

#include "http/request.h"

/* Writes the line, newline included, to out. Returns its length, 0 when it does not fit. Bytes that
 * could forge a line or a field are escaped. */
size_t access_combined(const struct request *req, char *out, size_t size);
size_t access_json(const struct request *req, unsigned generation, char *out, size_t size);
/* Likewise, by a compiled format. What a request does not have is "-". Outside of double quotes a
 * blank of a value is escaped, too, unless tabs part the fields. */
size_t access_fields(const struct access_fields *format, const struct request *req,
                     unsigned generation, char *out, size_t size);

/* Writes the request as fields of a line for the journal (base/datagram): MOONGATE_STATUS and the
 * like. What the request does not have is no field. Returns the number of bytes, at most size. */
size_t access_journal(const struct request *req, unsigned generation, char *out, size_t size);

#define ACCESS_JOURNAL_SIZE 32768 /* has room for all fields */

#define ACCESS_PARTS     128   /* of a format: fields, and texts between them */
#define ACCESS_FORMAT    4096  /* bytes of its text */
#define ACCESS_LINE_SIZE 32768 /* every line is shorter */

/* Compiles a format such as `$client "$request" $status`: `$name` or `${name}` is a field,
 * `$http_NAME` a header of the request, `$$` a dollar. Memory comes from the arena, and the text
 * must last as long. Returns NULL, or what is wrong with it, in the arena. */
const char *access_compile(struct arena *arena, struct str text, struct access_fields *out);

#endif

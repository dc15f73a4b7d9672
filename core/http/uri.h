/*
 * uri - parses a request's target: its form, path, query and host. Pure; memory comes from the
 * request's arena. Contract section 11; RFC 9112 §3.2, RFC 3986 §5.2.4.
 */
#ifndef MG_HTTP_URI_H
#define MG_HTTP_URI_H

#include "base/arena.h"

struct uri {
    struct str raw_path; /* as sent, without the query */
    /* Decoded, dot segments removed, slashes merged; starts with a slash. None where uri_parse
     * fails. */
    struct str path;
    struct str query;     /* without its question mark */
    struct str origin;    /* path and query as sent: REQUEST_URI */
    struct str authority; /* host and port of an absolute target, else empty */
    bool has_query;
    bool https;    /* an absolute target with the scheme https */
    bool asterisk; /* "*": only for OPTIONS */
};

/* Parses a target. Returns NULL, or the reason of a 400. Slices point into target, or into the
 * arena where the path had to be decoded. */
const char *uri_parse(struct uri *u, struct str target, struct arena *arena);

/* Decodes %XX, and nothing else. Returns false where a % lacks its digits. out may be in.p. */
bool uri_unescape(struct str in, char *out, size_t *out_size);

/* Escapes a path for a Location: bytes with a meaning in a URL become %XX. Memory from the arena.
 */
struct str uri_escape_path(struct str path, struct arena *arena);

/* A target as applications write it into X-Accel-Redirect and Location: blanks, UTF-8, '#' and a
 * '%' without its digits become %XX, so that uri_parse reads them as parts of a name. Returns
 * `target` itself where it has no such byte, else memory from the arena. */
struct str uri_escape_raw(struct str target, struct arena *arena);

/* Host of RFC 9112 §3.2: name, IPv4 or [IPv6], and an optional port. The host is lower-cased into
 * the arena, without a trailing dot. port is -1 where `value` has none. False: the host is invalid.
 */
bool uri_host(struct str value, struct arena *arena, struct str *host, int *port);

#endif

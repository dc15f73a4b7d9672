/*
 * caching - whether a response may be kept for other requests, and for how long (RFC 9111, RFC
 * 5861).
 *
 * Pure functions: headers in, a verdict out. Called by exchange/fill for each response of an
 * application whose decision has `cache`. The rules of the script come first, RFC 9111 decides
 * where they say nothing.
 */
#ifndef MG_HTTP_CACHING_H
#define MG_HTTP_CACHING_H

#include "http/request.h"

/* The directives of all Cache-Control lines that a shared cache looks at; seconds, -1: absent. */
struct caching_control {
    bool no_store, no_cache, is_private, must_revalidate;
    double max_age, s_maxage, while_revalidate, if_error;
};

/* What the script says about a response. */
struct caching_rules {
    double ttl;   /* seconds; -1: the headers say */
    double stale; /* seconds after that; -1: the headers say */
    /* Whether a stale response is sent at once, while a newer one is made: only as long as
     * stale-while-revalidate says; always; never. */
    enum caching_background { CACHING_BY_HEADERS, CACHING_ALWAYS, CACHING_NEVER } background;
    bool ignores_cookies; /* Set-Cookie does not keep a response from being stored */
    bool ignores_control; /* nor do no-store, no-cache and private */
};

struct caching_verdict {
    enum cache_reason reason; /* why the response is not kept; CACHE_NO_REASON: it is */
    double age;               /* seconds that it had when it came */
    double fresh;             /* seconds from then on */
    double stale;   /* seconds after these, while it may be sent if there is no newer one */
    double at_once; /* of these, in which it is sent while a newer one is made */
};

/* Reads all Cache-Control lines of the list. */
void caching_read_control(const struct headers *headers, struct caching_control *out);

/* Judges an application's response to a GET. `now` is the time of its arrival in seconds since the
 * epoch. */
void caching_judge(const struct caching_rules *rules, const struct response *response, time_t now,
                   struct caching_verdict *out);

/* Cuts the next name off the front of a Vary list; n = 0: the list has ended. */
struct str caching_next_name(struct str *list);

#endif

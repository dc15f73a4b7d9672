/*
 * cgi - translates between HTTP and CGI: makes the params of a request, and parses the head of an
 * application's reply. No I/O.
 *
 * Contract sections 5 and 12; RFC 3875 §4.1 (meta-variables) and §6 (the response). FastCGI records
 * are another module's: params are put into a list, and the reply is fed in slices.
 */
#ifndef MG_FASTCGI_CGI_H
#define MG_FASTCGI_CGI_H

#include "http/request.h"

/* Paths from which params are made, beside the request itself. */
struct cgi_paths {
    struct str root;    /* the site's folder on this machine; n = 0: not known */
    struct str docroot; /* the site's folder as the backend sees it; n = 0: not known */
};

/* Which docroot holds for the decision (contract section 12, "Which docroot"). Strings point into
 * the request's arena, the decision or the settings. */
void cgi_paths(struct cgi_paths *paths, struct request *req,
               const struct backend_settings *backend);

/* The default params of the request's decision, with the decision's own `params` applied. body_size
 * is the number of STDIN bytes, or BODY_NONE; BODY_UNKNOWN (a chunked body that is streamed) has no
 * CONTENT_LENGTH. */
void cgi_params(struct params *out, struct request *req, const struct backend_settings *backend,
                const struct cgi_paths *paths, int64_t body_size);

/* The page of PHP-FPM's own (ping.path, pm.status_path), one of those given, that it would answer
 * these params with; NULL: none. A hook may name it as `script` for requests to another path. */
const struct str *cgi_own_page(const struct params *params, const struct request *req,
                               const struct str *pages, unsigned count);

enum cgi_result { CGI_MORE, CGI_DONE, CGI_HINTS, CGI_ERROR, CGI_TOO_LARGE };

/* The header block of a reply, collected until its empty line. */
struct cgi_head {
    struct str text;  /* the bytes so far; in the request's arena */
    size_t before;    /* bytes of the Early Hints before it */
    size_t line_size; /* bytes of the current line */
    char line_first;
    uint64_t singles; /* a bit for each single header that has come (cgi_bit_of_single) */
    struct str again; /* a single header that came again and was left out; n = 0: none */
};

/* Takes the bytes of the head off the front of *in. CGI_DONE: req->response is filled and checked,
 * and *in is the body's beginning. CGI_HINTS: the same for a head with status 103 (RFC 8297); the
 * caller calls cgi_head_again and feeds the rest, the final head. CGI_ERROR, and CGI_TOO_LARGE for
 * more than limit bytes: *err is the reason. */
enum cgi_result cgi_head_feed(struct cgi_head *head, struct request *req, struct str *in,
                              size_t limit, const char **err);
/* Called after CGI_HINTS: drops the hints, in req->response too. The limit holds for all heads
 * together. */
void cgi_head_again(struct cgi_head *head, struct request *req);

#endif

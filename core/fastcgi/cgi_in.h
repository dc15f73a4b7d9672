/*
 * cgi_in - the other direction of cgi, for a web server that speaks FastCGI to moongate: its params
 * become a request, and the response gets a head in CGI form. No I/O.
 *
 * Contract sections 5 and 14; RFC 3875 §4.1 (meta-variables) and §6 (the response). The web
 * server's params about client, connection and scheme are trusted, since the listener is open to
 * trusted web servers alone.
 */
#ifndef MG_FASTCGI_CGI_IN_H
#define MG_FASTCGI_CGI_IN_H

#include "http/check.h"

enum { CGI_IN_PARAMS = 1000 };

/* The limit of bytes of all name-value pairs of a request: that of a head, and room for the copies
 * of the request line that web servers send (REQUEST_URI, QUERY_STRING, DOCUMENT_URI, PATH_INFO and
 * the like). */
size_t cgi_in_limit(const struct limits *limits);

/* Parses the name-value pairs, which must live as long as the request, into req->arrived; sets
 * method, version, peers, scheme, headers, host, target and user from them. Where CONTENT_LENGTH is
 * missing, empty or -1 req->body_length is BODY_NONE: STDIN then says whether the request has a
 * body. */
struct refusal cgi_in_request(struct request *req, const struct limits *limits, struct str pairs);

/* The head of req->response, its empty line included: "Status: 200 OK", then the headers. length:
 * of the body, or -1. Memory from the request's arena. */
struct str cgi_in_head(struct request *req, int64_t length);

#endif

/*
 * cgi_in - cgi the other way round, for a web server that speaks FastCGI to us: its params become a
 * request, and our answer gets a head in the form of CGI. No I/O.
 *
 * Contract sections 5 and 14; RFC 3875 §4.1 (meta-variables) and §6 (the response). What the web
 * server says about the client, the connection and the scheme is believed: nobody else can reach
 * the listener.
 */
#ifndef MG_FASTCGI_CGI_IN_H
#define MG_FASTCGI_CGI_IN_H

#include "http/check.h"

enum { CGI_IN_PARAMS = 1000 };

/* The bytes that all name-value pairs of a request may have: those of a head, and what web servers
 * make of the request line (REQUEST_URI, QUERY_STRING, DOCUMENT_URI, PATH_INFO and the like). */
size_t cgi_in_limit(const struct limits *limits);

/* Takes the name-value pairs apart, which must live as long as the request, into req->arrived; sets
 * method, version, peers, scheme, headers, host, target and user from them. Where CONTENT_LENGTH is
 * missing, empty or -1 req->body_length is BODY_NONE: whether there is a body, STDIN tells. */
struct refusal cgi_in_request(struct request *req, const struct limits *limits, struct str pairs);

/* The head of req->response, its empty line included: "Status: 200 OK", then the headers. length:
 * of the body, or -1. Memory from the request's arena. */
struct str cgi_in_head(struct request *req, int64_t length);

#endif

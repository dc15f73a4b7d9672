/*
 * error_page - the standard page for an error status, where neither an application nor a script has
 * made the response: its headers and its HTML; and the HTTP/1 response to a client that is one too
 * many. Pure.
 */
#ifndef MG_HTTP_ERROR_PAGE_H
#define MG_HTTP_ERROR_PAGE_H

#include "http/request.h"

/* Sets status, headers and length of req->response, and keeps the headers that it already has (such
 * as Allow). Returns the page, in the request's arena. The page shows the request's id, by which
 * the error log is searched. */
struct str error_page_make(struct request *req, int status);

enum { ERROR_PAGE_TOO_MANY_SIZE = 512 };
/* Makes a whole response (503, then close) for a client over a limit, before its request is read.
 * `date` is the Date to send (29 bytes). Returns its length. */
size_t error_page_too_many(char out[ERROR_PAGE_TOO_MANY_SIZE], struct str date);

#endif

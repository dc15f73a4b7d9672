/*
 * error_page - the standard page for an error status, where neither an application nor a script has
 * made the response: its headers and its HTML. Pure.
 */
#ifndef MG_HTTP_ERROR_PAGE_H
#define MG_HTTP_ERROR_PAGE_H

#include "http/request.h"

/* Sets status, headers and length of req->response, and keeps the headers that it already has (such
 * as Allow). Returns the page, in the request's arena. The page shows the request's id, by which
 * the error log is searched. */
struct str error_page_make(struct request *req, int status);

#endif

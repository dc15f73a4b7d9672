/*
 * error_page - the answer with an error status that no application and no script has made: its
 * headers and its HTML. Pure.
 */
#ifndef MG_HTTP_ERROR_PAGE_H
#define MG_HTTP_ERROR_PAGE_H

#include "http/request.h"

/* Sets status, headers and length of req->response, beside the headers that it has already (Allow,
 * for one). Returns the body, in the request's arena: a page that carries the request's id, which
 * is in the error log as well. */
struct str error_page_make(struct request *req, int status);

#endif

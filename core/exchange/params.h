/*
 * params - what a backend is sent for a request, before on_params: made for an attempt, and for a
 * script that sends a request of its own after it (req:params_for). Where the site lies for that
 * backend is found here.
 */
#ifndef MG_EXCHANGE_PARAMS_H
#define MG_EXCHANGE_PARAMS_H

#include "fastcgi/cgi.h"

/* The params of the request's decision, and the folders that they were made of. body_size as in
 * cgi_params. */
void params_make(struct params *out, struct cgi_paths *paths, struct request *req,
                 const struct backend_settings *backend, int64_t body_size);

/* Makes the params for a backend that the decision does not name, without settings of PHP, which
 * the sender adds. False: the request can't be sent twice, since it has a body, or its decision
 * does not ask a responder. */
bool params_for(struct params *out, struct request *req, const struct backend_settings *backend);

#endif

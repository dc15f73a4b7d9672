/*
 * accel - X-Accel-Redirect and X-Sendfile: the file that an application names in place of its
 * reply's body. Pure: from the response's head and the decision to a file decision. Contract
 * sections 7 and 12 ("Internal files").
 */
#ifndef MG_EXCHANGE_ACCEL_H
#define MG_EXCHANGE_ACCEL_H

#include "fastcgi/cgi.h"

/* True when the application's head names a file. */
bool accel_wanted(const struct response *res);

/* True when X-Accel-Redirect names a path that `internal` gives to on_request. */
bool accel_names_route(struct request *req, const struct backend_settings *backend);

/* Makes the file decision; strings in the request's arena. Its headers are the application's about
 * the file (type, name, cookies). Returns NULL, or the reason why the file is refused. */
const char *accel_decision(struct request *req, const struct backend_settings *backend,
                           const struct cgi_paths *paths, struct decision *out);

#endif

/*
 * doctor - what an operator should look at when a backend refuses: the socket that can't be used,
 * and the script that PHP can't find. Looks at the file system, so it is only asked when something
 * has failed already. Contract section 6.
 */
#ifndef MG_EXCHANGE_DOCTOR_H
#define MG_EXCHANGE_DOCTOR_H

#include "http/request.h"

/* What is behind a failed connect: `reason` is the errno in words. Text in the arena. */
const char *doctor_connect(struct arena *a, const struct addr *server, const char *reason);

/* True when PHP's STDERR says that it did not run the script. */
bool doctor_knows(struct str stderr_text);

/* Why the script that was asked for may not have been found: what was sent, whether it exists here,
 * the deepest folder that does, what to try. `rule` says where the decision was made. Text in the
 * request's arena. */
const char *doctor_script(struct request *req, const struct params *params, struct str root,
                          struct str docroot, const char *rule);

#endif

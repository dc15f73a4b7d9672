/*
 * doctor - advice for the log after a failure: about a socket that can't be used, and a script that
 * PHP can't find. It looks at the file system, so it is called only after a failure. Contract
 * section 6.
 */
#ifndef MG_EXCHANGE_DOCTOR_H
#define MG_EXCHANGE_DOCTOR_H

#include "http/request.h"

/* The cause of a failed connect; `reason` is the errno as text. Text in the arena. */
const char *doctor_connect(struct arena *a, const struct addr *server, const char *reason);

/* True when PHP's STDERR reports that the script was not run. */
bool doctor_knows(struct str stderr_text);

/* Whose fault it is that PHP has not run a script. */
enum doctor_fault {
    DOCTOR_OURS,   /* the route's, PHP-FPM's or the disk's: the script is there, or ought to be */
    DOCTOR_THEIRS, /* the client's: the site is there, and has no such script */
    DOCTOR_UNSEEN, /* the site is not on this machine, so it can't be said */
};

/* The likely cause why the script was not found: the path that was sent, whether it exists here,
 * the deepest folder that does, and what to try. `rule` is the place of the decision. Text in the
 * request's arena. */
const char *doctor_script(struct request *req, const struct params *params, struct str root,
                          struct str docroot, const char *rule);
/* Whose fault it is, of a message that doctor_knows. */
enum doctor_fault doctor_whose(struct request *req, const struct params *params, struct str root,
                               struct str docroot, struct str stderr_text);

#endif

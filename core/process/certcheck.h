/*
 * certcheck - the certificates of a route as `moongate check` and `moongate explain` look at them:
 * read as the master reads them, looked at as workers do.
 *
 *     check as root --certcheck_keep--> child, root --report--> reads the files, becomes the user,
 *       becomes the user                                        parses --problems--> certcheck
 *
 * A script is never run as root, so the process that runs it can't read the keys of a route that
 * only root may read. The child that can runs no script, and tells no more of a key than what is
 * wrong with it.
 */
#ifndef MG_PROCESS_CERTCHECK_H
#define MG_PROCESS_CERTCHECK_H

#include "base/user.h"
#include "tls/facts.h"

/* Makes the child, for the only question of this process; `user` is who workers will be. Called
 * before this process gives up its privileges. NULL, or the error. */
const char *certcheck_keep(const struct user *user);
/* Reads the files of TLS that a loader's report names, and calls `add` with each problem;
 * `certain`: it would keep the route from serving, or clients from connecting. */
void certcheck(const char *report, void (*add)(void *ctx, const char *text, bool certain),
               void *ctx);
/* Likewise tells which certificate a client gets that asks the listener with that number for a name
 * ("": for none), before a script is asked. The facts are those of facts_of_listener; "wrong": the
 * listener can't serve, and why; "left_out": why a pair of a folder is not used, once for each. */
void certcheck_name(const char *report, unsigned number, const char *name, facts_tell *tell,
                    void *ctx);

#endif

/*
 * subrequest - a FastCGI request of a script's own (moongate.fastcgi), whose reply is collected
 * whole. Scripts start it through script_world.
 */
#ifndef MG_EXCHANGE_SUBREQUEST_H
#define MG_EXCHANGE_SUBREQUEST_H

#include "exchange/generation.h"

struct subrequest;

/* Params and body are copied. NULL and *err: it could not be started. Otherwise `done` is called
 * once, never before this returns, unless subrequest_free comes first. The caller frees it
 * afterwards. */
struct subrequest *subrequest_new(struct generation *g, const struct script_subrequest *ask,
                                  void (*done)(void *ctx, const struct script_reply *reply),
                                  void *ctx, const char **err);
void subrequest_free(struct subrequest *r);

#endif

/*
 * account - all that happens to a request which `moongate trace` wants to see: the decision with
 * its rule, the steps with their times, the params of each application, STDERR, the head of the
 * response. The notes lie in the request's arena, within bounds; when the request ends they become
 * one JSON object in a record of shm/trace.
 *
 * A request that nobody traces has no account, and costs a load at each step. The functions below
 * account_begin are called for requests with an account only (exchange_account).
 */
#ifndef MG_EXCHANGE_ACCOUNT_H
#define MG_EXCHANGE_ACCOUNT_H

#include "base/str.h"

struct exchange;

/* Begins the account of a request whose head is complete, if an order matches it. */
void account_begin(struct exchange *x);
/* Notes a decision that is about to be carried out; `by` says whose it is. */
void account_decision(struct exchange *x, const char *by);
/* Notes the params that the application is going to get. */
void account_params(struct exchange *x);
/* Notes a message of the application. */
void account_stderr(struct exchange *x, struct str line);
/* Notes the head of the response, as the client gets it. */
void account_head(struct exchange *x);
/* Passes the account on. Called when the request's values for the log are complete. */
void account_end(struct exchange *x);

#endif

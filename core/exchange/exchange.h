/*
 * exchange - one request from its head to its line in the log. It alone knows the client's side,
 * the script and the backend.
 *
 * Callbacks of front, stream, script and clock only note a fact and queue the exchange's step
 * (loop_step), or append bytes. The step looks at the facts and does what is due. It runs when the
 * event is over, with nothing else on the stack, so nothing reenters.
 *
 *   state      a fact                     what the step does                    goes to
 *   ---------- -----------------------    ---------------------------------     ---------
 *   HEAD       the head is complete       asks on_request                       DECIDING
 *   DECIDING   on_request has ended       carries the decision out:
 *              - close, reply, file       answers                               ENDED
 *              - FastCGI, in the cache    answers with what is kept             ENDED
 *              - the same is being made   waits for it                          WAITING
 *              - FastCGI, body to keep    lets it come                          BODY
 *              - FastCGI                  makes the params, asks a server       ASKING
 *              - any, with an authorizer  asks that, as an application          ASKING
 *   WAITING    it is made, or takes long  looks again, as DECIDING              see above
 *   BODY       the body is complete       makes the params, asks a server       ASKING
 *   ASKING     the reply's head           asks on_response, begins the response RESPONDING
 *              - an authorizer's 200      at its end, carries the decision out  see above
 *              - another takes its place  leaves the server, carries that out   see above
 *              - a path of this server    asks on_request about it              DECIDING
 *              it failed, may be again    asks another server                   ASKING
 *              it is overloaded           waits a little                        PAUSING
 *              it failed                  asks on_error; answers with a page    FAILING
 *   PAUSING    the pause is over          asks a server                         ASKING
 *   FAILING    on_error has ended         carries its decision or the page out  see above
 *   RESPONDING a slice of the body        gives it to the front                 RESPONDING
 *              room for the client        lets the server be read again         RESPONDING
 *              END_REQUEST                ends the response                     ENDED
 *              it failed                  cuts the response, or takes it back   see ASKING
 *   any        the deadline is over       leaves the server; on_error, a page or cut FAILING
 *   any        the body is late           leaves the server; 408, or a cut      FAILING
 *   any        the body is too large      leaves the server; 413, or a cut      FAILING
 *   any        the front refuses it       leaves the server; a page, or a cut   ENDED
 *   ENDED      the client has a stale response that may be made anew in the
 *              background                 asks a server; nobody gets the reply  ASKING
 *
 * A protocol of core/front sees struct exchange as a pointer only; exchange knows nothing of
 * sockets.
 */
#ifndef MG_EXCHANGE_EXCHANGE_H
#define MG_EXCHANGE_EXCHANGE_H

#include "exchange/front.h"
#include "exchange/generation.h"
#include "http/request.h"

struct exchange;

/* Makes an exchange on this generation. The front fills *req, and then calls exchange_set_front. */
struct exchange *exchange_new(struct generation *generation, struct request **req);
/* Sets the front that gets the response; it may lie in the request's arena. */
void exchange_set_front(struct exchange *x, struct front *front);

/* --- facts of the front --- */

/* The head is complete and valid. has_body: exchange_body and exchange_body_end follow once wanted.
 */
void exchange_begin(struct exchange *x, bool has_body);
/* Refuses a malformed or late request with this status, and closes. Called in place of
 * exchange_begin, or during the body. `reason` lives as long as the request. */
void exchange_refuse(struct exchange *x, int status, const char *reason);
/* A slice of the body, which is kept or passed on to a server. */
void exchange_body(struct exchange *x, struct str bytes);
/* The framing has announced a body of so many bytes at least. */
void exchange_body_announced(struct exchange *x, uint64_t at_least);
void exchange_body_end(struct exchange *x);
/* The front has room for the response again. */
void exchange_room(struct exchange *x);
/* Runs the step now if it is queued. A front calls this where any result of the step is allowed.
 * False: the step was not queued. */
bool exchange_run(struct exchange *x);

/* --- the end, by the front, which must not use the exchange afterwards --- */

/* Ends an exchange whose response is written: logs the request and frees it. */
void exchange_done(struct exchange *x);
/* Ends an exchange whose client has left. `why` is for the log. */
void exchange_gone(struct exchange *x, const char *why);
/* Lets a request of this worker end soon, because an operator wants it. False: there is no such
 * request under way. */
bool exchange_kill(uint64_t id);
/* Ends an exchange because this server stops. A request without a response is logged as 503, a cut
 * response with its own status. */
void exchange_stopped(struct exchange *x, const char *why);

/* Gives up requests whose clients have their response, and which have a newer one made for the
 * cache. Called before the process ends. */
void exchange_end_background(void);

/* --- questions --- */

/* True while the front has got no part of a response. */
bool exchange_is_unanswered(const struct exchange *x);
/* True while the request only waits, in a backend's queue or in a hook, so that no work is lost if
 * its client leaves. */
bool exchange_only_waits(const struct exchange *x);
/* The number of requests that this process has begun. */
uint64_t exchange_count(void);
/* The limits of the request's generation, with the time limits of the front. */
const struct limits *exchange_limits(const struct exchange *x);
/* True when the connection must close after the response (an error of the server, a close
 * decision). */
bool exchange_wants_close(const struct exchange *x);

#endif

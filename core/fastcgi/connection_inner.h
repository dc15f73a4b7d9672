/*
 * connection_inner - what the files of one connection call of one another, for fastcgi/ only. A
 * file calls those below it, and writes these members of struct conn:
 *
 *     events      a new one, and what the loop says of it: read_at, ended, excess
 *     dial        how it comes about: place, addr, tries, first_tried, refused, patience
 *     offer       the first part of a request that is not sent twice: offered, watched, unread
 *     channel     the requests on it, their ids and holders: channels, awaited, paused, spent,
 *                 foreign, hungry, turn, requests, quiet
 *     connection  its socket: written, broken, calling, idle_since
 *
 * Several files write the rest. `state`: each the states that it brings about. `out`: channel
 * appends to it, connection empties it. A close (connection) ends an offer and all channels, so it
 * writes `offered`, `watched` and `active`, too. events and channel set `read_max`, and `aside`.
 *
 * Upward go the tables: channel_ops to the holders, closed, released and freed to the owner.
 */
#ifndef MG_FASTCGI_CONNECTION_INNER_H
#define MG_FASTCGI_CONNECTION_INNER_H

#include "fastcgi/connection.h"

#define CONN_OUT_SMALL 65536 /* what waits of a shared connection, before others hold back */

/* --- connection.c --- */

/* Derives what to wait for from the state; epoll is told only of changes. */
void conn_rearm(struct conn *c);
/* All of a close but that the memory goes. */
void conn_shut(struct conn *c);
/* Writes what waits and then the slices, as far as the socket takes them; the rest waits. */
void conn_write(struct conn *c, const struct iovec *slices, int count);
/* Before channels are called, of which any may close the connection, and after. */
void conn_call(struct conn *c);
void conn_called(struct conn *c);
/* Nothing is offered any more. */
void conn_end_offer(struct conn *c);

/* --- channel.c --- */

void channel_init(struct channel *ch, struct conn *c, uint16_t id);
/* The only request of a connection that is not shared; NULL: there is none. */
struct channel *conn_sole(struct conn *c);
/* Bytes that the kernel has taken since the request began: where others share the connection, some
 * may be theirs, but 0 is 0. */
uint64_t channel_written(const struct channel *ch);
/* A record goes to the request of its id (fcgi_event_cb). Management records that were not asked
 * for are ignored. */
bool conn_record(void *ctx, const struct fcgi_event *event);
/* All records of a read of `n` bytes have been handed over. */
void conn_end_read(struct conn *c, size_t n);
/* The connection goes, and all requests on it fail that are not over. */
void conn_fail(struct conn *c, enum backend_error error, const char *detail);
void conn_tell_opened(struct conn *c);
/* More can be written: those are told who wait for it. */
void conn_tell_drained(struct conn *c);

/* --- offer.c --- */

void conn_init_offer(struct conn *c);
/* A kept connection is of no use for the request that was to begin on it. */
void conn_lose(struct conn *c, bool ended);
/* Some time has passed: is the offer being read at all? */
void conn_check_progress(struct conn *c);

/* --- dial.c --- */

/* Begins to connect to the place. Returns 0 or an errno. */
int conn_dial(struct conn *c, const struct conn_target *target);
/* The connect has failed with `err`; the place's other address is tried, if there is one. True: it
 * was, and the channels may have been called. */
bool conn_try_other(struct conn *c, int err);
/* The socket says how the connect has ended. */
void conn_finish_connect(struct conn *c);

#endif

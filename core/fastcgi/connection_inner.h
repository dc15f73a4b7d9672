/*
 * connection_inner - functions that the files of a connection share, for fastcgi/ only. A file
 * calls the files below it, and writes these members of struct conn:
 *
 *     events      making a connection, the loop's events of it: read_at, ended, excess
 *     dial        connecting: place, addr, tries, first_tried, refused, patience
 *     offer       the first part of a request that is not sent twice: offered, watched, unread
 *     channel     the requests on it, their ids and holders: channels, awaited, paused, spent,
 *                 foreign, hungry, turn, requests, quiet
 *     connection  its socket: written, broken, calling, idle_since
 *
 * Several files write the other members. `state` is written by each file that brings a state about.
 * channel appends to `out`, connection empties it. A close (connection) ends an offer and all
 * channels, so connection writes `offered`, `watched` and `active`, too. events and channel set
 * `read_max` and `aside`.
 *
 * Calls upward go through pointers: channel_ops to the holders; closed, released and freed to the
 * owner.
 */
#ifndef MG_FASTCGI_CONNECTION_INNER_H
#define MG_FASTCGI_CONNECTION_INNER_H

#include "fastcgi/connection.h"

#define CONN_OUT_SMALL 65536 /* waiting bytes at which requests of a shared one hold back */

/* --- connection.c --- */

/* Derives the events to watch from the state; epoll_ctl is called only for changes. */
void conn_rearm(struct conn *c);
/* Closes the connection without freeing its memory. */
void conn_shut(struct conn *c);
/* Writes the waiting bytes and then the slices, as far as the socket takes them; the rest waits. */
void conn_write(struct conn *c, const struct iovec *slices, int count);
/* Enclose calls of channels, of which any may close the connection: its memory stays until
 * conn_called. */
void conn_call(struct conn *c);
void conn_called(struct conn *c);
/* Ends the offer, if there is one. */
void conn_end_offer(struct conn *c);

/* --- channel.c --- */

void channel_init(struct channel *ch, struct conn *c, uint16_t id);
/* The only request of a connection that is not shared; NULL: no request. */
struct channel *conn_sole(struct conn *c);
/* Bytes that the kernel has taken since the request began. On a shared connection some may be those
 * of other requests, but 0 means that no byte of this request has been taken. */
uint64_t channel_written(const struct channel *ch);
/* Passes a record to the request of its id (fcgi_event_cb). Management records are ignored. */
bool conn_record(void *ctx, const struct fcgi_event *event);
/* Ends a read of `n` bytes, of which all records have been passed on. */
void conn_end_read(struct conn *c, size_t n);
/* Closes the connection; all requests on it that are not over fail. */
void conn_fail(struct conn *c, enum failure failure, const char *detail);
void conn_tell_opened(struct conn *c);
/* Calls on_drain of the channels that wait for it, since more can be written. */
void conn_tell_drained(struct conn *c);

/* --- offer.c --- */

void conn_init_offer(struct conn *c);
/* Calls on_lost: a kept connection can't be used for the request that was to begin on it. */
void conn_lose(struct conn *c, bool ended);
/* Checks after some time whether the server reads the offer. */
void conn_check_progress(struct conn *c);

/* --- dial.c --- */

/* Begins to connect to the place. Returns 0 or an errno. */
int conn_dial(struct conn *c, const struct conn_target *target);
/* Tries the place's other address, if there is one, after a connect that failed with `err`. True:
 * it was tried, and the channels may have been called. */
bool conn_try_other(struct conn *c, int err);
/* Called when the socket has the outcome of a connect. */
void conn_finish_connect(struct conn *c);

#endif

/*
 * http2_leave - see http2_inner.h. This file begins the end of a connection.
 *
 * A connection ends in stages, so that no request of a client fails (RFC 9113 section 6.8): a
 * notice that it ends, which does not refuse what is on its way; when the client has seen that, the
 * last stream's number; when the streams up to it are over, the socket.
 */
#include "front/http2_inner.h"

#include "base/log.h"

static const double NOTICE_TIME = 1; /* for the answer to the PING behind a notice */

void http2_leave(struct http2 *h)
{
    if (h->stage != HTTP2_OPEN)
        return;
    nghttp2_submit_shutdown_notice(http2_session(h));
    h->stage = HTTP2_NOTICED;
    h->leave_by = loop_now(http2_loop(h)) + NOTICE_TIME;
    http2_flush(h);
}

void http2_leave_now(struct http2 *h)
{
    if (h->stage != HTTP2_OPEN && h->stage != HTTP2_NOTICED)
        return;
    nghttp2_submit_goaway(http2_session(h), NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(http2_session(h)),
                          NGHTTP2_NO_ERROR, NULL, 0);
    h->stage = HTTP2_LEAVING;
    h->leave_by = 0;
    http2_flush(h);
}

void http2_ping_answered(struct http2 *h)
{
    if (h->stage == HTTP2_NOTICED)
        http2_leave_now(h);
}

void http2_refuse(struct http2 *h, uint32_t code, const char *why)
{
    static struct log_quota quota = {.most = LOG_MOST};
    char ip[PEER_TEXT_SIZE];
    peer_text(&h->client->peer, ip);
    log_within(&quota, LOG_INFO, "client %s: HTTP/2: %s; its connection is closed", ip, why);
    h->refused = code;
}

/*
 * http2_toll - see http2_inner.h. This file bounds the frames that cost work and bring none: a
 * client may send a number of them at once, and so many a second from then on.
 *
 * A stream that the client resets (CVE-2023-44487), SETTINGS and PING, which are answered, and
 * frames of unknown types cost POINTS_DEAR; WINDOW_UPDATE, PRIORITY and tiny DATA POINTS_CHEAP. A
 * client that is sent much sends many WINDOW_UPDATEs, so bytes that go to it are worth points.
 */
#include "front/http2_inner.h"

#define POINTS_MOST   10000.0 /* a thousand streams that are reset at once */
#define POINTS_SECOND 1000.0
#define POINT_BYTES   1024.0 /* bytes that go for a point */

bool http2_toll_pay(struct http2 *h, unsigned points)
{
    struct http2_toll *t = &h->toll;
    double now = loop_now(http2_loop(h));
    if (t->at == 0)
        t->points = POINTS_MOST;
    else
        t->points += (now - t->at) * POINTS_SECOND;
    if (t->points > POINTS_MOST)
        t->points = POINTS_MOST;
    t->at = now;
    t->points -= points;
    return t->points >= 0;
}

void http2_toll_earn(struct http2 *h, size_t bytes)
{
    h->toll.points += (double)bytes / POINT_BYTES;
}

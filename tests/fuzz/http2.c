/* A connection of HTTP/2 as a whole: any bytes of a client come in behind the preface, and an
 * exchange of this file's header answers what http2 makes of them. The requests' paths say how it
 * does so. What goes out must be whole frames, and every request must end once.
 */
#include "front/http2.h"
#include "exchange.h"
#include "front/http1.h"
#include "shm/underway.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum {
    TRIES = 60,
    TURNS_MOST = 5000,
    FRAME_HEADER = 9,
    FRAME_MOST = 16384,
};

/* Connections do not begin with http1 here. */
const struct protocol http1_protocol = {.name = "http"};

void underway_sent(const struct request *req)
{
    (void)req;
}

/* --- what a client gets --- */

struct peer_side {
    int fd;
    uint8_t header[FRAME_HEADER];
    size_t header_n, left; /* of the frame at hand */
    bool closed;
};

static void peer_header(struct peer_side *p)
{
    const uint8_t *h = p->header;
    unsigned id = (unsigned)h[5] << 24 | (unsigned)h[6] << 16 | (unsigned)h[7] << 8 | h[8];
    p->left = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
    must(p->left <= FRAME_MOST && h[3] <= 9);
    if (h[3] <= 1 || h[3] == 3) /* DATA, HEADERS, RST_STREAM */
        must(id % 2 == 1);
}

static void peer_take(struct peer_side *p, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        if (p->left > 0) {
            size_t take = n < p->left ? n : p->left;
            p->left -= take;
            bytes += take;
            n -= take;
            continue;
        }
        p->header[p->header_n++] = *bytes++;
        n--;
        if (p->header_n == sizeof p->header) {
            p->header_n = 0;
            peer_header(p);
        }
    }
}

/* False: nothing was there. */
static bool peer_read(struct peer_side *p)
{
    uint8_t bytes[16384];
    ssize_t n;
    bool some = false;
    while ((n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        peer_take(p, bytes, (size_t)n);
        some = true;
    }
    p->closed |= n == 0;
    return some;
}

/* Turns of the loop, while the client reads, until so many have brought nothing. */
static void peer_turns(struct peer_side *p, int quiet)
{
    for (int idle = 0, turns = 0; idle < quiet && turns < TURNS_MOST; turns++) {
        ev_run(loop.ev, EVRUN_NOWAIT);
        idle = peer_read(p) ? 0 : idle + 1;
    }
}

static void peer_send(struct peer_side *p, struct str bytes)
{
    for (int tries = 0; bytes.n > 0 && tries < TRIES; tries++) {
        ssize_t n = send(p->fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* closed: a broken rule */
        bytes = str_skip(bytes, n > 0 ? (size_t)n : 0);
        peer_turns(p, 3);
    }
}

static void peer_connect(struct peer_side *p)
{
    struct client_origin origin = {
        .peer = {.family = AF_UNIX}, .local = {.family = AF_UNIX}, .listener = STR("web")};
    struct client *c = calloc(1, sizeof *c);
    int fds[2];
    if (c == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    /* A socket that takes parts of frames. */
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
    *p = (struct peer_side){.fd = fds[1]};
    client_init(c, &clients, &http2_protocol, fds[0], &origin);
    http2_take(c, STR(PREFACE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pieces p;
    struct peer_side peer;
    struct str piece;
    if (size == 0)
        return 0;
    exchange_begin_all();
    peer_connect(&peer);
    p = pieces_of(data, size, false);
    while (pieces_next(&p, &piece))
        peer_send(&peer, piece);
    pieces_end(&p);
    peer_turns(&peer, 10);
    if ((data[0] & 1) != 0)
        shutdown(peer.fd, SHUT_WR);
    else if ((data[0] & 2) != 0)
        clients_stop(&clients, 0);
    peer_turns(&peer, 10);
    clients_close(&clients);
    peer_turns(&peer, 2);
    must(clients.count == 0 && alive == 0);
    clients.stopping = false;
    close(peer.fd);
    return 0;
}

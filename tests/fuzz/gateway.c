/* A FastCGI listener's connection as a whole: any bytes of a web server come in through a socket,
 * and an exchange of this file answers what the gateway makes of them. The requests' paths say how
 * it does so. What goes out must be whole records, and every request must end once.
 */
#include "front/gateway.h"
#include "exchange.h"
#include "fastcgi/record.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TRIES = 60,
    TURNS_MOST = 5000,
};

/* --- what a web server gets --- */

struct web {
    int fd;
    uint8_t header[FCGI_HEADER_SIZE];
    size_t header_n, left; /* of the record at hand */
    bool closed;
};

static void web_header(struct web *w)
{
    const uint8_t *h = w->header;
    unsigned id = (unsigned)h[2] << 8 | h[3];
    must(h[0] == 1);
    w->left = ((size_t)h[4] << 8 | h[5]) + h[6];
    if (h[1] == FCGI_END_REQUEST)
        must(w->left == 8 && id > 0);
    else if (h[1] == FCGI_STDOUT)
        must(id > 0);
    else
        must(id == 0 && (h[1] == FCGI_GET_VALUES_RESULT || h[1] == FCGI_UNKNOWN_TYPE));
}

static void web_take(struct web *w, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        if (w->left > 0) {
            size_t take = n < w->left ? n : w->left;
            w->left -= take;
            bytes += take;
            n -= take;
            continue;
        }
        w->header[w->header_n++] = *bytes++;
        n--;
        if (w->header_n == sizeof w->header) {
            w->header_n = 0;
            web_header(w);
        }
    }
}

/* False: nothing was there. */
static bool web_read(struct web *w)
{
    uint8_t bytes[16384];
    ssize_t n;
    bool some = false;
    while ((n = recv(w->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        web_take(w, bytes, (size_t)n);
        some = true;
    }
    w->closed |= n == 0;
    return some;
}

/* Turns of the loop, while the web server reads, until so many have brought nothing. */
static void web_turns(struct web *w, int quiet)
{
    for (int idle = 0, turns = 0; idle < quiet && turns < TURNS_MOST; turns++) {
        ev_run(loop.ev, EVRUN_NOWAIT);
        idle = web_read(w) ? 0 : idle + 1;
    }
}

static void web_send(struct web *w, struct str bytes)
{
    for (int tries = 0; bytes.n > 0 && tries < TRIES; tries++) {
        ssize_t n = send(w->fd, bytes.p, bytes.n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* closed: a broken record, or the end of what was asked for */
        bytes = str_skip(bytes, n > 0 ? (size_t)n : 0);
        web_turns(w, 3);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_origin origin = {
        .peer = {.family = AF_UNIX}, .local = {.family = AF_UNIX}, .listener = STR("web")};
    struct pieces p;
    struct str piece;
    int fds[2];
    if (size == 0)
        return 0;
    exchange_begin_all();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    /* A socket that takes parts of records. */
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int));
    struct web web = {.fd = fds[1]};
    gateway_protocol.accept(&clients, fds[0], &origin);
    p = pieces_of(data, size, false);
    while (pieces_next(&p, &piece))
        web_send(&web, piece);
    pieces_end(&p);
    web_turns(&web, 10);
    if ((data[0] & 1) != 0)
        shutdown(web.fd, SHUT_WR);
    web_turns(&web, 10);
    /* What has been begun is written whole, unless the web server broke the rules. */
    must(web.closed || (web.header_n == 0 && web.left == 0));
    clients_close(&clients);
    web_turns(&web, 2);
    must(clients.count == 0 && alive == 0);
    close(web.fd);
    return 0;
}

/*
 * farewell_test - sockets of ended connections stay open until their clients have all that was
 * sent. The sockets are those of TCP without TLS, whose queue stands for the kernel's records.
 */
#include "../test.h"
#include "front/farewell.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop loop;
static struct farewell farewell;
static unsigned left;
static char bytes[65536];

static void on_left(struct farewell *f)
{
    (void)f;
    left++;
}

/* Two ends of a connection over the loopback. */
static void connect_pair(int ends[2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listening, (struct sockaddr *)&at, size) != 0 || listen(listening, 1) != 0 ||
        getsockname(listening, (struct sockaddr *)&at, &size) != 0 ||
        connect(ends[1], (struct sockaddr *)&at, size) != 0)
        abort();
    ends[0] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listening);
}

/* Fills the connection with all that it takes. Returns the bytes. */
static size_t fill(int fd)
{
    size_t total = 0;
    for (ssize_t n; (n = write(fd, bytes, sizeof bytes)) > 0;)
        total += (size_t)n;
    return total;
}

static size_t drain(int fd)
{
    size_t total = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0;)
        total += (size_t)n;
    return total;
}

/* Runs until `count` sockets have left. */
static void run_until(unsigned count)
{
    while (left < count)
        ev_run(loop.ev, EVRUN_ONCE);
}

int main(void)
{
    int ends[2];
    signal(SIGPIPE, SIG_IGN);
    loop_init(&loop, ev_loop_new(EVFLAG_AUTO));
    farewell_init(&farewell, &loop, on_left);

    test("a socket whose client has all is closed");
    connect_pair(ends);
    check(farewell_take(&farewell, ends[0], false));
    check_int(left, 0);
    run_until(1);
    check_int(farewell.count, 0);
    check_int(drain(ends[1]), 0);
    close(ends[1]);

    test("one whose client has not stays open meanwhile");
    connect_pair(ends);
    size_t sent = fill(ends[0]);
    check(farewell_take(&farewell, ends[0], false));
    for (int i = 0; i < 3; i++) /* looks */
        ev_run(loop.ev, EVRUN_ONCE);
    check_int(left, 1);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    size_t got = 0;
    while (left < 2) {
        got += drain(ends[1]);
        ev_run(loop.ev, EVRUN_ONCE);
    }
    check_int(got + drain(ends[1]), sent);
    check(read(ends[1], bytes, 1) == 0);
    close(ends[1]);

    test("one whose client has reset the connection is closed");
    connect_pair(ends);
    fill(ends[0]);
    check(farewell_take(&farewell, ends[0], false));
    struct linger now = {.l_onoff = 1};
    setsockopt(ends[1], SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(ends[1]);
    run_until(3);

    test("close_notify that can't be sent does not keep a socket");
    connect_pair(ends);
    check(farewell_take(&farewell, ends[0], true)); /* it has no TLS */
    run_until(4);
    check_int(drain(ends[1]), 2); /* the alert: the kernel knows nothing of its type */
    close(ends[1]);

    test("there are not more than its bound");
    int peers[FAREWELL_SOCKETS + 1];
    for (int i = 0; i <= FAREWELL_SOCKETS; i++) {
        connect_pair(ends);
        peers[i] = ends[1];
        check(farewell_take(&farewell, ends[0], false) == (i < FAREWELL_SOCKETS));
    }
    check(read(peers[FAREWELL_SOCKETS], bytes, 1) == 0);
    farewell_fini(&farewell);
    check_int(left, 4);
    check(read(peers[0], bytes, 1) == 0);
    for (int i = 0; i <= FAREWELL_SOCKETS; i++)
        close(peers[i]);
    loop_fini(&loop);
    return test_report();
}

/*
 * listener_test - a listener hands what it accepts to the protocol of its spec, whichever that is:
 * here one of the test's own. Links listener and what it needs, and no protocol.
 */
#include "../test.h"
#include "front/listener.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    unsigned begun, at_once; /* at_once: those with TCP_NODELAY */
    struct client_origin origin;
} first, second;

static unsigned sends_at_once(int fd)
{
    int on = 0;
    socklen_t size = sizeof on;
    return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &size) == 0 && on != 0;
}

static void accept_first(struct clients *clients, int fd, const struct client_origin *origin)
{
    (void)clients;
    first.begun++;
    first.at_once += sends_at_once(fd);
    first.origin = *origin;
    close(fd);
}

static void accept_second(struct clients *clients, int fd, const struct client_origin *origin)
{
    (void)clients;
    second.begun++;
    second.origin = *origin;
    close(fd);
}

static const struct protocol protocol_first = {.name = "first", .accept = accept_first};
static const struct protocol protocol_second = {.name = "second", .accept = accept_second};

/* Connects to the listening socket; the connection waits in its queue. */
static int connect_to(int listening)
{
    struct addr addr = {.len = sizeof addr.un};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || getsockname(listening, &addr.sa, &addr.len) != 0 ||
        connect(fd, &addr.sa, addr.len) != 0)
        abort();
    return fd;
}

/* Turns without a connection. */
static void pass_turns(struct ev_loop *ev)
{
    for (int i = 0; i < 3; i++)
        ev_run(ev, EVRUN_NOWAIT);
}

static void test_batches(struct ev_loop *ev, int fd)
{
    int clients[6];
    pass_turns(ev);
    first.begun = first.at_once = 0;
    test("a connection that comes alone is taken, and no other one looked for");
    clients[0] = connect_to(fd);
    clients[1] = connect_to(fd);
    ev_run(ev, EVRUN_ONCE);
    check_int(first.begun, 1);

    test("the next turn takes all that wait");
    for (int i = 2; i < 5; i++)
        clients[i] = connect_to(fd);
    ev_run(ev, EVRUN_ONCE);
    check_int(first.begun, 5);

    test("and likewise later");
    pass_turns(ev);
    clients[5] = connect_to(fd);
    ev_run(ev, EVRUN_ONCE);
    check_int(first.begun, 6);
    check_int(first.at_once, 6);
    for (int i = 0; i < 6; i++)
        close(clients[i]);
}

int main(void)
{
    struct ev_loop *ev = ev_loop_new(0);
    struct loop loop;
    loop_init(&loop, ev);
    struct clients clients = {.loop = &loop};
    struct listen_spec spec = {.address = "127.0.0.1:0",
                               .name = "front",
                               .protocol = &protocol_first,
                               .backlog = 16,
                               .proxy_protocol = true};

    test("a listener gives connections to its protocol");
    struct addr any = {.len = sizeof any.in};
    any.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(bind(fd, &any.sa, any.len) == 0 && listen(fd, spec.backlog) == 0);
    int client = connect_to(fd);
    struct listener *l = listener_new(&spec, NULL, fd, &clients);
    ev_run(ev, EVRUN_ONCE);
    check_int(first.begun, 1);
    check_int(first.at_once, 1); /* though it was made before the listener */
    check_str(first.origin.listener, "front");
    check(first.origin.proxy_protocol && !first.origin.control);
    check_int(first.origin.peer.family, AF_INET);
    close(client);
    test_batches(ev, fd);

    test("to another one once it is another listener's");
    spec.protocol = &protocol_second;
    spec.name = "";
    spec.proxy_protocol = false;
    listener_update(l, &spec, NULL);
    client = connect_to(fd);
    ev_run(ev, EVRUN_ONCE);
    check_int(first.begun, 6);
    check_int(second.begun, 1);
    check_str(second.origin.listener, "127.0.0.1:0");
    check(!second.origin.proxy_protocol);
    close(client);

    test("and what waits in its queue when it goes");
    client = connect_to(fd);
    listener_drain(l);
    check_int(second.begun, 2);
    close(client);
    listener_free(l);

    loop_fini(&loop);
    ev_loop_destroy(ev);
    return test_report();
}

/*
 * sender_test - a file and the text around it on their way through each kind of transport: one that
 * has sendfile and one that has to see the bytes. The client reads in steps of its own, so the
 * socket is full again and again. Links sender, transport, loop, backlog and what those need.
 */
#include "../test.h"
#include "front/sender.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 700000

static struct loop loop;
static struct sender_turn turn;
static char bytes[SIZE], got[SIZE + 100];
static size_t writes, calls;

/* Counts what goes through the transport beneath. */
static const struct transport_ops *beneath;

static ssize_t count_writev(struct transport *t, struct iovec *slices, int count, bool more)
{
    ssize_t n = beneath->writev(t, slices, count, more);
    calls++;
    writes += n > 0 ? (size_t)n : 0;
    return n;
}

static void on_turn(struct sender *s)
{
    (void)s;
}

static unsigned closed;

static void close_source(struct file_source *source)
{
    closed++;
    close(source->fd);
}

/* A file of the first `size` bytes, without a name. */
static struct file_source make_file(size_t size)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
        abort();
    return (struct file_source){.fd = fd, .free = close_source};
}

/* Sends the pieces of a file of `size` bytes and reads them at the other end. Returns what broke it
 * off, or NULL. */
static const char *send_file(const struct transport_ops *ops, size_t size,
                             const struct file_piece *pieces, unsigned count, size_t *received)
{
    static const struct limits limits = {.response_memory = 65536};
    struct transport transport;
    struct sender s;
    int pair[2];
    ssize_t n;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    transport = (struct transport){.ops = &transport_plain_ops, .fd = pair[0]};
    beneath = transport.ops;
    if (ops != NULL)
        transport.ops = ops;
    writes = calls = *received = 0;
    sender_init(&s, &transport, &turn, on_turn);
    sender_begin(&s, &limits, false);
    struct file_source source = make_file(size);
    closed = 0;
    sender_file(&s, &source, pieces, count);
    do {
        sender_write(&s);
        while ((n = read(pair[1], got + *received, sizeof got - *received)) > 0)
            *received += (size_t)n;
    } while (!sender_is_done(&s));
    const char *why = s.broken;
    check_int(s.file_sent, *received);
    sender_fini(&s);
    check_int(closed, 1);
    transport.ops->close(&transport, false);
    check_int(read(pair[1], got + *received, 1), 0); /* the end, and nothing before it */
    close(pair[1]);
    return why;
}

static void check_pieces(const struct transport_ops *ops)
{
    const struct file_piece pieces[] = {
        {.before = STR("<one>"), .at = 10, .size = 300000},
        {.before = STR("<two>"), .at = 0, .size = 0},
        {.before = STR_NONE, .at = SIZE - 300000, .size = 300000},
        {.before = STR("<end>"), .at = 0, .size = 0},
    };
    size_t n;
    check(send_file(ops, SIZE, pieces, 4, &n) == NULL);
    check_int(n, 600015);
    check(memcmp(got, "<one>", 5) == 0);
    check(memcmp(got + 5, bytes + 10, 300000) == 0);
    check(memcmp(got + 300005, "<two>", 5) == 0);
    check(memcmp(got + 300010, bytes + SIZE - 300000, 300000) == 0);
    check(memcmp(got + 600010, "<end>", 5) == 0);
}

static void check_shrunk(const struct transport_ops *ops)
{
    const struct file_piece piece = {.before = STR_NONE, .at = 0, .size = 5000};
    size_t n;
    const char *why = send_file(ops, 4000, &piece, 1, &n);
    check_int(n, 4000);
    check(why != NULL && strstr(why, "shrunk") != NULL);
}

int main(void)
{
    struct ev_loop *ev = ev_loop_new(0);
    loop_init(&loop, ev);
    sender_turn_init(&turn, &loop);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    struct transport_ops sees = transport_plain_ops, counts = transport_plain_ops;
    sees.writev = counts.writev = count_writev;
    sees.sendfile = NULL;

    test("a file through a transport with sendfile");
    check_pieces(NULL);
    check_pieces(&counts);
    check_int(writes, 15); /* the texts alone */

    test("a file through a transport that has to see the bytes");
    check_pieces(&sees);
    check_int(writes, 600015);
    check(calls >= 12); /* no more than the scratch memory holds at once */

    test("a file that has shrunk");
    check_shrunk(NULL);
    check_shrunk(&sees);

    sender_turn_fini(&turn);
    loop_fini(&loop);
    ev_loop_destroy(ev);
    return test_report();
}

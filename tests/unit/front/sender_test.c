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
static char bytes[SIZE], got[2 * SIZE];
static size_t writes, calls;
static bool awaits_more; /* what the last call has told the kernel */

/* Counts what goes through the transport beneath. */
static const struct transport_ops *beneath;

static ssize_t count_writev(struct transport *t, struct iovec *slices, int count, bool more)
{
    ssize_t n = beneath->writev(t, slices, count, more);
    calls++;
    awaits_more = more;
    writes += n > 0 ? (size_t)n : 0;
    return n;
}

static unsigned turns;

static void on_turn(struct sender *s)
{
    turns++;
    sender_write(s);
}

static unsigned closed;

static void close_source(struct file_source *source)
{
    closed++;
    if (source->fd >= 0)
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

/* A sender and the client at the other end of its socket. */
struct link {
    struct sender sender;
    struct transport transport;
    int client;
    size_t received;
};

static void link_open(struct link *l, const struct transport_ops *ops)
{
    static const struct limits limits = {.response_memory = 65536};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    *l =
        (struct link){.transport = {.ops = &transport_plain_ops, .fd = pair[0]}, .client = pair[1]};
    beneath = l->transport.ops;
    if (ops != NULL)
        l->transport.ops = ops;
    writes = calls = 0;
    closed = turns = 0;
    sender_init(&l->sender, &l->transport, &turn, on_turn);
    sender_begin(&l->sender, &limits, false);
}

static void link_read(struct link *l)
{
    ssize_t n;
    while ((n = read(l->client, got + l->received, sizeof got - l->received)) > 0)
        l->received += (size_t)n;
}

/* Ends the sender, which has dropped the file. */
static void link_close(struct link *l)
{
    sender_fini(&l->sender);
    check_int(closed, 1);
    l->transport.ops->close(&l->transport, false);
    check_int(read(l->client, got + l->received, 1), 0); /* the end, and nothing before it */
    close(l->client);
}

/* Sends the pieces of a file of `size` bytes and reads them at the other end. Returns what broke it
 * off, or NULL. */
static const char *send_file(const struct transport_ops *ops, size_t size,
                             const struct file_piece *pieces, unsigned count, size_t *received)
{
    struct link l;
    link_open(&l, ops);
    struct file_source source = make_file(size);
    sender_file(&l.sender, &source, pieces, count);
    do {
        sender_write(&l.sender);
        link_read(&l);
    } while (!sender_is_done(&l.sender));
    const char *why = l.sender.broken;
    check_int(l.sender.file_sent, l.received);
    *received = l.received;
    link_close(&l);
    return why;
}

/* Fills the socket. Returns the bytes. */
static size_t link_fill(struct link *l)
{
    size_t total = 0;
    ssize_t n;
    while ((n = write(l->transport.fd, bytes, 4096)) > 0)
        total += (size_t)n;
    return total;
}

/* A head waits for the end of the turn, and a file for the head. `full`: the socket takes nothing
 * then. */
static void check_turn(const struct transport_ops *ops, struct file_source source, bool full)
{
    const struct file_piece pieces[] = {
        {.before = STR("<one>"), .at = 10, .size = 300000},
        {.before = STR("<two>"), .at = 20, .size = 300000},
    };
    const struct sender_frame frame = {.head = STR("<head>")};
    struct link l;
    link_open(&l, ops);
    sender_file(&l.sender, &source, pieces, 2);
    check_int(sender_send(&l.sender, &frame, SENDER_TURN), 0);
    link_read(&l);
    check_int(l.received, 0);
    check(!sender_waits(&l.sender) && !sender_is_done(&l.sender));
    size_t before = full ? link_fill(&l) : 0;
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_int(turns, 1);
    for (;;) {
        link_read(&l);
        if (sender_is_done(&l.sender))
            break;
        check(sender_waits(&l.sender));
        sender_write(&l.sender);
    }
    check(l.sender.broken == NULL);
    check_int(l.sender.file_sent, 600010);
    check_int(l.received, before + 600016);
    const char *response = got + before;
    check(memcmp(response, "<head><one>", 11) == 0);
    check(memcmp(response + 11, bytes + 10, 300000) == 0);
    check(memcmp(response + 300011, "<two>", 5) == 0);
    check(memcmp(response + 300016, bytes + 20, 300000) == 0);
    link_close(&l);
}

static struct file_source make_content(void)
{
    return (struct file_source){.content = bytes, .fd = -1, .free = close_source};
}

/* A small file in memory leaves by one call, with its head. */
static void check_small(const struct transport_ops *ops)
{
    const struct file_piece piece = {.before = STR_NONE, .at = 5, .size = 4000};
    const struct sender_frame frame = {.head = STR("<head>")};
    struct file_source source = make_content();
    struct link l;
    link_open(&l, ops);
    sender_file(&l.sender, &source, &piece, 1);
    sender_send(&l.sender, &frame, SENDER_TURN);
    check_int(calls, 0);
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_int(calls, 1);
    check(sender_is_done(&l.sender));
    link_read(&l);
    check_int(l.received, 4006);
    check(memcmp(got + 6, bytes + 5, 4000) == 0);
    link_close(&l);
}

/* A head that is too large to wait leaves at once, and the file follows. */
static void check_large_head(const struct transport_ops *ops)
{
    const struct file_piece piece = {.before = STR_NONE, .at = 5, .size = 4000};
    const struct sender_frame frame = {.head = {bytes, 10000}};
    struct file_source source = make_content();
    struct link l;
    link_open(&l, ops);
    sender_file(&l.sender, &source, &piece, 1);
    check_int(sender_send(&l.sender, &frame, SENDER_TURN), 10000);
    check(sender_waits(&l.sender));
    check_int(sender_write(&l.sender), 4000);
    check(sender_is_done(&l.sender));
    link_read(&l);
    check_int(l.received, 14000);
    check(memcmp(got + 10000, bytes + 5, 4000) == 0);
    link_close(&l);
}

/* The head of an empty file does not wait in the kernel for bytes that never come. */
static void check_empty(const struct transport_ops *ops, struct file_source source)
{
    const struct file_piece piece = {.before = STR_NONE, .at = 5, .size = 0};
    const struct sender_frame frame = {.head = {bytes, 10000}};
    struct link l;
    link_open(&l, ops);
    source.users = 1;
    sender_file(&l.sender, &source, &piece, 1);
    check_int(sender_send(&l.sender, &frame, SENDER_TURN), 10000);
    check(!awaits_more);
    check(sender_is_done(&l.sender));
    check_int(source.users, 1);
    file_source_drop(&source);
    link_read(&l);
    check_int(l.received, 10000);
    link_close(&l);
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

    test("a file behind a head that waits for the end of the turn");
    for (int full = 0; full < 2; full++) {
        check_turn(&counts, make_file(SIZE), full);
        check_turn(&sees, make_file(SIZE), full);
        check_turn(&counts, make_content(), full);
    }
    check_small(&counts);
    check_large_head(&counts);

    test("an empty file behind a head that is too large to wait");
    check_empty(&counts, make_content());
    check_empty(&counts, make_file(SIZE));

    sender_turn_fini(&turn);
    loop_fini(&loop);
    ev_loop_destroy(ev);
    return test_report();
}

/*
 * connection_test - requests that share a connection: each gets the records of its id, whatever
 * comes between them, and each hears of the connection's end. The server is this program's own end
 * of a unix socket. Links connection, record, loop and what those need.
 */
#include "../test.h"
#include "fastcgi/connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop loop;
static int listener, server;
static unsigned released, closed;

/* Who asks: what it has heard. */
struct holder {
    struct channel *channel;
    char text[200];
    size_t size;
    unsigned turns;
    bool open, ended;
    enum backend_error error;
    const char *detail;
    uint64_t written;
};

static void on_open(void *user)
{
    ((struct holder *)user)->open = true;
}

static bool on_record(void *user, const struct fcgi_event *event)
{
    struct holder *h = user;
    h->ended |= event->type == FCGI_END_REQUEST;
    if (event->content.n > 0 && event->content.n <= sizeof h->text - h->size)
        memcpy(h->text + h->size, event->content.p, event->content.n);
    h->size += event->content.n;
    return true;
}

static void on_turn(void *user, size_t n)
{
    struct holder *h = user;
    (void)n;
    h->turns++;
    if (h->ended)
        channel_release(h->channel, true);
}

static void on_drain(void *user)
{
    (void)user;
}

static void on_fail(void *user, enum backend_error error, const char *detail, uint64_t written)
{
    struct holder *h = user;
    h->channel = NULL;
    h->error = error;
    h->detail = detail;
    h->written = written;
}

static const struct channel_ops ops = {.on_open = on_open,
                                       .on_record = on_record,
                                       .on_turn = on_turn,
                                       .on_drain = on_drain,
                                       .on_fail = on_fail};

static void on_released(struct conn *c)
{
    (void)c;
    released++;
}

static void on_closed(struct conn *c)
{
    (void)c;
    closed++;
}

/* An open connection for two requests, and the server's end of it. */
static struct conn *make(struct conn_place *place)
{
    const struct conn_target target = {
        .place = place, .connect_timeout = 5, .backlog_timeout = 5, .channels = 2};
    struct conn *c = conn_new(&loop, &target);
    released = closed = 0;
    server = accept(listener, NULL, NULL);
    if (c == NULL || server < 0) {
        perror("connection_test");
        exit(1);
    }
    c->released = on_released;
    c->closed = on_closed;
    return c;
}

static void ask(struct conn *c, struct holder *h)
{
    *h = (struct holder){.channel = NULL};
    h->channel = channel_begin(c, &ops, h);
    fcgi_begin(channel_out(h->channel), h->channel->id, FCGI_RESPONDER, FCGI_KEEP_CONN);
    channel_write(h->channel, NULL, 0);
}

/* The server's bytes, in slices of `piece`, each of which is read before the next. */
static void answer(struct buf *bytes, size_t piece)
{
    struct str rest = buf_peek(bytes);
    while (rest.n > 0) {
        size_t n = rest.n < piece ? rest.n : piece;
        if (write(server, rest.p, n) != (ssize_t)n)
            perror("write");
        rest = str_skip(rest, n);
        ev_run(loop.ev, EVRUN_ONCE);
    }
    buf_consume(bytes, buf_len(bytes));
}

static void add_record(struct buf *out, enum fcgi_type type, uint16_t id, struct str content)
{
    uint8_t header[FCGI_HEADER_SIZE];
    fcgi_header(header, type, id, content.n);
    buf_append(out, header, sizeof header);
    buf_append_str(out, content);
}

static struct str heard(const struct holder *h)
{
    return (struct str){h->text, h->size};
}

static const struct str end_body = {"\0\0\0\0\0\0\0\0", 8};

static void check_interleaved(struct conn_place *place, size_t piece)
{
    struct conn *c = make(place);
    struct holder a, b, again;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    ask(c, &b);
    check_int(a.channel->id, 1);
    check_int(b.channel->id, 2);
    add_record(&out, FCGI_STDOUT, 2, STR("Hello "));
    add_record(&out, FCGI_STDOUT, 1, STR("one"));
    add_record(&out, FCGI_GET_VALUES_RESULT, 0, STR("x"));
    add_record(&out, FCGI_STDOUT, 2, STR("two"));
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    answer(&out, piece);
    check_str(heard(&a), "one");
    check_str(heard(&b), "Hello two");
    check(a.ended && !b.ended);
    check_int(released, 0); /* the other request goes on */

    ask(c, &again);
    check_int(again.channel->id, 1);
    add_record(&out, FCGI_STDOUT, 1, STR("another"));
    add_record(&out, FCGI_END_REQUEST, 2, end_body);
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    answer(&out, piece);
    check_str(heard(&again), "another");
    check(again.ended && b.ended);
    check_int(released, 1);
    check_int(closed, 0);
    conn_close(c);
    check_int(closed, 1);
    close(server);
    buf_fini(&out);
}

static void check_foreign(struct conn_place *place, uint16_t id)
{
    struct conn *c = make(place);
    struct holder a, b;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    ask(c, &b);
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    answer(&out, 1000);
    check(a.ended);
    add_record(&out, FCGI_STDOUT, id, STR("x"));
    answer(&out, 1000);
    check(b.channel == NULL);
    check_int(b.error, BACKEND_PROTOCOL);
    check_int(b.size, 0);
    check_int(closed, 1);
    close(server);
    buf_fini(&out);
}

static void check_excess(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    add_record(&out, FCGI_STDOUT, 1, STR("more"));
    answer(&out, 1000);
    check(a.ended);
    check_int(a.size, 0);
    check_int(released, 0); /* nobody can say what these bytes are of */
    check_int(closed, 1);
    close(server);
    buf_fini(&out);
}

static void check_end(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b;
    ask(c, &a);
    b = (struct holder){.channel = NULL};
    b.channel = channel_begin(c, &ops, &b); /* it has not written yet */
    shutdown(server, SHUT_WR);
    while (a.channel != NULL)
        ev_run(loop.ev, EVRUN_ONCE);
    check(b.channel == NULL);
    check_int(a.error, BACKEND_CLOSED);
    check_int(b.error, BACKEND_CLOSED);
    check(a.detail == conn_ended && b.detail == conn_ended);
    check_int((long)a.written, FCGI_HEADER_SIZE + 8);
    check_int((long)b.written, 0);
    check_int(closed, 1);
    close(server);
}

static void check_drop(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b;
    ask(c, &a);
    ask(c, &b);
    channel_drop(a.channel);
    check(b.channel == NULL);
    check_int(b.error, BACKEND_CLOSED);
    check_int(closed, 1);
    close(server);
}

static void check_pause(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    ask(c, &b);
    channel_pause(a.channel, true);
    add_record(&out, FCGI_STDOUT, 2, STR("x"));
    if (write(server, buf_peek(&out).p, buf_len(&out)) < 0)
        perror("write");
    ev_run(loop.ev, EVRUN_NOWAIT);
    check_int(b.size, 0);
    channel_pause(a.channel, false);
    ev_run(loop.ev, EVRUN_ONCE);
    check_int(b.size, 1);
    check_int(a.turns, 0); /* nothing was for it */
    conn_close(c);
    close(server);
    buf_fini(&out);
}

int main(void)
{
    char folder[] = "/tmp/connection_test.XXXXXX", path[100];
    struct ev_loop *ev = ev_loop_new(EVFLAG_NOENV);
    struct conn_place place = {.count = 1};
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (ev == NULL || listener < 0 || mkdtemp(folder) == NULL) {
        perror("connection_test");
        return 1;
    }
    snprintf(path, sizeof path, "unix:%s/s", folder);
    if (addr_resolve(path, &place.list[0]) != NULL ||
        bind(listener, &place.list[0].sa, place.list[0].len) < 0 || listen(listener, 8) < 0) {
        perror("connection_test");
        return 1;
    }
    loop_init(&loop, ev);

    test("records of two requests, in one piece");
    check_interleaved(&place, 1000);
    test("records of two requests, byte by byte");
    check_interleaved(&place, 1);
    test("a record of a request that is over");
    check_foreign(&place, 1);
    test("a record of a request that was never made");
    check_foreign(&place, 3);
    test("bytes behind the last answer");
    check_excess(&place);
    test("the end of a connection");
    check_end(&place);
    test("one of two requests is given up");
    check_drop(&place);
    test("one of two requests can't take more");
    check_pause(&place);

    loop_fini(&loop);
    ev_loop_destroy(ev);
    close(listener);
    unlink(path + strlen("unix:"));
    rmdir(folder);
    return test_report();
}

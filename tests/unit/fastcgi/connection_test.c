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
    char own; /* the only letter that its content has; 0: any */
    bool open, ended, mixed;
    enum failure failure;
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
    for (size_t i = 0; i < event->content.n && h->own != 0; i++)
        h->mixed |= event->content.p[i] != h->own;
    if (event->content.n > 0 && h->size + event->content.n <= sizeof h->text)
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

static void on_fail(void *user, enum failure failure, const char *detail, uint64_t written)
{
    struct holder *h = user;
    h->channel = NULL;
    h->failure = failure;
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
        .place = place, .connect_timeout = 5, .backlog_timeout = 5, .channels = 3};
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
        ev_run(loop.ev, EVRUN_NOWAIT); /* begins with what the turn before has read */
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
    check_int(b.failure, FAILURE_PROTOCOL);
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
    check_int(a.failure, FAILURE_CLOSED);
    check_int(b.failure, FAILURE_CLOSED);
    check(a.detail == conn_ended && b.detail == conn_ended);
    check_int((long)a.written, FCGI_HEADER_SIZE + 8);
    check_int((long)b.written, 0);
    check_int(closed, 1);
    close(server);
}

static void check_drop(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b, again;
    struct buf out;
    uint8_t seen[3 * FCGI_HEADER_SIZE + 16];
    buf_init(&out, 65536);
    ask(c, &a);
    ask(c, &b);
    channel_drop(a.channel);
    ev_run(loop.ev, EVRUN_NOWAIT);
    check(b.channel != NULL);
    check_int(read(server, seen, sizeof seen), sizeof seen);
    check_int(seen[2 * (FCGI_HEADER_SIZE + 8) + 1], FCGI_ABORT_REQUEST);
    check_int(seen[2 * (FCGI_HEADER_SIZE + 8) + 3], 1);

    ask(c, &again);
    check_int(again.channel->id, 3); /* 1 is reserved */
    add_record(&out, FCGI_STDOUT, 1, STR("for nobody"));
    add_record(&out, FCGI_STDOUT, 2, STR("for b"));
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    add_record(&out, FCGI_END_REQUEST, 2, end_body);
    answer(&out, 1000);
    check_int(a.size, 0);
    check_str(heard(&b), "for b");
    check(b.ended);
    ask(c, &b);
    check_int(b.channel->id, 1);
    check_int(closed, 0);
    conn_close(c);
    close(server);
    buf_fini(&out);
}

/* Its answer is here, and its server works on. */
static void check_let_end(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    add_record(&out, FCGI_STDOUT, 1, STR("all"));
    answer(&out, 1000);
    channel_let_end(a.channel);
    check_int(released, 0);
    add_record(&out, FCGI_STDERR, 1, STR("late"));
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    answer(&out, 1);
    check_str(heard(&a), "all");
    check(!a.ended);
    check_int(released, 1);
    conn_close(c);
    close(server);
    buf_fini(&out);
}

/* Whether a request waits for its server or for the socket decides which of its timeouts runs. */
static void check_drained(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b;
    ask(c, &a);
    check(!channel_is_drained(a.channel));
    ev_run(loop.ev, EVRUN_NOWAIT);
    check(channel_is_drained(a.channel));
    ask(c, &b);
    check(channel_is_drained(a.channel)); /* what waits is b's */
    check(!channel_is_drained(b.channel));
    channel_write(a.channel, &(struct iovec){"x", 1}, 1);
    check(!channel_is_drained(a.channel));
    ev_run(loop.ev, EVRUN_NOWAIT);
    check(channel_is_drained(a.channel));
    check(channel_is_drained(b.channel));
    conn_close(c);
    close(server);
}

/* --- a closed connection --- */

static bool on_bad_record(void *user, const struct fcgi_event *event)
{
    (void)user;
    (void)event;
    return false;
}

static void on_wait(void *user, size_t n)
{
    struct holder *h = user;
    (void)n;
    h->turns++;
    channel_deadline(h->channel, 60, "late");
}

static const struct channel_ops waiting_ops = {.on_open = on_open,
                                               .on_record = on_bad_record,
                                               .on_turn = on_wait,
                                               .on_drain = on_drain,
                                               .on_fail = on_fail};

/* The holder does not see the END_REQUEST behind a record that it rejects, and the connection
 * breaks in the same read: the holder waits for more of a connection that is closed. */
static void check_deadline_of_closed(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    ask(c, &b);
    a.channel->ops = &waiting_ops;
    add_record(&out, FCGI_STDOUT, 1, STR("bad"));
    add_record(&out, FCGI_END_REQUEST, 1, end_body);
    buf_append_str(&out, STR("garbage!"));
    answer(&out, 1000);
    check_int(closed, 1);
    check(b.channel == NULL);
    check_int(a.turns, 1);
    check(!ev_is_active(&a.channel->deadline.timer)); /* its memory goes with the holder */
    channel_drop(a.channel);
    close(server);
    buf_fini(&out);
}

/* --- any stream of records --- */

static uint32_t chance_state;

static unsigned chance(unsigned of)
{
    chance_state = chance_state * 1664525u + 1013904223u;
    return (chance_state >> 8) % of;
}

/* A record of request `id`, whose content has no letter but its own, or one that is of no use. */
static void add_any(struct buf *out, uint16_t id)
{
    static const enum fcgi_type types[] = {FCGI_STDOUT, FCGI_STDOUT, FCGI_STDOUT, FCGI_STDERR};
    char content[300], padding[255] = "";
    uint8_t header[FCGI_HEADER_SIZE];
    size_t n = chance(4) == 0 ? 0 : chance(sizeof content);
    memset(content, 'a' + id - 1, sizeof content);
    if (chance(40) == 0) { /* management */
        add_record(out, chance(2) == 0 ? FCGI_UNKNOWN_TYPE : (enum fcgi_type)chance(256), 0,
                   (struct str){content, n});
    } else if (chance(300) == 0) { /* nobody's, or an end that is none */
        bool own = chance(2) == 0;
        add_record(out, own ? FCGI_END_REQUEST : FCGI_STDOUT,
                   own ? id : (uint16_t)(4 + chance(60000)), (struct str){"zzzz", 4});
    } else if (chance(400) == 0) {
        buf_append(out, "garbage!", 1 + chance(8));
    } else {
        fcgi_header(header,
                    chance(200) == 0 ? (enum fcgi_type)(12 + chance(200)) : types[chance(4)], id,
                    n);
        header[6] = (uint8_t)(chance(3) == 0 ? chance(256) : 0);
        header[7] = (uint8_t)chance(256);
        buf_append(out, header, sizeof header);
        buf_append(out, content, n);
        buf_append(out, padding, header[6]);
    }
}

static void check_any(struct conn_place *place, unsigned seed)
{
    struct conn *c = make(place);
    struct holder list[3];
    struct buf out;
    unsigned open = 3;
    bool over[3] = {false};
    chance_state = seed;
    buf_init(&out, 1 << 20);
    for (unsigned i = 0; i < 3; i++) {
        ask(c, &list[i]);
        list[i].own = (char)('a' + i);
    }
    for (unsigned records = chance(200); open > 0; records -= records > 0) {
        unsigned i = chance(3);
        if (!over[i] && (records == 0 || chance(60) == 0)) {
            add_record(&out, FCGI_END_REQUEST, (uint16_t)(i + 1), end_body);
            over[i] = true;
            open--;
        } else if (!over[i] || chance(50) == 0) {
            add_any(&out, (uint16_t)(i + 1));
        }
    }
    struct str rest = buf_peek(&out);
    while (rest.n > 0 && closed + released == 0) {
        size_t n = 1 + chance(chance(3) == 0 ? 3 : 5000);
        ssize_t put = send(server, rest.p, n < rest.n ? n : rest.n, MSG_NOSIGNAL);
        if (put < 0)
            break;
        rest = str_skip(rest, (size_t)put);
        ev_run(loop.ev, EVRUN_NOWAIT);
    }
    close(server);
    for (unsigned turns = 0; turns < 10000 && closed + released == 0; turns++)
        ev_run(loop.ev, EVRUN_NOWAIT);
    if (released > 0 && closed == 0)
        conn_close(c);
    check_int(closed, 1);
    for (unsigned i = 0; i < 3; i++) {
        check(list[i].ended || list[i].channel == NULL); /* it has been told of its end */
        check(!list[i].mixed);
    }
    buf_fini(&out);
}

static void check_pause(struct conn_place *place)
{
    struct conn *c = make(place);
    struct holder a, b;
    struct buf out;
    buf_init(&out, 65536);
    ask(c, &a);
    ask(c, &b);
    check(!channel_pause(a.channel, true)); /* the other one is read for */
    add_record(&out, FCGI_STDOUT, 2, STR("x"));
    answer(&out, 1000);
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
    check_foreign(&place, 4);
    test("bytes behind the last answer");
    check_excess(&place);
    test("the end of a connection");
    check_end(&place);
    test("one of two requests is given up");
    check_drop(&place);
    test("one of two requests can't take more");
    check_pause(&place);
    test("a request whose server works on after its answer");
    check_let_end(&place);
    test("a request's own bytes wait, or those of another one");
    check_drained(&place);
    test("a deadline of a request whose connection is closed");
    check_deadline_of_closed(&place);
    test("any stream of records, in pieces of any size");
    for (unsigned seed = 1; seed <= 2000; seed++)
        check_any(&place, seed);

    loop_fini(&loop);
    ev_loop_destroy(ev);
    close(listener);
    unlink(path + strlen("unix:"));
    rmdir(folder);
    return test_report();
}

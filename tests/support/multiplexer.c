/* clang-format off */
/*
 * A FastCGI application that serves several requests on one connection, for the tests and the
 * benchmark: one process, never blocks, checks strictly what its client sends, and mixes the
 * records of all requests that it answers. It shares no code with core/ or responder.c.
 *
 *     multiplexer ADDR... [--log FILE] [--values CONNS,REQS,MPXS] [--no-values] [--mute-values]
 *
 * ADDR is unix:/path or 127.0.0.1:port. TERM ends it. --values is what FCGI_GET_VALUES is answered
 * (100,1000,1 unless said); --no-values closes the connection instead, --mute-values says nothing.
 *
 * Commands are joined by `&` in QUERY_STRING; durations are milliseconds.
 *
 *     token=N               `token=N;` begins the reply
 *     size=N                a body of N bytes: 16-byte lines, each its number in 15 digits and LF
 *     mark                  STDIN must begin with the token in 15 digits and LF, and go on as `size`
 *                           makes it from its second line on; the reply says `length=N same=1`
 *     echo                  STDIN as the body
 *     length                Content-Length
 *     delay=MS end_delay=MS before the reply, before END_REQUEST
 *     late=TEXT             STDERR just before END_REQUEST
 *     record=K pad=N        at most K bytes of content in a record; N bytes of padding
 *     app=N protocol=N      of END_REQUEST; protocol 1 to 3 is without output
 *     mpx=1                 answered by FCGI_CANT_MPX_CONN where another request is on the connection
 *     deaf=MS               an ABORT_REQUEST is heeded only after so long
 *     crash                 the connection is closed as soon as the params are there
 *     fail=TEXT             no-end, close, mgmt, type, foreign, begin, short-end, garbage, twice,
 *                           after-end
 *
 * The log has one line per event:
 *     OPEN conn= listener=1 open=      BEGIN conn= id= active=     VALUES conn=     ABORT conn= id=
 *     REQUEST conn= id= stdin= end=complete|aborted active=  query=      CLOSE conn= requests=
 *     VIOLATION conn= TEXT  what no client may do
 */
/* clang-format on */
#include "record_type.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define IDS       65536
#define READ_SIZE (256 * 1024)
#define OUT_MARK  (256 * 1024)
#define RECORD    16384
#define QUERY_MAX 1024

struct bytes {
    char *data;
    size_t len, size;
};

struct request {
    struct request *next;
    struct conn *conn;
    ev_timer timer;
    uint16_t id;
    bool keep, params_done, stdin_done, replying, body_done, aborted, differs;
    struct bytes params, upload;
    char query[QUERY_MAX];
    unsigned long long token;
    uint64_t stdin_len, size, at;
    unsigned record, pad;
    bool mark, echo;
};

struct conn {
    struct conn *next;
    ev_io read, write;
    int fd;
    unsigned number, requests, active;
    struct bytes in, out;
    struct request *list; /* in turn */
    bool finishing, dead;
    uint8_t ended[IDS / 8]; /* ids whose STDIN may still come */
};

static struct ev_loop *loop;
static struct conn *conns;
static unsigned conn_count;
static FILE *log_file;
static const char *values = "100,1000,1";
static bool no_values, mute_values;

static void conn_pump(struct conn *c);

static void die(const char *what)
{
    fprintf(stderr, "multiplexer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *must(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

static void add(struct bytes *b, const void *data, size_t n)
{
    if (b->len + n > b->size) {
        b->size = (b->len + n) * 2;
        b->data = must(realloc(b->data, b->size));
    }
    if (n > 0)
        memcpy(b->data + b->len, data, n);
    b->len += n;
}

__attribute__((format(printf, 2, 3))) static void note(const struct conn *c, const char *format,
                                                       ...)
{
    va_list args;
    if (!log_file)
        return;
    va_start(args, format);
    vfprintf(log_file, format, args);
    va_end(args);
    fprintf(log_file, " conn=%u\n", c->number);
}

/* --- commands --- */

/* The value of a command; NULL: it is not there. */
static const char *command(const struct request *r, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = r->query; at; at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL)
        if (strncmp(at, name, n) == 0 && (at[n] == '=' || at[n] == '&' || at[n] == '\0'))
            return at[n] == '=' ? at + n + 1 : at + n;
    return NULL;
}

static unsigned long long number(const struct request *r, const char *name,
                                 unsigned long long usual)
{
    const char *text = command(r, name);
    return text ? strtoull(text, NULL, 10) : usual;
}

static bool fails(const struct request *r, const char *how)
{
    const char *text = command(r, "fail");
    size_t n = strlen(how);
    return text && strncmp(text, how, n) == 0 && (text[n] == '\0' || text[n] == '&');
}

/* --- records --- */

static void put(struct conn *c, enum type type, unsigned id, const void *content, size_t n,
                unsigned pad)
{
    const uint8_t header[8] = {1,
                               (uint8_t)type,
                               (uint8_t)(id >> 8),
                               (uint8_t)id,
                               (uint8_t)(n >> 8),
                               (uint8_t)n,
                               (uint8_t)pad,
                               0};
    static const char zeros[255];
    add(&c->out, header, sizeof header);
    add(&c->out, content, n);
    add(&c->out, zeros, pad);
}

static void put_end(struct conn *c, unsigned id, unsigned app, unsigned protocol)
{
    const uint8_t body[8] = {(uint8_t)(app >> 24), (uint8_t)(app >> 16), (uint8_t)(app >> 8),
                             (uint8_t)app, (uint8_t)protocol};
    put(c, END_REQUEST, id, body, sizeof body, 0);
}

/* --- requests --- */

static struct request *find(const struct conn *c, unsigned id)
{
    struct request *r = c->list;
    while (r && r->id != id)
        r = r->next;
    return r;
}

static void request_free(struct request *r)
{
    struct conn *c = r->conn;
    struct request **at = &c->list;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    c->active--;
    ev_timer_stop(loop, &r->timer);
    free(r->params.data);
    free(r->upload.data);
    free(r);
}

static void request_end(struct request *r, unsigned app, unsigned protocol)
{
    struct conn *c = r->conn;
    const char *late = command(r, "late");
    note(c, "REQUEST id=%u stdin=%llu end=%s active=%u query=%s", r->id,
         (unsigned long long)r->stdin_len, r->aborted ? "aborted" : "complete", c->active,
         r->query);
    if (late && !r->aborted)
        put(c, STDERR, r->id, late, strcspn(late, "&"), 0);
    put_end(c, r->id, app, protocol);
    if (fails(r, "twice"))
        put_end(c, r->id, app, protocol);
    if (fails(r, "after-end"))
        put(c, STDOUT, r->id, "after", 5, 0);
    if (!r->keep)
        c->finishing = true;
    if (!r->stdin_done)
        c->ended[r->id / 8] |= (uint8_t)(1u << r->id % 8);
    request_free(r);
}

static void line(uint64_t value, char out[17])
{
    snprintf(out, 17, "%015llu\n", (unsigned long long)(value % 1000000000000000ull));
}

/* n bytes of what `size` makes, from `at` on. */
static void pattern(char *to, uint64_t at, size_t n)
{
    char text[17];
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || (at + i) % 16 == 0)
            line((at + i) / 16 % 65536, text);
        to[i] = text[(at + i) % 16];
    }
}

static void read_stdin(struct request *r, const char *bytes, size_t n)
{
    if (r->echo)
        add(&r->upload, bytes, n);
    for (size_t i = 0; i < n && r->mark;) {
        char text[17];
        uint64_t at = r->stdin_len + i, row = at / 16;
        size_t take = 16 - at % 16 < n - i ? 16 - at % 16 : n - i;
        line(row == 0 ? r->token : row % 65536, text);
        r->differs |= memcmp(text + at % 16, bytes + i, take) != 0;
        i += take;
    }
    r->stdin_len += n;
}

/* A record of the body, or its end. False: there is nothing to say now. */
static bool request_step(struct request *r)
{
    static char bytes[65536];
    struct conn *c = r->conn;
    if (!r->replying)
        return false;
    if (r->at < r->size) {
        size_t n = r->size - r->at < r->record ? (size_t)(r->size - r->at) : r->record;
        if (r->echo)
            memcpy(bytes, r->upload.data + r->at, n);
        else
            pattern(bytes, r->at, n);
        put(c, STDOUT, r->id, bytes, n, r->pad);
        r->at += n;
        return true;
    }
    r->replying = false;
    r->body_done = true;
    if (fails(r, "no-end"))
        return false;
    if (command(r, "end_delay")) {
        ev_timer_set(&r->timer, (double)number(r, "end_delay", 0) / 1000, 0);
        ev_timer_start(loop, &r->timer);
        return false;
    }
    request_end(r, (unsigned)number(r, "app", 0), 0);
    return true;
}

static void misbehave(struct request *r)
{
    struct conn *c = r->conn;
    if (fails(r, "mgmt")) {
        put(c, GET_VALUES_RESULT, 0, "\001\001ab", 4, 3);
        put(c, UNKNOWN_TYPE, 0, "\143\0\0\0\0\0\0\0", 8, 0);
        put(c, (enum type)99, 0, "what", 4, 1);
    }
    if (fails(r, "type"))
        put(c, (enum type)99, r->id, "what", 4, 0);
    if (fails(r, "foreign"))
        put(c, STDOUT, 60000, "whose", 5, 0);
    if (fails(r, "begin"))
        put(c, BEGIN_REQUEST, r->id, "\0\1\0\0\0\0\0\0", 8, 0);
    if (fails(r, "short-end"))
        put(c, END_REQUEST, r->id, "\0\0", 2, 0);
    if (fails(r, "garbage"))
        add(&c->out, "HTTP/1.1 200 OK\r\n\r\n", 19);
}

static void request_reply(struct request *r)
{
    char head[256], text[64] = "";
    struct conn *c = r->conn;
    unsigned protocol = (unsigned)number(r, "protocol", 0);
    if (protocol > 0) {
        request_end(r, (unsigned)number(r, "app", 0), protocol);
        return;
    }
    misbehave(r);
    if (fails(r, "close")) {
        c->finishing = true;
        return;
    }
    if (r->mark)
        snprintf(text, sizeof text, "length=%llu same=%d\n", (unsigned long long)r->stdin_len,
                 !r->differs);
    if (r->echo)
        r->size = r->upload.len;
    char token[64] = "";
    if (command(r, "token"))
        snprintf(token, sizeof token, "token=%llu;", r->token);
    int n = snprintf(head, sizeof head, "Content-Type: text/plain\r\n");
    if (command(r, "length"))
        n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %llu\r\n",
                      (unsigned long long)(r->size + strlen(token) + strlen(text)));
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n%s%s", token, text);
    for (int at = 0; at < n;) {
        int take = n - at < (int)r->record ? n - at : (int)r->record;
        put(c, STDOUT, r->id, head + at, (size_t)take, r->pad);
        at += take;
    }
    r->replying = true;
}

static void request_timer_cb(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct request *r = timer->data;
    struct conn *c = r->conn;
    (void)ev, (void)events;
    if (r->aborted || r->body_done)
        request_end(r, (unsigned)number(r, "app", 0), 0);
    else
        request_reply(r);
    conn_pump(c);
}

/* Params and STDIN are there. */
static void request_ready(struct request *r)
{
    double delay = (double)number(r, "delay", 0) / 1000;
    if (delay <= 0) {
        request_reply(r);
        return;
    }
    ev_timer_set(&r->timer, delay, 0);
    ev_timer_start(loop, &r->timer);
}

static bool pair_length(const uint8_t **at, const uint8_t *end, uint32_t *n)
{
    if (*at < end && **at < 128) {
        *n = *(*at)++;
        return true;
    }
    if (end - *at < 4)
        return false;
    *n = (uint32_t)((*at)[0] & 0x7f) << 24 | (uint32_t)(*at)[1] << 16 | (uint32_t)(*at)[2] << 8 |
         (*at)[3];
    *at += 4;
    return true;
}

static void request_params(struct request *r)
{
    const uint8_t *at = (const uint8_t *)r->params.data, *end = at + r->params.len;
    uint32_t name, value;
    while (at < end) {
        if (!pair_length(&at, end, &name) || !pair_length(&at, end, &value) ||
            (uint64_t)name + value > (uint64_t)(end - at)) {
            note(r->conn, "VIOLATION params cut short");
            return;
        }
        if (name == 12 && memcmp(at, "QUERY_STRING", 12) == 0)
            snprintf(r->query, sizeof r->query, "%.*s", (int)value, (const char *)at + 12);
        at += (size_t)name + value;
    }
    r->token = number(r, "token", 0);
    r->size = number(r, "size", 0);
    r->record = (unsigned)number(r, "record", RECORD);
    if (r->record == 0 || r->record > 65535)
        r->record = RECORD;
    r->pad = (unsigned)number(r, "pad", 0) % 256;
    r->mark = command(r, "mark") != NULL;
    r->echo = command(r, "echo") != NULL;
}

/* --- what comes --- */

static void begin(struct conn *c, unsigned id, const uint8_t *body, size_t n)
{
    if (id == 0 || n != 8 || find(c, id)) {
        note(c, "VIOLATION BEGIN_REQUEST id=%u%s", id, find(c, id) ? " is in use" : "");
        return;
    }
    if (body[0] != 0 || (body[1] != 1 && body[1] != 2)) /* a responder, an authorizer */
        note(c, "VIOLATION role=%u", body[0] << 8 | body[1]);
    struct request *r = must(calloc(1, sizeof *r)), **last = &c->list;
    r->conn = c;
    r->id = (uint16_t)id;
    r->keep = body[2] & 1;
    ev_timer_init(&r->timer, request_timer_cb, 0, 0);
    r->timer.data = r;
    while (*last)
        last = &(*last)->next;
    *last = r;
    c->active++;
    c->requests++;
    c->ended[id / 8] &= (uint8_t) ~(1u << id % 8);
    note(c, "BEGIN id=%u active=%u", id, c->active);
}

static void abort_request(struct request *r)
{
    struct conn *c = r->conn;
    note(c, "ABORT id=%u query=%s", r->id, r->query);
    r->aborted = true;
    r->replying = false;
    ev_timer_stop(loop, &r->timer);
    if (command(r, "deaf")) {
        ev_timer_set(&r->timer, (double)number(r, "deaf", 0) / 1000, 0);
        ev_timer_start(loop, &r->timer);
    } else {
        request_end(r, 0, 0);
    }
}

static void read_params(struct request *r, const char *content, size_t n)
{
    struct conn *c = r->conn;
    if (r->params_done) {
        note(c, "VIOLATION PARAMS after their end id=%u", r->id);
        return;
    }
    add(&r->params, content, n);
    if (n > 0)
        return;
    r->params_done = true;
    request_params(r);
    if (command(r, "crash"))
        c->dead = true;
    else if (command(r, "mpx") && c->active > 1)
        request_end(r, 0, 1);
}

static void answer_values(struct conn *c)
{
    static const char *const names[] = {"FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS"};
    struct bytes out = {0};
    const char *at = values;
    note(c, "VALUES");
    if (no_values)
        c->finishing = true;
    if (no_values || mute_values)
        return;
    for (int i = 0; i < 3; i++) {
        const uint8_t lengths[2] = {(uint8_t)strlen(names[i]), (uint8_t)strcspn(at, ",")};
        add(&out, lengths, 2);
        add(&out, names[i], lengths[0]);
        add(&out, at, lengths[1]);
        at += lengths[1] + (at[lengths[1]] == ',');
    }
    put(c, GET_VALUES_RESULT, 0, out.data, out.len, 5);
    free(out.data);
}

static void take(struct conn *c, unsigned type, unsigned id, const char *content, size_t n)
{
    if (id == 0) {
        if (type == GET_VALUES)
            answer_values(c);
        else
            note(c, "VIOLATION management record of type %u", type);
        return;
    }
    if (type == BEGIN_REQUEST) {
        begin(c, id, (const uint8_t *)content, n);
        return;
    }
    struct request *r = find(c, id);
    if (!r) { /* the rest of a body whose request is over, or an abort that crossed the end */
        if (type != ABORT_REQUEST && !(c->ended[id / 8] >> id % 8 & 1))
            note(c, "VIOLATION type=%u id=%u is not in use", type, id);
        return;
    }
    if (type == ABORT_REQUEST) {
        abort_request(r);
    } else if (type == PARAMS) {
        read_params(r, content, n);
    } else if (type == STDIN && !r->stdin_done && r->params_done) {
        read_stdin(r, content, n);
        r->stdin_done = n == 0;
        if (r->stdin_done && !r->aborted)
            request_ready(r);
    } else {
        note(c, "VIOLATION type=%u id=%u out of place", type, id);
    }
}

/* --- connections --- */

static void conn_close(struct conn *c)
{
    struct conn **at = &conns;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    note(c, "CLOSE requests=%u", c->requests);
    while (c->list)
        request_free(c->list);
    ev_io_stop(loop, &c->read);
    ev_io_stop(loop, &c->write);
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/* A record of each request in turn, as far as they are ready and the client reads. */
static void conn_fill(struct conn *c)
{
    bool any = true;
    while (any && c->out.len < OUT_MARK) {
        any = false;
        for (struct request *r = c->list, *next; r; r = next) {
            next = r->next;
            any |= request_step(r);
        }
    }
}

/* A turn of the loop sends about OUT_MARK bytes: however fast the client reads, what it has sent is
 * read between two turns, an ABORT_REQUEST above all. */
static void conn_pump(struct conn *c)
{
    if (c->dead) {
        conn_close(c);
        return;
    }
    conn_fill(c);
    for (size_t sent = 0; c->out.len > 0; conn_fill(c)) {
        ssize_t n = sent < OUT_MARK ? send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL)
                                    : (errno = EAGAIN, -1);
        if (n < 0 && errno == EAGAIN) {
            ev_io_start(loop, &c->write);
            return;
        }
        if (n < 0) {
            conn_close(c);
            return;
        }
        sent += (size_t)n;
        c->out.len -= (size_t)n;
        memmove(c->out.data, c->out.data + n, c->out.len);
    }
    ev_io_stop(loop, &c->write);
    if (c->finishing)
        conn_close(c);
}

static void write_cb(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    conn_pump(io->data);
}

/* All whole records of `in`. */
static void conn_take(struct conn *c)
{
    size_t at = 0;
    while (c->in.len - at >= 8) {
        const uint8_t *h = (const uint8_t *)c->in.data + at;
        size_t content = (size_t)h[4] << 8 | h[5], all = 8 + content + h[6];
        if (h[0] != 1) {
            note(c, "VIOLATION version=%u", h[0]);
            c->dead = true;
            return;
        }
        if (c->in.len - at < all)
            break;
        take(c, h[1], (unsigned)h[2] << 8 | h[3], (const char *)h + 8, content);
        at += all;
    }
    memmove(c->in.data, c->in.data + at, c->in.len - at);
    c->in.len -= at;
}

static void read_cb(struct ev_loop *ev, ev_io *io, int events)
{
    static char bytes[READ_SIZE];
    struct conn *c = io->data;
    (void)ev, (void)events;
    ssize_t n = read(c->fd, bytes, sizeof bytes);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    add(&c->in, bytes, (size_t)n);
    conn_take(c);
    conn_pump(c);
}

/* Without those that their clients have closed, though that has not been read yet. */
static unsigned count_open(void)
{
    unsigned count = 0;
    char byte;
    for (const struct conn *c = conns; c; c = c->next)
        count += recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
    return count;
}

static void accept_cb(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct conn *c = must(calloc(1, sizeof *c));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->fd = fd;
    c->number = ++conn_count;
    c->next = conns;
    conns = c;
    ev_io_init(&c->read, read_cb, fd, EV_READ);
    ev_io_init(&c->write, write_cb, fd, EV_WRITE);
    c->read.data = c->write.data = c;
    ev_io_start(loop, &c->read);
    note(c, "OPEN listener=1 open=%u", count_open());
}

static void listen_at(const char *address)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET};
    bool local = strncmp(address, "unix:", 5) == 0;
    int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const char *port = strrchr(address, ':');
    if (fd < 0 || !port)
        die("socket");
    if (local) {
        snprintf(un.sun_path, sizeof un.sun_path, "%s", address + 5);
        unlink(un.sun_path);
    } else {
        inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
        in.sin_port = htons((uint16_t)strtoul(port + 1, NULL, 10));
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    }
    const struct sockaddr *sa = local ? (struct sockaddr *)&un : (struct sockaddr *)&in;
    if (bind(fd, sa, local ? sizeof un : sizeof in) < 0 || listen(fd, 511) < 0)
        die(address);
    ev_io *io = must(calloc(1, sizeof *io));
    ev_io_init(io, accept_cb, fd, EV_READ);
    ev_io_start(loop, io);
}

static void term_cb(struct ev_loop *ev, ev_signal *w, int events)
{
    (void)w, (void)events;
    ev_break(ev, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    ev_signal term, interrupt;
    loop = ev_default_loop(EVFLAG_NOENV);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--log") == 0 && i + 1 < argc)
            log_file = fopen(argv[++i], "a");
        else if (strcmp(argv[i], "--values") == 0 && i + 1 < argc)
            values = argv[++i];
        else if (strcmp(argv[i], "--no-values") == 0)
            no_values = true;
        else if (strcmp(argv[i], "--mute-values") == 0)
            mute_values = true;
        else
            listen_at(argv[i]);
    }
    if (log_file)
        setvbuf(log_file, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    ev_signal_init(&term, term_cb, SIGTERM);
    ev_signal_init(&interrupt, term_cb, SIGINT);
    ev_signal_start(loop, &term);
    ev_signal_start(loop, &interrupt);
    ev_run(loop, 0);
    if (log_file)
        fclose(log_file);
    return 0;
}

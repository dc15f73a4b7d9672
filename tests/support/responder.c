/* clang-format off */
/*
 * A FastCGI application for the tests and the benchmark: one process, never blocks, does what the
 * request's QUERY_STRING tells it, good or bad, and checks strictly what its client sends. It
 * shares no code with core/, so that a misreading of the protocol there is seen here.
 *
 *     responder ADDR... [--log FILE] [--backlog N] [--no-accept] [--max-requests N]
 *               [--page PATH=FILE]...
 *
 * ADDR is unix:/path, 127.0.0.1:port or 127.0.0.1:0. Once it listens, one line `listening ADDR` per
 * address goes to stdout, with the port that was really taken; then `ready`. TERM and INT end it.
 * --max-requests N closes a connection after N requests, as PHP-FPM's pm.max_requests does.
 * --no-accept listens but takes no connection, for full queues, until USR1 comes.
 * --page takes the commands of requests whose SCRIPT_NAME is PATH from FILE as it is then, instead
 * of from the query: for requests that the proxy makes by itself, as a health check's.
 *
 * Commands are joined by `&`; values are percent-decoded; all durations are milliseconds.
 * `2.name=x` holds only on the second ADDR. Names of one letter and those that begin with a capital
 * letter are the scenario's own; other unknown names answer 500.
 *
 *   what is sent
 *     status=404             a Status line                       type=text/css   Content-Type
 *     header=Name:%20value   one more header line (repeatable)   big=N           X-Big with N bytes
 *     length, length=N       Content-Length: exact, or N; length=+5, length=-5 off by that much
 *     who                    X-Listener, X-Connection and X-Request (number on that connection)
 *     lf                     head lines end in LF
 *     body=TEXT  size=N      a text; the pattern: N bytes in 16-byte lines, each the line's number
 *                            mod 65536 in 15 digits and LF
 *     dump                   every param as NAME=VALUE, \xHH for backslash and control bytes
 *     sum                    `length=N fnv=XXXXXXXX` of STDIN, FNV-1a of 32 bits; of a filter then
 *                            `data=N fnv=XXXXXXXX` of DATA
 *     check                  `length=N same=1` where STDIN is the pattern
 *     echo, echo=stream      STDIN, once it is complete or as it comes
 *     stderr=TEXT  stderr_size=N  stderr_at=head|body|end     one message on STDERR (default head)
 *     app=N  protocol=N      appStatus; protocolStatus 1 cant_mpx, 2 overloaded, 3 unknown_role
 *                            (then without output, unless `output` is given as well)
 *   how it is sent
 *     delay= body_delay= piece_delay= end_delay=    before all, before the body, pieces, the end;
 *                            `hold` in place of a time: until USR2 comes, which lets all go on
 *     pieces=N               the body in N pieces, each in records of its own
 *     record=K  pad=N        at most K bytes of content in a record; N bytes of padding
 *     write=K                at most K bytes in a write, then a turn of the loop
 *     eof                    an empty STDOUT and STDERR record before END_REQUEST, as the
 *                            specification has it and PHP-FPM does not
 *     early                  reply as soon as the params are complete, STDIN is dropped
 *     noread                 read nothing after the params; implies early
 *     noread=MS              read nothing for so long, then the rest
 *   connections
 *     close=end              close after END_REQUEST though the client asked to keep it
 *     close=stay             neither close nor shut down though the client did not ask to keep it
 *     idle=MS                a kept connection is closed after so long
 *     work=MS                a kept connection is not read for so long, as after PHP's
 *                            fastcgi_finish_request(); close=work: then it is closed
 *     close=deaf             its reading side is shut down after END_REQUEST, the rest of it stays
 *                            open for as long as `work` says
 *     next=close             a kept connection is closed when the next request arrives on it,
 *                            which is not read: PHP-FPM was about to close it
 *     rst                    closes are resets
 *   misbehaviour: fail=
 *     close-before-head close-after-head close-mid-body no-end hang hang-after-head hang-mid-body
 *     hang-before-end after-end wrong-id wrong-version wrong-type garbage begin short-end cut-end
 *     end-only mgmt          (mgmt: unsolicited management records, which a client must ignore)
 *   bad heads: head=
 *     none empty no-colon control nul no-end space
 *
 * The log has one line per event:
 *     OPEN conn= listener= open=       open: how many clients have with that address now
 *     START conn= listener= nth= uri=  the params are there
 *     HELD conn= nth=                  it waits for USR2
 *     REQUEST conn= listener= nth= id= role= keep= params= records= stdin= same= end= method=
 *       script= uri=                   end: complete, refused, failed, hung, dropped, aborted
 *     OFFER as REQUEST                 one whose params never ended, so that it was not to be served
 *     VALUES conn=
 *     CLOSE conn= by= requests=
 *     VIOLATION conn= nth= TEXT        what no client may do
 */
/* clang-format on */
#include "pattern.h"
#include "record_type.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER_SIZE    8
#define CONTENT_MAX    65535
#define RECORD_MAX     (HEADER_SIZE + CONTENT_MAX + 255)
#define CLIENT_CONTENT 32768 /* what contract section 5 allows a record of many pairs */
#define IN_SIZE        (2 * RECORD_MAX)
#define OUT_MARK       (256 * 1024) /* no more is made while so much waits to be written */
#define BODY_RECORD    65528        /* what PHP-FPM makes of a large body */
#define LISTENERS_MAX  128
#define PAGES_MAX      4
#define PAGE_SIZE      4096
#define HOLD           UINT64_MAX /* a delay that USR2 ends */

enum { RESPONDER = 1, AUTHORIZER, FILTER };
enum { KEEP_CONN = 1 };
enum { COMPLETE, CANT_MPX, OVERLOADED, UNKNOWN_ROLE };

/* Bytes of its own, consumed at the front, appended at the end. */
struct bytes {
    char *data;
    size_t at, len, size;
};

/* Bytes of somebody else. */
struct slice {
    const char *data;
    size_t len;
};

/* One command's value, kept as the table `commands` says. */
struct plan {
    struct slice status, type, length, body, echo, stderr_text, stderr_at, close, next, fail, head;
    struct slice unknown;
    struct slice headers[32];
    unsigned header_count;
    uint64_t big, size, stderr_size, app, protocol, delay, body_delay, piece_delay, end_delay;
    uint64_t pieces, record, pad, write, noread, idle, work;
    bool who, lf, dump, sum, check, output, eof, early, rst, has_size;
};

enum stage {
    IDLE,      /* no request */
    RECEIVING, /* params or STDIN are coming */
    STARTING,  /* the reply may begin; its delay runs before this is left */
    HEAD,
    BODY,
    ENDING,
    HUNG, /* nothing more will be said */
};

struct param {
    uint32_t hash;
    uint32_t name, name_len, value, value_len; /* offsets into conn.text */
};

struct conn {
    struct conn *next, **link; /* among those of its listener */
    ev_io read, write;
    ev_timer step, resume;
    int fd;
    unsigned number, listener, nth;
    struct bytes in, out;

    /* the request */
    enum stage stage;
    uint16_t id;
    unsigned role;
    bool keep, params_done, stdin_done, close_on_next, differs; /* differs: from the pattern */
    uint64_t stdin_len, data_len;
    uint32_t data_fnv;
    bool data_done;
    uint32_t fnv;
    unsigned records;
    struct bytes text; /* the params' bytes, then the decoded commands */
    struct param *params;
    size_t param_count, param_room;
    struct bytes upload; /* STDIN, where it is echoed */
    struct plan plan;

    /* the reply */
    struct bytes made; /* a body that isn't the pattern */
    bool streamed;     /* the body is `upload`, and grows */
    uint64_t body_len, body_at;
    unsigned piece;
    bool waiting;   /* the step timer runs, or USR2 is waited for */
    bool held;      /* the latter */
    bool deaf;      /* read nothing */
    bool parked;    /* one write in this turn was enough */
    bool finishing; /* close when `out` is written */
    bool dead;
    uint64_t write_limit;
    bool rst;
};

struct listener {
    ev_io io;
    int fd;
    unsigned number;
    struct conn *conns;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* Requests for `path` get their commands from `file`. */
struct page {
    const char *path, *file;
};

static struct listener listeners[LISTENERS_MAX];
static struct page pages[PAGES_MAX];
static unsigned page_count;
static unsigned listener_count, conn_count;
static uint64_t max_requests;
static struct ev_loop *main_loop;
static FILE *log_file;

/* ---- bytes ---- */

static void die(const char *what)
{
    fprintf(stderr, "responder: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Room for `n` more bytes; what was consumed is reclaimed first. */
static char *bytes_reserve(struct bytes *b, size_t n)
{
    if (b->at && b->at == b->len)
        b->at = b->len = 0;
    if (b->len + n <= b->size)
        return b->data + b->len;
    if (b->at) {
        memmove(b->data, b->data + b->at, b->len - b->at);
        b->len -= b->at;
        b->at = 0;
    }
    if (b->len + n > b->size) {
        b->size = (b->len + n) * 2;
        b->data = realloc(b->data, b->size);
        if (!b->data)
            die("realloc");
    }
    return b->data + b->len;
}

static void bytes_add(struct bytes *b, const void *data, size_t n)
{
    if (!n)
        return;
    memcpy(bytes_reserve(b, n), data, n);
    b->len += n;
}

static void bytes_text(struct bytes *b, const char *text)
{
    bytes_add(b, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void bytes_printf(struct bytes *b, const char *format,
                                                               ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    bytes_add(b, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void bytes_free(struct bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof(*b));
}

static size_t bytes_left(const struct bytes *b)
{
    return b->len - b->at;
}

static bool slice_is(struct slice s, const char *text)
{
    return s.data && s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* ---- log ---- */

__attribute__((format(printf, 3, 4))) static void event(const struct conn *c, const char *name,
                                                        const char *format, ...)
{
    if (!log_file)
        return;
    va_list args;
    va_start(args, format);
    fprintf(log_file, "%s conn=%u ", name, c->number);
    vfprintf(log_file, format, args);
    fputc('\n', log_file);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void violation(const struct conn *c,
                                                            const char *format, ...)
{
    if (!log_file)
        return;
    va_list args;
    va_start(args, format);
    fprintf(log_file, "VIOLATION conn=%u nth=%u ", c->number, c->nth);
    vfprintf(log_file, format, args);
    fputc('\n', log_file);
    va_end(args);
}

/* ---- params ---- */

static uint32_t fnv1a(uint32_t hash, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)data[i]) * 16777619u;
    return hash;
}

static struct slice param_find(const struct conn *c, const char *name)
{
    uint32_t len = (uint32_t)strlen(name), hash = fnv1a(2166136261u, name, len);
    for (size_t i = 0; i < c->param_count; i++) {
        const struct param *p = &c->params[i];
        if (p->hash == hash && p->name_len == len && memcmp(c->text.data + p->name, name, len) == 0)
            return (struct slice){c->text.data + p->value, p->value_len};
    }
    return (struct slice){NULL, 0};
}

static void param_check(struct conn *c, const struct param *p)
{
    const char *name = c->text.data + p->name;
    if (!p->name_len)
        violation(c, "param without a name");
    for (uint32_t i = 0; i < p->name_len; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == '=' || name[i] == 0x7f)
            violation(c, "param name with byte 0x%02x", (unsigned char)name[i]);
    for (size_t i = 0; i < c->param_count; i++)
        if (c->params[i].hash == p->hash && c->params[i].name_len == p->name_len &&
            memcmp(c->text.data + c->params[i].name, name, p->name_len) == 0)
            violation(c, "param %.*s twice", (int)p->name_len, name);
    if (p->name_len == 10 && memcmp(name, "HTTP_PROXY", 10) == 0)
        violation(c, "param HTTP_PROXY");
}

static void param_add(struct conn *c, const char *name, uint32_t name_len, uint32_t value_len)
{
    if (c->param_count == c->param_room) {
        c->param_room = c->param_room ? c->param_room * 2 : 64;
        c->params = realloc(c->params, c->param_room * sizeof(*c->params));
        if (!c->params)
            die("realloc");
    }
    struct param p = {.hash = fnv1a(2166136261u, name, name_len),
                      .name = (uint32_t)c->text.len,
                      .name_len = name_len,
                      .value = (uint32_t)c->text.len + name_len,
                      .value_len = value_len};
    bytes_add(&c->text, name, (size_t)name_len + value_len);
    if (log_file)
        param_check(c, &p);
    c->params[c->param_count++] = p;
}

/* One length of a name-value pair; false if the record ends within it. */
static bool pair_length(const unsigned char **at, const unsigned char *end, uint32_t *length)
{
    if (*at >= end)
        return false;
    if (!(**at & 0x80)) {
        *length = *(*at)++;
        return true;
    }
    if (end - *at < 4)
        return false;
    *length = ((uint32_t)((*at)[0] & 0x7f) << 24) | ((uint32_t)(*at)[1] << 16) |
              ((uint32_t)(*at)[2] << 8) | (*at)[3];
    *at += 4;
    return true;
}

/*
 * Takes the pairs of one record. A pair that goes on in the next record resets PHP-FPM, so it ends
 * the connection here as well.
 */
static bool params_take(struct conn *c, const char *content, size_t len)
{
    const unsigned char *at = (const unsigned char *)content, *end = at + len;
    unsigned pairs = 0;
    while (at < end) {
        uint32_t name, value;
        if (!pair_length(&at, end, &name) || !pair_length(&at, end, &value) ||
            (uint64_t)name + value > (uint64_t)(end - at)) {
            violation(c, "a param spans two records");
            return false;
        }
        param_add(c, (const char *)at, name, value);
        at += (size_t)name + value;
        pairs++;
    }
    if (len > CLIENT_CONTENT && pairs > 1)
        violation(c, "PARAMS record of %zu bytes with %u pairs", len, pairs);
    return true;
}

/* An IP address and a port, or their absence: a unix socket has neither. */
static void address_check(struct conn *c, const char *name, const char *port_name)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    struct slice s = param_find(c, name), port = param_find(c, port_name);
    bool fits = s.len < sizeof text;
    snprintf(text, sizeof text, "%.*s", fits ? (int)s.len : 0, (const char *)s.data);
    if (s.data && inet_pton(AF_INET, text, ip) != 1 && inet_pton(AF_INET6, text, ip) != 1)
        violation(c, "%s is no address", name);
    if (port.data && (port.len == 0 || port.data[0] < '1' || port.data[0] > '9'))
        violation(c, "%s is no port", port_name);
}

/* RFC 3875 4.1: what every request must bring, and CONTENT_LENGTH as a plain number. */
static void params_check(struct conn *c)
{
    static const char *const needed[] = {"GATEWAY_INTERFACE", "QUERY_STRING", "REQUEST_METHOD",
                                         "SCRIPT_NAME",       "SERVER_NAME",  "SERVER_PORT",
                                         "SERVER_PROTOCOL"};
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
        bool skip = c->role == AUTHORIZER && strcmp(needed[i], "SCRIPT_NAME") == 0;
        if (!skip && !param_find(c, needed[i]).data)
            violation(c, "no param %s", needed[i]);
    }
    address_check(c, "REMOTE_ADDR", "REMOTE_PORT");
    address_check(c, "SERVER_ADDR", "SERVER_PORT");
    struct slice length = param_find(c, "CONTENT_LENGTH");
    for (size_t i = 0; i < length.len; i++)
        if (length.data[i] < '0' || length.data[i] > '9')
            violation(c, "CONTENT_LENGTH is no number");
}

static void stdin_check(struct conn *c)
{
    struct slice s = param_find(c, "CONTENT_LENGTH");
    uint64_t length = 0;
    for (size_t i = 0; i < s.len; i++)
        length = length * 10 + (uint64_t)(s.data[i] - '0');
    if (length != c->stdin_len)
        violation(c, "CONTENT_LENGTH %llu and %llu bytes of STDIN", (unsigned long long)length,
                  (unsigned long long)c->stdin_len);
}

/* ---- commands ---- */

enum value_kind { FLAG, NUMBER, TEXT };

#define AT(field) offsetof(struct plan, field)

static const struct command {
    const char *name;
    enum value_kind kind;
    size_t offset;
} commands[] = {
    {"size", NUMBER, AT(size)},
    {"status", TEXT, AT(status)},
    {"type", TEXT, AT(type)},
    {"length", TEXT, AT(length)},
    {"body", TEXT, AT(body)},
    {"echo", TEXT, AT(echo)},
    {"stderr_at", TEXT, AT(stderr_at)},
    {"close", TEXT, AT(close)},
    {"next", TEXT, AT(next)},
    {"fail", TEXT, AT(fail)},
    {"head", TEXT, AT(head)},
    {"big", NUMBER, AT(big)},
    {"stderr_size", NUMBER, AT(stderr_size)},
    {"app", NUMBER, AT(app)},
    {"protocol", NUMBER, AT(protocol)},
    {"delay", NUMBER, AT(delay)},
    {"body_delay", NUMBER, AT(body_delay)},
    {"piece_delay", NUMBER, AT(piece_delay)},
    {"end_delay", NUMBER, AT(end_delay)},
    {"pieces", NUMBER, AT(pieces)},
    {"record", NUMBER, AT(record)},
    {"pad", NUMBER, AT(pad)},
    {"write", NUMBER, AT(write)},
    {"noread", NUMBER, AT(noread)},
    {"idle", NUMBER, AT(idle)},
    {"work", NUMBER, AT(work)},
    {"who", FLAG, AT(who)},
    {"lf", FLAG, AT(lf)},
    {"dump", FLAG, AT(dump)},
    {"sum", FLAG, AT(sum)},
    {"check", FLAG, AT(check)},
    {"output", FLAG, AT(output)},
    {"eof", FLAG, AT(eof)},
    {"early", FLAG, AT(early)},
    {"rst", FLAG, AT(rst)},
    {"stderr", TEXT, AT(stderr_text)},
};

static int hex(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* Decodes `%HH` in place; returns the new length. */
static size_t percent_decode(char *text, size_t len)
{
    size_t to = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && i + 2 < len && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            text[to++] = (char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
            i += 2;
        } else {
            text[to++] = text[i];
        }
    }
    return to;
}

static uint64_t number(struct slice s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.len && s.data[i] >= '0' && s.data[i] <= '9'; i++)
        n = n * 10 + (uint64_t)(s.data[i] - '0');
    return n;
}

static void plan_set(struct plan *plan, const struct command *command, struct slice value)
{
    char *at = (char *)plan + command->offset;
    switch (command->kind) {
    case FLAG:
        *(bool *)at = true;
        break;
    case NUMBER:
        *(uint64_t *)at = slice_is(value, "hold") ? HOLD : number(value);
        break;
    case TEXT:
        *(struct slice *)at = value;
        break;
    }
    if (command->offset == AT(size))
        plan->has_size = true;
    if (command->offset == AT(noread)) {
        plan->early |= !value.len;
        if (!value.len)
            plan->noread = UINT64_MAX;
    }
}

static void plan_command(struct plan *plan, struct slice name, struct slice value)
{
    if (slice_is(name, "header")) {
        if (plan->header_count < sizeof(plan->headers) / sizeof(*plan->headers))
            plan->headers[plan->header_count++] = value;
        return;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        if (slice_is(name, commands[i].name)) {
            plan_set(plan, &commands[i], value);
            return;
        }
    }
    if (name.len > 1 && !(*name.data >= 'A' && *name.data <= 'Z'))
        plan->unknown = name;
}

/* Reads the commands out of `text`, which is decoded in place and must outlive the plan. */
static void plan_read(struct plan *plan, char *text, size_t len, unsigned listener)
{
    memset(plan, 0, sizeof(*plan));
    char *end = text + len;
    while (text < end) {
        char *stop = memchr(text, '&', (size_t)(end - text));
        stop = stop ? stop : end;
        char *equal = memchr(text, '=', (size_t)(stop - text));
        char *name_end = equal ? equal : stop;
        char *value = equal ? equal + 1 : stop;
        char *next = stop + 1;
        bool meant = true;
        if (name_end - text > 2 && text[0] >= '1' && text[0] <= '9' && text[1] == '.') {
            meant = (unsigned)(text[0] - '0') == listener;
            text += 2;
        }
        if (meant)
            plan_command(plan, (struct slice){text, (size_t)(name_end - text)},
                         (struct slice){value, percent_decode(value, (size_t)(stop - value))});
        text = next;
    }
    plan->pieces = plan->pieces ? plan->pieces : 1;
    if (!plan->record || plan->record > CONTENT_MAX)
        plan->record = BODY_RECORD;
    if (plan->pad > 255)
        plan->pad = 255;
}

/* ---- records out ---- */

static void record_header(char *at, enum type type, uint16_t id, size_t len, size_t pad)
{
    at[0] = 1;
    at[1] = (char)type;
    at[2] = (char)(id >> 8);
    at[3] = (char)id;
    at[4] = (char)(len >> 8);
    at[5] = (char)len;
    at[6] = (char)pad;
    at[7] = 0;
}

/* Padding is 0xAA, not zeroes, so that a client that takes it for content is seen. */
static void record_add(struct conn *c, enum type type, uint16_t id, const char *data, size_t len)
{
    size_t pad = (size_t)c->plan.pad;
    if (len + pad > CONTENT_MAX)
        pad = CONTENT_MAX - len;
    char *at = bytes_reserve(&c->out, HEADER_SIZE + len + pad);
    record_header(at, type, id, len, pad);
    if (len)
        memcpy(at + HEADER_SIZE, data, len);
    if (pad)
        memset(at + HEADER_SIZE + len, 0xaa, pad);
    c->out.len += HEADER_SIZE + len + pad;
}

static void records_add(struct conn *c, enum type type, const char *data, size_t len)
{
    while (len) {
        size_t n = len < c->plan.record ? len : (size_t)c->plan.record;
        record_add(c, type, c->id, data, n);
        data += n;
        len -= n;
    }
}

static void end_add(struct conn *c, uint16_t id, uint64_t app, uint64_t protocol)
{
    /* PHP-FPM leaves garbage in the three reserved bytes; so do we. */
    char body[8] = {(char)(app >> 24),
                    (char)(app >> 16),
                    (char)(app >> 8),
                    (char)app,
                    (char)protocol,
                    0x5a,
                    0x5a,
                    0x5a};
    record_add(c, END_REQUEST, id, body, sizeof(body));
}

/* ---- the reply ---- */

static void request_log(struct conn *c, const char *how)
{
    if (!log_file)
        return;
    struct slice method = param_find(c, "REQUEST_METHOD"), uri = param_find(c, "REQUEST_URI");
    struct slice script = param_find(c, "SCRIPT_NAME");
    event(
        c, c->params_done ? "REQUEST" : "OFFER",
        "listener=%u nth=%u id=%u role=%u keep=%d params=%zu records=%u stdin=%llu same=%d end=%s "
        "method=%.*s script=%.*s uri=%.*s",
        c->listener, c->nth, c->id, c->role, c->keep, c->param_count, c->records,
        (unsigned long long)c->stdin_len, !c->differs, how, (int)method.len, method.data,
        (int)script.len, script.data, (int)uri.len, uri.data);
}

/* The request is over for us, however it went; the connection may go on. */
static void request_over(struct conn *c, const char *how)
{
    request_log(c, how);
    c->stage = IDLE;
    c->waiting = c->held = false;
    ev_timer_stop(main_loop, &c->step);
}

static void close_after_writing(struct conn *c)
{
    c->finishing = true;
    c->rst |= c->plan.rst;
}

static void hang(struct conn *c)
{
    request_log(c, "hung");
    c->stage = HUNG;
}

static void fail(struct conn *c)
{
    request_over(c, "failed");
    close_after_writing(c);
}

/* Starts the step timer, or holds; false where there is nothing to wait for. */
static bool delayed(struct conn *c, uint64_t ms)
{
    if (!ms)
        return false;
    c->waiting = true;
    if (ms == HOLD) {
        c->held = true;
        event(c, "HELD", "nth=%u", c->nth);
        return true;
    }
    c->step.repeat = (double)ms / 1000;
    ev_timer_again(main_loop, &c->step);
    return true;
}

static void dump(struct conn *c)
{
    for (size_t i = 0; i < c->param_count; i++) {
        const struct param *p = &c->params[i];
        bytes_add(&c->made, c->text.data + p->name, p->name_len);
        bytes_text(&c->made, "=");
        for (uint32_t k = 0; k < p->value_len; k++) {
            unsigned char ch = (unsigned char)c->text.data[p->value + k];
            if (ch < ' ' || ch == 0x7f || ch == '\\')
                bytes_printf(&c->made, "\\x%02x", ch);
            else
                bytes_add(&c->made, &ch, 1);
        }
        bytes_text(&c->made, "\n");
    }
}

/* Puts the body together, all but the pattern, which is only counted. */
static void body_make(struct conn *c)
{
    struct plan *plan = &c->plan;
    c->made.at = c->made.len = 0;
    c->body_at = 0;
    c->piece = 1;
    c->streamed = slice_is(plan->echo, "stream");
    if (c->streamed)
        return;
    if (plan->unknown.data) {
        bytes_text(&c->made, "unknown command: ");
        bytes_add(&c->made, plan->unknown.data, plan->unknown.len);
    }
    if (plan->dump)
        dump(c);
    if (plan->sum)
        bytes_printf(&c->made, "length=%llu fnv=%08x\n", (unsigned long long)c->stdin_len, c->fnv);
    if (c->plan.sum && c->role == FILTER)
        bytes_printf(&c->made, "data=%llu fnv=%08x\n", (unsigned long long)c->data_len,
                     c->data_fnv);
    if (plan->check)
        bytes_printf(&c->made, "length=%llu same=%d\n", (unsigned long long)c->stdin_len,
                     !c->differs);
    if (plan->echo.data)
        bytes_add(&c->made, c->upload.data + c->upload.at, bytes_left(&c->upload));
    if (plan->body.data)
        bytes_add(&c->made, plan->body.data, plan->body.len);
    else if (!plan->dump && !plan->sum && !plan->check && !plan->echo.data && !plan->unknown.data)
        bytes_text(&c->made, "hello\n");
    c->body_len = plan->has_size ? plan->size : c->made.len;
}

static void length_line(struct conn *c, struct bytes *head, const char *eol)
{
    struct slice s = c->plan.length;
    uint64_t length = c->body_len;
    struct slice rest = {s.data + 1, s.len ? s.len - 1 : 0};
    if (s.len && *s.data == '+')
        length += number(rest);
    else if (s.len && *s.data == '-')
        length -= number(rest);
    else if (s.len)
        length = number(s);
    bytes_printf(head, "Content-Length: %llu%s", (unsigned long long)length, eol);
}

/* The line that makes a head bad, where one is asked for. */
static void bad_line(struct conn *c, struct bytes *head)
{
    struct slice kind = c->plan.head;
    if (slice_is(kind, "no-colon"))
        bytes_text(head, "this line has no colon\r\n");
    else if (slice_is(kind, "control"))
        bytes_text(head, "X-Control: a\001b\r\n");
    else if (slice_is(kind, "nul"))
        bytes_add(head, "X-Nul: a\0b\r\n", 12);
    else if (slice_is(kind, "space"))
        bytes_text(head, "X Space: a\r\n");
}

static void head_make(struct conn *c, struct bytes *head)
{
    struct plan *plan = &c->plan;
    const char *eol = plan->lf ? "\n" : "\r\n";
    if (slice_is(plan->head, "none"))
        return;
    if (!slice_is(plan->head, "empty")) {
        if (plan->unknown.data)
            bytes_printf(head, "Status: 500 Unknown Command%s", eol);
        else if (plan->status.data)
            bytes_printf(head, "Status: %.*s%s", (int)plan->status.len, plan->status.data, eol);
        bytes_text(head, "Content-Type: ");
        if (plan->type.data)
            bytes_add(head, plan->type.data, plan->type.len);
        else
            bytes_text(head, "text/plain");
        bytes_text(head, eol);
        if (plan->length.data)
            length_line(c, head, eol);
        for (unsigned i = 0; i < plan->header_count; i++) {
            bytes_add(head, plan->headers[i].data, plan->headers[i].len);
            bytes_text(head, eol);
        }
        if (plan->who)
            bytes_printf(head, "X-Listener: %u%sX-Connection: %u%sX-Request: %u%s", c->listener,
                         eol, c->number, eol, c->nth, eol);
        if (plan->big) {
            bytes_text(head, "X-Big: ");
            memset(bytes_reserve(head, plan->big), 'x', plan->big);
            head->len += plan->big;
            bytes_text(head, eol);
        }
        bad_line(c, head);
    }
    if (!slice_is(plan->head, "no-end"))
        bytes_text(head, eol);
}

static void stderr_add(struct conn *c, const char *place)
{
    struct slice at = c->plan.stderr_at;
    if (!(at.data ? slice_is(at, place) : strcmp(place, "head") == 0))
        return;
    records_add(c, STDERR, c->plan.stderr_text.data, c->plan.stderr_text.len);
    for (uint64_t left = c->plan.stderr_size; left;) {
        size_t n = left < PATTERN_SIZE ? (size_t)left : PATTERN_SIZE;
        records_add(c, STDERR, pattern, n);
        left -= n;
    }
}

/* What stands in place of, or before, a good reply. Returns true where that is all. */
static bool reply_misbehave(struct conn *c)
{
    struct slice fails = c->plan.fail;
    if (slice_is(fails, "hang")) {
        hang(c);
    } else if (slice_is(fails, "close-before-head")) {
        fail(c);
    } else if (slice_is(fails, "garbage")) {
        bytes_text(&c->out, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n");
        fail(c);
    } else if (slice_is(fails, "wrong-version")) {
        record_add(c, STDOUT, c->id, "Content-Type: text/plain\r\n\r\nhello\n", 34);
        c->out.data[c->out.len - HEADER_SIZE - 34 - c->plan.pad] = 2;
        hang(c);
    } else if (slice_is(fails, "wrong-id")) {
        record_add(c, STDOUT, c->id + 1, "Content-Type: text/plain\r\n\r\nhello\n", 34);
        end_add(c, c->id + 1, 0, COMPLETE);
        hang(c);
    } else if (slice_is(fails, "wrong-type")) {
        record_add(c, (enum type)99, c->id, "abc", 3);
        hang(c);
    } else if (slice_is(fails, "begin")) {
        record_add(c, BEGIN_REQUEST, c->id, "\0\1\0\0\0\0\0\0", 8);
        hang(c);
    } else {
        return false;
    }
    return true;
}

static void reply_head(struct conn *c)
{
    static struct bytes head;
    if (slice_is(c->plan.fail, "mgmt")) {
        record_add(c, GET_VALUES_RESULT, 0, "\017\001FCGI_MPXS_CONNS0", 18);
        record_add(c, UNKNOWN_TYPE, 0, "\143\0\0\0\0\0\0\0", 8);
    }
    stderr_add(c, "head");
    head.at = head.len = 0;
    head_make(c, &head);
    if (bytes_left(&c->made) && !c->plan.has_size && c->plan.pieces == 1 && !c->plan.body_delay &&
        !c->plan.fail.data && head.len + c->made.len < c->plan.record && !c->streamed &&
        !c->plan.stderr_at.data) {
        /* A small reply goes out in one record, as PHP-FPM's does. */
        bytes_add(&head, c->made.data, c->made.len);
        c->body_at = c->body_len;
    }
    records_add(c, STDOUT, head.data, head.len);
    c->stage = BODY;
    if (slice_is(c->plan.fail, "hang-after-head"))
        hang(c);
    else
        delayed(c, c->plan.body_delay);
}

/* The next stretch of the body: where it lies, and how long it is at most `n` bytes. */
static struct slice body_stretch(struct conn *c, uint64_t n)
{
    if (c->streamed) {
        size_t left = bytes_left(&c->upload);
        return (struct slice){c->upload.data + c->upload.at, n < left ? (size_t)n : left};
    }
    if (!c->plan.has_size)
        return (struct slice){c->made.data + c->body_at, (size_t)n};
    size_t at = (size_t)(c->body_at % PATTERN_SIZE);
    return (struct slice){pattern + at, n < PATTERN_SIZE - at ? (size_t)n : PATTERN_SIZE - at};
}

/* Where the current piece of the body ends. */
static uint64_t piece_end(const struct conn *c)
{
    if (c->streamed)
        return UINT64_MAX;
    uint64_t cut = c->body_len;
    if (slice_is(c->plan.fail, "close-mid-body") || slice_is(c->plan.fail, "hang-mid-body"))
        cut = c->body_len / 2;
    if (c->piece >= c->plan.pieces)
        return cut;
    uint64_t end = c->body_len / c->plan.pieces * c->piece;
    return end < cut ? end : cut;
}

/* Called at the end of a piece: another one, a failure, or the end of the reply. */
static void body_next(struct conn *c)
{
    if (slice_is(c->plan.fail, "close-mid-body") && c->body_at >= c->body_len / 2) {
        fail(c);
    } else if (slice_is(c->plan.fail, "hang-mid-body") && c->body_at >= c->body_len / 2) {
        hang(c);
    } else if (c->piece < c->plan.pieces) {
        if (c->piece == 1)
            stderr_add(c, "body");
        c->piece++;
        delayed(c, c->plan.piece_delay);
        c->parked = !c->waiting; /* at least a turn of the loop between pieces */
    } else {
        c->stage = ENDING;
        delayed(c, c->plan.end_delay);
    }
}

static bool reply_body(struct conn *c)
{
    if (slice_is(c->plan.fail, "close-after-head")) {
        fail(c);
        return true;
    }
    uint64_t end = piece_end(c);
    bool moved = false;
    while (c->body_at < end && bytes_left(&c->out) < OUT_MARK) {
        uint64_t want = end - c->body_at;
        struct slice s = body_stretch(c, want < c->plan.record ? want : c->plan.record);
        if (!s.len)
            break;
        record_add(c, STDOUT, c->id, s.data, s.len);
        c->body_at += s.len;
        if (c->streamed)
            c->upload.at += s.len;
        moved = true;
    }
    bool whole = c->streamed ? c->stdin_done && !bytes_left(&c->upload) : c->body_at >= end;
    if (!whole)
        return moved;
    if (c->streamed)
        c->piece = (unsigned)c->plan.pieces;
    body_next(c);
    return true;
}

/* Nothing is read for so many milliseconds. */
static void deafen(struct conn *c, uint64_t ms)
{
    c->deaf = true;
    c->resume.repeat = ms == UINT64_MAX ? 0.02 : (double)ms / 1000;
    ev_timer_again(main_loop, &c->resume);
}

/* What becomes of the connection once END_REQUEST is on its way. */
static void reply_leave(struct conn *c)
{
    struct plan *plan = &c->plan;
    bool spent = max_requests && c->nth >= max_requests;
    c->rst |= plan->rst;
    if (slice_is(plan->close, "stay"))
        return;
    if (!c->keep || spent || slice_is(plan->close, "end")) {
        c->finishing = true;
        return;
    }
    c->close_on_next = slice_is(plan->next, "close");
    if (plan->idle)
        delayed(c, plan->idle);
    if (slice_is(plan->close, "deaf"))
        shutdown(c->fd, SHUT_RD);
    if (plan->work)
        deafen(c, plan->work);
}

static void reply_end(struct conn *c)
{
    struct slice fails = c->plan.fail;
    stderr_add(c, "end");
    if (slice_is(fails, "hang-before-end")) {
        hang(c);
        return;
    }
    if (slice_is(fails, "no-end")) {
        fail(c);
        return;
    }
    if (slice_is(fails, "short-end")) {
        record_add(c, END_REQUEST, c->id, "\0\0\0\0", 4);
        fail(c);
        return;
    }
    if (c->plan.eof) {
        record_add(c, STDOUT, c->id, NULL, 0);
        record_add(c, STDERR, c->id, NULL, 0);
    }
    end_add(c, c->id, c->plan.app, c->plan.protocol);
    if (slice_is(fails, "cut-end")) {
        c->out.len -= 6;
        fail(c);
        return;
    }
    if (slice_is(fails, "after-end"))
        record_add(c, STDOUT, c->id, "more\n", 5);
    request_over(c, c->plan.protocol ? "refused" : "complete");
    reply_leave(c);
}

static void reply_start(struct conn *c)
{
    bool silent = (c->plan.protocol && !c->plan.output) || slice_is(c->plan.fail, "end-only");
    if (reply_misbehave(c))
        return;
    body_make(c);
    c->stage = silent ? ENDING : HEAD;
}

/* Carries the reply on as far as room and delays allow. Returns whether anything changed. */
static bool reply_step(struct conn *c)
{
    bool moved = false;
    while (!c->dead && !c->waiting && !c->parked && bytes_left(&c->out) < OUT_MARK) {
        switch (c->stage) {
        case STARTING:
            reply_start(c);
            break;
        case HEAD:
            reply_head(c);
            break;
        case BODY:
            if (!reply_body(c))
                return moved;
            break;
        case ENDING:
            reply_end(c);
            break;
        default:
            return moved;
        }
        moved = true;
    }
    return moved;
}

/* ---- the request ---- */

/* The commands of a page that a file steers; false where the request is for no such page. */
static bool page_find(struct conn *c, char *to, size_t *len)
{
    struct slice script = param_find(c, "SCRIPT_NAME");
    for (unsigned i = 0; i < page_count; i++) {
        if (!slice_is(script, pages[i].path))
            continue;
        FILE *file = fopen(pages[i].file, "r");
        *len = file ? fread(to, 1, PAGE_SIZE, file) : 0;
        if (file)
            fclose(file);
        return true;
    }
    return false;
}

/* The params are complete: now the commands are known. */
static void request_steer(struct conn *c)
{
    struct slice query = param_find(c, "QUERY_STRING");
    size_t at = query.data ? (size_t)(query.data - c->text.data) : 0, len = query.len;
    bytes_reserve(&c->text, (query.len > PAGE_SIZE ? query.len : PAGE_SIZE) + 1);
    char *copy = c->text.data + c->text.len; /* `dump` shows the query as it came */
    if (!page_find(c, copy, &len))
        memcpy(copy, c->text.data + at, len);
    c->text.len += len;
    plan_read(&c->plan, copy, len, c->listener);
    struct slice uri = param_find(c, "REQUEST_URI");
    event(c, "START", "listener=%u nth=%u uri=%.*s", c->listener, c->nth, (int)uri.len, uri.data);
    c->write_limit = c->plan.write;
    c->params_done = true;
    if (log_file)
        params_check(c);
    if (c->plan.noread)
        deafen(c, c->plan.noread);
}

static void request_ready(struct conn *c)
{
    c->stage = STARTING;
    delayed(c, c->plan.delay);
}

static bool read_begin(struct conn *c, uint16_t id, const unsigned char *content, size_t len)
{
    if (len != 8) {
        violation(c, "BEGIN_REQUEST of %zu bytes", len);
        return false;
    }
    if (c->stage != IDLE) {
        violation(c, "BEGIN_REQUEST %u while %u is not over", id, c->id);
        end_add(c, id, 0, CANT_MPX);
        return id != c->id;
    }
    if (c->finishing) {
        close_after_writing(c);
        c->dead = !bytes_left(&c->out);
        return true;
    }
    if (content[2] & ~KEEP_CONN)
        violation(c, "BEGIN_REQUEST with flags 0x%02x", content[2]);
    ev_timer_stop(main_loop, &c->step);
    c->waiting = c->held = false;
    c->stage = RECEIVING;
    c->id = id;
    c->role = (unsigned)content[0] << 8 | content[1];
    c->keep = content[2] & KEEP_CONN;
    c->nth++;
    c->params_done = c->stdin_done = false;
    c->stdin_len = c->data_len = 0;
    c->data_fnv = 2166136261u;
    c->data_done = false;
    c->differs = false;
    c->fnv = 2166136261u;
    c->records = 0;
    c->param_count = 0;
    c->text.at = c->text.len = 0;
    c->upload.at = c->upload.len = 0;
    c->plan.pad = 0;
    if (c->role < RESPONDER || c->role > FILTER) {
        violation(c, "role %u", c->role);
        end_add(c, id, 0, UNKNOWN_ROLE);
        request_over(c, "refused");
    }
    return true;
}

static bool read_params(struct conn *c, const char *content, size_t len)
{
    if (c->params_done) {
        violation(c, "PARAMS after their end");
        return false;
    }
    c->records++;
    if (len)
        return params_take(c, content, len);
    request_steer(c);
    if (c->plan.early || slice_is(c->plan.echo, "stream") || c->role == AUTHORIZER)
        request_ready(c);
    return true;
}

/* Whether these bytes are the pattern's from `at` on. */
static bool pattern_at(uint64_t at, const char *bytes, size_t len)
{
    while (len) {
        size_t from = (size_t)(at % PATTERN_SIZE);
        size_t n = len < PATTERN_SIZE - from ? len : PATTERN_SIZE - from;
        if (memcmp(pattern + from, bytes, n) != 0)
            return false;
        at += n;
        bytes += n;
        len -= n;
    }
    return true;
}

static bool read_stdin(struct conn *c, const char *content, size_t len)
{
    if (!c->params_done) {
        violation(c, "STDIN before the end of PARAMS");
        return false;
    }
    if (c->stdin_done) {
        violation(c, "STDIN after its end");
        return false;
    }
    if (len > CLIENT_CONTENT)
        violation(c, "STDIN record of %zu bytes", len);
    if (c->plan.check)
        c->differs |= !pattern_at(c->stdin_len, content, len);
    c->stdin_len += len;
    if (c->plan.sum)
        c->fnv = fnv1a(c->fnv, content, len);
    if (c->plan.echo.data)
        bytes_add(&c->upload, content, len);
    if (!len) {
        c->stdin_done = true;
        if (log_file)
            stdin_check(c);
        if (c->stage == RECEIVING && c->role != FILTER)
            request_ready(c);
    }
    return true;
}

/* A filter's second stream, behind STDIN. */
static bool read_data(struct conn *c, const char *content, size_t len)
{
    if (c->role != FILTER || !c->stdin_done || c->data_done) {
        violation(c, "DATA for role %u, %s", c->role,
                  c->data_done ? "after its end" : "before the end of STDIN");
        return false;
    }
    if (len > CLIENT_CONTENT)
        violation(c, "DATA record of %zu bytes", len);
    c->data_len += len;
    c->data_fnv = fnv1a(c->data_fnv, content, len);
    c->data_done = !len;
    if (c->data_done && c->stage == RECEIVING)
        request_ready(c);
    return true;
}

/* Answers those of the three known variables that were asked for. */
static void read_values(struct conn *c, const char *content, size_t len)
{
    static const struct {
        const char *name, *value;
    } known[] = {{"FCGI_MAX_CONNS", "1024"}, {"FCGI_MAX_REQS", "1024"}, {"FCGI_MPXS_CONNS", "0"}};
    const unsigned char *at = (const unsigned char *)content, *end = at + len;
    struct bytes reply = {0};
    uint32_t name, value;
    while (pair_length(&at, end, &name) && pair_length(&at, end, &value) &&
           (uint64_t)name + value <= (uint64_t)(end - at)) {
        for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
            if (!slice_is((struct slice){(const char *)at, name}, known[i].name))
                continue;
            bytes_printf(&reply, "%c%c%s%s", (int)name, (int)strlen(known[i].value), known[i].name,
                         known[i].value);
        }
        at += (size_t)name + value;
    }
    record_add(c, GET_VALUES_RESULT, 0, reply.data, reply.len);
    event(c, "VALUES", "bytes=%zu", len);
    bytes_free(&reply);
}

static bool read_management(struct conn *c, unsigned type, const char *content, size_t len)
{
    if (type == GET_VALUES) {
        read_values(c, content, len);
        return true;
    }
    char body[8] = {(char)type};
    violation(c, "management record of type %u", type);
    record_add(c, UNKNOWN_TYPE, 0, body, sizeof(body));
    return true;
}

/* A record of the current request. What comes for one that we have ended already is dropped. */
static bool read_stream(struct conn *c, unsigned type, const char *content, size_t len)
{
    bool over = c->stage == IDLE;
    switch (type) {
    case PARAMS:
        return over || read_params(c, content, len);
    case STDIN:
        return over ? (c->stdin_done = c->stdin_done || !len, true) : read_stdin(c, content, len);
    case DATA:
        return over || read_data(c, content, len);
    case ABORT_REQUEST:
        if (!over) {
            end_add(c, c->id, 0, COMPLETE);
            request_over(c, "aborted");
            reply_leave(c);
        }
        return true;
    default:
        violation(c, "record of type %u", type);
        return false;
    }
}

static bool read_record(struct conn *c, const unsigned char *header, const char *content)
{
    unsigned type = header[1];
    uint16_t id = (uint16_t)(header[2] << 8 | header[3]);
    size_t len = (size_t)header[4] << 8 | header[5];
    if (header[0] != 1) {
        violation(c, "version %u", header[0]);
        return false;
    }
    if (header[7])
        violation(c, "reserved byte 0x%02x", header[7]);
    if (len + header[6] > CONTENT_MAX)
        violation(c, "content %zu and padding %u", len, header[6]);
    if (!id)
        return read_management(c, type, content, len);
    if (type == BEGIN_REQUEST)
        return read_begin(c, id, (const unsigned char *)content, len);
    if (id != c->id) {
        violation(c, "record of type %u for request %u", type, id);
        return true;
    }
    return read_stream(c, type, content, len);
}

/* Takes whole records while they may be taken. Returns whether there was one. */
static bool read_records(struct conn *c)
{
    bool moved = false;
    while (!c->dead && !c->deaf && bytes_left(&c->in) >= HEADER_SIZE) {
        if (bytes_left(&c->upload) > OUT_MARK && slice_is(c->plan.echo, "stream"))
            break;
        const unsigned char *header = (unsigned char *)c->in.data + c->in.at;
        size_t whole = HEADER_SIZE + ((size_t)header[4] << 8 | header[5]) + header[6];
        if (bytes_left(&c->in) < whole)
            break;
        c->in.at += whole;
        moved = true;
        if (!read_record(c, header, (const char *)header + HEADER_SIZE)) {
            if (c->stage != IDLE)
                request_over(c, "dropped");
            close_after_writing(c);
            c->deaf = true;
        }
    }
    return moved;
}

/* ---- connections ---- */

static void conn_free(struct conn *c, const char *by)
{
    if (c->stage != IDLE && c->stage != HUNG)
        request_over(c, "dropped");
    event(c, "CLOSE", "by=%s requests=%u", by, c->nth);
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    ev_io_stop(main_loop, &c->read);
    ev_io_stop(main_loop, &c->write);
    ev_timer_stop(main_loop, &c->step);
    ev_timer_stop(main_loop, &c->resume);
    if (c->rst)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(c->fd);
    bytes_free(&c->in);
    bytes_free(&c->out);
    bytes_free(&c->text);
    bytes_free(&c->upload);
    bytes_free(&c->made);
    free(c->params);
    free(c);
}

/* Writes what waits, about OUT_MARK bytes a turn of the loop: however fast the client reads, what
 * it has sent is read between two turns, an ABORT_REQUEST above all. Adds to `sent`; returns
 * whether bytes went out. */
static bool conn_flush(struct conn *c, size_t *sent)
{
    bool moved = false;
    while (!c->parked && bytes_left(&c->out)) {
        size_t n = bytes_left(&c->out);
        if (c->write_limit && n > c->write_limit)
            n = (size_t)c->write_limit;
        ssize_t done = send(c->fd, c->out.data + c->out.at, n, MSG_NOSIGNAL);
        if (done < 0) {
            c->dead = errno != EAGAIN && errno != EINTR;
            break;
        }
        c->out.at += (size_t)done;
        moved = true;
        *sent += (size_t)done;
        c->parked = c->write_limit || *sent >= OUT_MARK;
        if ((size_t)done < n)
            break;
    }
    return moved;
}

static void watch(ev_io *w, bool wanted)
{
    if (wanted && !ev_is_active(w))
        ev_io_start(main_loop, w);
    else if (!wanted && ev_is_active(w))
        ev_io_stop(main_loop, w);
}

/* The one shape of every event: move while something moves, then close or watch. */
static void conn_turn(struct conn *c)
{
    bool moved = true;
    size_t sent = 0;
    while (moved && !c->dead) {
        moved = read_records(c);
        moved |= reply_step(c);
        moved |= conn_flush(c, &sent);
        if (c->finishing && !bytes_left(&c->out))
            c->dead = true;
    }
    if (c->dead) {
        conn_free(c, "responder");
        return;
    }
    bool room = bytes_left(&c->in) < RECORD_MAX;
    watch(&c->read, !c->deaf && room);
    watch(&c->write, bytes_left(&c->out) || c->parked);
}

static void read_cb(struct ev_loop *loop, ev_io *w, int revents)
{
    struct conn *c = w->data;
    (void)loop, (void)revents;
    if (c->stage == IDLE && c->close_on_next) {
        conn_free(c, "responder");
        return;
    }
    char *at = bytes_reserve(&c->in, IN_SIZE - bytes_left(&c->in));
    ssize_t n = read(c->fd, at, c->in.size - c->in.len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_free(c, n ? "reset" : "client");
        return;
    }
    c->in.len += (size_t)n;
    conn_turn(c);
}

static void write_cb(struct ev_loop *loop, ev_io *w, int revents)
{
    struct conn *c = w->data;
    (void)loop, (void)revents;
    c->parked = false;
    conn_turn(c);
}

/* A delay is over. */
static void conn_go_on(struct conn *c)
{
    c->waiting = c->held = false;
    if (c->stage == IDLE)
        c->finishing = true; /* the `idle` of a kept connection is over */
    conn_turn(c);
}

static void step_cb(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)revents;
    ev_timer_stop(loop, w);
    conn_go_on(w->data);
}

/* The end of a connection's deafness; one that is deaf for ever only looks for its hang-up. */
static void resume_cb(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct conn *c = w->data;
    (void)revents;
    if (c->plan.noread == UINT64_MAX) {
        struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
        if (poll(&p, 1, 0) > 0)
            conn_free(c, "client");
        return;
    }
    ev_timer_stop(loop, w);
    c->deaf = false;
    c->finishing |= slice_is(c->plan.close, "work");
    conn_turn(c);
}

/* How many connections clients have open, from `c` on: one that was closed before another was
 * opened does not count, though we may not have read its end yet. */
static unsigned open_count(const struct conn *c)
{
    unsigned count = 0;
    for (; c; c = c->next) {
        struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
        count += poll(&p, 1, 0) == 0;
    }
    return count;
}

static void conn_new(int fd, unsigned listener)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        die("calloc");
    c->fd = fd;
    c->listener = listener;
    c->number = ++conn_count;
    ev_io_init(&c->read, read_cb, fd, EV_READ);
    ev_io_init(&c->write, write_cb, fd, EV_WRITE);
    ev_init(&c->step, step_cb);
    ev_init(&c->resume, resume_cb);
    c->read.data = c->write.data = c->step.data = c->resume.data = c;
    struct conn **first = &listeners[listener - 1].conns;
    c->next = *first;
    c->link = first;
    if (c->next)
        c->next->link = &c->next;
    *first = c;
    event(c, "OPEN", "listener=%u open=%u", listener, log_file ? open_count(c) : 0);
    ev_io_start(main_loop, &c->read);
}

static void accept_cb(struct ev_loop *loop, ev_io *w, int revents)
{
    struct listener *l = w->data;
    (void)loop, (void)revents;
    int fd;
    while ((fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (!l->path[0])
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        conn_new(fd, l->number);
    }
}

/* ---- listening, options, the loop ---- */

static int listen_unix(struct listener *l, const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(addr.sun_path, path);
    strcpy(l->path, path);
    unlink(path);
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* Workers of a proxy that was started as root are somebody else. */
    return l->fd < 0 || bind(l->fd, (struct sockaddr *)&addr, sizeof(addr)) || chmod(path, 0666)
               ? -1
               : 0;
}

static int listen_at(struct listener *l, const struct sockaddr *addr, socklen_t len)
{
    l->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return -1;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    return bind(l->fd, addr, len);
}

/* "127.0.0.1:9000" or "[::1]:9000" */
static int listen_tcp(struct listener *l, const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    const char *colon = strrchr(text, ':');
    char host[64] = "";
    if (colon && (size_t)(colon - text) < sizeof(host))
        snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    v4.sin_port = v6.sin6_port = htons((uint16_t)(colon ? atoi(colon + 1) : 0));
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        return listen_at(l, (struct sockaddr *)&v4, sizeof(v4));
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6.sin6_addr) == 1)
            return listen_at(l, (struct sockaddr *)&v6, sizeof(v6));
    }
    errno = EINVAL;
    return -1;
}

static void listener_open(const char *text, int backlog, bool accepting)
{
    struct listener *l = &listeners[listener_count];
    l->number = ++listener_count;
    bool local = strncmp(text, "unix:", 5) == 0;
    if ((local ? listen_unix(l, text + 5) : listen_tcp(l, text)) || listen(l->fd, backlog))
        die(text);
    if (local) {
        printf("listening %s\n", text);
    } else {
        struct sockaddr_storage addr; /* the port is at the same place in both families */
        socklen_t len = sizeof(addr);
        getsockname(l->fd, (struct sockaddr *)&addr, &len);
        printf("listening %.*s:%u\n", (int)(strrchr(text, ':') - text), text,
               ntohs(((struct sockaddr_in *)&addr)->sin_port));
    }
    ev_io_init(&l->io, accept_cb, l->fd, EV_READ);
    l->io.data = l;
    if (accepting)
        ev_io_start(main_loop, &l->io);
}

static void stop_cb(struct ev_loop *loop, ev_signal *w, int revents)
{
    (void)w;
    (void)loop, (void)revents;
    ev_break(loop, EVBREAK_ALL);
}

/* USR1: take connections from now on. */
static void accept_now_cb(struct ev_loop *loop, ev_signal *w, int revents)
{
    (void)w, (void)revents;
    for (unsigned i = 0; i < listener_count; i++)
        ev_io_start(loop, &listeners[i].io);
}

/* USR2: what is held goes on. */
static void go_on_cb(struct ev_loop *loop, ev_signal *w, int revents)
{
    (void)loop, (void)w, (void)revents;
    for (unsigned i = 0; i < listener_count; i++) {
        for (struct conn *c = listeners[i].conns, *next; c; c = next) {
            next = c->next;
            if (c->held)
                conn_go_on(c);
        }
    }
}

static void usage(void)
{
    fputs("usage: responder ADDR... [--log FILE] [--backlog N] [--no-accept] [--max-requests N]\n"
          "  [--page PATH=FILE]...\n",
          stderr);
    exit(2);
}

static void log_open(const char *path)
{
    log_file = fopen(path, "w");
    if (!log_file)
        die(path);
    setvbuf(log_file, NULL, _IOLBF, BUFSIZ);
}

struct options {
    const char *addresses[LISTENERS_MAX];
    unsigned count;
    int backlog;
    bool accepting;
};

static void page_add(char *text)
{
    char *equal = strchr(text, '=');
    if (!equal || page_count == PAGES_MAX)
        usage();
    *equal = 0;
    pages[page_count++] = (struct page){text, equal + 1};
}

static void options_read(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--log") == 0 && more)
            log_open(argv[++i]);
        else if (strcmp(argv[i], "--backlog") == 0 && more)
            o->backlog = atoi(argv[++i]);
        else if (strcmp(argv[i], "--max-requests") == 0 && more)
            max_requests = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--page") == 0 && more)
            page_add(argv[++i]);
        else if (strcmp(argv[i], "--no-accept") == 0)
            o->accepting = false;
        else if (argv[i][0] != '-' && o->count < LISTENERS_MAX)
            o->addresses[o->count++] = argv[i];
        else
            usage();
    }
    if (!o->count)
        usage();
}

int main(int argc, char **argv)
{
    struct options options = {.backlog = 4096, .accepting = true};
    ev_signal on_term, on_int, on_usr1, on_usr2;
    options_read(&options, argc, argv);
    pattern_fill();
    main_loop = ev_default_loop(0);
    if (!main_loop)
        die("ev_default_loop");

    /* Before it listens: whoever sees it listening may signal it. */
    signal(SIGPIPE, SIG_IGN);
    ev_signal_init(&on_term, stop_cb, SIGTERM);
    ev_signal_init(&on_int, stop_cb, SIGINT);
    ev_signal_init(&on_usr1, accept_now_cb, SIGUSR1);
    ev_signal_start(main_loop, &on_term);
    ev_signal_start(main_loop, &on_int);
    ev_signal_start(main_loop, &on_usr1);
    ev_signal_init(&on_usr2, go_on_cb, SIGUSR2);
    ev_signal_start(main_loop, &on_usr2);
    for (unsigned i = 0; i < options.count; i++)
        listener_open(options.addresses[i], options.backlog, options.accepting);
    puts("ready");
    fflush(stdout);

    ev_run(main_loop, 0);
    for (unsigned i = 0; i < listener_count; i++)
        if (listeners[i].path[0])
            unlink(listeners[i].path);
    return 0;
}

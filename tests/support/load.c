/*
 * Load for the tests and the benchmark: groups of clients that ask again and again, and an exact
 * account of what became of every request. wrk counts neither each status nor what was cut, and
 * knows no groups. Started by load.lua; shares no code with core/.
 *
 *     load 127.0.0.1:PORT [--seconds S] [--timeout S] GROUP...
 *     GROUP: --group NAME [--clients N] [--requests N] [--host H] [--path P] [--method M]
 *            [--body N] [--mark] [--pattern N] [--length N] [--header LINE] [--close] [--pause MS]
 *            [--leave MS] [--hosts COUNT:STEP] [--slow MS] [--pieces N] [--idle]
 *
 * Without --seconds a group goes on until its --requests are done, or until TERM. --close makes a
 * connection for each request. Each client waits --pause between its requests. --leave resets the
 * connection when the reply isn't there after that time. `@` in the path is replaced by a number of
 * its own for each request, and the reply must have `token=NUMBER;` in the first bytes of its
 * headers' values and its body: that is how a reply to somebody else is seen.
 *
 * `#` in the host is replaced by a number of at least five digits, which goes through STEP, 2 STEP
 * to COUNT STEP in turn. --length: the reply's body must have N bytes. A client of a --slow group
 * sends eight bytes of its head at a time, each after MS. One of a --pieces group writes 1 to N
 * bytes at a time, the more whenever the socket takes them. One of an --idle group keeps its
 * connection after the first reply and asks no more; a line `idle` goes to stdout when the last of
 * them is there.
 *
 * A body is the pattern of responder.c's command `size`; with --pattern the reply's must be N bytes
 * of it. With --mark the body's first line is the token, and the reply must say that it is so
 * (`same=1`, multiplexer.c's command `mark`).
 *
 * When it is over every client finishes what it waits for, so nothing fails by the end of the run.
 * Then one line for each group goes to stdout:
 *
 *     NAME requests=N 200=N 503=N connect=N closed=N timeout=N broken=N wrong=N left=N
 *          p50=US p90=US p99=US p999=US max=US
 *
 * connect: no connection; closed: the connection ended before the reply did (also an idle one that
 * was closed though nothing had announced it); broken: not HTTP; wrong: without its token, or
 * with another body, but a 5xx may be the proxy's own. These
 * are failures; `requests` are those with a whole reply. The last line is `all seconds=S`.
 */
#include "pattern.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define GROUPS_MAX  16
#define HEAD_MAX    2048
#define AT_ONCE     64   /* idle clients that connect at a time */
#define SLOW_BYTES  8    /* of a head that a slow client sends at a time */
#define SEEN_MAX    2048 /* bytes of a reply, without framing, in which the token is looked for */
#define STATUS_MAX  600
#define AFTER_ERROR 0.01 /* seconds before a client whose request failed tries again */

struct client;

struct group {
    const char *name, *host, *path, *method, *header;
    uint64_t body, pattern; /* bytes; pattern: of the reply's body */
    int64_t length;         /* of the reply's body; -1: any */
    unsigned hosts, step, host_at;
    unsigned clients, started;
    uint64_t limit;  /* requests; 0 is no limit */
    unsigned pieces; /* bytes of a write at most; 0: as many as the socket takes */
    double pause, leave, slow;
    bool close, idle, mark;

    struct client *list;
    uint64_t begun, done;
    uint64_t status[STATUS_MAX];
    uint64_t connect, closed, timeout, broken, wrong, left;
    uint32_t *times; /* of whole replies, in microseconds */
    size_t times_room;
};

struct client {
    ev_io io;
    ev_timer timer;
    struct group *group;
    int fd; /* -1: not connected */
    bool connecting, waiting, whole;
    char head[HEAD_MAX];
    size_t head_len;   /* with the first line of a marked body */
    uint64_t sent;     /* of head and body */
    uint64_t body_len; /* of the reply, so far */
    bool differs;      /* that body, from the pattern */
    uint64_t token;
    ev_tstamp begun;
    http_parser parser;
    char seen[SEEN_MAX];
    size_t seen_len;
};

static struct group groups[GROUPS_MAX];
static unsigned group_count, active, to_be_idle;
static struct sockaddr_in target;
static double seconds, patience = 30;
static uint64_t tokens;
static bool over;
static struct ev_loop *main_loop;

static void client_next(struct client *c);
static void client_start(struct group *g);

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- one request ---- */

/* The group's path with the token in the place of `@`. */
static void request_path(const struct client *c, char *to, size_t room)
{
    const char *path = c->group->path, *at = strchr(path, '@');
    if (at)
        snprintf(to, room, "%.*s%llu%s", (int)(at - path), path, (unsigned long long)c->token,
                 at + 1);
    else
        snprintf(to, room, "%s", path);
}

/* The group's host with the next number in the place of `#`. */
static void request_host(struct group *g, char *to, size_t room)
{
    const char *at = g->hosts ? strchr(g->host, '#') : NULL;
    if (!at) {
        snprintf(to, room, "%s", g->host);
        return;
    }
    g->host_at = g->host_at % g->hosts + 1;
    snprintf(to, room, "%.*s%05u%s", (int)(at - g->host), g->host, g->host_at * g->step, at + 1);
}

static void request_make(struct client *c)
{
    struct group *g = c->group;
    char path[HEAD_MAX / 2], host[HEAD_MAX / 8], length[64] = "";
    c->token = ++tokens;
    request_path(c, path, sizeof(path));
    request_host(g, host, sizeof(host));
    if (g->body)
        snprintf(length, sizeof(length), "Content-Length: %llu\r\n", (unsigned long long)g->body);
    int n = snprintf(c->head, sizeof(c->head), "%s %s HTTP/1.1\r\nHost: %s\r\n%s%s%s%s\r\n",
                     g->method, path, host, length, g->close ? "Connection: close\r\n" : "",
                     g->header ? g->header : "", g->header ? "\r\n" : "");
    if (g->mark && n > 0 && (size_t)n + 16 < sizeof(c->head))
        n += snprintf(c->head + n, sizeof(c->head) - (size_t)n, "%015llu\n",
                      (unsigned long long)c->token);
    if (n < 0 || (size_t)n >= sizeof(c->head)) {
        errno = EMSGSIZE;
        die(g->name);
    }
    c->head_len = (size_t)n;
    c->sent = c->body_len = 0;
    c->differs = false;
}

static void disconnect(struct client *c, bool reset)
{
    if (c->fd < 0)
        return;
    ev_io_stop(main_loop, &c->io);
    if (reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(c->fd);
    c->fd = -1;
    c->connecting = false;
}

static void rest(struct client *c, double time)
{
    c->waiting = false;
    if (time <= 0) {
        client_next(c);
        return;
    }
    ev_timer_stop(main_loop, &c->timer);
    ev_timer_set(&c->timer, time, 0);
    ev_timer_start(main_loop, &c->timer);
}

/* The request has failed in the way that `counter` counts. */
static void failed(struct client *c, uint64_t *counter)
{
    ++*counter;
    disconnect(c, counter == &c->group->left);
    rest(c, AFTER_ERROR);
}

static bool token_seen(const struct client *c)
{
    char wanted[40];
    if (!strchr(c->group->path, '@'))
        return true;
    int n = snprintf(wanted, sizeof(wanted), "token=%llu;", (unsigned long long)c->token);
    return memmem(c->seen, c->seen_len, wanted, (size_t)n) != NULL &&
           (!c->group->mark || memmem(c->seen, c->seen_len, "same=1", 6) != NULL);
}

static void time_add(struct group *g, double time)
{
    if (g->done == g->times_room) {
        g->times_room = g->times_room ? g->times_room * 2 : 4096;
        g->times = realloc(g->times, g->times_room * sizeof(*g->times));
        if (!g->times)
            die("realloc");
    }
    g->times[g->done++] = (uint32_t)(time * 1e6);
}

/* Whether it is the reply to this request; an error page of the proxy brings back no token. */
static bool reply_right(const struct client *c)
{
    const struct group *g = c->group;
    if (c->parser.status_code >= 500)
        return true;
    if (g->length >= 0 && c->body_len != (uint64_t)g->length)
        return false;
    return (!g->pattern || (c->body_len == g->pattern && !c->differs)) && token_seen(c);
}

/* The client asks no more. */
static void client_end(struct client *c)
{
    ev_timer_stop(main_loop, &c->timer);
    disconnect(c, false);
    active--;
}

/* The client keeps its connection, until the end. */
static void settle(struct client *c)
{
    c->waiting = false;
    ev_timer_stop(main_loop, &c->timer);
    if (over)
        client_end(c);
    else if (c->group->started < c->group->clients)
        client_start(c->group);
    if (over || --to_be_idle)
        return;
    puts("idle");
    fflush(stdout);
}

/* Bytes of the body that the head does not have. */
static uint64_t body_size(const struct client *c)
{
    return c->group->mark ? c->group->body - 16 : c->group->body;
}

static uint64_t request_size(const struct client *c)
{
    return c->head_len + body_size(c);
}

/* Writes the start of the group's first wrong reply to stderr, and how its connection stands. */
static void show_wrong(const struct client *c)
{
    if (c->group->wrong)
        return;
    fprintf(stderr, "%s: wrong reply to token %llu: sent %llu of %llu, body of %llu bytes: ",
            c->group->name, (unsigned long long)c->token, (unsigned long long)c->sent,
            (unsigned long long)request_size(c), (unsigned long long)c->body_len);
    fwrite(c->seen, 1, c->seen_len, stderr);
    fputc('\n', stderr);
}

/* The reply is whole. */
static void done(struct client *c)
{
    struct group *g = c->group;
    bool keep = !g->close && c->sent == request_size(c) && http_should_keep_alive(&c->parser);
    if (!reply_right(c)) {
        show_wrong(c);
        failed(c, &g->wrong);
        return;
    }
    g->status[c->parser.status_code < STATUS_MAX ? c->parser.status_code : 0]++;
    ev_now_update(main_loop);
    time_add(g, ev_now(main_loop) - c->begun);
    if (!keep)
        disconnect(c, false);
    if (g->idle)
        settle(c);
    else
        rest(c, g->pause);
}

/* ---- the parser's callbacks ---- */

static int on_head(http_parser *p)
{
    struct client *c = p->data;
    return strcmp(c->group->method, "HEAD") == 0; /* 1: no body follows */
}

/* Keeps the first bytes of the reply for token_seen: a token may come in two chunks. */
static int on_seen(http_parser *p, const char *bytes, size_t len)
{
    struct client *c = p->data;
    size_t room = SEEN_MAX - c->seen_len;
    size_t take = len < room ? len : room;
    memcpy(c->seen + c->seen_len, bytes, take);
    c->seen_len += take;
    return 0;
}

static int on_body(http_parser *p, const char *bytes, size_t len)
{
    struct client *c = p->data;
    on_seen(p, bytes, len);
    if (!c->group->pattern)
        c->body_len += len;
    while (c->group->pattern && len) {
        size_t from = (size_t)(c->body_len % PATTERN_SIZE);
        size_t n = len < PATTERN_SIZE - from ? len : PATTERN_SIZE - from;
        c->differs |= memcmp(pattern + from, bytes, n) != 0;
        c->body_len += n;
        bytes += n;
        len -= n;
    }
    return 0;
}

static int on_whole(http_parser *p)
{
    struct client *c = p->data;
    if (p->status_code >= 200)
        c->whole = true;
    http_parser_pause(p, p->status_code >= 200);
    return 0;
}

static const http_parser_settings parsing = {
    .on_header_value = on_seen,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_message_complete = on_whole,
};

/* ---- the connection ---- */

static void watch(struct client *c, int events)
{
    if (ev_is_active(&c->io) && (c->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(main_loop, &c->io);
    ev_io_set(&c->io, c->fd, events);
    ev_io_start(main_loop, &c->io);
}

/* What is next to be sent: the rest of the head, and as much of the body as lies in one piece. */
static int next_bytes(struct client *c, struct iovec *list)
{
    int count = 0;
    uint64_t at = c->sent < c->head_len ? 0 : c->sent - c->head_len;
    uint64_t left = body_size(c) - at;
    at += c->group->mark ? 16 : 0;
    uint64_t room = PATTERN_SIZE - at % PATTERN_SIZE;
    size_t head = c->sent < c->head_len ? c->head_len - (size_t)c->sent : 0;
    bool in_pieces = c->group->slow > 0 && head > 0;
    if (head)
        list[count++] =
            (struct iovec){c->head + c->sent, in_pieces && head > SLOW_BYTES ? SLOW_BYTES : head};
    if (left && !in_pieces)
        list[count++] =
            (struct iovec){pattern + at % PATTERN_SIZE, (size_t)(left < room ? left : room)};
    return count;
}

/* Leaves 1 to `most` of the bytes. Returns the slices. */
static size_t cut_to(struct iovec *list, size_t count, unsigned most)
{
    size_t left = 1 + (size_t)random() % most;
    for (size_t i = 0; i < count; i++) {
        if (list[i].iov_len >= left) {
            list[i].iov_len = left;
            return i + 1;
        }
        left -= list[i].iov_len;
    }
    return count;
}

static void send_more(struct client *c)
{
    struct iovec list[2];
    struct msghdr message = {.msg_iov = list, .msg_iovlen = (size_t)next_bytes(c, list)};
    if (c->group->pieces)
        message.msg_iovlen = cut_to(list, message.msg_iovlen, c->group->pieces);
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (n > 0)
        c->sent += (uint64_t)n;
    /* What else is wrong shows when it is read: there may be an answer before the end. */
    bool more = c->sent < request_size(c) && (n > 0 || errno == EAGAIN);
    if (more && c->group->slow > 0 && c->sent < c->head_len) {
        ev_timer_stop(main_loop, &c->timer);
        ev_timer_set(&c->timer, c->group->slow, 0);
        ev_timer_start(main_loop, &c->timer);
        more = false;
    }
    watch(c, EV_READ | (more ? EV_WRITE : 0));
}

static void look(struct client *c, const char *bytes, size_t n)
{
    size_t parsed = http_parser_execute(&c->parser, &parsing, bytes, n);
    enum http_errno error = HTTP_PARSER_ERRNO(&c->parser);
    if (c->whole && parsed == n)
        done(c);
    else if (c->whole || (error != HPE_OK && error != HPE_PAUSED))
        failed(c, &c->group->broken); /* bytes behind the reply, or no HTTP */
}

static void read_some(struct client *c)
{
    static char bytes[65536];
    ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (!c->waiting) { /* an idle connection: it ends, or something comes that nobody asked for */
        disconnect(c, false);
        ++*(n > 0 ? &c->group->broken : &c->group->closed);
    } else if (n > 0) {
        look(c, bytes, (size_t)n);
    } else if (n == 0 && c->seen_len &&
               (http_parser_execute(&c->parser, &parsing, NULL, 0), c->whole)) {
        done(c); /* the end of the connection is the end of the reply */
    } else {
        failed(c, &c->group->closed);
    }
}

static void io_cb(struct ev_loop *loop, ev_io *w, int events)
{
    struct client *c = w->data;
    (void)loop;
    if (c->connecting) {
        int error = 0;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof(error)});
        if (error) {
            failed(c, &c->group->connect);
            return;
        }
        c->connecting = false;
    }
    if (events & EV_WRITE)
        send_more(c);
    if (events & EV_READ)
        read_some(c);
}

static bool client_connect(struct client *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->connecting = true;
    return connect(c->fd, (struct sockaddr *)&target, sizeof(target)) == 0 || errno == EINPROGRESS;
}

/* The next request of this client, or its end. */
static void client_next(struct client *c)
{
    struct group *g = c->group;
    ev_timer_stop(main_loop, &c->timer);
    if (over || (g->limit && g->begun >= g->limit)) {
        client_end(c);
        return;
    }
    g->begun++;
    request_make(c);
    http_parser_init(&c->parser, HTTP_RESPONSE);
    c->parser.data = c;
    c->seen_len = 0;
    c->whole = false;
    c->waiting = true;
    c->begun = ev_now(main_loop);
    ev_timer_set(&c->timer, g->leave > 0 ? g->leave : patience, 0);
    ev_timer_start(main_loop, &c->timer);
    if (c->fd >= 0)
        send_more(c);
    else if (client_connect(c))
        watch(c, EV_WRITE | EV_READ);
    else
        failed(c, &g->connect);
}

static void timer_cb(struct ev_loop *loop, ev_timer *w, int events)
{
    struct client *c = w->data;
    (void)loop, (void)events;
    if (!c->waiting) {
        client_next(c);
    } else if (c->group->slow > 0 && c->sent < c->head_len && !over) {
        send_more(c);
    } else if (c->group->slow > 0 && c->sent < c->head_len) {
        client_end(c); /* a request that was only half sent is none */
    } else {
        failed(c, c->group->leave ? &c->group->left : &c->group->timeout);
    }
}

static void client_start(struct group *g)
{
    struct client *c = &g->list[g->started++];
    c->group = g;
    c->fd = -1;
    ev_init(&c->io, io_cb);
    ev_init(&c->timer, timer_cb);
    c->io.data = c->timer.data = c;
    active++;
    client_next(c);
}

/* All but those that are going to be idle, of whom each lets another one begin. */
static void clients_start(struct group *g)
{
    unsigned first = g->idle && g->clients > AT_ONCE ? AT_ONCE : g->clients;
    g->list = calloc(g->clients, sizeof(*g->list));
    if (!g->list)
        die("calloc");
    to_be_idle += g->idle ? g->clients : 0;
    while (g->started < first)
        client_start(g);
}

/* ---- the end, the account ---- */

/* From now on every client only finishes what it waits for. */
static void end_all(void)
{
    over = true;
    for (unsigned i = 0; i < group_count; i++)
        for (unsigned k = 0; groups[i].idle && k < groups[i].started; k++) {
            struct client *c = &groups[i].list[k];
            if (!c->waiting && !ev_is_active(&c->timer)) /* it has settled */
                client_end(c);
        }
}

static void over_cb(struct ev_loop *loop, ev_timer *w, int events)
{
    (void)loop, (void)w, (void)events;
    end_all();
}

static void term_cb(struct ev_loop *loop, ev_signal *w, int events)
{
    (void)loop, (void)w, (void)events;
    if (!over)
        end_all();
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static unsigned percentile(const struct group *g, double share)
{
    if (!g->done)
        return 0;
    size_t at = (size_t)((double)g->done * share);
    return g->times[at < g->done ? at : g->done - 1];
}

static void group_print(struct group *g)
{
    printf("%s requests=%llu", g->name, (unsigned long long)g->done);
    for (unsigned i = 0; i < STATUS_MAX; i++)
        if (g->status[i])
            printf(" %u=%llu", i, (unsigned long long)g->status[i]);
    const struct {
        const char *name;
        uint64_t count;
    } counts[] = {{"connect", g->connect}, {"closed", g->closed}, {"timeout", g->timeout},
                  {"broken", g->broken},   {"wrong", g->wrong},   {"left", g->left}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
        printf(" %s=%llu", counts[i].name, (unsigned long long)counts[i].count);
    if (g->done)
        qsort(g->times, g->done, sizeof(*g->times), by_size);
    printf(" p50=%u p90=%u p99=%u p999=%u max=%u\n", percentile(g, 0.5), percentile(g, 0.9),
           percentile(g, 0.99), percentile(g, 0.999), percentile(g, 1));
}

/* ---- options ---- */

static void usage(void)
{
    fputs("usage: load HOST:PORT [--seconds S] [--timeout S] --group NAME [--clients N]\n"
          "  [--requests N] [--host H] [--path P] [--method M] [--body N] [--header LINE]\n"
          "  [--pattern N] [--length N] [--close] [--pause MS] [--leave MS]\n"
          "  [--hosts COUNT:STEP] [--slow MS] [--pieces N] [--idle] [--group ...]\n",
          stderr);
    exit(2);
}

static void target_read(const char *text)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(host))
        usage();
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &target.sin_addr) != 1)
        usage();
}

static struct group *group_new(const char *name)
{
    if (group_count == GROUPS_MAX)
        usage();
    struct group *g = &groups[group_count++];
    *g = (struct group){.name = name,
                        .host = "localhost",
                        .path = "/",
                        .method = "GET",
                        .clients = 1,
                        .length = -1};
    return g;
}

/* An option of the group; false where it is none. */
static bool group_option(struct group *g, const char *name, const char *value)
{
    if (strcmp(name, "--clients") == 0)
        g->clients = (unsigned)atoi(value);
    else if (strcmp(name, "--requests") == 0)
        g->limit = strtoull(value, NULL, 10);
    else if (strcmp(name, "--host") == 0)
        g->host = value;
    else if (strcmp(name, "--path") == 0)
        g->path = value;
    else if (strcmp(name, "--method") == 0)
        g->method = value;
    else if (strcmp(name, "--header") == 0)
        g->header = value;
    else if (strcmp(name, "--body") == 0)
        g->body = strtoull(value, NULL, 10);
    else if (strcmp(name, "--length") == 0)
        g->length = atoll(value);
    else if (strcmp(name, "--hosts") == 0) {
        if (sscanf(value, "%u:%u", &g->hosts, &g->step) != 2)
            usage();
    } else if (strcmp(name, "--slow") == 0)
        g->slow = atof(value) / 1000;
    else if (strcmp(name, "--pieces") == 0)
        g->pieces = (unsigned)atoi(value);
    else if (strcmp(name, "--pattern") == 0)
        g->pattern = strtoull(value, NULL, 10);
    else if (strcmp(name, "--pause") == 0)
        g->pause = atof(value) / 1000;
    else if (strcmp(name, "--leave") == 0)
        g->leave = atof(value) / 1000;
    else
        return false;
    return true;
}

static void options_read(int argc, char **argv)
{
    struct group *g = NULL;
    if (argc < 4)
        usage();
    target_read(argv[1]);
    for (int i = 2; i < argc; i++) {
        if (g && strcmp(argv[i], "--mark") == 0) {
            g->mark = true;
            continue;
        }
        if (g && (strcmp(argv[i], "--close") == 0 || strcmp(argv[i], "--idle") == 0)) {
            *(argv[i][2] == 'c' ? &g->close : &g->idle) = true;
            continue;
        }
        const char *name = argv[i];
        if (++i == argc)
            usage();
        if (strcmp(name, "--seconds") == 0)
            seconds = atof(argv[i]);
        else if (strcmp(name, "--timeout") == 0)
            patience = atof(argv[i]);
        else if (strcmp(name, "--group") == 0)
            g = group_new(argv[i]);
        else if (!g || !group_option(g, name, argv[i]))
            usage();
    }
    if (!g)
        usage();
}

int main(int argc, char **argv)
{
    ev_timer end;
    ev_signal term;
    options_read(argc, argv);
    pattern_fill();
    main_loop = ev_default_loop(0);
    if (!main_loop)
        die("ev_default_loop");
    signal(SIGPIPE, SIG_IGN);
    ev_signal_init(&term, term_cb, SIGTERM);
    ev_signal_start(main_loop, &term);
    ev_timer_init(&end, over_cb, seconds, 0);
    if (seconds > 0)
        ev_timer_start(main_loop, &end);
    ev_tstamp begun = ev_time();
    for (unsigned i = 0; i < group_count; i++)
        clients_start(&groups[i]);
    while (active)
        ev_run(main_loop, EVRUN_ONCE);
    for (unsigned i = 0; i < group_count; i++)
        group_print(&groups[i]);
    for (unsigned i = 0; i < group_count; i++) {
        free(groups[i].list);
        free(groups[i].times);
    }
    printf("all seconds=%.6f\n", ev_time() - begun);
    return 0;
}
